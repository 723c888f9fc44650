"""Events that belong to a cell but are found in its neighbours, since localizations scatter: how many to expect where.

For each cell, what its neighbours spill into it, each neighbour's own rate being estimated from its count without
this cell's help (leave one out): else a cell's own events would explain themselves away through its neighbours.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EDGES = np.array([0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.2, 1.6, 2.0, 3.0, 5.0])
"""Between the strata: events spilled into a cell."""

MIN_CELLS = 200  # in a stratum; smaller ones join their neighbour
_PER_EVENT = 100  # steps of the look-up from spill to stratum


def scatter_kernel(sigma_in_cells: float) -> Floats:
    """(3, 3) probabilities that an event of the middle cell is found in each of the nine.

    Event anywhere in the cell, Gaussian error: the share lost over one edge is sigma / sqrt(2 pi) cells
    (first moment of the half normal); good while hardly any event goes two cells far, sigma below 0.35 cells.
    """
    over = sigma_in_cells / math.sqrt(2 * math.pi)
    line = np.array([over, 1 - 2 * over, over])
    return np.outer(line, line)


def first_spill(counts: Ints, background: float, kernel: Floats) -> tuple[Floats, Floats]:
    """(spill into each cell, own rate of each cell), both (H, W): a start, from counts well above the background."""
    excess = np.where(counts >= max(2.0, 2 + 3 * background), np.maximum(counts - background, 0.0), 0.0)
    stays = kernel[1, 1]
    own = np.maximum(excess - _neighbours(excess, kernel), 0.0) / stays
    own = np.maximum(excess - _neighbours(own, kernel), 0.0) / stays
    return _left_out(excess - _neighbours(own, kernel), own, kernel), own


def _neighbours(rates: Floats, kernel: Floats) -> Floats:
    line = kernel[1] / kernel[1].sum()
    blurred = convolve1d(convolve1d(rates, line, axis=0, mode="constant"), line, axis=1, mode="constant")
    return np.asarray(blurred - kernel[1, 1] * rates)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _left_out(rest: Floats, own: Floats, kernel: Floats) -> Floats:
    """(H, W) spill from neighbours, each with what the cell itself spilled into it given back."""
    height, width = rest.shape
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for p in range(max(i - 1, 0), min(i + 2, height)):
                for q in range(max(j - 1, 0), min(j + 2, width)):
                    if p != i or q != j:
                        weight = kernel[p - i + 1, q - j + 1]
                        out[i, j] += weight * max(rest[p, q] + weight * own[i, j], 0.0) / kernel[1, 1]
    return out


def stratify(counts: Ints, spill: Floats, variance: Floats, n_max: int) -> tuple[Floats, Floats, Floats, Ints]:
    """Cells sorted by their spill: histogram (L, n_max + 1), mean (L,), variance / mean (L,) of the spill, and the
    look-up (K,) from spill in hundredths of an event to stratum."""
    fine = np.searchsorted(EDGES, (np.arange(int(EDGES[-1] * _PER_EVENT) + 2) + 0.5) / _PER_EVENT)
    histogram, first, second = _sorted(counts, spill, variance, fine, len(EDGES) + 1, n_max)
    group = _joined(histogram.sum(axis=1))
    n = int(group[-1]) + 1
    joined = np.zeros((n, n_max + 1))
    np.add.at(joined, group, histogram)
    cells = joined.sum(axis=1)
    mean = np.bincount(group, first, n) / cells
    square = np.bincount(group, second, n) / cells - mean**2
    return joined, np.maximum(mean, 1e-5), np.maximum(square / np.maximum(mean, 1e-5), 1e-3), group[fine]


def _joined(cells: Floats) -> Ints:
    """Which stratum each of the fine ones belongs to, so that each has enough cells."""
    group, current, inside = np.zeros(len(cells), np.int64), 0, 0.0
    for i, number in enumerate(cells):
        group[i] = current
        inside += number
        if inside >= MIN_CELLS and i < len(cells) - 1:
            current, inside = current + 1, 0.0
    if inside < MIN_CELLS and current > 0:
        group[group == current] = current - 1
    return group


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _stratum(spill: float, of_spill: Ints) -> int:
    """What is no number goes to the first: an index out of range would take the process with it."""
    last = len(of_spill) - 1
    return (
        int(of_spill[int(spill * _PER_EVENT)])
        if 0.0 <= spill < last / _PER_EVENT
        else int(of_spill[last if spill > 1 else 0])
    )


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sorted(
    counts: Ints, spill: Floats, variance: Floats, fine: Ints, n: int, n_max: int
) -> tuple[Floats, Floats, Floats]:
    histogram, first, second = np.zeros((n, n_max + 1)), np.zeros(n), np.zeros(n)
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            s = spill[i, j]
            level = _stratum(s, fine)
            histogram[level, min(counts[i, j], n_max)] += 1
            first[level] += s
            second[level] += s * s + variance[i, j]
    return histogram, first, second


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def refined_spill(
    counts: Ints, spill: Floats, own: Floats, mean: Floats, variance: Floats, stratum: Ints, kernel: Floats,
    background: float,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """(spill, its variance, own rate) of each cell from a fit: `mean`, `variance` (L, n_max) by `expected_rates`.

    A neighbour's stratum is the one it would be in without the cell in question.
    """
    height, width = counts.shape
    n_max, stays = mean.shape[1], kernel[1, 1]
    out, out_variance, out_own = np.zeros((height, width)), np.zeros((height, width)), np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            n, level = counts[i, j], _stratum(spill[i, j], stratum)
            value = mean[level, n] if n < n_max else max(n - background - spill[i, j], 0.0)
            doubt = variance[level, n] if n < n_max else value
            out_own[i, j] = value / stays
            for p in range(max(i - 1, 0), min(i + 2, height)):
                for q in range(max(j - 1, 0), min(j + 2, width)):
                    if p == i and q == j:
                        continue
                    weight = kernel[p - i + 1, q - j + 1]
                    if n > 0 and own[p, q] > 0.0:  # of an empty cell the stratum hardly matters, and most are empty
                        left = max(spill[i, j] - weight * own[p, q], 0.0)
                        level = _stratum(left, stratum)
                        value = mean[level, n] if n < n_max else max(n - background - left, 0.0)
                        doubt = variance[level, n] if n < n_max else value
                    out[p, q] += weight / stays * value
                    out_variance[p, q] += (weight / stays) ** 2 * doubt
    return out, out_variance, out_own
