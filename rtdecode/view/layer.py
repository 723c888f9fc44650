"""A canvas that stands for a range of the points' rows, and goes to another range by the shortest way."""

from __future__ import annotations

import time

from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import Canvas
from rtdecode.view.points import BLOCK_ROWS, Points, draw

ROWS_AT_ONCE = 32_768  # 2 to 20 ms

Rows = tuple[int, int]
"""First row and the one behind the last."""


class Layer:
    """A canvas and which rows of the points stand on it, whether they passed the filter or not."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.first = self.stop = 0
        self.shown = 0  # of the rows, passed the filter

    def left(self, target: Rows) -> int:
        """Rows still to be added or taken away."""
        return abs(self.first - target[0]) + abs(self.stop - target[1])

    def share(self, target: Rows) -> float:
        """How many of the rows wanted are there, for about as many as stand: 1 when all is drawn."""
        wanted = target[1] - target[0]
        return min((self.stop - self.first) / wanted, 1.0) if wanted else 1.0

    def advance(self, points: Points, quality: QualityFilter, target: Rows, deadline: float) -> bool:
        """Draw until `target` stands or `time.perf_counter()` passes `deadline` (at least one portion); True if any.

        Rows at both ends are added or taken away; where that is more than drawing anew, it is drawn anew.
        """
        moved = False
        if self.left(target) > target[1] - target[0] and self.stop > self.first and self._takes_away(target):
            self.canvas.clear()
            self.first = self.stop = target[0]
            self.shown, moved = 0, True
        elif self.first == self.stop:
            self.first = self.stop = target[0]
        while self.left(target):
            self._portion(points, quality, target)
            moved = True
            if time.perf_counter() >= deadline:
                break
        return moved

    def _takes_away(self, target: Rows) -> bool:
        return target[0] > self.first or target[1] < self.stop

    def _portion(self, points: Points, quality: QualityFilter, target: Rows) -> None:
        """One step: first rows are added at the end, then taken away at both, then added before the first."""
        if self.stop < target[1]:
            self.stop += self._draw(points, quality, self.stop, target[1], 1)
        elif self.stop > target[1]:
            begin = _portion_before(self.stop, target[1])
            self._draw(points, quality, begin, self.stop, -1)
            self.stop = begin
        elif self.first < target[0]:
            self.first += self._draw(points, quality, self.first, target[0], -1)
        else:
            begin = _portion_before(self.first, target[0])
            self._draw(points, quality, begin, self.first, 1)
            self.first = begin

    def _draw(self, points: Points, quality: QualityFilter, first: int, stop: int, sign: int) -> int:
        """Rows drawn, at most a portion."""
        columns = points.rows(first, min(stop - first, ROWS_AT_ONCE))
        self.shown += sign * draw(self.canvas, columns, quality, take_away=sign < 0)
        return len(columns["x_nm"])


def _portion_before(row: int, least: int) -> int:
    """Where a portion begins that ends before `row`, within one block."""
    return max(least, row - ROWS_AT_ONCE, (row - 1) // BLOCK_ROWS * BLOCK_ROWS)
