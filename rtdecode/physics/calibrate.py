"""Bead stacks to a cubic spline PSF: find beads, align them in 3D, average, smooth, normalise once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates, maximum_filter, shift, spline_filter
from scipy.optimize import curve_fit, least_squares

from rtdecode.core.errors import CalibrationError
from rtdecode.physics.psf import SplinePsf

F8 = NDArray[np.float64]
MAX_MOVE_PX = 3.0  # a bead's brightest pixel is not further from its centre


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How to read a bead stack. `focus_slice` counts from 0; None takes the middle slice."""

    px_nm: tuple[float, float]
    dz_nm: float
    focus_slice: float | None = None
    roi_px: int = 37  # 27 px lose 6 to 20 % of the light of a defocused spot, 37 px 1 to 5 %
    min_distance_px: int = 15
    smooth_z_nm: float = 25.0
    rounds: int = 4
    min_similarity: float = 0.9


@dataclass(frozen=True, slots=True)
class Bead:
    """One bead: where it was found, how it was moved onto the average, how alike it is, whether it was used."""

    row_px: float
    column_px: float
    dz_nm: float
    brightness: float  # of the average bead
    similarity: float  # Pearson correlation with the average of all
    used: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """The PSF, its normalised samples (Z, N, N) and what became of each bead."""

    psf: SplinePsf
    samples: NDArray[np.float32]
    beads: tuple[Bead, ...]


def calibrate(stack: NDArray[np.generic], settings: CalibrationSettings) -> Calibration:
    """PSF from a stack (Z, H, W) of beads; raises CalibrationError where no usable bead is found.

    z of a slice is (slice - focus_slice) * dz_nm. One constant normalises all slices (the mean sum of the
    slices around focus, as SMAP does): slice by slice, photons would come out wrong by the factor that
    defocus loses (1.9 for the SMLM challenge's beads).
    """
    volume = _checked(stack, settings)
    spots = find_beads(volume, settings)
    volume = volume - _background(volume, spots, settings.roi_px)
    half = settings.roi_px // 2
    crops = np.stack([volume[:, r - half : r + half + 1, c - half : c + half + 1] for r, c in spots])  # (B, Z, N, N)
    moves, average, similarity = _align(crops, settings)
    used = similarity >= settings.min_similarity
    if not used.any():
        raise CalibrationError(
            f"no two beads are alike (best similarity {similarity.max():.2f}): is this a bead stack?"
        )
    average = _average(crops[used], moves[used])
    samples = _finish(_centred(average, settings), settings)
    focus = _focus(settings, len(volume))
    beads = tuple(
        Bead(float(r - m[1]), float(c - m[2]), float(-m[0] * settings.dz_nm), float(m[3]), float(s), bool(u))
        for (r, c), m, s, u in zip(spots, moves, similarity, used, strict=True)
    )
    return Calibration(SplinePsf.from_samples(samples, settings.dz_nm, focus, settings.px_nm), samples, beads)


def _checked(stack: NDArray[np.generic], settings: CalibrationSettings) -> F8:
    if stack.ndim != 3 or len(stack) < 5:
        raise CalibrationError(
            f"a bead stack must be (slices, rows, columns) with 5 slices or more, found {stack.shape}"
        )
    if min(stack.shape[1:]) < settings.roi_px:
        raise CalibrationError(f"frames of {stack.shape[1:]} px are smaller than the ROI of {settings.roi_px} px")
    if settings.roi_px % 2 == 0:
        raise CalibrationError(f"roi_px must be odd so that it has a middle pixel, found {settings.roi_px}")
    if not np.isfinite(stack).all():
        raise CalibrationError("the bead stack holds values that are not finite")
    return stack.astype(np.float64)


def _focus(settings: CalibrationSettings, n_slices: int) -> float:
    return (n_slices - 1) / 2 if settings.focus_slice is None else settings.focus_slice


def find_beads(volume: F8, settings: CalibrationSettings) -> list[tuple[int, int]]:
    """(row, column) of beads whose whole ROI lies inside the frame, brightest first, none closer than the limit."""
    focus = round(_focus(settings, len(volume)))
    middle = volume[max(0, focus - 10) : focus + 11].mean(0)
    smooth = gaussian_filter(middle, 1.5)
    noise = 1.4826 * np.median(np.abs(smooth - np.median(smooth)))
    peaks = (smooth == maximum_filter(smooth, 2 * settings.min_distance_px + 1)) & (
        smooth > np.median(smooth) + max(10 * noise, 0.1 * np.ptp(smooth))
    )
    half = settings.roi_px // 2
    rows, columns = np.nonzero(peaks)
    inside = [
        (int(r), int(c))
        for r, c in zip(rows, columns, strict=True)
        if half <= r < middle.shape[0] - half and half <= c < middle.shape[1] - half
    ]
    if not inside:
        raise CalibrationError(f"no bead found with its whole {settings.roi_px} px ROI inside the frame")
    kept: list[tuple[int, int]] = []
    for spot in sorted(inside, key=lambda spot: -smooth[spot]):  # a flat top has several equal maxima
        if all(np.hypot(spot[0] - r, spot[1] - c) >= settings.min_distance_px for r, c in kept):
            kept.append(spot)
    return kept


