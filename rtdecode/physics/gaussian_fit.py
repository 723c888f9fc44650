"""An astigmatic Gaussian fitted to the average bead: waist, astigmatism, depth of focus, where the spot is round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rtdecode.core.errors import CalibrationError
from rtdecode.physics.psf import GaussianPsf, SplinePsf

F8 = NDArray[np.float64]
_SLICES, _SIDE_PX = 31, 21  # of a PSF that are fitted at most: the rest says little and costs a minute


def fit_gaussian(psf: SplinePsf) -> GaussianPsf:
    """The astigmatic Gaussian nearest to a measured PSF, over its z range; light and background of slices are free.

    Least squares over all pixels, so that sharp slices weigh most. Whether a Gaussian is good enough is for the
    z-ramp to say. Raises CalibrationError where the fit ends nowhere.
    """
    step = max(1, -(-len(psf.coefficients) // _SLICES))
    half = min(_SIDE_PX, psf.roi_px) // 2
    cut = slice(psf.roi_px // 2 - half, psf.roi_px // 2 + half + 1)
    samples, z = psf.samples()[::step, cut, cut].astype(np.float64), psf.z_of_slices_nm[::step]
    width = _widths(samples)
    waist, span = float(width.min()), float(z[-1] - z[0])
    ends = [
        least_squares(
            _misfit, [waist, sign * span / 6, span / 3, (z[0] + z[-1]) / 2, 0.0, 0.0], args=(samples, z, psf),
            bounds=([0.3, -span, 30, z[0], -2, -2], [8, span, 20 * span, z[-1], 2, 2]),
            x_scale=[0.1, 50, 50, 50, 0.1, 0.1], ftol=1e-6, max_nfev=60,
            diff_step=1e-3,  # images are float32
        )
        for sign in (1, -1)
    ]  # fmt: skip
    best = min(ends, key=lambda end: float(end.cost))
    if best.status < 1:
        raise CalibrationError("no Gaussian fits these beads (the fit did not end); use --kind spline")
    return _psf(best.x, psf)


def _widths(samples: F8) -> F8:
    """(Z,) rough width of each slice in px: that of a round Gaussian of this height and sum."""
    return np.asarray(np.sqrt(samples.sum((1, 2)) / (2 * np.pi * samples.max((1, 2)))))


def _psf(at: F8, psf: SplinePsf) -> GaussianPsf:
    waist, gamma, depth, round_at = (float(v) for v in at[:4])
    return GaussianPsf(waist, gamma, depth, psf.z_range_nm, psf.roi_px, round_at, psf.px_nm)


def _misfit(at: F8, samples: F8, z_nm: F8, psf: SplinePsf) -> F8:
    """(Z * N * N,) what is left of each slice after its best light and background."""
    n, middle = samples.shape[1], samples.shape[1] // 2
    x, y = (np.full(len(z_nm), middle + shift) for shift in at[4:6])
    images = np.zeros((len(z_nm), n, n), np.float32)
    _psf(at, psf).add_to(images, np.arange(len(z_nm)), x, y, z_nm, np.ones(len(z_nm)))
    model = images - images.mean((1, 2), keepdims=True)
    centred = samples - samples.mean((1, 2), keepdims=True)
    light = (model * centred).sum((1, 2), keepdims=True) / ((model**2).sum((1, 2), keepdims=True) + 1e-30)
    return np.asarray((centred - light * model).ravel() / samples.max())
