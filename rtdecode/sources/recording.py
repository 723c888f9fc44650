"""What a movie on disk is to the replay: frames by position, as they are stored, and the camera's clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import RecordingError
from rtdecode.core.frames import FrameFlag, Roi
from rtdecode.sources.addresses import Place

Pixels = NDArray[np.generic]  # (H, W) as stored: any integer or float type, any byte order


class Recording(ABC):
    """A movie of `n_frames` frames of one `shape` (H, W) and stored type `dtype`; opened by its constructor.

    Constructors raise RecordingError for what is missing, empty, truncated, colour or of changing size.
    """

    path: Place
    n_frames: int
    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    units: Literal["adu"] | None = None  # where the recording itself says what its numbers are
    times_are_at_hand: bool = False  # `times_ns` costs nothing
    px_nm: tuple[float, float] | None = None  # pixel size (x, y) that the recording states
    cautions: tuple[str, ...] = ()  # sentences on what is odd in it, and can be played all the same
    incomplete: str | None = None  # what is wrong, where more frames are stated than the `n_frames` that are whole

    @abstractmethod
    def frame(self, position: int) -> Pixels:
        """(H, W) frame at `position` in 0 .. n_frames - 1, as stored; valid until `close`."""

    def index(self, position: int) -> int:
        """The camera's own count of that frame; a recording without one counts its frames."""
        return position

    def flags(self, position: int) -> int:
        """FrameFlag bits that the recording knows of a frame; with WRONG_SIZE it has no pixels."""
        return FrameFlag.GOOD

    def times_ns(self) -> NDArray[np.int64] | None:
        """(n_frames,) the camera's clock, or None where the recording has no times and no interval."""
        return None

    def time_ns(self, position: int) -> int:
        """The camera's clock of one frame, for recordings that write it with each; 0 where it has none."""
        return 0

    @property
    def expected(self) -> int:
        """Frames the camera made for this recording, the lost ones included."""
        return self.n_frames

    @property
    def roi(self) -> Roi:
        """Region of the sensor; recordings that do not know it begin at (0, 0)."""
        return Roi(0, 0, self.shape[1], self.shape[0])

    def close(self) -> None:  # noqa: B027 - most recordings only hold memory maps, which need no closing
        """Release files; safe to call twice."""


def unusable(path: Place | str, found: str, expected: str, advice: str) -> RecordingError:
    """The one form of a RecordingError: file, what was found, what expected, what to do."""
    return RecordingError(f"{path}: {found}; expected {expected}. {advice}")


def steady_times_ns(interval_s: float | None, n_frames: int) -> NDArray[np.int64] | None:
    """(n_frames,) times of a camera with that interval; None for an interval that is missing or not above 0."""
    if interval_s is None or not np.isfinite(interval_s) or interval_s <= 0:
        return None
    return np.round(np.arange(n_frames) * interval_s * 1e9).astype(np.int64)
