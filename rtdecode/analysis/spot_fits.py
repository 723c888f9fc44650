"""Isolated spots fitted many at a time by weighted least squares, with a PSF (x, y, z) or with a Gaussian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from rtdecode.analysis.spots import HALF_PX
from rtdecode.core.camera import Camera
from rtdecode.physics.crlb import pixel_variance
from rtdecode.physics.psf import Psf

F8 = NDArray[np.float64]
Model = Callable[[F8], tuple[F8, F8]]  # parameters (N, P) -> values (N, S, S), derivatives (N, P, S, S)
SIDE = 2 * HALF_PX + 1
_STEPS = 20
_Z_STARTS = 7
_MOVED_PX = 3.0  # how far a fit may go from the crop's middle
_SIGMAS_PX = (0.4, 8.0)


@dataclass(frozen=True, slots=True)
class Fits:
    """N fits; chi2 is for each degree of freedom, 1 on average where model and noise are right."""

    parameters: F8  # (N, P)
    sigmas: F8  # (N, P), standard deviations; 0 for what the crop does not tell
    chi2: F8  # (N,)

    def where(self, chosen: NDArray[np.bool_]) -> Fits:
        """Some of them."""
        return Fits(self.parameters[chosen], self.sigmas[chosen], self.chi2[chosen])


def fit_psf(crops: F8, camera: Camera, psf: Psf) -> Fits:
    """x_px, y_px (in the crop), z_nm, photons, background of crops (N, 15, 15); starts from the best of seven z."""
    model, (low_nm, high_nm) = _psf_model(psf), psf.z_range_nm
    low = np.array([HALF_PX - _MOVED_PX, HALF_PX - _MOVED_PX, low_nm, 1.0, 0.0])
    high = np.array([HALF_PX + _MOVED_PX, HALF_PX + _MOVED_PX, high_nm, np.inf, np.inf])
    return _descend(model, _starts(crops, model, low_nm, high_nm), crops, camera, low, high)


def fit_gaussian(crops: F8, camera: Camera) -> Fits:
    """x_px, y_px, sigma x and y [px], photons, background of crops (N, 15, 15); pixel-integrated."""
    level = np.median(crops[:, [0, -1]], axis=(1, 2))
    light = np.maximum((crops - level[:, None, None]).sum(axis=(1, 2)), 50.0)
    start = np.column_stack([np.full((len(crops), 2), HALF_PX), np.full((len(crops), 2), 1.6), light, level])
    edge = [HALF_PX - _MOVED_PX] * 2 + [_SIGMAS_PX[0]] * 2 + [1.0, 0.0]
    far = [HALF_PX + _MOVED_PX] * 2 + [_SIGMAS_PX[1]] * 2 + [np.inf, np.inf]
    return _descend(gaussian_model, start, crops, camera, np.array(edge), np.array(far))


def gaussian_model(parameters: F8) -> tuple[F8, F8]:
    """Values (N, 15, 15) and derivatives (N, 6, 15, 15) of x, y, sigma x, sigma y, photons, background."""
    x, y, wide, high, photons, level = parameters.T
    along_x, by_x, by_wide = _profile(x, wide)
    along_y, by_y, by_high = _profile(y, high)
    light, unit = photons[:, None, None], along_y[:, :, None] * along_x[:, None, :]
    slopes = (
        light * along_y[:, :, None] * by_x[:, None, :],
        light * by_y[:, :, None] * along_x[:, None, :],
        light * along_y[:, :, None] * by_wide[:, None, :],
        light * by_high[:, :, None] * along_x[:, None, :],
        unit,
        np.ones_like(unit),
    )
    return light * unit + level[:, None, None], np.stack(slopes, axis=1)


def _profile(at_px: F8, width_px: F8) -> tuple[F8, F8, F8]:
    """Share of each pixel of a line (N, 15), and its derivatives with respect to place and width."""
    edges = np.arange(SIDE + 1) - 0.5 - at_px[:, None]  # (N, 16)
    scaled = edges / width_px[:, None]
    height = np.exp(-(scaled**2) / 2) / (np.sqrt(2 * np.pi) * width_px[:, None])
    share = 0.5 * np.diff(erf(scaled / np.sqrt(2)), axis=1)
    return share, -np.diff(height, axis=1), -np.diff(height * scaled, axis=1)


def _psf_model(psf: Psf) -> Model:
    def model(parameters: F8) -> tuple[F8, F8]:
        x, y, z, photons, level = parameters.T
        unit, d_x, d_y, d_z = (v.astype(np.float64) for v in psf.with_derivatives(x, y, z, (SIDE, SIDE)))
        light = photons[:, None, None]
        slopes = (light * d_x, light * d_y, light * d_z, unit, np.ones_like(unit))
        return light * unit + level[:, None, None], np.stack(slopes, axis=1)

    return model


def _starts(crops: F8, model: Model, low_nm: float, high_nm: float) -> F8:
    """(N, 5): of a grid in z the one that fits best, where photons and background follow by linear least squares."""
    best, least = np.zeros((len(crops), 5)), np.full(len(crops), np.inf)
    middle = crops - crops.mean(axis=(1, 2), keepdims=True)
    for z_nm in np.linspace(low_nm, high_nm, _Z_STARTS + 2)[1:-1]:
        tried = np.tile([HALF_PX, HALF_PX, z_nm, 1.0, 0.0], (len(crops), 1))
        unit, _ = model(tried)
        shape = unit - unit.mean(axis=(1, 2), keepdims=True)
        tried[:, 3] = np.maximum((shape * middle).sum(axis=(1, 2)) / (shape**2).sum(axis=(1, 2)), 10.0)
        tried[:, 4] = np.maximum(crops.mean(axis=(1, 2)) - tried[:, 3] * unit.mean(axis=(1, 2)), 0.1)
        cost = ((middle - tried[:, 3, None, None] * shape) ** 2).sum(axis=(1, 2))
        better = cost < least
        best[better], least[better] = tried[better], cost[better]
    return best


def _descend(model: Model, start: F8, crops: F8, camera: Camera, low: F8, high: F8) -> Fits:
    """Levenberg-Marquardt; the variance is the camera's at the model's own light, renewed with every good step."""
    here = np.clip(start, low, high)
    value, slopes = model(here)
    weight = 1 / pixel_variance(camera, value)
    damping = np.full(len(here), 1e-2)
    for _ in range(_STEPS):
        there = np.clip(here + _step(crops - value, slopes, weight, damping), low, high)
        new_value, new_slopes = model(there)
        better = _cost(crops, new_value, weight) < _cost(crops, value, weight)
        here[better], value[better], slopes[better] = there[better], new_value[better], new_slopes[better]
        weight[better] = 1 / pixel_variance(camera, value[better])
        damping = np.where(better, damping / 6, damping * 8)
    chi2 = _cost(crops, value, weight) / (SIDE**2 - here.shape[1])
    return Fits(here, _sigmas(slopes, weight), chi2)


def _cost(crops: F8, value: F8, weight: F8) -> F8:
    return np.asarray((weight * (crops - value) ** 2).sum(axis=(1, 2)))


def _step(apart: F8, slopes: F8, weight: F8, damping: F8) -> F8:
    """(N, P); scaled to a unit diagonal, since photons and nanometres differ by orders of magnitude."""
    curve, scale = _curvature(slopes, weight)
    pull = np.einsum("npij,nij->np", slopes, weight * apart) / scale
    damped = curve + (damping[:, None] + 1e-9)[..., None] * np.eye(curve.shape[1])
    return np.asarray(np.linalg.solve(damped, pull[..., None])[..., 0] / scale)


def _curvature(slopes: F8, weight: F8) -> tuple[F8, F8]:
    """(N, P, P) normal matrix of unit diagonal, and the (N, P) square roots of its own."""
    flat = slopes.reshape(*slopes.shape[:2], -1) * np.sqrt(weight.reshape(len(weight), 1, -1))
    curve = flat @ flat.transpose(0, 2, 1)
    scale = np.sqrt(np.einsum("npp->np", curve)) + 1e-12
    return curve / (scale[:, :, None] * scale[:, None, :]), scale


def _sigmas(slopes: F8, weight: F8) -> F8:
    curve, scale = _curvature(slopes, weight)
    blind = scale < 1e-9
    inverse = np.linalg.inv(curve + (1e-9 + blind)[:, :, None] * np.eye(curve.shape[1]))
    return np.where(blind, 0.0, np.sqrt(np.abs(np.einsum("npp->np", inverse))) / scale)
