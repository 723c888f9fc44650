"""Which engine runs a bundle: exactly the one that was asked for, or an error."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install, is_there, version_of
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.device import DeviceEngine
from rtdecode.fit.int8 import int8_graph
from rtdecode.fit.nvidia import first_gpu
from rtdecode.fit.tiles import TiledEngine

_LIBRARIES = {  # others are called as their engine; TensorRT's wheels for one CUDA have the longer name alone
    "torch-cuda": ("torch",),
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_DISTRIBUTIONS = {"tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings")}
_HOW = {"torch": install("train"), "torch-cuda": "pip install torch for your CUDA", "tensorrt-rtx": install("gpu")}
ON_GPU = ("tensorrt", "tensorrt-rtx", "torch-cuda")
"""Engines of an NVIDIA GPU, in the order in which `auto` takes them; the others run on the CPU."""
AUTO = "auto"
"""As `use`: whichever of ON_GPU can run here, else OpenVINO."""
REFERENCE = "fp32"
"""Precision where a configuration names none and nobody has resolved it (rtdecode.session.admit does for a run)."""
VARIANTS = (
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "fp32"),
    ("torch", "fp32"),
    *((use, precision) for use in ON_GPU for precision in ("fp32", "bf16", "fp16")),
)
"""(use, precision) of every engine; the first is the one that the others are held against."""


def libraries_of(use: str) -> tuple[str, ...]:
    """Packages that this engine runs in, as they are imported; one of them is enough."""
    return _LIBRARIES.get(use, (use,))


def version(use: str) -> str | None:
    """Version of the engine's library, None where it is not installed. Nothing is imported."""
    return next((found for name in _DISTRIBUTIONS.get(use, libraries_of(use)) if (found := version_of(name))), None)


def check(config: EngineConfig) -> None:
    """Refuse an engine that cannot run here, before a run has begun: no GPU, or its library is not installed.

    Imports nothing, and asks of a GPU only the driver. Raises EngineError.
    """
    if config.precision == "int8" and config.use in ON_GPU:
        raise EngineError(f"engine {config.use} has no precision int8 yet; choose fp16, bf16 or fp32")
    if config.use in ON_GPU:
        _need_gpu(config.use)
    if config.use != AUTO and not any(map(is_there, libraries_of(config.use))):
        how = _HOW.get(config.use, f"pip install {config.use}")
        raise EngineError(f"engine.use {config.use}: its library is not installed here; {how}")


def _need_gpu(use: str) -> None:
    try:
        first_gpu()
    except EngineError as error:
        raise EngineError(
            f"engine.use {use}: it needs an NVIDIA GPU, and no NVIDIA GPU can be used here ({error}); "
            "set engine.use to openvino or onnxruntime, which run on the CPU"
        ) from error


def chosen(config: EngineConfig) -> tuple[EngineConfig, str]:
    """`use: auto` as the engine that it stands for here, and why; any other as it is, and nothing to say.

    The first engine of a GPU that can run, else OpenVINO. Of several GPUs the first that the driver shows.
    """
    if config.use != AUTO:
        return config, ""
    try:
        gpu = first_gpu()
    except EngineError as error:
        return _as(config, "openvino"), f"chosen by auto: no NVIDIA GPU can be used here ({error})"
    reasons = []
    for use in ON_GPU:
        try:
            check(engine := _as(config, use))
            device_of(use)
            return engine, f"chosen by auto for {gpu.name}"
        except EngineError as error:
            reasons.append(str(error))
    return _as(config, "openvino"), f"chosen by auto, for no engine can use {gpu.name}: {'; '.join(reasons)}"


def _as(config: EngineConfig, use: str) -> EngineConfig:
    return EngineConfig.model_validate(config.model_dump() | {"use": use})


def build(
    config: EngineConfig,
    bundle: ModelBundle,
    detection: DetectionThresholds | None = None,
    frame_dtype: str = "float32",
) -> Engine | DeviceEngine:
    """The engine that `config` names, for this bundle, large fields in tiles; not yet started.

    `detection` (None: the bundle's) and `frame_dtype` are for engines of a GPU, which detect by themselves and take
    raw frames. No fallback: a missing library or GPU or a precision that it lacks is an EngineError that says so.
    Whether the answers are good enough is asked once for each machine and bundle (rtdecode.stages.admission).
    """
    config, _ = chosen(config)
    if config.use in ON_GPU:
        return _on_gpu(config, bundle, detection, "uint16" if frame_dtype in ("uint8", "uint16") else "float32")
    return host_engine(config, bundle)


def host_engine(config: EngineConfig, bundle: ModelBundle) -> Engine:
    """As `build`, of an engine of the CPU, which gives maps. Raises EngineError for one of a GPU."""
    engine = _plain(config, bundle)
    return engine if config.tile_px == 0 else TiledEngine(engine, bundle.network, config.tile_px, config.halo_px)


def _on_gpu(
    config: EngineConfig, bundle: ModelBundle, detection: DetectionThresholds | None, frame_dtype: str
) -> DeviceEngine:
    if config.tile_px:
        raise EngineError(f"engine.tile_px {config.tile_px}: tiles are for engines of the CPU; leave it out")
    check(config)
    precision = config.precision or REFERENCE
    if config.use == "torch-cuda":
        from rtdecode.fit.engine_torch_cuda import TorchCudaEngine

        return TorchCudaEngine(bundle, precision, frame_dtype, detection)
    from rtdecode.fit.engine_tensorrt import TensorRtEngine

    return TensorRtEngine(bundle, precision, config.use.replace("-", "_"), frame_dtype, detection)


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
    raise EngineError(f"engine {config.use} gives no maps; engines of the CPU: openvino, onnxruntime, torch")


def device_of(use: str) -> str:
    """The processor that this engine would run on, and for OpenVINO its arithmetic: other ones, other kernels.

    Raises EngineError where the engine needs a GPU and there is none.
    """
    if use == "torch-cuda":
        from rtdecode.fit import engine_torch_cuda

        return engine_torch_cuda.gpu_name()
    if use in ON_GPU:
        from rtdecode.fit import cuda_runtime

        return cuda_runtime.gpu_name()
    if use != "openvino":
        return processor_name()
    from rtdecode.fit.engine_openvino import capabilities

    return f"{processor_name()}, {' '.join(capabilities())}"


def reduced(use: str) -> Literal["bf16", "fp16"] | None:
    """The precision below fp32 that may be taken without being asked for; None: fp32 is all. Raises EngineError."""
    if use in ON_GPU:
        return "bf16" if first_gpu().has_bf16 else "fp16"
    if use != "openvino":
        return None
    from rtdecode.fit.engine_openvino import capabilities

    return "bf16" if "BF16" in capabilities() else None


def processor_name() -> str:
    """Model of the CPU as its maker calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
