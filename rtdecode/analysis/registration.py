"""How far one cloud of localizations lies from another of the same structure: neighbouring planes, by their overlap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rtdecode.analysis.pair_shifts import KERNEL_NM, Grid, Shift, mode_of

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
_KERNEL = np.array(KERNEL_NM)
_AROUND = (6 * KERNEL_NM[0], 6 * KERNEL_NM[2])  # of a mode that is known

LEAST_POINTS = 100  # of each cloud
LEAST_CONTRAST, LEAST_EXCESS = 1.2, 6.0  # as for drift: a mode that stands out less is none
MOST_PAIRS = 1 << 22
MOST_APART_NM = 10.0  # beyond three errors: how far the mode of half a field may lie from the whole's
CELL_NM = (20.0, 20.0, 40.0)  # of the coarse look for the mode


def shift_between(points_nm: F4, reference_nm: F4, reach_nm: tuple[float, float]) -> Shift | None:
    """Of `points_nm` (M, 3) from `reference_nm` (N, 3), at most `reach_nm` (lateral, axial); None: there is no mode.

    The error is that of both clouds: each is a sample of the structure, so the mode moves with either. As a statistic
    of pairs (Hoeffding 1948) its variance is the sum of what the points of each cloud contribute.
    """
    if min(len(points_nm), len(reference_nm)) < LEAST_POINTS:
        return None
    found = _mode(points_nm, reference_nm, np.zeros(3), reach_nm, start=None)
    if found is None or found.contrast < LEAST_CONTRAST or found.excess < LEAST_EXCESS:
        return None
    if not _holds_everywhere(found, points_nm, reference_nm):
        return None
    mirrored = _mode(reference_nm, points_nm, -found.nm, _AROUND, start=-found.nm)
    of_reference = mirrored.sigma_nm if mirrored is not None else np.full(3, np.inf)
    return replace(found, sigma_nm=np.hypot(found.sigma_nm, of_reference))


def _holds_everywhere(found: Shift, points: F4, reference: F4) -> bool:
    """Whether each half of the field (left, right, upper, lower) has the same mode: two lines that happen to run alike
    somewhere make one, too, but only there."""
    for axis in (0, 1):
        low = points[:, axis] < np.median(points[:, axis])
        for half in (points[low], points[~low]):
            own = _mode(half, reference, found.nm, _AROUND, start=found.nm)
            if own is None or own.contrast < LEAST_CONTRAST or own.excess < LEAST_EXCESS / 2:
                return False
            if (np.abs(own.nm - found.nm) > MOST_APART_NM + 3 * own.sigma_nm).any():
                return False
    return True


def _mode(points: F4, reference: F4, near: F8, reach: tuple[float, float], start: F8 | None) -> Shift | None:
    displacements, rows = Grid(reference, reach[0]).pairs(points, near, reach, MOST_PAIRS)
    if not len(displacements):
        return None
    return mode_of(displacements, rows, _fullest(displacements, near, reach) if start is None else start, _KERNEL)


def _fullest(displacements: F4, near: F8, reach: tuple[float, float]) -> F8:
    """Middle of the fullest cell of a smoothed histogram."""
    halves = (reach[0], reach[0], reach[1])
    edges = [np.arange(n - h, n + h + c, c) for n, h, c in zip(near, halves, CELL_NM, strict=True)]
    smooth, _ = np.histogramdd(displacements, edges)
    for axis in range(3):
        smooth = np.apply_along_axis(np.convolve, axis, smooth, [0.25, 0.5, 0.25], "same")
    at = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    return np.array([(edge[k] + edge[k + 1]) / 2 for edge, k in zip(edges, at, strict=True)])
