"""Which engine runs a bundle: exactly the one that was asked for, or an error."""

from __future__ import annotations

from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install, is_there
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.tiles import TiledEngine

_EXTRA = {"torch": "train"}  # the others come with rtdecode


def check(config: EngineConfig) -> None:
    """Refuse an engine whose library is not installed, before a run has begun; imports nothing. Raises EngineError."""
    if not is_there(config.use):
        how = install(_EXTRA[config.use]) if config.use in _EXTRA else f"pip install {config.use}"
        raise EngineError(f"engine {config.use}: its library is not installed here; {how}")


def build(config: EngineConfig, bundle: ModelBundle) -> Engine:
    """The engine that `config` names, for this bundle, large fields in tiles; not yet started.

    No fallback: a missing library or a precision that the CPU lacks is an EngineError that says so.
    """
    engine = _plain(config, bundle)
    return engine if config.tile_px == 0 else TiledEngine(engine, bundle.network, config.tile_px, config.halo_px)


def _plain(config: EngineConfig, bundle: ModelBundle) -> Engine:
    match config.use:
        case "openvino":
            from rtdecode.fit.engine_openvino import OpenVinoEngine

            return OpenVinoEngine(bundle.onnx_path, bundle.network, config.precision, config.threads)
        case "onnxruntime":
            from rtdecode.fit.engine_onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(bundle.onnx_path, bundle.network, config.precision, config.threads)
        case "torch":
            from rtdecode.fit.engine_torch import TorchEngine

            return TorchEngine(bundle, config.precision, config.threads)
    raise EngineError(f"no engine is called {config.use!r}; known: openvino, onnxruntime, torch")
