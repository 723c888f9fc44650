"""The ledger: every frame the camera counted has one fate; read from the commit records alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.frames import Fate
from rtdecode.streams.log import CommitFlag, Commits, LogReader

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Ledger:
    """Frames of a run by the camera's own count; the two equations hold by construction and are checked.

    `late` frames are among the fitted.
    """

    expected: int
    received: int
    fitted: int
    rejected: int
    lost_before: int
    lost_in_ring: int
    late: int = 0

    def __post_init__(self) -> None:
        if self.expected != self.received + self.lost_before:
            raise ValueError(f"the ledger does not add up: {self}")
        if self.received != self.fitted + self.rejected + self.lost_in_ring:
            raise ValueError(f"the ledger does not add up: {self}")

    @classmethod
    def of(cls, commits: Commits) -> Ledger:
        """The ledger of a log whose commit records cover every frame of the run."""
        count = {fate: int(np.count_nonzero(commits["fate"] == fate)) for fate in Fate}
        received = count[Fate.FITTED] + count[Fate.REJECTED] + count[Fate.LOST_IN_RING]
        return cls(
            expected=received + count[Fate.LOST_BEFORE],
            received=received,
            fitted=count[Fate.FITTED],
            rejected=count[Fate.REJECTED],
            lost_before=count[Fate.LOST_BEFORE],
            lost_in_ring=count[Fate.LOST_IN_RING],
            late=int(np.count_nonzero((commits["flags"] & CommitFlag.LATE) != 0)),
        )

    def as_json(self) -> dict[str, int]:
        """The `frames` object of report.json."""
        return asdict(self)


@dataclass
class Tally:
    """Running counts of a log while it grows."""

    fitted: int = 0
    rejected: int = 0
    lost_before: int = 0
    lost_in_ring: int = 0
    localizations: int = 0

    @classmethod
    def of_log(cls, run_dir: Path) -> Tally:
        """Of all that is committed so far."""
        tally, reader = cls(), LogReader.open(run_dir)
        while len(commits := reader.read_new()[0]):
            tally.add(commits)
        return tally

    def add(self, commits: Commits) -> None:
        """Count these records, too."""
        for fate in Fate:
            name = fate.name.lower()
            setattr(self, name, getattr(self, name) + int(np.count_nonzero(commits["fate"] == fate)))
        self.localizations += int(commits["n_localizations"].sum())

    def as_json(self) -> dict[str, int]:
        """For a status or an event."""
        return asdict(self)


def fitted_after(run_dir: Path, frame_index: int) -> list[int]:
    """Indices of fitted frames behind `frame_index`, in order."""
    commits, _ = LogReader.open(run_dir).all()
    rows = (commits["fate"] == Fate.FITTED) & (commits["frame_index"] > frame_index)
    return [int(index) for index in commits["frame_index"][rows]]


LOST_BEFORE = "the camera's count went past them: lost in the camera, its buffer or on the wire"


def lost_ranges(commits: Commits, lost_because: str | None = None) -> list[dict[str, Any]]:
    """Runs of frames that were not fitted: first and last index, count, fate as `reason`, and why; in order.

    `lost_because`: what the source itself says of frames that never came.
    """
    return [
        {"first": int(part["frame_index"][0]), "last": int(part["frame_index"][-1]), "frames": len(part),
         "reason": Fate(int(part["fate"][0])).name.lower(), "why": _why(part, lost_because or LOST_BEFORE)}
        for part in _runs(commits) if part["fate"][0] != Fate.FITTED
    ]  # fmt: skip


def _why(part: Commits, lost_before: str) -> str:
    """What is known of a stretch of one fate that was not fitted."""
    flags = int(np.bitwise_or.reduce(part["flags"]))
    match Fate(int(part["fate"][0])):
        case Fate.LOST_BEFORE:
            return lost_before
        case Fate.LOST_IN_RING:
            return "they reached the ring, and were overwritten or left there before they could be fitted"
    names = {
        CommitFlag.WRONG_SIZE: "of another size than the run's",
        CommitFlag.NOT_FINITE: "not finite",
        CommitFlag.SATURATED: "saturated",
    }
    return " or ".join(text for flag, text in names.items() if flags & flag) or "not a frame"


def _runs(commits: Commits) -> Iterator[Commits]:
    """Stretches of neighbouring records of one fate."""
    if len(commits) == 0:
        return
    cuts = np.flatnonzero(np.diff(commits["fate"])) + 1
    yield from np.split(commits, cuts)


def latency_ms(commits: Commits) -> dict[str, Any]:
    """Arrival to commit of fitted frames in ms, with and without the wait for the right neighbour.

    `without_context` counts from the arrival of the frame that completed the window: the right neighbour
    where there is one, the frame itself where the right neighbour is a copy. None where nothing was fitted.
    """
    fitted = commits["fate"] == Fate.FITTED
    whole = (commits["t_commit_ns"] - commits["t_arrival_ns"])[fitted] / NS_PER_MS
    complete_ns = commits["t_arrival_ns"].copy()
    has_right = (commits["flags"] & CommitFlag.RIGHT_IS_COPY) == 0
    came = commits["t_arrival_ns"][1:] > 0  # a neighbour that was lost has no arrival that we know of
    waits = np.flatnonzero(fitted[:-1] & has_right[:-1] & came)
    complete_ns[waits] = commits["t_arrival_ns"][waits + 1]
    own = (commits["t_commit_ns"] - complete_ns)[fitted] / NS_PER_MS
    return _figures(whole) | {"without_context": _figures(own)}


GRACE_MS = 15.0
"""Beyond two frame periods, within which 99 of 100 frames of a line that keeps up are in the log."""


def latency_bound_ms(commits: Commits) -> float | None:
    """Two frame periods (median time between arrivals of neighbours) and a grace; None below two arrivals."""
    came = commits[commits["t_arrival_ns"] > 0]
    periods_ns = np.diff(came["t_arrival_ns"])[np.diff(came["frame_index"]) == 1]
    return round(2 * float(np.median(periods_ns)) / NS_PER_MS + GRACE_MS, 3) if len(periods_ns) else None


def _figures(values_ms: NDArray[np.floating[Any]]) -> dict[str, float | None]:
    if len(values_ms) == 0:
        return {"p50": None, "p99": None, "max": None}
    p50, p99 = np.percentile(values_ms, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(float(values_ms.max()), 3)}


def rate_fps(commits: Commits) -> float | None:
    """Fitted frames a second, from the first arrival to the last commit; None below two fitted frames."""
    fitted = commits[commits["fate"] == Fate.FITTED]
    if len(fitted) < 2:
        return None
    seconds = float(fitted["t_commit_ns"].max() - fitted["t_arrival_ns"].min()) / 1e9
    return round(len(fitted) / seconds, 2) if seconds > 0 else None