def _background(volume: F8, spots: list[tuple[int, int]], roi_px: int) -> F8:
    """(Z, 1, 1) median of the pixels far from every bead; from the ROI's rim it would swallow the PSF's tail."""
    rows, columns = np.indices(volume.shape[1:])
    away = np.min([np.hypot(rows - r, columns - c) for r, c in spots], axis=0)
    far = away > min(roi_px, np.percentile(away, 80))
    return np.asarray(np.median(volume[:, far], axis=1)[:, None, None])


def _align(crops: F8, settings: CalibrationSettings) -> tuple[F8, F8, F8]:
    """Moves (B, 4) of slices, rows, columns and brightness onto the common average (Z, N, N); similarity (B,)."""
    # Interpolation averages noise, so noisy beads would be drawn to half steps: align smoothed copies.
    soft = gaussian_filter(crops, (0, 2.0, 0.8, 0.8))
    moves = np.zeros((len(crops), 4))
    moves[:, 3] = crops.sum((1, 2, 3)) / crops.sum((1, 2, 3)).mean()
    for _ in range(settings.rounds):
        average = _average(soft, moves, np.median)  # so that a few odd beads cannot pull the others
        moves = np.array([_move_onto(average, crop, start) for crop, start in zip(soft, moves, strict=True)])
        moves[:, :3] -= np.median(moves[:, :3], axis=0)  # the average stays where the beads are
        moves[:, 3] /= np.median(moves[:, 3])
    average = _average(crops, moves, np.median)
    core = _core(average.shape)
    moved = [
        shift(crop, move[:3], order=3, mode="nearest")[core].ravel() for crop, move in zip(crops, moves, strict=True)
    ]
    return moves, average, np.array([np.corrcoef(m, average[core].ravel())[0, 1] for m in moved])


def _average(crops: F8, moves: F8, kind: Callable[..., F8] = np.mean) -> F8:
    """Mean (or median) of the crops (B, Z, N, N) after their moves, each divided by its brightness."""
    moved = [shift(crop, m[:3], order=3, mode="nearest") / m[3] for crop, m in zip(crops, moves, strict=True)]
    return np.asarray(kind(moved, axis=0))


def _core(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The middle of the volume: rims suffer from neighbours and from the shift's edge handling."""
    return (slice(shape[0] // 6, -(shape[0] // 6)), *(slice(n // 6, n - n // 6) for n in shape[1:]))


def _move_onto(average: F8, crop: F8, start: F8) -> F8:
    """Least-squares move (slices, rows, columns, brightness) of one bead onto the average; every 2nd slice."""
    core = _core(average.shape)
    crop = spline_filter(crop, order=3, mode="nearest")
    grid = np.indices(average.shape)[(slice(None), *core)][:, ::2]
    wanted = average[core][::2]

    def residual(move: F8) -> F8:
        at = grid - move[:3, None, None, None]
        return np.asarray(
            (map_coordinates(crop, at, order=3, mode="nearest", prefilter=False) / move[3] - wanted).ravel()
        )

    reach = np.array([len(average) / 4, MAX_MOVE_PX, MAX_MOVE_PX, np.inf])
    bounds = (np.array([*-reach[:3], 1e-3]), reach)
    inside = np.clip(start, bounds[0] + 1e-3, bounds[1] - 1e-3)
    return np.asarray(least_squares(residual, inside, bounds=bounds, x_scale=(1, 0.1, 0.1, 0.1), max_nfev=15).x)


def _centred(average: F8, settings: CalibrationSettings) -> F8:
    """Move the average so that the Gaussian centre of its in-focus slices is the middle pixel."""
    focus, half = round(_focus(settings, len(average))), settings.roi_px // 2
    in_focus = average[max(0, focus - 5) : focus + 6].mean(0)
    window = slice(half - 7, half + 8)
    rows, columns = np.indices(in_focus.shape)

    def gaussian(at: F8, height: float, y: float, x: float, sy: float, sx: float, floor: float) -> F8:
        bell = np.exp(-((at[0] - y) ** 2 / (2 * sy**2) + (at[1] - x) ** 2 / (2 * sx**2)))
        return np.asarray(height * bell + floor)

    at = np.array([rows[window, window].ravel(), columns[window, window].ravel()])
    guess = (in_focus.max(), half, half, 2.0, 2.0, 0.0)
    found, _ = curve_fit(gaussian, at, in_focus[window, window].ravel(), p0=guess)
    return np.asarray(shift(average, (0, half - found[1], half - found[2]), order=3, mode="nearest"))


def _finish(average: F8, settings: CalibrationSettings) -> NDArray[np.float32]:
    """Smooth along z, no light below zero, fade the ROI's outer 3 px to zero, one normalisation for all slices."""
    smooth = gaussian_filter1d(average, settings.smooth_z_nm / settings.dz_nm, axis=0, mode="nearest")
    n = settings.roi_px
    to_rim = np.minimum(np.arange(n), np.arange(n)[::-1])
    fade = np.sin(np.pi / 2 * np.clip((to_rim + 1) / 4, 0, 1)) ** 2
    smooth = np.clip(smooth, 0, None) * np.minimum(fade[:, None], fade[None, :])
    focus = round(_focus(settings, len(average)))
    return np.asarray(smooth / smooth[focus - 1 : focus + 2].sum((1, 2)).mean(), np.float32)
