"""A region that the user drew, and what lies in it: counted as localizations come, without Qt."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rtdecode.core.quality import QualityFilter
from rtdecode.view.layer import ROWS_AT_ONCE, Rows
from rtdecode.view.points import COLUMNS, Block, Points

SAMPLE = 50_000  # rows of a region that are kept for its histograms, at least, where it has so many


@dataclass(frozen=True, slots=True)
class Outline:
    """A polygon of the sample, its corners (x, y) in nm; a rectangle is one of four."""

    corners: tuple[tuple[float, float], ...]
    is_rectangle: bool = False

    @property
    def area_um2(self) -> float:
        """By the shoelace formula; crossing sides take away from each other."""
        x, y = np.array(self.corners).T
        return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2e6

    @property
    def bounds_nm(self) -> tuple[float, float, float, float]:
        """x0, x1, y0, y1."""
        x, y = np.array(self.corners).T
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())

    def holds(self, x_nm: NDArray[np.float32], y_nm: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,) which positions lie inside, by even-odd crossings."""
        inside = np.zeros(len(x_nm), np.bool_)
        _inside(x_nm, y_nm, np.array(self.corners, np.float64), inside)
        return inside

    @property
    def yaml(self) -> str:
        """As a block for a configuration or a notebook: nm from the centre of the first pixel."""
        x0, x1, y0, y1 = self.bounds_nm
        if self.is_rectangle:
            return f"region:\n  x_nm: [{x0:.1f}, {x1:.1f}]\n  y_nm: [{y0:.1f}, {y1:.1f}]\n"
        corners = ", ".join(f"[{x:.1f}, {y:.1f}]" for x, y in self.corners)
        return f"region:\n  polygon_nm: [{corners}]\n"


class RegionTally:
    """How many localizations lie in an outline, and a thinned sample of them; grows by what is new."""

    def __init__(self, outline: Outline, quality: QualityFilter, rows: Rows) -> None:
        self.outline, self.quality = outline, quality
        self.first, self.counted_to = rows[0], rows[0]
        self.count = 0
        self._kept: list[Block] = []
        self._stride, self._n_kept = 1, 0

    def advance(self, points: Points, stop: int, budget_s: float) -> bool:
        """Count rows up to `stop` for about `budget_s`; True when all are counted."""
        deadline = time.perf_counter() + budget_s
        while self.counted_to < stop:
            columns = points.rows(self.counted_to, min(stop - self.counted_to, ROWS_AT_ONCE))
            inside = self.outline.holds(columns["x_nm"], columns["y_nm"]) & self.quality.passes(columns)
            self._keep(columns, np.flatnonzero(inside))
            self.counted_to += len(inside)
            if time.perf_counter() >= deadline:
                break
        return self.counted_to >= stop

    def sample(self) -> Block:
        """Columns of the kept rows: all of them, or every k-th in their order."""
        return {
            name: np.concatenate([np.empty(0, np.float32), *(part[name] for part in self._kept)]) for name in COLUMNS
        }

    def _keep(self, columns: Block, rows: NDArray[np.intp]) -> None:
        thin = rows[(-self.count) % self._stride :: self._stride]
        self.count += len(rows)
        if not len(thin):
            return
        self._kept.append({name: column[thin] for name, column in columns.items()})
        self._n_kept += len(thin)
        if self._n_kept > 2 * SAMPLE:
            self._stride *= 2
            self._kept = [{name: column[::2] for name, column in self.sample().items()}]
            self._n_kept = len(self._kept[0]["x_nm"])


def rows_inside(points: Points, outline: Outline, quality: QualityFilter, rows: Rows) -> Block:
    """All localizations of `rows` in an outline that pass; copies."""
    parts: list[Block] = []
    at, stop = rows
    while at < stop:
        columns = points.rows(at, stop - at)
        inside = outline.holds(columns["x_nm"], columns["y_nm"]) & quality.passes(columns)
        parts.append({name: column[inside] for name, column in columns.items()})
        at += len(inside)
    return {name: np.concatenate([np.empty(0, np.float32), *(part[name] for part in parts)]) for name in COLUMNS}


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _inside(
    x: NDArray[np.float32], y: NDArray[np.float32], corners: NDArray[np.float64], inside: NDArray[np.bool_]
) -> None:
    last = len(corners) - 1
    for n in range(len(x)):
        previous = last
        for k in range(len(corners)):
            x0, y0, x1, y1 = corners[previous, 0], corners[previous, 1], corners[k, 0], corners[k, 1]
            if (y0 > y[n]) != (y1 > y[n]) and x[n] < (x1 - x0) * (y[n] - y0) / (y1 - y0) + x0:
                inside[n] = not inside[n]
            previous = k
