"""The shift between two clouds of localizations: the mode of the displacements of all close pairs.

The displacements of pairs (point of one cloud less point of the other) pile up at the shift, whatever the structure:
their density is the structure's autocorrelation, displaced. The mode is found by mean shift with a Gaussian kernel
(Fukunaga and Hostetler 1975; Cheng 1995), its error as an M-estimator's, each point of the first cloud counting once.
Other intersections of localizations (AIM: Ma et al., Science Advances 2024) count pairs within a radius instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]

KERNEL_NM = (25.0, 25.0, 50.0)  # standard deviations; about the precision of a pair
MAX_STEPS = 60
SETTLED_NM = 0.05


class Grid:
    """Points (N, 3) in nm, sorted into square columns of the field, so that neighbours are found at once."""

    def __init__(self, points_nm: F4, cell_nm: float) -> None:
        self.cell_nm = cell_nm
        self._low = points_nm[:, :2].min(axis=0).astype(np.float64) - cell_nm
        column = np.floor((points_nm[:, :2] - self._low) / cell_nm).astype(np.int64)
        self._shape = (int(column[:, 0].max()) + 2, int(column[:, 1].max()) + 2)
        flat = column[:, 0] * self._shape[1] + column[:, 1]
        order = np.argsort(flat, kind="stable")
        self._points = np.ascontiguousarray(points_nm[order], np.float32)
        self._starts = np.searchsorted(flat[order], np.arange(self._shape[0] * self._shape[1] + 1))

    def pairs(
        self, points_nm: F4, near_nm: F8, reach_nm: tuple[float, float], most: int
    ) -> tuple[F4, NDArray[np.int32]]:
        """Displacements (P, 3) of `points_nm` (M, 3) from the grid's, within `reach_nm` (lateral, axial) of `near_nm`.

        And (P,) the row of the first point. `reach_nm[0]` at most `cell_nm`. At most `most` pairs: points are thinned.
        """
        room = min(most, 4 * len(points_nm) * 64)
        while True:
            found, rows, count = _pairs(
                points_nm, self._points, self._starts, self._shape, self._low, self.cell_nm, near_nm, reach_nm, room
            )
            if count < room:
                return found[:count], rows[:count]
            if room < most:
                room = min(4 * room, most)
            else:
                points_nm = points_nm[::2]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pairs(
    points: F4,
    others: F4,
    starts: NDArray[np.int64],
    shape: tuple[int, int],
    low: F8,
    cell: float,
    near: F8,
    reach: tuple[float, float],
    room: int,
) -> tuple[F4, NDArray[np.int32], int]:
    """Ends early where `room` is full."""
    out = np.empty((room, 3), np.float32)
    rows = np.empty(room, np.int32)
    count = 0
    square = reach[0] * reach[0]
    for k in range(len(points)):
        x, y, z = points[k, 0] - near[0], points[k, 1] - near[1], points[k, 2] - near[2]
        i0, j0 = int(np.floor((x - low[0]) / cell)), int(np.floor((y - low[1]) / cell))
        for i in range(max(i0 - 1, 0), min(i0 + 2, shape[0])):
            first, last = max(j0 - 1, 0), min(j0 + 2, shape[1])
            if first >= last:
                continue
            for m in range(starts[i * shape[1] + first], starts[i * shape[1] + last]):
                dx, dy, dz = x - others[m, 0], y - others[m, 1], z - others[m, 2]
                if dx * dx + dy * dy <= square and abs(dz) <= reach[1]:
                    if count == room:
                        return out, rows, count
                    out[count, 0], out[count, 1], out[count, 2] = dx + near[0], dy + near[1], dz + near[2]
                    rows[count] = k
                    count += 1
    return out, rows, count


@dataclass(frozen=True, slots=True)
class Shift:
    """Where the displacements pile up, its standard error, and how far the pile stands out."""

    nm: F8  # (3,)
    sigma_nm: F8  # (3,)
    contrast: float  # density of pairs at the mode over that around it; about 1: there is no mode
    excess: float  # the same in standard deviations of chance


def mode_of(displacements: F4, rows: NDArray[np.int32], start_nm: F8, kernel_nm: F8) -> Shift | None:
    """The mode nearest to `start_nm`; None where no pair is near, or it runs away."""
    shift = start_nm.astype(np.float64)
    for _ in range(MAX_STEPS):
        mean, weight = _weighted_mean(displacements, shift, kernel_nm)
        if weight <= 0 or not np.isfinite(mean).all():
            return None
        step, shift = mean - shift, mean
        if float(np.abs(step).max()) < SETTLED_NM:
            break
    error = _standard_error(displacements, rows, shift, kernel_nm)
    return Shift(shift, error, *_prominence(displacements, shift, kernel_nm))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _weighted_mean(displacements: F4, shift: F8, kernel: F8) -> tuple[F8, float]:
    total, weight = np.zeros(3), 0.0
    for k in range(len(displacements)):
        square = 0.0
        for axis in range(3):
            square += ((displacements[k, axis] - shift[axis]) / kernel[axis]) ** 2
        if square < 16.0:
            w = np.exp(-0.5 * square)
            weight += w
            for axis in range(3):
                total[axis] += w * displacements[k, axis]
    return total / max(weight, 1e-300), weight


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _standard_error(displacements: F4, rows: NDArray[np.int32], shift: F8, kernel: F8) -> F8:
    """Of the root of sum w (d - shift): each point's pull squared, over the slope squared, axis by axis."""
    pulls = np.zeros((rows.max() + 1 if len(rows) else 1, 3))
    slope = np.zeros(3)
    for k in range(len(displacements)):
        square = 0.0
        for axis in range(3):
            square += ((displacements[k, axis] - shift[axis]) / kernel[axis]) ** 2
        w = np.exp(-0.5 * square)
        for axis in range(3):
            d = displacements[k, axis] - shift[axis]
            pulls[rows[k], axis] += w * d
            slope[axis] += w * (1.0 - (d / kernel[axis]) ** 2)
    out = np.empty(3)
    for axis in range(3):
        out[axis] = np.sqrt((pulls[:, axis] ** 2).sum()) / slope[axis] if slope[axis] > 0 else np.inf
    return out


def _prominence(displacements: F4, shift: F8, kernel_nm: F8) -> tuple[float, float]:
    """Of the pairs within a kernel of the mode, against those expected there from a shell of two to three kernels:
    their ratio, and their excess in standard deviations of chance."""
    distance = np.sqrt((((displacements - shift) / kernel_nm) ** 2).sum(axis=1))
    inside, around = np.count_nonzero(distance < 1), np.count_nonzero((distance >= 2) & (distance < 3))
    expected = (around + 2 * math.sqrt(around) + 3) / (3**3 - 2**3)  # upper end of what chance makes of so few
    return inside / expected, (inside - expected) / math.sqrt(expected)
