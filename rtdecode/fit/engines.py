"""Which engine runs a bundle: exactly the one that was asked for, or an error."""

from __future__ import annotations

import platform
from pathlib import Path

from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install, is_there
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.int8 import int8_graph
from rtdecode.fit.tiles import TiledEngine

_EXTRA = {"torch": "train"}  # the others come with rtdecode
REFERENCE = "fp32"
"""Precision where a configuration names none and nobody has resolved it (rtdecode.session.admit does for a run)."""
VARIANTS = (
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "fp32"),
    ("torch", "fp32"),
)
"""(use, precision) of every engine; the first is the one that the others are held against."""


def check(config: EngineConfig) -> None:
    """Refuse an engine whose library is not installed, before a run has begun; imports nothing. Raises EngineError."""
    if not is_there(config.use):
        how = install(_EXTRA[config.use]) if config.use in _EXTRA else f"pip install {config.use}"
        raise EngineError(f"engine {config.use}: its library is not installed here; {how}")


def build(config: EngineConfig, bundle: ModelBundle) -> Engine:
    """The engine that `config` names, for this bundle, large fields in tiles; not yet started.

    No fallback: a missing library or a precision that the CPU lacks is an EngineError that says so. Whether the
    answers are good enough is not asked here but once for each machine and bundle (rtdecode.stages.admission).
    """
    engine = _plain(config, bundle)
    return engine if config.tile_px == 0 else TiledEngine(engine, bundle.network, config.tile_px, config.halo_px)


def _plain(config: EngineConfig, bundle: ModelBundle) -> Engine:
    precision = config.precision or REFERENCE
    match config.use:
        case "openvino":
            from rtdecode.fit.engine_openvino import OpenVinoEngine

            graph = int8_graph(bundle) if precision == "int8" else bundle.onnx_path
            return OpenVinoEngine(graph, bundle.network, precision, config.threads)
        case "onnxruntime":
            from rtdecode.fit.engine_onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(bundle.onnx_path, bundle.network, precision, config.threads)
        case "torch":
            from rtdecode.fit.engine_torch import TorchEngine

            return TorchEngine(bundle, precision, config.threads)
    raise EngineError(f"no engine is called {config.use!r}; known: openvino, onnxruntime, torch")


def device_of(use: str) -> str:
    """The processor that this engine would run on, and for OpenVINO its arithmetic: other ones, other kernels."""
    if use != "openvino":
        return processor_name()
    from rtdecode.fit.engine_openvino import capabilities

    return f"{processor_name()}, {' '.join(capabilities())}"


def has_bf16(use: str) -> bool:
    """Whether `precision: bf16` can be had from this engine here. Raises EngineError where it does not load."""
    if use != "openvino":
        return False
    from rtdecode.fit.engine_openvino import capabilities

    return "BF16" in capabilities()


def processor_name() -> str:
    """Model of the CPU as its maker calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
