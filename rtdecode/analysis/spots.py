"""Candidates of emitters in single frames: maxima of a bank of matched filters, and which of them stand alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.signal import oaconvolve
from scipy.spatial import cKDTree

from rtdecode.core.camera import Camera
from rtdecode.physics.crlb import pixel_variance
from rtdecode.physics.psf import Psf

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
MIN_SNR = 5.0  # of a candidate: noise alone passes it about once in a million pixels
HALF_PX = 7  # crops and filters are 15 x 15 px
APART_PX = 2  # a candidate is the highest within this many pixels on each side
Z_STEP_NM = 150.0  # between templates
_CHUNK = 64  # frames at a time


@dataclass(frozen=True, slots=True)
class Spots:
    """N candidates, sorted by frame; whole pixels."""

    frame: I8
    row: I8
    column: I8
    snr: F8
    nearest_px: F8  # distance to the next candidate of the same frame, inf without one

    def __len__(self) -> int:
        return len(self.frame)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Spots:
        """Some of them."""
        frame, row, column = self.frame[chosen], self.row[chosen], self.column[chosen]
        return Spots(frame, row, column, self.snr[chosen], self.nearest_px[chosen])

    def moved_by(self, frames: I8) -> Spots:
        """The same, each (N,) frames later."""
        return replace(self, frame=self.frame + frames)


def find_spots(photons: F4, camera: Camera, psf: Psf) -> Spots:
    """Candidates in photons (T, H, W): local maxima of the best template's signal-to-noise ratio."""
    bank = _templates(psf)
    parts: list[tuple[NDArray[np.generic], ...]] = []
    for first in range(0, len(photons), _CHUNK):
        snr = _ratio(photons[first : first + _CHUNK], camera, bank)
        side = 2 * APART_PX + 1
        peak = (snr == maximum_filter(snr, (1, side, side), mode="nearest")) & (snr > MIN_SNR)
        frame, row, column = np.nonzero(peak)
        parts.append((frame + first, row, column, snr[peak]))
    frame, row, column, height = (np.concatenate(column) for column in zip(*parts, strict=True))
    nearest = _nearest_px(frame, row, column)
    return Spots(frame, row, column, height.astype(np.float64), nearest)


def away_from_rim(spots: Spots, shape_px: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) whether a whole crop around it lies in the frame."""
    nearest = np.minimum(spots.row, spots.column)
    farthest = np.minimum(shape_px[0] - 1 - spots.row, shape_px[1] - 1 - spots.column)
    return np.asarray((nearest >= HALF_PX) & (farthest >= HALF_PX))


def crops(photons: F4, spots: Spots) -> F8:
    """(N, 15, 15) photons around each spot; all away from the rim."""
    reach = np.arange(-HALF_PX, HALF_PX + 1)
    rows, columns = spots.row[:, None, None] + reach[:, None], spots.column[:, None, None] + reach
    return np.asarray(photons[spots.frame[:, None, None], rows, columns], np.float64)


def _templates(psf: Psf) -> F4:
    """(K, 15, 15): the PSF at several z, each less its mean and of unit norm."""
    low, high = psf.z_range_nm
    n = max(1, round((high - low) / Z_STEP_NM))
    z_nm = np.linspace(low, high, n + 1)[1:-1] if n > 1 else np.array([(low + high) / 2])
    side, centre = 2 * HALF_PX + 1, np.full(len(z_nm), HALF_PX)
    spots = psf.with_derivatives(centre, centre, z_nm, (side, side))[0]
    spots = spots - spots.mean(axis=(1, 2), keepdims=True)
    return np.asarray(spots / np.sqrt((spots**2).sum(axis=(1, 2), keepdims=True)), np.float32)


def _ratio(photons: F4, camera: Camera, bank: F4) -> F4:
    """(n, H, W) signal-to-noise ratio of the best template; its noise is that of the light around."""
    around = gaussian_filter(photons, (0, 3, 3)).astype(np.float64)
    noise = np.sqrt(pixel_variance(camera, around)).astype(np.float32)
    image = np.pad(around.astype(np.float32), ((0, 0), (HALF_PX, HALF_PX), (HALF_PX, HALF_PX)), mode="edge")
    image[:, HALF_PX:-HALF_PX, HALF_PX:-HALF_PX] = photons  # beyond the rim no noise: mirrored, it would count twice
    best = np.full(photons.shape, -np.inf, np.float32)
    for template in bank:
        best = np.maximum(best, oaconvolve(image, template[None, ::-1, ::-1], mode="valid", axes=(1, 2)))
    return np.asarray(best / noise, np.float32)


def _nearest_px(frame: I8, row: I8, column: I8) -> F8:
    if len(frame) < 2:
        return np.full(len(frame), np.inf)
    span = 4.0 * (max(int(row.max()), int(column.max())) + 1)  # frames are further apart than any two pixels
    at = np.column_stack([frame * span, row, column])
    distance = cKDTree(at).query(at, k=2)[0][:, 1]
    return np.asarray(np.where(distance < span / 2, distance, np.inf))


def full_exposures(spots: Spots, same_px: float = 2.0) -> NDArray[np.bool_]:
    """(N,) spots with one at the same place in the frame before and in the frame after: they shone for all of it."""
    if len(spots) == 0:
        return np.zeros(0, bool)
    stretch = 4 * same_px  # neighbouring frames are further apart than spots that are one emitter
    at = np.column_stack([spots.frame * stretch, spots.row, spots.column]).astype(np.float64)
    tree = cKDTree(at)
    steps = np.array([stretch, 0.0, 0.0])
    near = [tree.query(at + step, distance_upper_bound=same_px * 1.001)[0] for step in (-steps, steps)]
    return np.asarray(np.isfinite(near[0]) & np.isfinite(near[1]))
