"""Cameras measured from their own simulated frames: gain, read noise, baseline, maps; bad stacks refused by name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.errors import CalibrationError
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.photon_transfer import Moments, estimate_camera

EMCCD = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, em_gain=300, read_noise_e=74.4, spurious_e=0.001)
SCMOS = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.46, read_noise_e=1.6)
SHAPE = (24, 24)


def frames(camera: Camera, light: NDArray[np.floating] | float, n: int, seed: int) -> NDArray[np.uint16]:
    return adu_from_photons(camera, np.zeros((n, *SHAPE)) + light, np.random.default_rng(seed))


def moments(camera: Camera, light: NDArray[np.floating] | float, n: int, seed: int) -> Moments:
    return Moments.of(iter(frames(camera, light, n, seed)), f"stack {seed}")


def mapped(maps: CameraMaps, light: float, n: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint16]]:
    """An sCMOS whose every pixel is another one."""
    for _ in range(n):
        electrons = rng.poisson(light, SHAPE) + maps.read_noise_e * rng.standard_normal(SHAPE)
        yield np.floor(electrons / maps.e_per_adu + maps.baseline_adu).clip(0, 65535).astype(np.uint16)


def test_moments_are_those_of_numpy() -> None:
    stack = frames(EMCCD, 50.0, 60, 1)
    found = Moments.of(iter(stack), "a")
    assert found.mean == pytest.approx(stack.mean(0))
    assert found.variance == pytest.approx(stack.var(0, ddof=1), rel=0.05)


@pytest.mark.parametrize("camera", [EMCCD, SCMOS], ids=["EMCCD", "sCMOS"])
def test_gain_read_noise_and_baseline_come_back(camera: Camera) -> None:
    light = [moments(camera, level, 250, 2 + k) for k, level in enumerate((50.0, 150.0, 400.0))]
    found = estimate_camera(moments(camera, 0.0, 1000, 1), light, camera.em_gain)
    assert found.e_per_adu == pytest.approx(camera.e_per_adu, rel=0.02)
    assert found.read_noise_e == pytest.approx(camera.read_noise_e, rel=0.03)
    assert found.baseline_adu == pytest.approx(camera.baseline_adu, abs=0.2)
    assert found.bend < 0.1
    assert (found.maps is None) == (camera.em_gain is not None)


@pytest.mark.parametrize("camera", [EMCCD, SCMOS], ids=["EMCCD", "sCMOS"])
def test_a_still_picture_alone_tells_the_gain_and_says_what_it_does_not(camera: Camera) -> None:
    found = estimate_camera(None, [moments(camera, np.linspace(20, 500, 24), 600, 5)], camera.em_gain)
    assert found.e_per_adu == pytest.approx(camera.e_per_adu, rel=0.03)
    assert found.baseline_adu is None and found.read_noise_e is None
    assert any("baseline and read noise cannot be told" in sentence for sentence in found.told)


def test_dark_frames_alone_tell_no_gain() -> None:
    found = estimate_camera(moments(SCMOS, 0.0, 500, 1), [], None)
    assert found.e_per_adu is None and found.read_noise_e is None
    assert found.read_noise_adu == pytest.approx(1.6 / 0.46, rel=0.03)


def test_without_its_em_gain_an_emccd_is_told_apart_in_words_only() -> None:
    dark, light = moments(EMCCD, 0.0, 300, 1), [moments(EMCCD, 200.0, 300, 2)]
    wrong, right = estimate_camera(dark, light, None), estimate_camera(dark, light, 300.0)
    assert wrong.adu_per_e == pytest.approx(2 * (right.adu_per_e or 0), rel=1e-6)
    assert any("for an EMCCD give its EM gain" in sentence for sentence in wrong.told)
    assert any("excess noise 2 assumed" in sentence for sentence in right.told)


def test_maps_are_those_of_the_pixels() -> None:
    rng = np.random.default_rng(4)
    hot = np.where(rng.random(SHAPE) < 0.01, 6.0, 1.0)
    values = (
        rng.normal(100, 4, SHAPE),
        hot * 1.6 * np.exp(rng.normal(0, 0.3, SHAPE)),
        0.46 * rng.normal(1, 0.1, SHAPE),
    )
    truth = CameraMaps(*(v.astype(np.float32) for v in values))
    dark = Moments.of(mapped(truth, 0.0, 4000, rng), "dark")
    light = [Moments.of(mapped(truth, level, 4000, rng), f"{level}") for level in (200.0, 800.0, 2000.0)]
    found = estimate_camera(dark, light, None)
    assert found.maps is not None
    for name in ("baseline_adu", "read_noise_e", "e_per_adu"):
        mine, true = getattr(found.maps, name), getattr(truth, name)
        assert np.corrcoef(mine.ravel(), true.ravel())[0, 1] > 0.99, name
        assert np.median(mine) == pytest.approx(np.median(true), rel=0.02), name
    assert found.e_per_adu == pytest.approx(np.median(truth.e_per_adu), rel=0.02)
    assert found.bend < 0.1


def test_pixels_that_are_all_alike_get_one_gain() -> None:
    light = [moments(SCMOS, level, 250, 2 + k) for k, level in enumerate((100.0, 400.0))]
    found = estimate_camera(moments(SCMOS, 0.0, 300, 1), light, None)
    assert found.maps is not None
    assert found.maps.e_per_adu.std() < 0.01 * found.maps.e_per_adu.mean()  # 6 % before the noise is taken out


def test_flicker_of_the_lamp_is_taken_out() -> None:
    rng = np.random.default_rng(6)
    lamp = 400 * (1 + 0.02 * rng.standard_normal(400))[:, None, None]
    stack = Moments.of(adu_from_photons(SCMOS, lamp + np.zeros((400, *SHAPE)), rng), "lamp")
    found = estimate_camera(moments(SCMOS, 0.0, 300, 1), [stack], None)
    assert found.e_per_adu == pytest.approx(0.46, rel=0.02)  # 1.16 times too small with the lamp's own variance


def drifting(level: float, by: float, n: int = 100) -> Moments:
    light = level + by * np.linspace(0, 1, n)[:, None, None] + np.zeros((n, *SHAPE))
    return Moments.of(adu_from_photons(SCMOS, light, np.random.default_rng(7)), "drifts.tif")


def test_bad_stacks_are_refused_by_name() -> None:
    dark = moments(SCMOS, 0.0, 100, 1)
    with pytest.raises(CalibrationError, match=r"short\.tif: 5 frames are too few"):
        Moments.of(frames(SCMOS, 100.0, 5, 2), "short.tif")
    full = Moments.of(np.minimum(frames(SCMOS, 1000.0, 50, 3), 2300), "full.tif")
    with pytest.raises(CalibrationError, match=r"full\.tif: .* saturated"):
        estimate_camera(dark, [full], None)
    with pytest.raises(CalibrationError, match=r"drifts\.tif: the light drifts"):
        estimate_camera(dark, [drifting(400, 100)], None)
    with pytest.raises(CalibrationError, match=r"drifts\.tif: the dark level drifts"):
        estimate_camera(drifting(0, 5), [], None)
    with pytest.raises(CalibrationError, match="too dim"):
        estimate_camera(dark, [moments(SCMOS, 1.0, 100, 4)], None)
    with pytest.raises(CalibrationError, match="nearly the same light"):
        estimate_camera(None, [moments(SCMOS, 300.0, 100, 5)], None)
    with pytest.raises(CalibrationError, match="neither dark frames nor"):
        estimate_camera(None, [], None)
    other = Moments.of(frames(SCMOS, 300.0, 50, 6)[:, :20], "other.tif")
    with pytest.raises(CalibrationError, match=r"other\.tif: frames of \(20, 24\)"):
        estimate_camera(dark, [other], None)
    smooth = Moments.of(np.full((50, *SHAPE), 500.0) + np.linspace(0, 300, 24), "smooth.tif")
    with pytest.raises(CalibrationError, match=r"saturated"):
        estimate_camera(None, [smooth], None)
