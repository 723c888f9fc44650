"""What a running session tells whoever shows it: counts, rates, state."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

_RATE_OVER_S = 3.0
ALARM_FILL = 0.5
"""Share of the ring: half a ring is seconds before the first frame is lost."""
FALLS_BEHIND = (
    "the fitter falls behind the camera: half the queue is full, and frames will be lost; take a smaller region, a "
    "lower rate, bf16 or a lighter model (`rtdecode doctor --camera` tells beforehand)"
)
LOSES = "frames are being lost: the fitter does not keep up with the camera, and the queue was overwritten"


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One moment of a run; None where it is not known yet."""

    state: str  # words: starting ..., running, stopping ..., draining
    elapsed_s: float
    expected: int | None = None
    received: int = 0
    fitted: int = 0
    rejected: int = 0
    lost: int = 0
    localizations: int = 0
    behind: int = 0  # frames in the ring that are not yet fitted
    fps: float | None = None  # fitted frames a second, over the last seconds
    latency_ms: float | None = None  # median of the last frames, arrival to commit
    warnings: tuple[str, ...] = ()  # against the model by what came in so far, and the queue
    fill: float | None = None  # `behind` as a share of the ring; None: frames wait for us, or there is no ring


class Watch:
    """Puts together what the workers say into RunStatus, with the rate over the last seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._fitted: deque[tuple[float, int]] = deque()
        self._camera_since: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the session began."""
        return time.monotonic() - self._began

    def camera_s(self, acquire: dict[str, Any]) -> float:
        """Seconds since the camera was started, by what acquire says of itself; 0 before."""
        if acquire.get("state") == "running" and self._camera_since is None:
            self._camera_since = time.monotonic()
        return 0.0 if self._camera_since is None else time.monotonic() - self._camera_since

    def status(self, state: str, acquire: dict[str, Any], localize: dict[str, Any]) -> RunStatus:
        """From the latest status of each of the two."""
        fitted = int(localize.get("fitted", 0))
        fill = None if localize.get("source_waits", True) else localize.get("fill")
        lost_before, lost_in_ring = int(localize.get("lost_before", 0)), int(localize.get("lost_in_ring", 0))
        return RunStatus(
            state=state,
            elapsed_s=self.elapsed_s,
            expected=acquire.get("expected"),
            received=int(acquire.get("received", 0)),
            fitted=fitted,
            rejected=int(localize.get("rejected", 0)),
            lost=lost_before + lost_in_ring,
            localizations=int(localize.get("localizations", 0)),
            behind=int(localize.get("behind", 0)),
            fill=fill,
            fps=self._rate(fitted),
            latency_ms=localize.get("latency_ms"),
            warnings=_of_the_queue(fill, lost_in_ring),
        )

    def _rate(self, fitted: int) -> float | None:
        now = time.monotonic()
        if fitted == 0:
            self._fitted.clear()  # the rate begins with the first frame, not with the imports before it
        self._fitted.append((now, fitted))
        while now - self._fitted[0][0] > _RATE_OVER_S:
            self._fitted.popleft()
        seconds, count = now - self._fitted[0][0], fitted - self._fitted[0][1]
        return count / seconds if seconds > 0.5 and count > 0 else None


def _of_the_queue(fill: float | None, lost_in_ring: int) -> tuple[str, ...]:
    """Words while there is still time to act, and words when frames are gone: a source that waits gives neither."""
    if fill is None:
        return ()
    if lost_in_ring:
        return FALLS_BEHIND, LOSES
    return (FALLS_BEHIND,) if fill >= ALARM_FILL else ()
