"""From the network's ten maps to localizations: local maxima, cross-shaped probability sum, look-up.

Source: decode-method §6.2 (DECODE's "SpatialIntegration"), with its two uses of one threshold kept apart.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds

F4 = NDArray[np.float32]
N_COLUMNS = 10
"""Float columns of a localization, in the order of LOCALIZATION_DTYPE after frame_index."""


def find_emitters(
    maps: F4, frame_index: int, px_nm: tuple[float, float], thresholds: DetectionThresholds
) -> Localizations:
    """Localizations of one frame from its maps (10, H, W) in physical units, rows first, then columns.

    Maps: p, photons, dx_px (along columns), dy_px (along rows), z_nm, sigmas of photons, x_px, y_px, z_nm,
    background. `px_nm` is (x, y). The reported probability is the cross sum, clamped to 1, not the peak;
    everything else is read at the detected pixel alone. Two exactly equal neighbours are both kept.
    """
    columns = _scan(
        np.ascontiguousarray(maps, np.float32),
        np.float32(thresholds.peak),
        np.float32(thresholds.accept),
        np.float32(thresholds.split),
        float(px_nm[0]),
        float(px_nm[1]),
    )  # (10, N)
    return Localizations(np.full(columns.shape[1], frame_index, np.int64), *columns)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _scan(maps: F4, peak: np.float32, accept: np.float32, split: np.float32, px_x_nm: float, px_y_nm: float) -> F4:
    """(10, N) columns. float32 thresholds, so that they compare with p as the reference's do."""
    p = maps[0]  # (H, W)
    height, width = p.shape
    hits = np.empty(height * width, np.int64)
    n = 0
    for i in range(height):
        for j in range(width):
            if _is_candidate(p, i, j, peak, split) and _cross_sum(p, i, j) >= accept:
                hits[n] = i * width + j
                n += 1
    out = np.empty((N_COLUMNS, n), np.float32)
    for k in range(n):
        _write(maps, hits[k] // width, hits[k] % width, px_x_nm, px_y_nm, out[:, k])
    return out


# No inline="always" on these: numba then inlines before LLVM sees it, and the scan takes 100 us instead of 6.
@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _is_candidate(p: F4, i: int, j: int, peak: np.float32, split: np.float32) -> bool:
    """A 3x3 maximum above `peak`, or any pixel above `split`: so two emitters may sit in adjacent pixels."""
    here = p[i, j]
    if here > split:
        return True
    if not here > peak:  # also refuses NaN
        return False
    for a in range(max(i - 1, 0), min(i + 2, p.shape[0])):
        for b in range(max(j - 1, 0), min(j + 2, p.shape[1])):
            if p[a, b] > here:
                return False
    return True


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cross_sum(p: F4, i: int, j: int) -> np.float32:
    """p here and at the four sides, zero beyond the frame, at most 1; diagonals do not count."""
    total = p[i, j]
    if i > 0:
        total += p[i - 1, j]
    if i + 1 < p.shape[0]:
        total += p[i + 1, j]
    if j > 0:
        total += p[i, j - 1]
    if j + 1 < p.shape[1]:
        total += p[i, j + 1]
    return min(total, np.float32(1.0))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write(maps: F4, i: int, j: int, px_x_nm: float, px_y_nm: float, out: F4) -> None:
    """One localization; x runs along columns and y along rows, (0, 0) nm is the centre of the first pixel."""
    out[0] = (j + maps[2, i, j]) * px_x_nm
    out[1] = (i + maps[3, i, j]) * px_y_nm
    out[2] = maps[4, i, j]
    out[3] = maps[1, i, j]
    out[4] = maps[9, i, j]
    out[5] = maps[6, i, j] * px_x_nm
    out[6] = maps[7, i, j] * px_y_nm
    out[7] = maps[8, i, j]
    out[8] = maps[5, i, j]
    out[9] = _cross_sum(maps[0], i, j)
