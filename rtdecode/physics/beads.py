"""Beads in z-stacks: where they are, which cannot be used and why, and their light cut out with its background off."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter, rank_filter

from rtdecode.core.errors import CalibrationError

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_SAME_VALUE = 5  # voxels at a bead's maximum from which on it is taken for clipped: noise does not tie so often
_FEWEST_SLICES = 7  # of which a bead may lose two at either end when it is moved onto the others
_HOT, _NOISES = 4.0, 10.0  # a hot pixel over its second brightest neighbour: no lens draws so sharp a spot
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
_BRIGHT_NEIGHBOUR = 0.1  # height of a neighbour, over the bead's own, that spoils its tail


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How to read bead stacks. `focus_slice` counts from 0; None takes the middle slice of each stack.

    `dz_nm` below 0: z falls with the slice number. The slices are turned round first; `focus_slice` counts before that.
    """

    px_nm: tuple[float, float]
    dz_nm: float
    focus_slice: float | None = None
    roi_px: int = 37  # 27 px lose 6 to 20 % of the light of a defocused spot, 37 px 1 to 5 %
    min_distance_px: int = 15
    smooth_z_nm: float = 25.0
    rounds: int = 4
    min_similarity: float = 0.9
    max_height_nm: float = 150.0  # a bead further from its stack's others in z is not on the cover slip with them

    def focus(self, n_slices: int) -> float:
        """The slice of z = 0, from 0, in the order of rising z."""
        if self.focus_slice is None:
            return (n_slices - 1) / 2
        return self.focus_slice if self.dz_nm > 0 else n_slices - 1 - self.focus_slice

    @property
    def step_nm(self) -> float:
        """Between slices in the order of rising z."""
        return abs(self.dz_nm)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bright spot: its stack, middle pixel, light (Z, N, N) or None, and why it is not used ("" if it may be)."""

    stack: int
    row: int
    column: int
    light: F4 | None
    reason: str = ""


def checked(stack: NDArray[np.generic], settings: CalibrationSettings) -> F4:
    """The stack (Z, H, W) as float32 in the order of rising z; raises CalibrationError for what is no bead stack."""
    if stack.ndim != 3 or len(stack) < _FEWEST_SLICES:
        raise CalibrationError(
            f"a bead stack must be (slices, rows, columns) with {_FEWEST_SLICES} slices or more, found {stack.shape}; "
            "steps of 10 to 50 nm over 1 um or more are usual"
        )
    if min(stack.shape[1:]) < settings.roi_px:
        raise CalibrationError(
            f"frames of {stack.shape[1:]} px are smaller than the ROI of {settings.roi_px} px; give a smaller --roi-px"
        )
    if settings.roi_px % 2 == 0:
        raise CalibrationError(f"roi_px must be odd so that it has a middle pixel, found {settings.roi_px}")
    if not np.isfinite(stack).all():
        raise CalibrationError("the bead stack holds values that are not finite")
    return np.ascontiguousarray(stack[:: 1 if settings.dz_nm > 0 else -1], np.float32)


def without_hot_pixels(volume: F4) -> tuple[F4, int]:
    """The stack (Z, H, W) with hot and dead pixels replaced by the median of their neighbours, and how many.

    Hot is what outshines all but one of its neighbours at heights where beads are blurred. They do not move with the
    focus, so they would be taken for beads or saturate one.
    """
    low = np.percentile(volume[:: max(1, len(volume) // 40)], 20, axis=0)
    floor = float(np.median(low))
    noise = 1.4826 * float(np.median(np.abs(low - floor)))
    around = rank_filter(low, -2, footprint=_RING) - floor
    bad = (low - floor > _HOT * np.maximum(around, 0) + _NOISES * noise) | (low - floor < -_NOISES * noise - 1)
    bad &= noise > 0
    if not bad.any():
        return volume, 0
    mended, reach = (
        volume.copy(),
        np.pad(np.where(bad, np.nan, volume), ((0, 0), (1, 1), (1, 1)), constant_values=np.nan),
    )
    for row, column in np.argwhere(bad):
        mended[:, row, column] = np.nanmedian(reach[:, row : row + 3, column : column + 3], axis=(1, 2))
    return np.where(np.isfinite(mended), mended, floor).astype(np.float32), int(bad.sum())


def find_beads(volume: F4, settings: CalibrationSettings, number: int = 0) -> list[Candidate]:
    """All bright spots of a `checked` stack (Z, H, W), brightest first; those that may be used carry their light.

    Not used: spots whose ROI is cut by the rim, whose neighbour sheds light into the ROI, or that are saturated.
    """
    spots = _spots(volume, settings)
    light = volume - _background(volume, [(r, c) for r, c, _ in spots], settings.roi_px) if spots else volume
    half = settings.roi_px // 2
    found: list[Candidate] = []
    for row, column, height in spots:
        reason = _outside(row, column, volume.shape[1:], half) or _crowded(row, column, height, spots, settings)
        cut = (slice(None), slice(row - half, row + half + 1), slice(column - half, column + half + 1))
        if not reason:
            reason = _clipped(volume[cut])
        found.append(Candidate(number, row, column, None if reason else np.ascontiguousarray(light[cut]), reason))
    return found


def without_copies(candidates: list[Candidate]) -> list[Candidate]:
    """The same candidates; of beads with equal pixels only the first may be used, since copies agree by themselves."""
    kept = list(candidates)
    for i, j in combinations(range(len(kept)), 2):
        one, other = kept[i], kept[j]
        if one.light is None or other.light is None or one.light.shape != other.light.shape:
            continue
        if np.allclose(one.light, other.light, rtol=0, atol=1e-6 * float(np.ptp(one.light))):
            words = f"its pixels are a copy of the bead at row {one.row}, column {one.column} of stack {one.stack + 1}"
            kept[j] = Candidate(other.stack, other.row, other.column, None, words)
    return kept


def _spots(volume: F4, settings: CalibrationSettings) -> list[tuple[int, int, float]]:
    """(row, column, height) of spots in the mean of the slices around focus, none closer than the limit."""
    focus = round(settings.focus(len(volume)))
    middle = volume[max(0, focus - 10) : focus + 11].mean(0, dtype=np.float64)
    smooth = gaussian_filter(middle, 1.5)
    floor = float(np.median(smooth))
    noise = 1.4826 * np.median(np.abs(smooth - floor))
    window = 2 * min(settings.min_distance_px, settings.roi_px) + 1
    threshold = floor + 10 * noise
    if settings.roi_px * 2 > min(smooth.shape):  # a frame that one bead fills has no median of its own
        floor = float(np.percentile(smooth, 10))
        threshold = floor + 0.3 * float(np.ptp(smooth))
    peaks = (smooth == maximum_filter(smooth, window)) & (smooth > threshold)
    if peaks.any():  # a tenth of what beads are, not of the brightest: that may be a lump of them
        peaks &= smooth > floor + 0.1 * (np.percentile(smooth[peaks], 75) - floor)
    rows, columns = np.nonzero(peaks)
    kept: list[tuple[int, int, float]] = []
    for r, c in sorted(zip(rows, columns, strict=True), key=lambda spot: -smooth[spot]):  # flat tops have several
        row, column = _middle_of_light(smooth - floor, int(r), int(c), settings)
        if all(np.hypot(row - y, column - x) >= settings.min_distance_px for y, x, _ in kept):
            kept.append((row, column, float(smooth[r, c]) - floor))
    return kept


def _middle_of_light(smooth: F8, row: int, column: int, settings: CalibrationSettings) -> tuple[int, int]:
    """The pixel nearest the centroid: the brightest pixel of a double helix is one of its lobes."""
    reach = min(round(0.6 * settings.min_distance_px), settings.roi_px // 2)
    for _ in range(2):
        r0, c0 = max(0, row - reach), max(0, column - reach)
        part = smooth[r0 : row + reach + 1, c0 : column + reach + 1]
        weight = np.clip(part - 0.3 * part.max(), 0, None)
        rows, columns = np.indices(part.shape)
        row = round(float((weight * rows).sum() / weight.sum())) + r0
        column = round(float((weight * columns).sum() / weight.sum())) + c0
    return row, column


def _background(volume: F4, spots: list[tuple[int, int]], roi_px: int) -> F4:
    """(Z, 1, 1) median of the pixels far from every bead; from the ROI's rim it would swallow the PSF's tail."""
    rows, columns = np.indices(volume.shape[1:])
    away = np.min([np.hypot(rows - r, columns - c) for r, c in spots], axis=0)
    far = away > min(roi_px, np.percentile(away, 80))
    levels = np.median(volume[:, far], axis=1)
    if roi_px * 2 > min(volume.shape[1:]):  # one bead fills the frame: its blurred light reaches even the corners
        levels = np.full_like(levels, gaussian_filter(levels, 2.0).min())
    return np.asarray(levels[:, None, None])


def _outside(row: int, column: int, shape: tuple[int, ...], half: int) -> str:
    inside = half <= row < shape[0] - half and half <= column < shape[1] - half
    return "" if inside else f"its {2 * half + 1} px ROI reaches beyond the frame"


def _crowded(
    row: int, column: int, height: float, spots: list[tuple[int, int, float]], settings: CalibrationSettings
) -> str:
    """A neighbour's spot of the ROI's half width would reach the ROI from this distance."""
    for other_row, other_column, other_height in spots:
        away = float(np.hypot(other_row - row, other_column - column))
        if 0 < away < 0.75 * settings.roi_px and other_height > _BRIGHT_NEIGHBOUR * height:
            return f"another bead is {away:.0f} px away"
    return ""


def _clipped(voxels: F4) -> str:
    top = voxels.max()
    many = int((voxels == top).sum())
    grey_levels = float(top - voxels.min())
    return f"saturated: {many} voxels at {top:g}" if many >= _SAME_VALUE and grey_levels > 40 else ""
