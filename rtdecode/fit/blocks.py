"""What all CPU engines share: sizes are checked before the runtime is touched, blocks run frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import EngineError
from rtdecode.fit.layout import NetworkConfig

Array = NDArray[np.float32]
N_MAPS = 10


class CpuEngine(ABC):
    """core.contracts.Engine over two methods: `_compile` for one frame size, `_run` for one frame.

    A block is run frame by frame: batching gains nothing on a CPU (engines.md §2), and so the cutting of
    the stream cannot change a byte whatever the runtime does with batches.
    """

    name: str
    precision: str

    def __init__(self, layout: NetworkConfig) -> None:
        self.layout = layout
        self._frame_shape: tuple[int, int] | None = None

    @abstractmethod
    def _compile(self, height_px: int, width_px: int) -> None:
        """Make ready for frames of this size; raises EngineError."""

    @abstractmethod
    def _run(self, frame_adu: Array, features: Array) -> tuple[Array, Array]:
        """One frame (1, 1, H, W) after features (2, C, h, w) -> maps (1, 10, H, W), features (2, C, h, w).

        What is returned is copied before the next call.
        """

    def start(self, height_px: int, width_px: int) -> None:
        """Compile for frames of this (padded) size; raises EngineError."""
        stride = self.layout.stride
        if min(height_px, width_px) < 1 or height_px % stride or width_px % stride:
            raise EngineError(
                f"{self.name}: frames of {height_px} x {width_px} px cannot enter this network, "
                f"whose sides must be multiples of {stride}; pad them first"
            )
        if self._frame_shape != (height_px, width_px):
            self._compile(height_px, width_px)
        self._frame_shape = (height_px, width_px)

    def infer(self, frames_adu: Array, features: Array) -> tuple[Array, Array]:
        """Frames (B, H, W) in ADU after features (2, C, h, w) -> maps (B, 10, H, W), features (2, C, h, w).

        Map b belongs to the frame before frame b. Raises EngineError for another shape or type than started
        with.
        """
        height, width = self._started()
        self._check("frames", frames_adu, (len(frames_adu), height, width))
        self._check("features", features, (2, *self.layout.feature_shape(height, width)))
        maps = np.empty((len(frames_adu), N_MAPS, height, width), np.float32)
        for b in range(len(frames_adu)):
            one, carried = self._run(frames_adu[b][None, None], features)
            maps[b], features = one[0], carried.copy()
        return maps, features

    def zero_features(self) -> Array:
        """(2, C, h, w) zeros for the first call; the map that belongs to them is meaningless."""
        return np.zeros((2, *self.layout.feature_shape(*self._started())), np.float32)

    def _started(self) -> tuple[int, int]:
        if self._frame_shape is None:
            raise EngineError(f"{self.name}: call start(height_px, width_px) before using the engine")
        return self._frame_shape

    def _check(self, what: str, array: Array, expected: tuple[int, ...]) -> None:
        if array.shape != expected or array.dtype != np.float32:
            raise EngineError(f"{self.name}: {what} are {array.dtype} {array.shape}, expected float32 {expected}")
