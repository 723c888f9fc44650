"""Simulated clips: blinking keeps its density, exposures their photons, truth its place, seeds their bytes."""

import numpy as np
import pytest

from rtdecode.core.camera import Camera
from rtdecode.physics.camera import CameraVariation
from rtdecode.physics.psf import GaussianPsf
from rtdecode.physics.simulate import (
    PhotonConfig,
    SimulationConfig,
    expected_molecules,
    exposures,
    simulate_clips,
    simulate_movie,
)

CAMERA = Camera(px_nm=(100, 120), baseline_adu=100, e_per_adu=45, em_gain=300, read_noise_e=74.4)
PSF = GaussianPsf()


def test_expected_molecules_is_golden() -> None:
    assert expected_molecules(25, 2, 10_001) == pytest.approx(83_441.7, abs=0.05)


def test_exposures_share_photons_between_frames() -> None:
    records = exposures(np.array([[1.0, 2.0, 3.0]]), np.array([100.0]), np.array([1.25]), np.array([3.5]), 10)
    assert records["frame_index"].tolist() == [1, 2, 3]
    assert records["photons"].tolist() == [75.0, 100.0, 50.0]
    assert records[0].tolist()[1:4] == (1.0, 2.0, 3.0)


def test_exposures_are_cut_at_the_clip_and_dark_molecules_leave_nothing() -> None:
    position, photons = np.zeros((3, 3)), np.full(3, 10.0)
    records = exposures(position, photons, np.array([-2.5, 3.2, 8.0]), np.array([0.5, 9.0, 9.0]), 4, first_frame=100)
    assert records["frame_index"].tolist() == [100, 103]
    assert records["photons"].tolist() == pytest.approx([5.0, 8.0])


@pytest.mark.parametrize("lifetime", [1.0, 3.0])
def test_density_is_held(lifetime: float) -> None:
    config = SimulationConfig(density_um2=(1.5, 1.5), lifetime_frames=(lifetime, lifetime), shape_px=(40, 60))
    movie = simulate_movie(PSF, CAMERA, config, 400, seed=5)
    area_um2 = 40 * 0.12 * 60 * 0.1
    assert len(movie.emitters) / 400 / area_um2 == pytest.approx(1.5, rel=0.05)


def test_density_power_makes_more_clips_sparse_and_keeps_the_range() -> None:
    config = SimulationConfig(density_um2=(0.0, 2.0), density_power=3.0, shape_px=(24, 24), photons=PhotonConfig(sd=0))
    clips = simulate_clips(PSF, CAMERA, config, 300, 5, np.random.default_rng(8))
    per_clip = np.bincount(clips.emitters["frame_index"] // 5, minlength=300) / 5 / (24 * 0.12 * 24 * 0.1)
    assert per_clip.mean() == pytest.approx(2.0 / 4, rel=0.15)  # mean of 2 u^3
    assert per_clip.max() < 3.2
    assert (per_clip < 0.3).mean() > 0.4  # 0.53 of all u; 0.15 with power 1


def test_truth_lies_inside_the_frame_and_light_at_the_truth() -> None:
    config = SimulationConfig(density_um2=(0.05, 0.05), shape_px=(32, 48), photons=PhotonConfig(mean=9000, sd=1))
    clips = simulate_clips(PSF, CAMERA, config, 6, 5, np.random.default_rng(3))
    frames = CAMERA.photons(clips.frames_adu).reshape(-1, 32, 48)
    bright = clips.emitters[clips.emitters["photons"] > 8000]
    rows = np.round(bright["y_nm"] / 120).astype(int)
    columns = np.round(bright["x_nm"] / 100).astype(int)
    assert len(bright) > 5
    assert ((rows >= 0) & (rows < 32) & (columns >= 0) & (columns < 48)).all()
    assert (frames[bright["frame_index"], rows, columns] > 90 + 20).mean() > 0.9


def test_empty_clips_hold_background_only() -> None:
    config = SimulationConfig(empty_share=1.0, background=(50, 50))
    clips = simulate_clips(PSF, CAMERA, config, 3, 3, np.random.default_rng(1))
    assert len(clips.emitters) == 0
    assert CAMERA.photons(clips.frames_adu).mean() == pytest.approx(50, rel=0.01)


def test_structured_background_is_the_one_that_is_told() -> None:
    config = SimulationConfig(empty_share=1.0, background=(100, 100), background_structure=0.5)
    clips = simulate_clips(PSF, CAMERA, config, 1, 400, np.random.default_rng(2))
    mean = CAMERA.photons(clips.frames_adu).mean((0, 1))
    assert np.ptp(clips.background) > 5
    assert np.abs(mean - clips.background[0]).max() < 5


def test_the_same_seed_gives_the_same_bytes() -> None:
    config = SimulationConfig()
    a, b = (simulate_movie(PSF, CAMERA, config, 20, seed=9) for _ in range(2))
    assert a.frames_adu.tobytes() == b.frames_adu.tobytes()
    assert a.emitters.tobytes() == b.emitters.tobytes()
    assert simulate_movie(PSF, CAMERA, config, 20, seed=10).frames_adu.tobytes() != a.frames_adu.tobytes()


def test_seeds_give_the_clips_of_the_first_release() -> None:
    """Numbers of rtdecode before PSF jitter, textures and camera maps: with these off nothing may be drawn for them."""
    config = SimulationConfig(
        shape_px=(12, 14),
        margin_px=4,
        density_um2=(0.5, 2.0),
        density_power=1.5,
        empty_share=0.1,
        photons=PhotonConfig(log_uniform_share=0.4),
        lifetime_frames=(0.6, 3.5),
        background=(40, 180),
        background_structure=0.25,
    )
    clips = simulate_clips(GaussianPsf(roi_px=15), CAMERA, config, 3, 3, np.random.default_rng(4))
    assert clips.emitters["x_nm"][:3] == pytest.approx([27.356058, 561.815247, 635.963623])
    assert clips.background[:, 5, 6] == pytest.approx([144.026825, 101.156494, 157.123154])
    row = [[5933, 4172, 2351, 1474, 1315], [815, 561, 862, 840, 747], [1231, 936, 1479, 1275, 1147]]
    assert clips.frames_adu[:, 1, 5, 6:11].tolist() == row
    assert clips.frames_adu.sum(dtype=np.int64) == 1_998_905


def test_log_uniform_photons_stay_in_range() -> None:
    photons = PhotonConfig(log_uniform_share=1.0, range=(500, 25000)).draw(5000, np.random.default_rng(1))
    assert 500 <= photons.min() < 600
    assert 20000 < photons.max() <= 25000
    assert np.median(photons) == pytest.approx(np.sqrt(500 * 25000), rel=0.1)


@pytest.mark.parametrize("corrected", [True, False])
def test_each_clip_has_its_own_sensor(corrected: bool) -> None:
    camera = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.5)
    variation = CameraVariation(baseline_sd_adu=20, corrected=corrected)
    config = SimulationConfig(empty_share=1.0, background=(50, 50), shape_px=(16, 16), camera_variation=variation)
    clips = simulate_clips(PSF, camera, config, 3, 50, np.random.default_rng(1))
    assert (clips.maps is not None) == corrected
    means = camera.photons(clips.frames_adu, clips.maps).mean(1)  # (B, H, W)
    assert (means.std() < 2) == corrected  # else 20 ADU are 10 photons
    assert np.corrcoef(clips.frames_adu.mean(1).reshape(3, -1))[0, 1] < 0.3
