"""Camera frames and what is known of them: region, index by the camera's own count, time, fate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FrameArray = NDArray[np.uint16] | NDArray[np.float32]

FRAME_DTYPES: tuple[str, ...] = ("uint16", "float32")
"""Element types that a ring may hold. uint8 is widened to uint16 by its source; float32 is for recordings
whose values are not whole ADU (already converted to photons, or averaged)."""


@dataclass(frozen=True, slots=True)
class Roi:
    """Region read from the sensor, in sensor pixels; `binning` is the camera's own."""

    x0_px: int
    y0_px: int
    width_px: int
    height_px: int
    binning: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a frame of this region."""
        return (self.height_px, self.width_px)


class FrameFlag(IntEnum):
    """What the source already knows of a frame when it hands it over (bits)."""

    GOOD = 0
    WRONG_SIZE = 1  # size or type differs from the run's start: no valid pixels in the slot
    SATURATED = 2  # at least one pixel at the camera's full scale


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """What a source says of the frame that it wrote into the ring slot it was given.

    `index` is the camera's own 0-based count: a jump means frames lost before us. Times are
    `time.monotonic_ns` of this machine at arrival, and the camera's clock (0 where it has none).
    """

    index: int
    t_camera_ns: int
    t_arrival_ns: int
    flags: int = FrameFlag.GOOD


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame with its pixels, as a reader gets it from the ring; pixels are (H, W) ADU, a private copy."""

    info: FrameInfo
    pixels_adu: FrameArray

    @property
    def index(self) -> int:
        """The camera's own count of this frame, from 0."""
        return self.info.index


class Fate(IntEnum):
    """How a frame of the run ended; every frame the camera counted has exactly one."""

    FITTED = 0
    REJECTED = 1  # received, but wrong size or not finite
    LOST_BEFORE = 2  # camera, buffer overflow or wire: never reached the ring
    LOST_IN_RING = 3  # reached the ring, lapped before it was fitted
