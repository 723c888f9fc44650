"""Localizations to blinks, and blinks to counts in cells: one emitter's frames in a row are one event, not many."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_SIDE_CELLS = 8192  # positions beyond are ignored; a bound on memory, 40 bytes a cell
_MARGIN_CELLS = 4  # left of and above (0, 0) nm: half a pixel belongs to the field, and scatter goes further
_BLOCK_CELLS = 64  # by which the grid grows
_GATE = 3.5  # standard deviations of the difference within which the next frame's localization is the same emitter
_AGAIN_GATE = 2.5  # and within which a later blink is the same molecule's
_OFTEN = 3  # events in a cell by which it is likely of the structure
_LONG_AGO = -(1 << 40)


class BlinkCounter:
    """Counts independent blinks in square cells, from localizations as they come.

    Localizations of nearly the same place in consecutive frames (at most `gap_frames` missing) are one blink at
    their weighted mean. A blink within `event_frames` of the start of the last one at the same place is that
    molecule again and does not count. The counts depend on the localizations only, not on how they were handed over.
    """

    def __init__(self, cell_nm: float, event_frames: int = 100, gap_frames: int = 2) -> None:
        self._cell_nm, self._event_frames, self._gap_frames = cell_nm, event_frames, gap_frames
        self._at_nm = -_MARGIN_CELLS * cell_nm  # of the grid's corner, both axes
        self._counts = np.zeros((0, 0), np.int32)
        self._scatter = np.zeros((0, 0), np.float32)  # sum of the blinks' sigmas
        self._open_of = np.zeros((0, 0), np.int32)  # the open blink that began in a cell, -1 none
        self._last_frame = np.zeros((0, 0), np.int64)  # of the last counted blink: first frame, place, variance
        self._last = np.zeros((0, 0, 3), np.float32)
        self._open = np.zeros((1024, 3), np.float64)  # sums of x w, y w, w
        self._open_at = np.zeros((1024, 4), np.int64)  # first frame, last frame, cell row, cell column
        self._n_open = 0
        self._hits = np.zeros((0, 0), np.int32)  # localizations, of which a blink has one or many

    def add(self, localizations: Localizations, max_sigma_nm: float = math.inf) -> None:
        """Take the next localizations, in the order of their frames; those without a sigma up to the limit are left."""
        sigma_nm = np.hypot(localizations.sigma_x_nm, localizations.sigma_y_nm).astype(np.float64) / math.sqrt(2)
        x, y = (np.asarray(v, np.float64) - self._at_nm for v in (localizations.x_nm, localizations.y_nm))
        far = MAX_SIDE_CELLS * self._cell_nm
        good = (sigma_nm > 0) & (sigma_nm <= max_sigma_nm) & (x >= 0) & (y >= 0) & (x < far) & (y < far)
        if not good.any():
            return
        x, y, sigma_nm, frames = x[good], y[good], sigma_nm[good], localizations.frame_index[good]
        self._make_room(int(y.max() / self._cell_nm) + 1, int(x.max() / self._cell_nm) + 1, len(x))
        np.add.at(self._hits, ((y / self._cell_nm).astype(np.int64), (x / self._cell_nm).astype(np.int64)), 1)
        self._take(frames, x, y, sigma_nm)

    def _take(self, frames: Ints, x: Floats, y: Floats, sigma_nm: Floats) -> None:
        self._n_open = _link(
            frames, x, y, sigma_nm, self._cell_nm, self._gap_frames, self._event_frames, self._n_open,
            self._open, self._open_at, self._open_of, self._counts, self._scatter, self._last_frame, self._last,
        )  # fmt: skip

    def close_before(self, frame_index: int) -> None:
        """Count the blinks that no localization from this frame on can belong to."""
        self._n_open = _close(
            frame_index, self._cell_nm, self._gap_frames, self._event_frames, self._n_open,
            self._open, self._open_at, self._open_of, self._counts, self._scatter, self._last_frame, self._last,
        )  # fmt: skip

    def warm_up(self) -> None:
        """Compile before frames come; an empty table changes nothing."""
        self._make_room(1, 1, 0)
        empty = np.empty(0, np.float64)
        self._take(np.empty(0, np.int64), empty, empty, empty)
        self.close_before(_LONG_AGO)

    @property
    def counts(self) -> NDArray[np.int32]:
        """(H, W) blinks so far; a view that changes."""
        return self._counts

    @property
    def hits(self) -> NDArray[np.int32]:
        """(H, W) localizations so far; a view that changes."""
        return self._hits

    @property
    def scatter_nm(self) -> float:
        """Mean sigma of a blink's position, of those in cells that were hit often; NaN before there are any."""
        often = self._counts >= _OFTEN
        cells = often if often.any() else self._counts > 0
        total = int(self._counts[cells].sum())
        return float(self._scatter[cells].sum(dtype=np.float64)) / total if total else math.nan

    def _make_room(self, rows: int, columns: int, n: int) -> None:
        height, width = self._counts.shape
        missing = max(rows - height, 0), max(columns - width, 0)
        if any(missing):
            more = tuple((0, -(-m // _BLOCK_CELLS) * _BLOCK_CELLS) for m in missing)
            self._counts, self._scatter = np.pad(self._counts, more), np.pad(self._scatter, more)
            self._hits = np.pad(self._hits, more)
            self._open_of = np.pad(self._open_of, more, constant_values=-1)
            self._last_frame = np.pad(self._last_frame, more, constant_values=_LONG_AGO)
            self._last = np.pad(self._last, (*more, (0, 0)))
        short = self._n_open + n - len(self._open)
        if short > 0:
            self._open = np.concatenate([self._open, np.zeros((2 * short, 3))])
            self._open_at = np.concatenate([self._open_at, np.zeros((2 * short, 4), np.int64)])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _link(
    frames: Ints, x: Floats, y: Floats, sigma: Floats, cell: float, gap: int, dead: int, n_open: int,
    sums: Floats, at: Ints, open_of: Ints, counts: Ints, scatter: Floats, last_frame: Ints, last: Floats,
) -> int:  # fmt: skip
    """Each localization joins the nearest open blink around it, or begins one."""
    now = -(1 << 62)
    for k in range(len(frames)):
        if frames[k] != now:
            now = frames[k]
            n_open = _close(now, cell, gap, dead, n_open, sums, at, open_of, counts, scatter, last_frame, last)
        weight = 1.0 / sigma[k] ** 2
        row, column = int(y[k] / cell), int(x[k] / cell)
        found = _nearest(now, x[k], y[k], 1.0 / weight, row, column, sums, at, open_of)
        if found < 0:
            found, n_open = n_open, n_open + 1
            sums[found] = 0.0
            at[found, 0], at[found, 2], at[found, 3] = now, row, column
            open_of[row, column] = found
        sums[found, 0] += weight * x[k]
        sums[found, 1] += weight * y[k]
        sums[found, 2] += weight
        at[found, 1] = now
    return n_open


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _nearest(
    now: int, x: float, y: float, variance: float, row: int, column: int, sums: Floats, at: Ints, open_of: Ints
) -> int:
    """The open blink that a localization belongs to; one in its own cell takes it in any case (-1: none)."""
    found, least = -1, _GATE**2
    for i in range(max(row - 1, 0), min(row + 2, open_of.shape[0])):
        for j in range(max(column - 1, 0), min(column + 2, open_of.shape[1])):
            k = open_of[i, j]
            if k >= 0 and at[k, 1] < now:
                w = sums[k, 2]
                distance = ((sums[k, 0] / w - x) ** 2 + (sums[k, 1] / w - y) ** 2) / (1.0 / w + variance)
                if distance < least:
                    found, least = k, distance
    return found if found >= 0 else open_of[row, column]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _close(
    now: int, cell: float, gap: int, dead: int, n_open: int,
    sums: Floats, at: Ints, open_of: Ints, counts: Ints, scatter: Floats, last_frame: Ints, last: Floats,
) -> int:  # fmt: skip
    """Count and drop the open blinks that ended before frame `now`; how many stay open."""
    stay = 0
    for k in range(n_open):
        if at[k, 1] + gap + 1 < now:
            open_of[at[k, 2], at[k, 3]] = -1
            w = sums[k, 2]
            _count(at[k, 0], sums[k, 0] / w, sums[k, 1] / w, 1.0 / w, cell, dead, counts, scatter, last_frame, last)
            continue
        if stay != k:
            sums[stay], at[stay] = sums[k], at[k]
            open_of[at[k, 2], at[k, 3]] = stay
        stay += 1
    return stay


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count(
    first: int, x: float, y: float, variance: float, cell: float, dead: int,
    counts: Ints, scatter: Floats, last_frame: Ints, last: Floats,
) -> None:  # fmt: skip
    """Count a blink in its cell, unless it is the last one's molecule again."""
    row, column = int(y / cell), int(x / cell)
    for i in range(max(row - 1, 0), min(row + 2, counts.shape[0])):
        for j in range(max(column - 1, 0), min(column + 2, counts.shape[1])):
            if first - last_frame[i, j] < dead:
                distance = (x - last[i, j, 0]) ** 2 + (y - last[i, j, 1]) ** 2
                itself = i == row and j == column
                if itself or distance < _AGAIN_GATE**2 * (variance + last[i, j, 2]):
                    return
    counts[row, column] += 1
    scatter[row, column] += math.sqrt(variance)
    last_frame[row, column] = first
    last[row, column, 0], last[row, column, 1], last[row, column, 2] = x, y, variance
