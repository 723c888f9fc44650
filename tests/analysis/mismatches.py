"""Simulated recordings for the shipped model, right ones and wrong ones, localized by it."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtdecode.analysis.doubts import Trained
from rtdecode.analysis.model_check import ModelCheck, check_model
from rtdecode.core.camera import Camera
from rtdecode.core.config import EngineConfig
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import Fitter
from rtdecode.physics.psf import Psf, SplinePsf
from rtdecode.physics.simulate import PhotonConfig, SimulationConfig, simulate_movie

BUNDLE = ModelBundle.load("astigmatic-light")
PSF, CAMERA = SplinePsf.load(BUNDLE.psf_path), BUNDLE.camera
TRAINED = Trained((100, 25000), (30, 225), (0, 3), (-750, 750))  # photons, background, density, z


def movie(
    psf: Psf = PSF, n: int = 150, density: float = 0.5, background: float = 90.0, photons: float = 6000.0,
    seed: int = 1, z_nm: tuple[float, float] = (-700.0, 700.0),
) -> np.ndarray:  # fmt: skip
    """(n, 64, 64) uint16 ADU of the shipped camera."""
    config = SimulationConfig(
        shape_px=(64, 64), density_um2=(density, density), background=(background, background),
        photons=PhotonConfig(mean=photons, sd=0.3 * photons), z_nm=z_nm,
    )  # fmt: skip
    return simulate_movie(psf, CAMERA, config, n, seed).frames_adu[0]


def localized(frames: np.ndarray, camera: Camera = CAMERA) -> Localizations:
    """By the shipped model, which is told that `camera` took the frames."""
    engine = engines.build(EngineConfig(threads=1), BUNDLE)
    fitter = Fitter(BUNDLE, engine, Roi(0, 0, frames.shape[2], frames.shape[1]), camera, allow_camera_mismatch=True)
    done = [one for t, pixels in enumerate(frames) for one in fitter.push(Frame(FrameInfo(t, 0, 0), pixels))]
    return Localizations.concatenate(one.localizations for one in [*done, *fitter.finish()])


def checked(frames: np.ndarray, camera: Camera = CAMERA, fitted: int | None = None, **fields: Any) -> ModelCheck:
    """As `rtdecode check-model` does it; only the first `fitted` frames localized where noise is all that counts."""
    return check_model(frames, localized(frames[:fitted], camera), camera, PSF, TRAINED, **fields)


def reversed_in_z(psf: SplinePsf) -> SplinePsf:
    """The PSF of beads whose stack was taken in the other direction."""
    coefficients = np.ascontiguousarray(psf.coefficients[::-1])
    return SplinePsf(coefficients, psf.dz_nm, len(coefficients) - 1 - psf.z0_index, psf.px_nm)


def turned(psf: SplinePsf) -> SplinePsf:
    """x for y."""
    coefficients = np.ascontiguousarray(psf.coefficients.transpose(0, 2, 1))
    return SplinePsf(coefficients, psf.dz_nm, psf.z0_index, psf.px_nm)
