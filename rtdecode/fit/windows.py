"""Three-frame context over any cutting of the stream: gaps, start, end and restart; padding and cropping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.contracts import Engine
from rtdecode.core.frames import FrameInfo

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """The maps of one centre frame, and whether a neighbour was missing and replaced by the frame itself."""

    info: FrameInfo
    left_copy: bool
    right_copy: bool
    maps: Array  # (10, H, W), unpadded


@dataclass(frozen=True, slots=True)
class _Centre:
    """The frame that waits for its right neighbour."""

    info: FrameInfo
    padded_adu: Array  # (1, H', W')
    left_copy: bool
    given: bool  # its maps were given before a restart


class Windows:
    """Turns a stream of frames into one Window for each frame, one frame behind.

    The engine is called with one frame at a time, always in the same way, so the same frames give the same
    bytes however they arrive. A block engine (GPU) would be fed here, from what has come.
    """

    def __init__(self, engine: Engine, stride: int, height_px: int, width_px: int) -> None:
        self._engine, self._shape = engine, (height_px, width_px)
        self._rows, self._columns = reflected(height_px, stride), reflected(width_px, stride)
        engine.start(len(self._rows), len(self._columns))
        self._features = engine.zero_features()  # (2, C, h, w): of the centre's left neighbour and the centre
        self._centre: _Centre | None = None

    def push(self, info: FrameInfo, pixels_adu: Array) -> list[Window]:
        """Take the next frame (H, W); give the windows that are now complete (none, one; never more)."""
        before_gap = [] if self._follows(info) else self.gap()
        padded = self._padded(pixels_adu)
        centre = self._centre
        maps = self._infer(padded)
        if centre is None:
            self._features = np.stack([self._features[1]] * 2)  # its own left neighbour
        self._centre = _Centre(info, padded, left_copy=centre is None, given=False)
        return before_gap + self._window(centre, maps, right_copy=False)

    def gap(self) -> list[Window]:
        """The next frame, if any, is not the neighbour of the last: finish that one as its own right neighbour."""
        centre, self._centre = self._centre, None
        if centre is None or centre.given:
            return []
        return self._window(centre, self._infer(centre.padded_adu), right_copy=True)

    def resume(self, info: FrameInfo, pixels_adu: Array) -> None:
        """Start after a frame whose window was given before a restart; it serves as left neighbour only."""
        self.gap()
        padded = self._padded(pixels_adu)
        self._infer(padded)
        self._centre = _Centre(info, padded, left_copy=False, given=True)

    def _follows(self, info: FrameInfo) -> bool:
        return self._centre is not None and info.index == self._centre.info.index + 1

    def _infer(self, padded_adu: Array) -> Array:
        """Maps (10, H', W') of the frame before this one, meaningless if there was none; carries features on."""
        maps, self._features = self._engine.infer(padded_adu, self._features)
        here: Array = maps[0]
        return here

    def _window(self, centre: _Centre | None, maps: Array, right_copy: bool) -> list[Window]:
        if centre is None or centre.given:
            return []
        height, width = self._shape
        cropped = np.ascontiguousarray(maps[:, :height, :width])
        return [Window(centre.info, centre.left_copy, right_copy, cropped)]

    def _padded(self, pixels_adu: Array) -> Array:
        """(1, H', W') copy, reflected at the right and bottom so that the origin stays."""
        if pixels_adu.shape == (len(self._rows), len(self._columns)):
            return np.array(pixels_adu, np.float32, order="C")[None]  # a plain copy: a quarter of the time
        return np.ascontiguousarray(pixels_adu[self._rows[:, None], self._columns], np.float32)[None]


def reflected(size: int, stride: int) -> NDArray[np.intp]:
    """Which of `size` pixels stand at each place of the padded side; to and fro where the side is tiny."""
    return np.pad(np.arange(size), (0, -size % stride), mode="reflect")
