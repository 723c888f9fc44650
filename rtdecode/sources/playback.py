"""Which frame of a movie is next, whether it is due, and what a Stop leaves to be read."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import EndOfStream


class Playback:
    """An open-loop schedule: frame k is due at start + offset k, however slowly it is read, as at a camera.

    `offsets_ns` (n_frames,) int64, not falling; None: every frame is due at once (`made` is what was read).
    """

    def __init__(self, n_frames: int, offsets_ns: NDArray[np.int64] | None) -> None:
        self._end = n_frames
        self._offsets_ns = offsets_ns
        self._started_ns: int | None = None
        self.position = 0  # frames handed out so far

    @classmethod
    def steady(cls, n_frames: int, fps: float) -> Playback:
        """A camera of constant rate; its first frame is there after one period."""
        return cls(n_frames, np.round((np.arange(n_frames) + 1.0) * (1e9 / fps)).astype(np.int64))

    @classmethod
    def at_times(cls, times_ns: list[int]) -> Playback:
        """The rhythm of a recording; its first frame is there at once. A clock that steps back waits."""
        times = np.maximum.accumulate(np.array(times_ns, np.int64))
        return cls(len(times_ns), times - times[0])

    def start(self) -> None:
        """Frame offsets count from here."""
        self._started_ns = time.monotonic_ns()

    def next(self) -> int | None:
        """Position of the next frame if it is due, else None; EndOfStream after the last. `advance` takes it."""
        if self.position >= self._end:
            raise EndOfStream(f"all {self._end} frames were read")
        if self._started_ns is None:
            return None
        if self._offsets_ns is None or self._offsets_ns[self.position] <= time.monotonic_ns() - self._started_ns:
            return self.position
        return None

    def advance(self) -> None:
        """The frame at `position` was handed out."""
        self.position += 1

    @property
    def made(self) -> int:
        """Frames that a camera of this schedule has made by now."""
        if self._started_ns is None or self._offsets_ns is None:
            return self.position
        due = int(np.searchsorted(self._offsets_ns, time.monotonic_ns() - self._started_ns, side="right"))
        return min(max(due, self.position), self._end)

    def stop(self) -> None:
        """No frame is made from now on; those already due can still be read."""
        self._end = self.made
