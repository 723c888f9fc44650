"""OpenVINO on the CPU: the default engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtdecode.core.errors import EngineError
from rtdecode.fit.blocks import Array, CpuEngine
from rtdecode.fit.layout import NetworkConfig

PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""Precision as asked for -> OpenVINO's hint for all that the graph itself does not quantize."""


class OpenVinoEngine(CpuEngine):
    """Runs the bundle's ONNX graph, compiled for one static frame size; fp32, or bf16 where the CPU has it.

    int8 is another graph (rtdecode.fit.int8), given here in place of the ONNX; what it leaves in floating point
    runs in bf16 where the CPU has it, else in fp32.
    Measured bit-exact over repeats, thread counts and blocks (engines.md §2); the contract test keeps watch.
    """

    name = "openvino"

    def __init__(self, graph_path: Path, layout: NetworkConfig, precision: str = "fp32", threads: int = 0) -> None:
        super().__init__(layout)
        self.precision = precision
        self._graph_path, self._threads = graph_path, threads
        self._core = _core()
        self._able = capabilities()
        self._check_precision()

    def _check_precision(self) -> None:
        if self.precision not in PRECISIONS:
            raise EngineError(f"openvino: precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")
        able = self._able
        if self.precision == "int8" and "INT8" not in able:
            raise EngineError(
                f"openvino: this CPU has no int8 arithmetic; it can do {', '.join(able)}; set engine.precision to fp32"
            )
        if self.precision == "bf16" and "BF16" not in able:
            raise EngineError(
                "openvino: this CPU has no bf16 arithmetic (AVX512_BF16 or AMX); OpenVINO would quietly run "
                f"something else. It can do {', '.join(able)}; set engine.precision to fp32"
            )

    def _compile(self, height_px: int, width_px: int) -> None:
        shapes = {
            "frames_adu": [1, 1, height_px, width_px],
            "features": [2, *self.layout.feature_shape(height_px, width_px)],
        }
        try:
            model = self._core.read_model(str(self._graph_path))
            model.reshape(shapes)  # static: faster, and one fixed set of kernels for the whole run
            self._request = self._core.compile_model(model, "CPU", self._options()).create_infer_request()
            self._inputs = [self._request.get_tensor(name).data for name in shapes]
            self._outputs = [self._request.get_tensor(name).data for name in ("maps", "new_features")]
        except Exception as error:  # OpenVINO raises bare RuntimeError and its own types
            raise EngineError(f"openvino: cannot compile {self._graph_path} for {shapes}: {error}") from error

    def _options(self) -> dict[str, Any]:
        """One stream of one request; nothing that may be decided anew at run time."""
        hint = PRECISIONS[self.precision]
        options = {
            "INFERENCE_PRECISION_HINT": hint if hint == "f32" or "BF16" in self._able else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "ENABLE_CPU_PINNING": False,  # pinned threads starve beside an acquisition on the same cores
        }
        return options | ({"INFERENCE_NUM_THREADS": self._threads} if self._threads else {})

    def _run(self, frame_adu: Array, features: Array) -> tuple[Array, Array]:
        self._inputs[0][:], self._inputs[1][:] = frame_adu, features
        try:
            self._request.infer()
        except Exception as error:
            raise EngineError(f"openvino: inference failed: {error}") from error
        return self._outputs[0], self._outputs[1]


def capabilities() -> tuple[str, ...]:
    """What arithmetic this CPU has, in OpenVINO's words: FP32, and maybe BF16, INT8 and others. Raises EngineError."""
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _core() -> Any:
    try:
        from openvino import Core
    except ImportError as error:
        raise EngineError(f"openvino is not installed or does not load ({error}); pip install openvino") from error
    return Core()
