"""One thin door to `tensorrt` (10, 11) and `tensorrt_rtx`: loading, profiles, parsing and building, errors told.

Networks are strongly typed: the precision is the ONNX's. Building needs no GPU with tensorrt_rtx; nothing here
touches a Runtime, which crashes without one (engines.md §4c).
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any

from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install
from rtdecode.fit.layout import NetworkConfig

LOG = logging.getLogger(__name__)
MODULES = {"tensorrt": ("tensorrt", "tensorrt_bindings"), "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
WORKSPACE_BYTES = 32 << 30  # of one engine at its largest; a GPU that has less refuses by itself
CONVOLUTION_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16", "int8": "FLOAT"}


@dataclass(frozen=True, slots=True)
class RoiClass:
    """Frames whose larger padded side is at most `side_px` share one engine; its memory is that of the largest."""

    side_px: int
    block: int
    slots: int  # for each group; TopK takes at most 3840 in TensorRT
    groups: int = 1


ROI_CLASSES = (
    RoiClass(64, 32, 256),
    RoiClass(128, 32, 1024),
    RoiClass(256, 32, 3840),
    RoiClass(512, 4, 3840, 4),
    RoiClass(1024, 4, 3840, 16),
    RoiClass(2048, 2, 3840, 16),
)
"""144 features of 2 x 2048² pixels are 1.2e9 values: TensorRT's tensors end at 2^31.
Sides are multiples of 4, so any frame cuts into 16 equal runs of pixels."""


def roi_class(height_px: int, width_px: int) -> RoiClass:
    """The class of a padded frame; raises EngineError beyond the largest."""
    for one in ROI_CLASSES:
        if max(height_px, width_px) <= one.side_px:
            return one
    raise EngineError(
        f"frames of {height_px} x {width_px} px are larger than {ROI_CLASSES[-1].side_px} px, the largest that one "
        "TensorRT engine takes; set engine.use to openvino, which cuts them into tiles, or to torch-cuda"
    )


class Library:
    """An opened library; `trt` is its module."""

    def __init__(self, use: str) -> None:
        self.use, self.trt = use, _open(use)
        self.version = str(self.trt.__version__)
        self.logger = _logger(self.trt)
        self.trt.init_libnvinfer_plugins(self.logger, "") if use == "tensorrt" else None

    def build(
        self,
        onnx_bytes: bytes,
        shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]],
        precision: str,
        refit: bool = False,
        timing: bytes = b"",
    ) -> tuple[bytes, bytes]:
        """A plan, and the timing cache afterwards (empty where the library keeps none).

        `shapes`: input -> smallest, usual, largest. Raises EngineError with the parser's or builder's own words.
        """
        trt = self.trt
        builder = self._made("Builder", trt.Builder(self.logger))
        network = self._made("network", builder.create_network(_strongly_typed(trt)))
        self._parse(network, onnx_bytes)
        self._check_precision(network, precision)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        profile = builder.create_optimization_profile()
        for name, sizes in shapes.items():
            profile.set_shape(name, *sizes)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"{self.use}: the optimization profile {shapes} is refused: {self._said()}")
        if refit:
            config.set_flag(trt.BuilderFlag.REFIT)
        cache = config.create_timing_cache(timing) if self.use == "tensorrt" else None  # RTX times on the user's GPU
        if cache is not None and not config.set_timing_cache(cache, False):
            raise EngineError(f"{self.use}: the timing cache is refused: {self._said()}")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"{self.use} {self.version}: cannot build this graph in {precision}: {self._said()}")
        return bytes(plan), bytes(cache.serialize()) if cache is not None else b""

    def refit(self, engine: Any, onnx_bytes: bytes) -> None:
        """Put the weights of another graph of the same architecture into a deserialized engine; needs a GPU."""
        refitter = self._made("Refitter", self.trt.Refitter(engine, self.logger))
        parser = self.trt.OnnxParserRefitter(refitter, self.logger)
        if not parser.refit_from_bytes(onnx_bytes) or not refitter.refit_cuda_engine():
            missing = ", ".join(refitter.get_missing_weights()[:5])
            raise EngineError(
                f"{self.use}: the engine cannot be refitted ({self._said()}; missing: {missing or 'none'})"
            )

    def _parse(self, network: Any, onnx_bytes: bytes) -> None:
        parser = self.trt.OnnxParser(network, self.logger)
        if not parser.parse(onnx_bytes):
            errors = [parser.get_error(k).desc() for k in range(parser.num_errors)]
            raise EngineError(f"{self.use} {self.version}: its parser refuses the graph: {'; '.join(errors)}")

    def _check_precision(self, network: Any, precision: str) -> None:
        """What was asked for is what stands in the network: a build of the old kind makes fp32 in silence."""
        layers = [network.get_layer(k) for k in range(network.num_layers)]
        quantizes = any(layer.type == self.trt.LayerType.QUANTIZE for layer in layers)
        convolutions = [layer for layer in layers if layer.type == self.trt.LayerType.CONVOLUTION]
        found = {layer.get_output(0).dtype for layer in convolutions}
        expected = getattr(self.trt.DataType, CONVOLUTION_TYPES[precision])
        if found != {expected} or quantizes != (precision == "int8"):
            form = " of quantized values" if quantizes else ""
            raise EngineError(
                f"{self.use}: convolutions are {sorted(map(str, found))}{form}, {precision} was asked for"
            )

    def _made(self, what: str, thing: Any) -> Any:
        if thing is None:
            raise EngineError(f"{self.use} {self.version}: no {what}: {self._said()}")
        return thing

    def _said(self) -> str:
        """The last errors that the library logged."""
        said = "; ".join(self.logger.errors[-3:]) or "it gave no reason"
        self.logger.errors.clear()
        return said


def profile_shapes(
    layout: NetworkConfig, roi: RoiClass, raw_uint16: bool
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Input -> smallest, usual, largest shape for a class of frames."""
    smallest = layout.stride * (1 if layout.stride >= 8 else 2)
    usual = max(roi.side_px, smallest)
    sizes = [(1, smallest), (min(8, roi.block), usual), (roi.block, usual)]
    every = [input_shapes(layout, b, side, side, raw_uint16) for b, side in sizes]
    return {name: (every[0][name], every[1][name], every[2][name]) for name in every[0]}


def input_shapes(
    layout: NetworkConfig, block: int, height: int, width: int, raw_uint16: bool
) -> dict[str, tuple[int, ...]]:
    """Shapes of a device graph's inputs for one block of padded frames."""
    frames = (block, height, width, 2) if raw_uint16 else (block, 1, height, width)
    plane = (1, 1, height, width)
    features = (2, *layout.feature_shape(height, width))
    return {"frames_adu": frames, "features": features, "baseline_adu": plane, "e_per_adu": plane, "inside": plane}


def _open(use: str) -> Any:
    if use not in MODULES:
        raise EngineError(f"no TensorRT library is called {use!r}; known: {', '.join(MODULES)}")
    reasons = []
    for name in MODULES[use]:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # stubs, missing .so files, wheels' own checks
            reasons.append(f"{name}: {error}")
    how = install("gpu") if use == "tensorrt_rtx" else "pip install tensorrt (it loads from NVIDIA's own index)"
    raise EngineError(f"{use} is not installed or does not load ({'; '.join(reasons)}); {how}")


def _strongly_typed(trt: Any) -> int:
    """TensorRT 11 and RTX know only such networks and ignore the flag; 10 must be told."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps errors for messages of our own; the rest goes to Python's log."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message.strip())
            LOG.debug("%s: %s", severity, message)

    return Logger()
