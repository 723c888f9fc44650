"""Cramér-Rao lower bounds: how precisely any estimator could place an emitter from a single frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.core.camera import Camera
from rtdecode.physics.psf import Psf

F8 = NDArray[np.float64]
_CHUNK = 256  # emitters at a time: 256 patches of 39 x 39 with five derivatives are 16 MB


@dataclass(frozen=True, slots=True)
class Bounds:
    """Smallest possible standard deviation of each estimate, each (N,); inf where the frame tells nothing."""

    x_nm: F8
    y_nm: F8
    z_nm: F8
    photons: F8
    background: F8

    @property
    def radial_nm(self) -> F8:
        """(N,) sqrt(var x + var y): the bound that belongs to a radial lateral RMSE."""
        return np.hypot(self.x_nm, self.y_nm)


def crlb(
    psf: Psf,
    camera: Camera,
    x_nm: ArrayLike,
    y_nm: ArrayLike,
    z_nm: ArrayLike,
    photons: ArrayLike,
    background: ArrayLike,
    shape: tuple[int, int],
) -> Bounds:
    """Bounds for N emitters, each alone in a frame of `shape` (rows, columns); arguments broadcast to (N,).

    Parameters are x, y, z, photons and background (photons per pixel), all unknown: Fisher information
    I_ab = sum over pixels of (d_a mu)(d_b mu) / variance, mu = photons * PSF + background (decode-method §8), over
    the PSF's ROI as far as it lies in the frame. The variance of a pixel is that of the camera: shot noise times the
    multiplication's excess (2 with EM gain: bounds grow by sqrt 2), spurious charge and read noise.
    An estimator that sees an emitter in several frames can do better than its bound in one.
    """
    columns = (x_nm, y_nm, z_nm, photons, background)
    given = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, np.float64)) for v in columns))
    x, y, z, n_photons, level = (np.asarray(v, np.float64) for v in given)
    x_px, y_px = x / camera.px_nm[0], y / camera.px_nm[1]
    sd = np.empty((len(x), 5))
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        fisher = _fisher(psf, camera, x_px[part], y_px[part], z[part], n_photons[part], level[part], shape)
        sd[part] = _standard_deviations(fisher)
    return Bounds(sd[:, 0] * camera.px_nm[0], sd[:, 1] * camera.px_nm[1], sd[:, 2], sd[:, 3], sd[:, 4])


def _fisher(
    psf: Psf, camera: Camera, x_px: F8, y_px: F8, z_nm: F8, photons: F8, background: F8, shape: tuple[int, int]
) -> F8:
    """(n, 5, 5) information on x [px], y [px], z [nm], photons, background."""
    size = psf.roi_px + 2
    column, row = np.rint(x_px).astype(int) - size // 2, np.rint(y_px).astype(int) - size // 2  # (n,) patch corner
    value, d_x, d_y, d_z = psf.with_derivatives(x_px - column, y_px - row, z_nm, (size, size))  # (n, s, s)
    rows, columns = row[:, None] + np.arange(size), column[:, None] + np.arange(size)
    in_rows, in_columns = (rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1])
    seen = (in_rows[:, :, None] & in_columns[:, None, :]).reshape(len(x_px), -1)  # (n, s * s)
    slopes = np.stack([d_x, d_y, d_z, value, np.ones_like(value)], axis=1).astype(np.float64)
    slopes = slopes.reshape(len(x_px), 5, -1)  # (n, 5, s * s)
    slopes[:, :3] *= photons[:, None, None]
    expected = photons[:, None] * slopes[:, 3] + background[:, None]
    weight = np.where(seen, 1.0 / pixel_variance(camera, expected), 0.0)
    return np.asarray((slopes * weight[:, None]) @ slopes.transpose(0, 2, 1))


def pixel_variance(camera: Camera, expected_photons: F8) -> F8:
    """Variance of a pixel's reading, in photons squared; floored at 1e-6 so that a dark pixel stays finite."""
    shot = camera.excess_noise * (np.maximum(expected_photons, 0.0) * camera.qe + camera.spurious_e)
    read = (camera.read_noise_e / (camera.em_gain or 1.0)) ** 2
    return np.maximum((shot + read) / camera.qe**2, 1e-6)


def _standard_deviations(fisher: F8) -> F8:
    """(n, 5) square roots of the diagonal of the inverse of (n, 5, 5); inf where a parameter has no information.

    Scaled to a unit diagonal first: photons and nanometres differ by orders of magnitude. A parameter without
    any information (z of a 2D PSF) is left out, and does not spoil the others.
    """
    scale = np.sqrt(np.einsum("naa->na", fisher))  # (n, 5)
    blind = scale <= 1e-12 * scale.max(axis=1, keepdims=True)
    safe = np.where(blind, 1.0, scale)
    unit = fisher / (safe[:, :, None] * safe[:, None, :])
    unit = np.where(blind[:, :, None] | blind[:, None, :], 0.0, unit)
    unit += np.eye(5) * (1e-12 + blind[:, :, None])
    variance = np.einsum("naa->na", np.linalg.inv(unit))
    known = ~blind & (variance > 0) & (variance < 1e9)
    return np.where(known, np.sqrt(np.abs(variance)) / safe, np.inf)
