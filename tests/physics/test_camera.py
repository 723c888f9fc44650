"""The camera's chain: golden number, mean and variance of simulated readings, limits."""

import numpy as np
import pytest

from rtdecode.core.camera import Camera
from rtdecode.physics.camera import CameraVariation, adu_from_photons

EMCCD = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, em_gain=300, read_noise_e=74.4, spurious_e=0.002)
SCMOS = Camera(px_nm=(108, 108), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.5, qe=0.8)


def test_golden_conversion() -> None:
    assert EMCCD.photons(np.array([200], np.uint16))[0] == pytest.approx(14.998, abs=1e-4)


@pytest.mark.parametrize("camera", [EMCCD, SCMOS])
@pytest.mark.parametrize("photons", [0.0, 3.0, 90.0, 2000.0])
def test_readings_agree_in_mean_and_variance(camera: Camera, photons: float) -> None:
    n = 200_000
    adu = adu_from_photons(camera, np.full(n, photons), np.random.default_rng(7))
    back = camera.photons(adu)
    gain = camera.em_gain or 1.0
    step = camera.e_per_adu / gain / camera.qe  # photons of one ADU: floor shifts the mean by half of it
    electrons = photons * camera.qe + camera.spurious_e
    variance = (camera.excess_noise * electrons + (camera.read_noise_e / gain) ** 2) / camera.qe**2 + step**2 / 12
    assert back.mean() == pytest.approx(photons - step / 2, abs=5 * np.sqrt(variance / n))
    assert back.var() == pytest.approx(variance, rel=0.03)


def test_full_scale_and_zero_are_kept() -> None:
    camera = EMCCD.model_copy(update={"full_scale_adu": 4095.0})
    adu = adu_from_photons(camera, np.array([1e5, 0.0]), np.random.default_rng(1))
    assert adu[0] == 4095
    assert adu_from_photons(camera, np.full(1000, -50.0), np.random.default_rng(1)).mean() == pytest.approx(100, abs=1)


def test_differences_name_both_values() -> None:
    other = EMCCD.model_copy(update={"em_gain": 150.0})
    assert EMCCD.differences(other) == {"em_gain": (300.0, 150.0)}
    assert EMCCD.differences(EMCCD) == {}


def test_pixels_differ_as_their_maps_say_and_the_maps_undo_it() -> None:
    maps = CameraVariation(baseline_sd_adu=3, hot_share=0.1).draw(SCMOS, (12, 10), np.random.default_rng(1))
    frames = adu_from_photons(SCMOS, np.full((8000, 12, 10), 50.0), np.random.default_rng(2), maps)
    plain, corrected = SCMOS.photons(frames), SCMOS.photons(frames, maps)
    half_step = maps.e_per_adu / SCMOS.qe / 2
    assert corrected.mean(0) == pytest.approx(50 - half_step, abs=5 * 20 / np.sqrt(8000))
    assert plain.mean(0).std() > 4 * corrected.mean(0).std()
    variance = (50 * SCMOS.qe + maps.read_noise_e**2 + maps.e_per_adu**2 / 12) / SCMOS.qe**2
    assert corrected.var(0) == pytest.approx(variance, rel=0.1)


def test_variation_has_its_spreads_and_its_hot_tail() -> None:
    variation = CameraVariation(hot_share=0.02, hot_times=(3, 10))
    maps = variation.draw(SCMOS, (300, 300), np.random.default_rng(3))
    assert maps.baseline_adu.std() == pytest.approx(1.0, rel=0.05)
    assert (maps.e_per_adu / SCMOS.e_per_adu).std() == pytest.approx(0.01, rel=0.05)
    assert (maps.read_noise_e > 2.5 * SCMOS.read_noise_e).mean() == pytest.approx(0.02, rel=0.2)
    assert np.median(maps.read_noise_e) == pytest.approx(SCMOS.read_noise_e, rel=0.02)
