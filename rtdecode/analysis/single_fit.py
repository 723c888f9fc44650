"""The floor: one emitter for each local maximum, its PSF fitted by weighted least squares; no network, no overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.signal import oaconvolve
from scipy.spatial import cKDTree

from rtdecode.core.camera import Camera
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.physics.crlb import pixel_variance
from rtdecode.physics.psf import Psf, SplinePsf
from rtdecode.physics.spline import value_and_slopes

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
Frames = NDArray[np.uint16]
_CHUNK = 128  # frames at a time: the filter bank's answer to 128 frames of 64 x 64 is 20 MB


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How maxima are found and fits are kept.

    The defaults are a compromise found by hand, with 19 settings tried on one movie each of 0.2 and 1 per um^2 and on
    lone emitters of 5,000 photons (challenge's PSF): sides of 17 / 13 / 11 px gave z errors of 1.24 / 1.64 / 1.82
    bounds for lone emitters within 600 nm of focus, and 3D efficiencies of 0.15 / 0.22 / 0.23 at 0.2 per um^2.
    """

    roi_px: int = 13  # side of the fitted square
    z_step_nm: float = 150.0  # between the filter's templates, which are also the fit's starts
    min_snr: float = 7.0  # of the filtered maximum
    apart_px: int = 2  # a maximum is the highest within this many pixels on each side
    moved_px: float = 3.0  # how far a fit may go from its maximum
    max_chi2: float = 5.0  # weighted, for each degree of freedom: above, it was not one emitter
    same_nm: float = 150.0  # fits closer than this are one; the one with the smaller chi2 stays
    iterations: int = 40


@dataclass(frozen=True, slots=True)
class Candidates:
    """Local maxima, each (N,): frame, row and column."""

    frame: I8
    row: I8
    column: I8


