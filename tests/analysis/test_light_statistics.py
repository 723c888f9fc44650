"""Background and density from values alone: exact for empty frames and for light that follows the model; maps."""

from __future__ import annotations

import numpy as np
import pytest

from rtdecode.analysis.light_statistics import Light, background_map, mean_shadow, solve, transform
from rtdecode.core.camera import Camera
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.psf import GaussianPsf
from rtdecode.physics.simulate import PhotonConfig, SimulationConfig, simulate_movie

EMCCD = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, em_gain=300, read_noise_e=74.4, spurious_e=0.002)
SCMOS = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.46, read_noise_e=1.6, qe=0.8)
PSF = GaussianPsf(psf_sigma_px=1.3, depth_nm=float("inf"), gamma_nm=0.0)
LIGHT = Light(np.full(400, 1500.0), np.zeros(400))


@pytest.mark.parametrize("camera", [EMCCD, SCMOS], ids=["EMCCD", "sCMOS"])
def test_empty_frames_are_all_background(camera: Camera) -> None:
    adu = adu_from_photons(camera, np.full((200, 32, 32), 60.0), np.random.default_rng(1))
    given = transform(camera.photons(adu), camera, 55.0)
    found = solve(given.minus_log.mean(axis=(1, 2)), given.phi, mean_shadow(PSF, LIGHT, given.phi))
    assert found.background == pytest.approx(60, rel=0.01)
    assert found.density_px < 1e-4


@pytest.mark.parametrize("camera", [EMCCD, SCMOS], ids=["EMCCD", "sCMOS"])
@pytest.mark.parametrize("density", [0.3, 2.0])
def test_background_and_density_come_back(camera: Camera, density: float) -> None:
    config = SimulationConfig(
        density_um2=(density, density), background=(40, 40), photons=PhotonConfig(mean=2000, sd=400)
    )
    movie = simulate_movie(PSF, camera, config, 300, seed=2)
    given = transform(camera.photons(movie.frames_adu[0]), camera, 45.0)
    light = Light(movie.emitters["photons"][:500].astype(np.float64), np.zeros(min(500, len(movie.emitters))))
    found = solve(given.minus_log.mean(axis=(1, 2)), given.phi, mean_shadow(PSF, light, given.phi))
    true = len(movie.emitters) / 300 / 48**2
    assert found.background == pytest.approx(40, rel=0.03)
    assert found.density_px == pytest.approx(true, rel=0.15)
    if density > 1:
        assert np.median(camera.photons(movie.frames_adu)) > 40 * 1.15  # what a median would say


def test_the_map_is_that_of_the_background() -> None:
    config = SimulationConfig(density_um2=(0.5, 0.5), background=(80, 80), background_structure=0.8)
    movie = simulate_movie(PSF, EMCCD, config, 400, seed=5)
    given = transform(EMCCD.photons(movie.frames_adu[0]), EMCCD, 80.0)
    found = background_map(given, mean_shadow(PSF, Light(np.full(400, 4000.0), np.zeros(400)), given.phi))
    assert np.ptp(movie.background) > 20
    assert np.corrcoef(found.ravel(), movie.background[0].ravel())[0, 1] > 0.95
