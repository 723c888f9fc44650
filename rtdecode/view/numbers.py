"""The numbers of a run as they grow: counts by fate, rates over the last seconds, and the health of the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.frames import Fate
from rtdecode.streams.log import COMMIT_DTYPE, Commits

State = Literal["waiting", "running", "finished", "interrupted"]
Health = Literal["good", "watch", "danger"]

RATE_WINDOW_NS = 2_000_000_000
RECENT_COMMITS = 4096
AVERAGED_FRAMES = 200  # for localizations per frame and latency
WATCH_FILL, DANGER_FILL = 0.25, 0.5  # half a ring is seconds before the first frame is lost


@dataclass(frozen=True, slots=True)
class Numbers:
    """A run at one moment. None: not known (yet)."""

    state: State = "waiting"
    finish: str = ""  # how it ended, in the report's words
    frame_index: int | None = None  # newest committed, by the camera's own count
    expected: int | None = None  # frames the camera was asked for
    received: int | None = None  # frames that reached the ring
    fitted: int = 0
    rejected: int = 0
    lost_before: int = 0
    lost_in_ring: int = 0
    fps: float | None = None  # frames/s over the last 2 s of a live run, over all of a finished one
    lag_frames: int | None = None  # received and not yet committed
    latency_ms: float | None = None  # arrival to commit, median of the last frames
    ring_fill: float | None = None  # 0..1, for the slowest reader
    source_waits: bool = False  # a replay fills its ring on purpose
    localizations: int = 0
    per_frame: float | None = None  # localizations in a fitted frame, mean of the last ones
    density_um2: float | None = None  # the same for each um^2

    @property
    def lost(self) -> int:
        """Frames that the camera counted and nobody fitted, rejected ones apart."""
        return self.lost_before + self.lost_in_ring

    @property
    def health(self) -> Health:
        """Of the queue: red while there is still time to act, not when frames are gone."""
        if self.state != "running" or self.ring_fill is None or self.source_waits:
            return "good"
        if self.ring_fill >= DANGER_FILL:
            return "danger"
        return "watch" if self.ring_fill >= WATCH_FILL else "good"


class Tally:
    """Counts over all commit records seen, and the last of them for rates."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Fate, 0)
        self.first_arrival_ns = 0
        self.frame_index: int | None = None
        self.last_fitted: int | None = None  # its frame index
        self._recent = np.empty(0, COMMIT_DTYPE)
        self._arrived = 0

    def add(self, commits: Commits) -> None:
        """Take new commit records, in order."""
        if not len(commits):
            return
        for fate in Fate:
            self.counts[fate] += int(np.count_nonzero(commits["fate"] == fate))
        arrivals = commits["t_arrival_ns"][commits["t_arrival_ns"] > 0]
        if len(arrivals) and not self.first_arrival_ns:
            self.first_arrival_ns = int(arrivals[0])
        self._arrived += len(arrivals)
        fitted = commits["frame_index"][commits["fate"] == Fate.FITTED]
        self.last_fitted = int(fitted[-1]) if len(fitted) else self.last_fitted
        self.frame_index = int(commits["frame_index"][-1])
        self._recent = np.concatenate([self._recent, commits])[-RECENT_COMMITS:]

    def fps_now(self, now_ns: int) -> float | None:
        """Arrivals per second over the last 2 s before `now_ns`; 0 when nothing came."""
        arrivals = self._arrivals()
        if not len(arrivals):
            return None
        late = arrivals[arrivals >= now_ns - RATE_WINDOW_NS]
        if len(late) < 2:
            return 0.0
        return (len(late) - 1) / max(int(late[-1] - late[0]), 1) * 1e9

    def fps_of_all(self) -> float | None:
        """Arrivals per second from the first to the last."""
        arrivals = self._arrivals()
        span_ns = int(arrivals[-1]) - self.first_arrival_ns if len(arrivals) else 0
        return (self._arrived - 1) / span_ns * 1e9 if span_ns > 0 else None

    def latency_ms(self) -> float | None:
        """Median from arrival to commit of the last fitted frames."""
        fitted = self._last_fitted()
        fitted = fitted[fitted["t_arrival_ns"] > 0]
        return float(np.median(fitted["t_commit_ns"] - fitted["t_arrival_ns"])) * 1e-6 if len(fitted) else None

    def per_frame(self) -> float | None:
        """Mean localizations of the last fitted frames."""
        fitted = self._last_fitted()
        return float(fitted["n_localizations"].mean()) if len(fitted) else None

    def _last_fitted(self) -> Commits:
        fitted: Commits = self._recent[self._recent["fate"] == Fate.FITTED]
        return fitted[-AVERAGED_FRAMES:]

    def _arrivals(self) -> NDArray[np.int64]:
        return np.asarray(self._recent["t_arrival_ns"][self._recent["t_arrival_ns"] > 0], np.int64)