class SingleEmitterFit:
    """Localizations of frames: maxima of a matched filter, each fitted with x, y, z, photons, background.

    Levenberg-Marquardt on sum (reading - model)^2 / variance, the variance being the camera's at the model's own
    light (renewed at every step): so it is unbiased, and efficient for one emitter in its square, with EM gain too.
    Sigmas are the fit's own, from the curvature. Every frame by itself. The PSF is evaluated as a cubic spline.
    """

    def __init__(self, psf: Psf, camera: Camera, settings: FitSettings = FitSettings()) -> None:
        self._psf = psf if isinstance(psf, SplinePsf) else as_spline(psf, camera.px_nm)
        self._camera, self._settings = camera, settings
        low, high = self._psf.z_range_nm
        n = max(1, round((high - low) / settings.z_step_nm))
        several = n > 1 and psf.tells_z
        self._z_nm = np.linspace(low, high, n + 1)[1:-1] if several else np.array([0.0])  # (K,)
        self._bank = _templates(self._psf, self._z_nm, settings.roi_px)  # (K, roi, roi)

    def __call__(self, frames_adu: Frames) -> Localizations:
        """Localizations of (n, H, W) ADU frames, numbered from 0."""
        parts = []
        for first in range(0, len(frames_adu), _CHUNK):
            photons = self._camera.photons(frames_adu[first : first + _CHUNK])
            found = self.fit(photons, self.maxima(photons))
            found["frame_index"] += first
            parts.append(Localizations.from_records(found))
        return Localizations.concatenate(parts)

    def maxima(self, photons: F4) -> Candidates:
        """Where the signal-to-noise ratio of the best template is a local maximum above `min_snr`."""
        smooth = gaussian_filter(photons, (0, 3, 3))
        variance = pixel_variance(self._camera, smooth.astype(np.float64)).astype(np.float32)
        snr = np.full(photons.shape, -np.inf, np.float32)
        half = self._settings.roi_px // 2
        image, noise = (np.pad(v, ((0, 0), (half, half), (half, half)), mode="reflect") for v in (photons, variance))
        for template in self._bank:
            signal = oaconvolve(image, template[None, ::-1, ::-1], mode="valid", axes=(1, 2))
            spread = oaconvolve(noise, template[None, ::-1, ::-1] ** 2, mode="valid", axes=(1, 2))
            snr = np.maximum(snr, signal / np.sqrt(np.maximum(spread, 1e-12)))
        side = 2 * self._settings.apart_px + 1
        peak = (snr == maximum_filter(snr, (1, side, side), mode="nearest")) & (snr > self._settings.min_snr)
        return Candidates(*(axis.astype(np.int64) for axis in np.nonzero(peak)))

    def fit(self, photons: F4, at: Candidates) -> NDArray[np.void]:
        """(M,) LOCALIZATION_DTYPE of the fits that are kept, by frame; photons (n, H, W)."""
        settings, height, width = self._settings, *photons.shape[1:]
        roi = min(settings.roi_px, height, width)
        top = np.clip(at.row - roi // 2, 0, height - roi)
        left = np.clip(at.column - roi // 2, 0, width - roi)
        per_photon, dark = self._noise((height, width))
        z_slices = self._z_nm / self._psf.dz_nm + self._psf.z0_index
        estimate, sigma, chi2 = _fit_all(
            np.ascontiguousarray(photons, np.float32),
            *(at.frame, top, left, at.row - top, at.column - left, roi),
            *(self._psf.coefficients, z_slices, per_photon, dark, settings.moved_px, settings.iterations),
        )  # (N, 5), (N, 5), (N,)
        estimate[:, 0] += left
        estimate[:, 1] += top
        records = self._records(at.frame, estimate, sigma)
        kept = np.flatnonzero(self._believed(estimate, sigma, chi2, at, len(self._psf.coefficients)))
        kept = kept[_first_of_same(records[kept], chi2[kept], settings.same_nm)]
        return records[np.sort(kept)]

    def _noise(self, shape: tuple[int, int]) -> tuple[float, F8]:
        """Variance that each expected photon adds, and (H, W) without any light."""
        one, two = (pixel_variance(self._camera, np.full(shape, n)) for n in (1.0, 2.0))
        return float((two - one).mean()), np.ascontiguousarray(np.maximum(2 * one - two, 1e-6))

    def _believed(self, estimate: F8, sigma: F8, chi2: F8, at: Candidates, n_slices: int) -> NDArray[np.bool_]:
        """(N,) fits that ended inside their limits, alone, and with more photons than three sigmas."""
        moved = np.maximum(np.abs(estimate[:, 0] - at.column), np.abs(estimate[:, 1] - at.row))
        inside = (estimate[:, 2] > 0.01) & (estimate[:, 2] < n_slices - 1.01)
        good = np.isfinite(chi2) & (chi2 < self._settings.max_chi2) & (sigma[:, 0] > 0)
        return np.asarray(good & inside & (moved < self._settings.moved_px) & (estimate[:, 3] > 3 * sigma[:, 3]))

    def _records(self, frame: I8, estimate: F8, sigma: F8) -> NDArray[np.void]:
        """x, y in px and z in slices become nm."""
        out = np.zeros(len(frame), LOCALIZATION_DTYPE)
        (px_x, px_y), dz = self._camera.px_nm, self._psf.dz_nm
        out["frame_index"], out["probability"] = frame, 1.0
        out["x_nm"], out["y_nm"] = estimate[:, 0] * px_x, estimate[:, 1] * px_y
        out["z_nm"] = (estimate[:, 2] - self._psf.z0_index) * dz
        out["photons"], out["background"] = estimate[:, 3], estimate[:, 4]
        for i, (name, unit) in enumerate((("x_nm", px_x), ("y_nm", px_y), ("z_nm", dz), ("photons", 1.0))):
            out[f"sigma_{name}"] = sigma[:, i] * unit
        return out


def as_spline(psf: Psf, px_nm: tuple[float, float], dz_nm: float = 20.0) -> SplinePsf:
    """A spline through another PSF's values at whole pixels, every `dz_nm`."""
    low, high = psf.z_range_nm
    z = np.linspace(low, high, max(4, round((high - low) / dz_nm) + 1))
    side = psf.roi_px
    value = psf.with_derivatives(np.full(len(z), side // 2), np.full(len(z), side // 2), z, (side, side))[0]
    step = float(z[1] - z[0])
    return SplinePsf.from_samples(value, step, -low / step, px_nm)


def _templates(psf: SplinePsf, z_nm: F8, roi_px: int) -> F4:
    """(K, roi, roi): the PSF at each z less its mean, of unit norm."""
    centre = np.full(len(z_nm), roi_px // 2)
    value = psf.with_derivatives(centre, centre, z_nm, (roi_px, roi_px))[0]
    value = value - value.mean(axis=(1, 2), keepdims=True)
    return np.asarray(value / np.sqrt((value**2).sum(axis=(1, 2), keepdims=True)), np.float32)


def _first_of_same(records: NDArray[np.void], chi2: F8, same_nm: float) -> NDArray[np.intp]:
    """Rows that stay when of two fits of one frame closer than `same_nm` the better one stays."""
    far = records["frame_index"] * (10.0 * same_nm)
    place = np.column_stack([records["x_nm"], records["y_nm"], far]).astype(np.float64)
    stays = np.ones(len(records), bool)
    pairs = cKDTree(place).query_pairs(same_nm, output_type="ndarray") if len(records) else np.empty((0, 2), int)
    for a, b in pairs[np.argsort(chi2[pairs].min(axis=1), kind="stable")]:
        if stays[a] and stays[b]:
            stays[a if chi2[a] > chi2[b] else b] = False
    return np.flatnonzero(stays)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fit_all(
    photons: F4,
    frame: I8,
    top: I8,
    left: I8,
    row: I8,
    column: I8,
    roi: int,
    coefficients: F4,
    z_slices: F8,
    per_photon: float,
    dark: F8,
    moved_px: float,
    iterations: int,
) -> tuple[F8, F8, F8]:
    """Estimates and sigmas (N, 5) of x, y [px in the square], z [slices], photons, background; chi2 (N,)."""
    n = len(frame)
    estimate, sigma, chi2 = np.zeros((n, 5)), np.zeros((n, 5)), np.full(n, np.inf)
    n_y, n_x = coefficients.shape[1:]
    spot = np.empty((4, roi, roi), np.float32)
    mixed, rows, w = np.empty((n_y, n_x), np.float32), np.empty((n_y + 4, n_x + 4), np.float32), np.empty(4)
    for k in range(n):
        patch = photons[frame[k], top[k] : top[k] + roi, left[k] : left[k] + roi]
        noise = dark[top[k] : top[k] + roi, left[k] : left[k] + roi]
        misfit, starts = np.empty(len(z_slices)), np.empty((len(z_slices), 5))
        for s in range(len(z_slices)):
            value_and_slopes(coefficients, row[k], column[k], z_slices[s], spot, mixed, rows, w)
            light, level, misfit[s] = _line(spot[0], patch)
            starts[s] = np.array([float(column[k]), float(row[k]), z_slices[s], max(light, 50.0), max(level, 1.0)])
        for s in np.argsort(misfit)[:2]:
            low = starts[s] - np.array([moved_px, moved_px, 1e9, 1e9, 1e9])
            high = starts[s] + np.array([moved_px, moved_px, 1e9, 1e9, 1e9])
            low[2], high[2], low[3], low[4] = 0.0, len(coefficients) - 1.0, 1.0, 0.0
            found, spread, cost = _descend(
                patch, noise, per_photon, starts[s], low, high, iterations, coefficients, spot, mixed, rows, w
            )
            if cost < chi2[k]:
                estimate[k], sigma[k], chi2[k] = found, spread, cost
    return estimate, sigma, chi2 / (roi * roi - 5)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _line(value: F4, patch: F4) -> tuple[float, float, float]:
    """Photons and background that fit `patch` best with this shape, and the sum of squares that is left."""
    a, b = value.mean(), patch.mean()
    covariance = ((value - a) * (patch - b)).sum()
    light = covariance / max(((value - a) ** 2).sum(), 1e-12)
    return light, b - light * a, ((patch - b - light * (value - a)) ** 2).sum()


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _descend(
    patch: F4,
    noise: F8,
    per_photon: float,
    start: F8,
    low: F8,
    high: F8,
    iterations: int,
    coefficients: F4,
    spot: F4,
    mixed: F4,
    rows: F4,
    w: F8,
) -> tuple[F8, F8, float]:
    """Levenberg-Marquardt from `start`: estimate, sigmas (5,) and weighted sum of squares.

    Ends when a step is below a thousandth of every sigma. A parameter without information (z of a 2D PSF) stays,
    with sigma 0.
    """
    here, damping = start.copy(), 1e-2
    value_and_slopes(coefficients, here[1], here[0], here[2], spot, mixed, rows, w)
    curve, slope, weight = _normal(patch, noise, per_photon, here, spot)
    for _ in range(iterations):
        cost = _cost(patch, weight, here, spot[0])
        damped = curve.copy()
        for a in range(5):
            damped[a, a] *= 1.0 + damping
        there = np.minimum(np.maximum(here + np.linalg.solve(damped, slope), low), high)
        value_and_slopes(coefficients, there[1], there[0], there[2], spot, mixed, rows, w)
        if not _cost(patch, weight, there, spot[0]) <= cost:
            damping *= 8.0
            value_and_slopes(coefficients, here[1], here[0], here[2], spot, mixed, rows, w)
            if damping > 1e8:
                break
            continue
        still = True
        for a in range(5):
            still = still and abs(there[a] - here[a]) ** 2 * curve[a, a] < 1e-6
        here, damping = there, max(damping / 8.0, 1e-9)
        curve, slope, weight = _normal(patch, noise, per_photon, here, spot)
        if still:
            break
    sigma = np.sqrt(np.maximum(np.diag(np.linalg.inv(curve)), 0.0))
    if slope[2] == 0.0 and curve[2, 2] == 1.0:
        sigma[2] = 0.0
    return here, sigma, _cost(patch, weight, here, spot[0])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _normal(patch: F4, noise: F8, per_photon: float, at: F8, spot: F4) -> tuple[F8, F8, F8]:
    """Curvature (5, 5) and slope (5,) of half the weighted sum of squares, and the weights (n, n)."""
    n = len(patch)
    curve, slope, weight, d = np.zeros((5, 5)), np.zeros(5), np.empty((n, n)), np.empty(5)
    for i in range(n):
        for j in range(n):
            expected = at[3] * spot[0, i, j] + at[4]
            weight[i, j] = 1.0 / (noise[i, j] + per_photon * max(expected, 0.0))
            d[0], d[1], d[2] = at[3] * spot[1, i, j], at[3] * spot[2, i, j], at[3] * spot[3, i, j]
            d[3], d[4] = spot[0, i, j], 1.0
            for a in range(5):
                slope[a] += weight[i, j] * d[a] * (patch[i, j] - expected)
                for b in range(a + 1):
                    curve[a, b] += weight[i, j] * d[a] * d[b]
    for a in range(5):
        for b in range(a):
            curve[b, a] = curve[a, b]
    # A 2D PSF's slope along z is float32's rounding: 1e-7 of the light; a real one's is above 1e-4, but at one z.
    rounding = 1e-11 * at[3] ** 2 * curve[3, 3]
    for a in range(5):
        if not curve[a, a] > (max(rounding, 1e-12) if a == 2 else 1e-12):  # tells nothing: decoupled
            curve[a, :], curve[:, a], slope[a] = 0.0, 0.0, 0.0
            curve[a, a] = 1.0
        else:
            curve[a, a] *= 1.0 + 1e-9
    return curve, slope, weight


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cost(patch: F4, weight: F8, at: F8, value: F4) -> float:
    total = 0.0
    for i in range(len(patch)):
        for j in range(len(patch)):
            total += weight[i, j] * (patch[i, j] - at[3] * value[i, j] - at[4]) ** 2
    return total
