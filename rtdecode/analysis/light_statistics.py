"""Background and density of a recording from the distribution of its pixels' values alone: no spot need be found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import nnls

from rtdecode.core.camera import Camera
from rtdecode.physics.crlb import pixel_variance
from rtdecode.physics.psf import Psf

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
STEEPNESS = (0.05, 0.12, 0.25, 0.4, 0.6, 0.8, 1.0)
"""Of the Laplace transform, in standard deviations of the background's noise; beyond 1 noise takes over."""
MAP_SMOOTH_PX = 4.0
_CHUNK = 64  # frames at a time


@dataclass(frozen=True, slots=True)
class Light:
    """Which emitters there are, as far as one pixel feels it: what `mean_shadow` averages over."""

    photons: F8  # (N,) of an emitter in one frame, partial exposures included
    z_nm: F8  # (N,)


@dataclass(frozen=True, slots=True)
class Transform:
    """Minus the log of the Laplace transform of each pixel's values over time, freed of the camera's noise.

    For a pixel with background b under emitters that come at random with density q per pixel,
    `minus_log` = phi * b + q * sum over pixels of E[1 - exp(-phi * photons * PSF)]: Campbell's theorem for shot
    noise, where phi = 1 - exp(-s) for a counting camera and s / (1 + s) behind a multiplying register. Linear in b
    and q, so that its mean over a field of any structure belongs to the mean background and the mean density.
    """

    phi: F8  # (K,) per photon
    minus_log: F8  # (K, H, W)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean background (photons per pixel) and density (emitters per pixel and frame), and how badly they fit."""

    background: float
    density_px: float
    misfit: float  # rms of the transform over phi about the fit, photons per pixel


def transform(photons: F4, camera: Camera, level: float) -> Transform:
    """Of photons (T, H, W), whose background is about `level`."""
    sd = math.sqrt(float(pixel_variance(camera, np.array(level))))
    steepness = np.array(STEEPNESS) / sd  # (K,) per photon
    mean = np.zeros((len(steepness), *photons.shape[1:]))
    for first in range(0, len(photons), _CHUNK):
        part = photons[first : first + _CHUNK]
        for k, s in enumerate(steepness):
            mean[k] += np.exp(-s * (part - level), dtype=np.float64).sum(axis=0)
    log = np.log(np.maximum(mean / len(photons), 1e-300)) - (steepness * level)[:, None, None]
    phi, noise = _camera_terms(camera, steepness)
    return Transform(phi, noise[:, None, None] - log)


def mean_shadow(psf: Psf, light: Light, phi: F8) -> F8:
    """(K,) sum over pixels of E[1 - exp(-phi * photons * PSF)]: the area, in px, that an emitter darkens."""
    side = psf.roi_px + 2
    rng = np.random.default_rng(0)
    at = side // 2 + rng.uniform(-0.5, 0.5, (2, len(light.photons)))
    spots = psf.with_derivatives(at[0], at[1], light.z_nm, (side, side))[0]  # (N, side, side)
    expected = np.maximum(light.photons[:, None, None] * spots, 0)
    return np.array([float((1 - np.exp(-p * expected)).sum(axis=(1, 2)).mean()) for p in phi])


def solve(curve: F8, phi: F8, shadow: F8) -> Statistics:
    """Background and density from a mean transform (K,); neither is negative."""
    design = np.column_stack([np.ones(len(phi)), shadow / phi])
    found, rest = nnls(design, curve / phi)
    return Statistics(float(found[0]), float(found[1]), float(rest / math.sqrt(len(phi))))


def background_map(given: Transform, shadow: F8, smooth_px: float = MAP_SMOOTH_PX) -> F8:
    """(H, W) photons per pixel: `solve` at each pixel, the transform smoothed first."""
    phi = given.phi
    design = np.column_stack([np.ones(len(phi)), shadow / phi])
    weights = np.linalg.pinv(design)[0] / phi  # (K,)
    return np.asarray(gaussian_filter(np.einsum("k,khw->hw", weights, given.minus_log), smooth_px, mode="nearest"))


def _camera_terms(camera: Camera, steepness: F8) -> tuple[F8, F8]:
    """phi (K,) of one photon, and the log transform of what comes without light: read noise, spurious charge."""
    s = steepness / camera.qe  # per electron
    one = s / (1 + s) if camera.em_gain else 1 - np.exp(-s)
    read_e = camera.read_noise_e / (camera.em_gain or 1.0)
    return camera.qe * one, s**2 * read_e**2 / 2 + camera.spurious_e * (s - one)
