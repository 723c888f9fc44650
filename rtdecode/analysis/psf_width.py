"""Whether spots are as wide as a PSF says: both fitted with the same Gaussian, compared over all z at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtdecode.analysis.spot_fits import SIDE, Fits, fit_gaussian
from rtdecode.analysis.spots import HALF_PX
from rtdecode.core.camera import Camera
from rtdecode.physics.psf import Psf

F8 = NDArray[np.float64]
SCALES = np.arange(0.6, 1.605, 0.02)
_FAR = 0.3  # relative distance to the curve at which a spot counts as no spot of this PSF


def psf_curve(psf: Psf, camera: Camera, photons: float, background: float, n: int = 41) -> F8:
    """(n, 2) Gaussian sigmas x and y [px] of the PSF without noise, through its z range."""
    z_nm, centre = np.linspace(*psf.z_range_nm, n), np.full(n, HALF_PX)
    unit = psf.with_derivatives(centre, centre, z_nm, (SIDE, SIDE))[0].astype(np.float64)
    return fit_gaussian(photons * unit + background, camera).parameters[:, 2:4]


def compare_width(sigmas_px: F8, curve_px: F8) -> tuple[float, bool]:
    """Scale by which the curve (K, 2) lies best on the spots' sigmas (N, 2), and whether x and y look exchanged.

    Every spot may have any z, so only its distance to the nearest point of the curve counts.
    """
    spots = np.log(sigmas_px)
    costs = [_distance(spots, np.log(curve_px) + np.log(scale)) for scale in SCALES]
    best = int(np.argmin(costs))
    exchanged = min(_distance(spots, np.log(curve_px[:, ::-1]) + np.log(scale)) for scale in SCALES)
    return _vertex(costs, best), bool(exchanged < 0.7 * costs[best])


def bright_gaussians(fits: Fits) -> F8:
    """(N, 2) sigmas of fits that ended inside their limits with a width known to a fifth."""
    sigmas, errors = fits.parameters[:, 2:4], fits.sigmas[:, 2:4]
    known = (errors < 0.2 * sigmas).all(axis=1) & (sigmas > 0.45).all(axis=1) & (sigmas < 7.9).all(axis=1)
    return sigmas[known]


def _distance(spots: F8, curve: F8) -> float:
    apart = np.hypot(spots[:, None, 0] - curve[:, 0], spots[:, None, 1] - curve[:, 1]).min(axis=1)
    return float(np.minimum(apart, _FAR).mean())


def _vertex(costs: list[float], best: int) -> float:
    """Minimum of the parabola through three costs."""
    step = float(SCALES[1] - SCALES[0])
    if best in (0, len(costs) - 1):
        return float(SCALES[best])
    left, middle, right = costs[best - 1 : best + 2]
    return float(SCALES[best] + step * (left - right) / (2 * (left - 2 * middle + right) + 1e-12))
