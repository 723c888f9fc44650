"""ONNX Runtime on the CPU: the engine that is available everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.core.errors import EngineError
from rtdecode.fit.blocks import Array, CpuEngine
from rtdecode.fit.layout import NetworkConfig


class OnnxRuntimeEngine(CpuEngine):
    """Runs the bundle's ONNX graph in fp32.

    Same bytes over blocks and repeats, but not for another number of threads (measured, 1.32): a run and its
    restarts must keep theirs, which they do when it comes from the run's configuration and machine.
    """

    name = "onnxruntime"

    def __init__(self, onnx_path: Path, layout: NetworkConfig, precision: str = "fp32", threads: int = 0) -> None:
        super().__init__(layout)
        if precision != "fp32":
            raise EngineError(f"onnxruntime: precision {precision!r} cannot be had on the CPU; set fp32")
        self.precision = precision
        self._onnx_path, self._threads = onnx_path, threads

    def _compile(self, height_px: int, width_px: int) -> None:
        """One session serves every size, so a second start is free."""
        if not hasattr(self, "_session"):
            self._session = open_session(self._onnx_path, self._threads)

    def _run(self, frame_adu: Array, features: Array) -> tuple[Array, Array]:
        inputs = {"frames_adu": np.ascontiguousarray(frame_adu), "features": np.ascontiguousarray(features)}
        try:
            maps, new_features = self._session.run(["maps", "new_features"], inputs)
        except Exception as error:  # ONNX Runtime raises its own types, not exported as a tree
            raise EngineError(f"onnxruntime: inference failed: {error}") from error
        return maps, new_features


def open_session(onnx_path: Path, threads: int) -> Any:
    """An onnxruntime.InferenceSession on the CPU; raises EngineError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(
            f"onnxruntime is not installed or does not load ({error}); pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves the cores to the camera
    try:
        return onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"onnxruntime: cannot load {onnx_path}: {error}") from error
