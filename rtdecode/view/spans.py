"""Which part of a run is shown: all of it, a window that rolls with it, or any slice."""

from __future__ import annotations

from dataclasses import dataclass

from rtdecode.view.points import Points


@dataclass(frozen=True, slots=True)
class Span:
    """`frames` camera frames up to `last`; None: from the run's first frame, up to its newest."""

    frames: int | None = None
    last: int | None = None

    def rows(self, points: Points) -> tuple[int, int]:
        """First row and the one behind the last."""
        stop = len(points) if self.last is None else points.row_of(self.last + 1)
        first = 0 if self.frames is None else points.row_of(self.ends(points.first_frame, points.last_frame)[0])
        return min(first, stop), stop

    def ends(self, first_frame: int, newest_frame: int) -> tuple[int, int]:
        """First and last frame shown of a run of these frames."""
        last = newest_frame if self.last is None else min(max(self.last, first_frame), newest_frame)
        return (first_frame if self.frames is None else max(last - self.frames + 1, first_frame)), last

    def words(self, first_frame: int, newest_frame: int) -> str:
        """As a title: "frames 4,500 to 4,999"; empty for the whole run."""
        if self == WHOLE:
            return ""
        first, last = self.ends(first_frame, newest_frame)
        if self.last is None:
            return f"last {last - first + 1:,} frames"
        return f"frames {first:,} to {last:,}"


WHOLE = Span()
