"""From the network's ten maps to localizations: local maxima, cross-shaped probability sum, read-out.

Detection: decode-method §6.2 (DECODE's "SpatialIntegration"), with its two uses of one threshold kept apart.
Read-out: DECODE reads the detected pixel alone; "fused" reads what the loss trains, the mixture around it
(docs/decisions/0007).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds
from rtdecode.fit.calibration import Lookup, calibrated

F4 = NDArray[np.float32]
N_COLUMNS = 10
"""Float columns of a localization, in the order of LOCALIZATION_DTYPE after frame_index."""
GATE = 1.5
"""How many of their common sigmas two pixels' estimates may differ, roughly, and still be one emitter."""


def find_emitters(
    maps: F4,
    frame_index: int,
    px_nm: tuple[float, float],
    thresholds: DetectionThresholds,
    calibration: Lookup | None = None,
) -> Localizations:
    """Localizations of one frame from its maps (10, H, W) in physical units, rows first, then columns.

    Maps: p, photons, dx_px (along columns), dy_px (along rows), z_nm, sigmas of photons, x_px, y_px, z_nm,
    background. `px_nm` is (x, y). Two exactly equal neighbours are both kept. Positions, photons and their
    sigmas are those of the detected pixel alone, or of it and its neighbours (`thresholds.readout`); the
    probability, which `accept` is held against, is the cross sum or, fused, the mixture's weight, at most 1 and
    not the peak; the background is the pixel's. With a `calibration` probabilities and sigmas are the corrected ones,
    and `accept` is held against those.
    """
    maps = np.ascontiguousarray(maps, np.float32)
    columns = _scan(
        maps,
        np.float32(thresholds.peak),
        np.float32(thresholds.accept if calibration is None else 0.0),
        np.float32(thresholds.split),
        thresholds.readout == "fused",
        float(px_nm[0]),
        float(px_nm[1]),
    )  # (10, N)
    if calibration is not None:
        columns = calibrated(columns, maps[0], px_nm, thresholds.accept, calibration)
    return Localizations(np.full(columns.shape[1], frame_index, np.int64), *columns)


def without_z(maps: F4) -> F4:
    """The same maps with z and its sigma 0, as a 2D model's are read: what it says of z it has learnt from nothing."""
    flat = maps.copy()
    flat[..., [4, 8], :, :] = 0.0
    return flat


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _scan(
    maps: F4, peak: np.float32, accept: np.float32, split: np.float32, fused: bool, px_x_nm: float, px_y_nm: float
) -> F4:
    """(10, N) columns. float32 thresholds, so that they compare with p as the reference's do."""
    p = maps[0]  # (H, W)
    height, width = p.shape
    hits = np.empty(height * width, np.int64)
    is_hit = np.zeros((height, width), np.bool_)
    n = 0
    for i in range(height):
        for j in range(width):
            if _is_candidate(p, i, j, peak, split) and (fused or _cross_sum(p, i, j) >= accept):
                hits[n] = i * width + j
                is_hit[i, j] = True
                n += 1
    out = np.empty((N_COLUMNS, n), np.float32)
    read = np.empty(9, np.float32)  # photons, dx, dy, z and their sigmas in the maps' units, probability
    found = 0
    for k in range(n):
        i, j = hits[k] // width, hits[k] % width
        read[:8], read[8] = maps[1:9, i, j], _cross_sum(p, i, j)
        if fused:
            _fuse(maps, is_hit, i, j, read)
        if read[8] >= accept:
            _write(maps, i, j, read, px_x_nm, px_y_nm, out[:, found])
            found += 1
    return out[:, :found].copy()


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
def _agreement(maps: F4, i: int, j: int, a: int, b: int) -> float:
    """1 where pixel (a, b) says the same position as (i, j), falling to 0 over GATE common sigmas."""
    distance = 0.0
    for axis in range(2, 5):  # dx, dy, z
        apart = maps[axis, a, b] - maps[axis, i, j]
        if axis == 2:
            apart += b - j
        elif axis == 3:
            apart += a - i
        spread = float(maps[axis + 4, a, b]) ** 2 + float(maps[axis + 4, i, j]) ** 2
        distance += apart * apart / max(spread, 1e-12)
    return np.exp(-0.5 * distance / GATE**2)  # type: ignore[no-any-return]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fuse(maps: F4, is_hit: NDArray[np.bool_], i: int, j: int, read: F4) -> None:
    """Photons, dx, dy, z, sigmas and probability of the mixture that the 3x3 pixels around (i, j) make.

    Each pixel's Gaussian counts by its p and by how far it agrees with the detected pixel; pixels that are
    detected themselves are other emitters'. A position is the mean with weights p / sigma, so that a vague
    pixel moves it little; photons, whose sigma grows with them, with weights p. A sigma is the mixture's. The
    probability is the sum of the weights: an emitter near a pixel's corner has its p in four pixels, of which the
    cross of the published rule sees three.
    """
    n = 0
    weight, rows, columns = np.empty(9), np.empty(9, np.int64), np.empty(9, np.int64)
    for a in range(max(i - 1, 0), min(i + 2, maps.shape[1])):
        for b in range(max(j - 1, 0), min(j + 2, maps.shape[2])):
            here = a == i and b == j
            if here or not is_hit[a, b]:
                weight[n] = maps[0, a, b] * (1.0 if here else _agreement(maps, i, j, a, b))
                rows[n], columns[n] = a, b
                n += 1
    read[8] = min(weight[:n].sum(), 1.0)
    for quantity in range(4):  # photons, dx, dy, z
        step = columns - j if quantity == 1 else rows - i if quantity == 2 else np.zeros_like(rows)
        total, mean = 0.0, 0.0
        for k in range(n):
            sigma = max(float(maps[quantity + 5, rows[k], columns[k]]), 1e-6)
            share = weight[k] if quantity == 0 else weight[k] / sigma
            mean += share * (maps[quantity + 1, rows[k], columns[k]] + step[k])
            total += share
        mean /= total
        variance, whole = 0.0, 0.0
        for k in range(n):
            apart = maps[quantity + 1, rows[k], columns[k]] + step[k] - mean
            variance += weight[k] * (float(maps[quantity + 5, rows[k], columns[k]]) ** 2 + apart * apart)
            whole += weight[k]
        read[quantity], read[quantity + 4] = mean, np.sqrt(variance / whole)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _write(maps: F4, i: int, j: int, read: F4, px_x_nm: float, px_y_nm: float, out: F4) -> None:
    """One localization; x runs along columns and y along rows, (0, 0) nm is the centre of the first pixel."""
    out[0] = (j + read[1]) * px_x_nm
    out[1] = (i + read[2]) * px_y_nm
    out[2] = read[3]
    out[3] = read[0]
    out[4] = maps[9, i, j]
    out[5] = read[5] * px_x_nm
    out[6] = read[6] * px_y_nm
    out[7] = read[7]
    out[8] = read[4]
    out[9] = read[8]
