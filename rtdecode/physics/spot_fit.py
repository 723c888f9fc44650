"""Least-squares fit of a PSF to single spots: position, photons and background of each image, many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.physics.psf import Psf

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_SEEDS = 3  # best heights of the grid that are followed: the global minimum is among them, or the PSF is ambiguous
_STEPS = 25


@dataclass(frozen=True, slots=True)
class SpotFits:
    """Of N images: position in px of the image and nm, light, background per pixel, sum of squared residuals; (N,)."""

    x_px: F8
    y_px: F8
    z_nm: F8
    photons: F8
    background: F8
    cost: F8


def fit_spots(psf: Psf, images: F4, grid_nm: F8, middle_px: tuple[float, float]) -> SpotFits:
    """Fit `psf` to each of (N, H, W) images in any linear unit; all pixels weigh the same.

    Heights of `grid_nm` (G,) are tried at `middle_px` (x, y); Levenberg-Marquardt starts from the best three
    and the best end is kept, so that a wrong branch of z is found only where it fits better.
    """
    starts = _starts(psf, images, grid_nm, middle_px)  # (S, N)
    ends = [_descend(psf, images, z, middle_px) for z in starts]
    best = np.argmin([end[:, 5] for end in ends], axis=0)
    found = np.choose(best[:, None], ends)
    return SpotFits(*found.T)


def _starts(psf: Psf, images: F4, grid_nm: F8, middle_px: tuple[float, float]) -> F8:
    """(3, N) local minima over the grid of the cost with light and background solved for; the best ones first."""
    shape = (images.shape[1], images.shape[2])
    x, y = (np.full(len(grid_nm), v) for v in middle_px)
    models = psf.with_derivatives(x, y, grid_nm, shape)[0]
    models = models.reshape(len(grid_nm), -1) - models.mean((1, 2))[:, None]
    models /= np.linalg.norm(models, axis=1)[:, None]
    match = (images.reshape(len(images), -1) - images.mean((1, 2))[:, None]) @ models.T  # (N, G) projection
    padded = np.pad(match, ((0, 0), (1, 1)), constant_values=-np.inf)
    peak = (match >= padded[:, :-2]) & (match >= padded[:, 2:])
    order = np.argsort(np.where(peak, -match, np.inf), axis=1, kind="stable")[:, :_SEEDS]
    order = np.where(np.take_along_axis(peak, order, 1), order, order[:, :1])
    return np.asarray(grid_nm[order].T)


def _descend(psf: Psf, images: F4, z_nm: F8, middle_px: tuple[float, float]) -> F8:
    """(N, 6) x, y, z, photons, background, cost after Levenberg-Marquardt (Marquardt 1963) from one start each."""
    n, flat = len(images), images.reshape(len(images), -1).astype(np.float64)
    at = np.column_stack([*(np.full(n, v) for v in middle_px), z_nm])
    low, high = psf.z_range_nm
    damping = np.full(n, 1e-2)
    model, slopes = _model(psf, at, images)
    light, residual, cost = _solved(model, flat)
    for _ in range(_STEPS):
        jacobian = _projected(model, slopes * light[:, 0, None, None])  # (N, 3, P): light and background follow
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        steep = np.einsum("nii->ni", normal) + 1e-30
        damped = normal + np.eye(3) * (steep * damping[:, None])[:, None]
        step = np.linalg.solve(damped, (jacobian @ residual[:, :, None]))[:, :, 0]
        trial = at + np.clip(step, [-1, -1, -100], [1, 1, 100])
        trial[:, 2] = np.clip(trial[:, 2], low, high)
        trial[:, :2] = np.clip(trial[:, :2], np.array(middle_px) - 4, np.array(middle_px) + 4)
        new_model, new_slopes = _model(psf, trial, images)
        new_light, new_residual, new_cost = _solved(new_model, flat)
        better = new_cost < cost
        still = better & (cost - new_cost > 1e-7 * cost)
        for old, new in ((at, trial), (model, new_model), (slopes, new_slopes), (light, new_light),
                         (residual, new_residual), (cost, new_cost)):  # fmt: skip
            old[better] = new[better]
        damping = np.clip(np.where(better, damping * 0.2, damping * 8), 1e-9, 1e9)
        if not still.any() and (damping > 1e3).mean() + better.mean() > 0.99:
            break
    return np.column_stack([at, light, cost])


def _model(psf: Psf, at: F8, images: F4) -> tuple[F8, F8]:
    """Unit spots (N, P) and their slopes (N, 3, P) along x, y, z."""
    value, *slopes = psf.with_derivatives(at[:, 0], at[:, 1], at[:, 2], (images.shape[1], images.shape[2]))
    flat = (len(images), -1)
    return value.reshape(flat).astype(np.float64), np.stack([s.reshape(flat) for s in slopes], 1).astype(np.float64)


def _solved(model: F8, flat: F8) -> tuple[F8, F8, F8]:
    """Photons and background (N, 2) that fit best, what they leave (N, P), its sum of squares (N,)."""
    level, centred = flat.mean(1), model - model.mean(1)[:, None]
    photons = (centred * flat).sum(1) / ((centred**2).sum(1) + 1e-30)
    photons = np.maximum(photons, 0.0)
    background = level - photons * model.mean(1)
    residual = flat - photons[:, None] * model - background[:, None]
    return np.column_stack([photons, background]), residual, (residual**2).sum(1)


def _projected(model: F8, slopes: F8) -> F8:
    """Slopes with what photons and background would take up removed (variable projection, Kaufman 1975)."""
    centred = slopes - slopes.mean(2)[:, :, None]
    unit = model - model.mean(1)[:, None]
    unit = unit / (np.linalg.norm(unit, axis=1)[:, None] + 1e-30)
    return np.asarray(centred - (centred @ unit[:, :, None]) * unit[:, None, :])
