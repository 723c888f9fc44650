"""PSFs that are slightly wrong, for training: blurred, stretched and turned, so that a model survives a calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rtdecode.core.errors import CalibrationError
from rtdecode.core.yaml_files import StrictModel
from rtdecode.physics.psf import GaussianPsf, Psf, SplinePsf

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_CHUNK = 16  # slices at a time: 88 kB at 37 x 37 px
_Part = Annotated[float, Field(ge=0, le=0.2)]


class PsfJitter(StrictModel):
    """How far each clip's PSF may be from the calibrated one; each value is drawn uniformly within its bound.

    The defaults are what two calibrations of one microscope on two days differ by.
    """

    blur_px: Annotated[float, Field(ge=0, le=0.5)] = 0.3  # largest sigma of a lateral Gaussian blur
    lateral_scale: _Part = 0.03  # wider or narrower by this part
    z_scale: _Part = 0.03
    rotation_deg: Annotated[float, Field(ge=0, le=5)] = 0.0  # about the emitter; a GaussianPsf cannot turn

    def draw(self, rng: np.random.Generator) -> PsfChange:
        """One change; takes four numbers from `rng` whatever the bounds are."""
        blur, lateral, axial, turn = rng.random(), *rng.uniform(-1, 1, 3)
        scales = (1 + lateral * self.lateral_scale, 1 + axial * self.z_scale)
        return PsfChange(blur * self.blur_px, *scales, turn * self.rotation_deg)


@dataclass(frozen=True, slots=True)
class PsfChange:
    """One way of being wrong."""

    blur_px: float = 0.0
    lateral_scale: float = 1.0
    z_scale: float = 1.0
    rotation_deg: float = 0.0


def changed(psf: Psf, change: PsfChange) -> Psf:
    """`psf` after the change, with the same light in all; raises CalibrationError for a PSF of unknown kind.

    A spline of 151 slices of 37 x 37 px takes 1 ms, 2 ms where it turns.
    """
    if isinstance(psf, SplinePsf):
        return _changed_spline(psf, change)
    if isinstance(psf, GaussianPsf):
        return _changed_gaussian(psf, change)
    raise CalibrationError(f"psf_jitter: no way to change a {type(psf).__name__}; leave `psf_jitter` out")


def _changed_gaussian(psf: GaussianPsf, change: PsfChange) -> GaussianPsf:
    """The blur is exact where the spot is smallest, and a little too strong out of focus."""
    low, high = psf.z_limits_nm
    return replace(
        psf,
        psf_sigma_px=float(np.hypot(psf.psf_sigma_px * change.lateral_scale, change.blur_px)),
        gamma_nm=psf.gamma_nm * change.z_scale,
        depth_nm=psf.depth_nm * change.z_scale,
        z_limits_nm=(low * change.z_scale, high * change.z_scale),
    )


def _changed_spline(psf: SplinePsf, change: PsfChange) -> SplinePsf:
    """New coefficients by two products with small matrices, along x and along y.

    Each axis: the spline is sampled where the stretched axis' pixels lie, the samples are filtered to coefficients
    again, and these are mixed with their neighbours, which blurs by exactly sigma (a cubic spline times a kernel of
    variance sigma²). Rotation is two shears, exact to angle² / 2.
    """
    n = psf.roi_px
    shear = np.tan(np.deg2rad(change.rotation_deg))
    along_x, along_y = _axis(n, change, shear), _axis(n, change, -shear)
    light = np.float32(1 / change.lateral_scale**2)  # a wider spot is a dimmer one
    product = _turned if shear else _straight
    coefficients = product(psf.coefficients, along_x, along_y * light)
    return replace(psf, coefficients=coefficients, dz_nm=psf.dz_nm * change.z_scale)


# Both: many small products, not two large ones. For these BLAS starts threads, which on cores that are training
# wait for each other, up to 80 ms; and each new megabyte costs more in page faults than in arithmetic.
def _straight(coefficients: F4, along_x: F4, along_y: F4) -> F4:
    """(Z, Y, X) from (Z, Y, X), (1, X, X), (1, Y, Y)."""
    out = np.empty_like(coefficients)
    for first in range(0, len(out), _CHUNK):
        part = slice(first, first + _CHUNK)
        np.matmul(along_y[0], np.matmul(coefficients[part], along_x[0].T), out=out[part])
    return out


def _turned(coefficients: F4, along_x: F4, along_y: F4) -> F4:
    """(Z, Y, X) from (Z, Y, X), (Y, X, X), (X, Y, Y)."""
    out = np.empty_like(coefficients)
    for first in range(0, len(out), _CHUNK):
        part = slice(first, first + _CHUNK)
        rows = np.matmul(coefficients[part].transpose(1, 0, 2), along_x.transpose(0, 2, 1))  # (Y, z, X)
        out[part] = np.matmul(rows.transpose(2, 1, 0), along_y.transpose(0, 2, 1)).transpose(1, 2, 0)
    return out


def _axis(n: int, change: PsfChange, shear: float) -> F4:
    """(1 or N, N, N): for each line across the axis the matrix from old to new coefficients along it."""
    centre = n // 2
    lines = (np.arange(n) - centre if shear else np.zeros(1))[:, None]
    sampled_at = (np.arange(n) - centre) / change.lateral_scale + centre + shear * lines  # (1 or N, N)
    side = change.blur_px**2 / 2
    blur = (1 - 2 * side) * np.eye(n) + side * _beside(n)
    to_coefficients = np.linalg.inv((4 * np.eye(n) + _beside(n)) / 6)
    return np.asarray(blur @ to_coefficients @ _sampling(sampled_at, n), np.float32)


def _beside(n: int) -> F8:
    """(N, N) ones left and right of the diagonal, mirrored at the ends."""
    beside = np.eye(n, k=1) + np.eye(n, k=-1)
    beside[0, 1] = beside[-1, -2] = 2
    return beside


def _sampling(at: F8, n: int) -> F8:
    """(..., N, n) weights of the n coefficients (mirrored at the ends) in the spline at positions (..., N)."""
    matrix = np.zeros((*at.shape, n))
    cell = np.floor(at).astype(int)
    for step in range(-1, 3):
        k = cell + step
        mirrored = np.abs(k)
        mirrored = np.where(mirrored > n - 1, 2 * (n - 1) - mirrored, mirrored)
        there = np.take_along_axis(matrix, mirrored[..., None], -1)
        np.put_along_axis(matrix, mirrored[..., None], there + _cubic(at - k)[..., None], -1)
    return matrix


def _cubic(t: F8) -> F8:
    """The cubic B-spline at t."""
    t = np.abs(t)
    near, far = 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6
    return np.where(t < 1, near, far)
