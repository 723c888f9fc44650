"""Estimates of simulated recordings against what was simulated: sparse and dense, EMCCD and sCMOS; doubts where due."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from rtdecode.analysis.estimate import estimate
from rtdecode.analysis.estimated import Estimate
from rtdecode.core.camera import Camera
from rtdecode.core.errors import RecordingError
from rtdecode.physics.psf import GaussianPsf, Psf, SplinePsf
from rtdecode.physics.simulate import Clips, PhotonConfig, SimulationConfig, simulate_movie

EMCCD = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, em_gain=300, read_noise_e=74.4, spurious_e=0.002)
SCMOS = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.46, read_noise_e=1.6, qe=0.8)
CHALLENGE = Path(__file__).parents[2] / "configs" / "challenge-astigmatic.psf.safetensors"
Made = tuple[Clips, Estimate]


def made(
    camera: Camera, density: float, *, psf: Psf | None = None, on_time: float = 2.0, mean: float = 6000.0,
    background: float = 90.0, n: int = 400, structure: float = 0.0, told: Psf | None = None,
) -> Made:  # fmt: skip
    config = SimulationConfig(
        shape_px=(64, 64), density_um2=(density, density), lifetime_frames=(on_time, on_time), z_nm=(-650, 650),
        background=(background, background), photons=PhotonConfig(mean=mean, sd=0.35 * mean),
        background_structure=structure,
    )  # fmt: skip
    real = psf or SplinePsf.load(CHALLENGE)
    movie = simulate_movie(real, camera, config, n, seed=7)
    photons = camera.photons(movie.frames_adu[0])
    return movie, estimate([photons[: n // 2], photons[n // 2 :]], camera, told or real)


def check(pair: Made, mean: float, on_time: float, density_within: float) -> None:
    movie, found = pair
    density = len(movie.emitters) / found.frames / (64 * 64 * 0.01)
    assert found.background.mean == pytest.approx(movie.background.mean(), rel=0.05)
    assert found.photons.full_frame == pytest.approx(mean, rel=0.15)
    assert found.density.mean == pytest.approx(density, rel=density_within)
    assert found.on_time_frames == pytest.approx(on_time, rel=0.25)
    low, high = np.percentile(movie.emitters["z_nm"], [5, 95])
    assert found.z.used_nm[0] <= low and found.z.used_nm[1] >= high
    assert found.width.scale == pytest.approx(1, abs=0.06)
    assert not found.width.transposed and not found.returns


@pytest.fixture(scope="module")
def sparse() -> Made:
    return made(EMCCD, 0.2)


def test_sparse_emccd(sparse: Made) -> None:
    check(sparse, 6000, 2.0, 0.2)
    assert not sparse[1].background.structured


def test_dense_emccd() -> None:
    check(made(EMCCD, 1.0), 6000, 2.0, 0.3)


def test_dense_scmos_of_longer_on_times() -> None:
    check(made(SCMOS, 1.0, mean=2500, background=30, on_time=3.0), 2500, 3.0, 0.3)


def test_structured_background_is_told_with_its_map() -> None:
    movie, found = made(EMCCD, 0.3, structure=0.8)
    true = movie.background[0]
    assert found.background.structured
    assert found.background.structure == pytest.approx(true.std() / true.mean(), rel=0.35)
    assert np.corrcoef(found.background.field.ravel(), true.ravel())[0, 1] > 0.9
    assert found.background.over_space[0] < true.mean() < found.background.over_space[1]


def test_another_width_is_told() -> None:
    wide = made(SCMOS, 0.3, psf=GaussianPsf(psf_sigma_px=1.6), told=GaussianPsf(psf_sigma_px=1.3))[1]
    assert wide.width.scale == pytest.approx(1.6 / 1.3, abs=0.08)
    assert any("times as wide as the PSF file's" in sentence for sentence in wide.doubts())


def test_a_wrong_gain_is_doubted() -> None:
    movie, _ = made(SCMOS, 0.2, n=100)
    wrong = SCMOS.model_copy(update={"e_per_adu": 2 * SCMOS.e_per_adu})
    found = estimate([wrong.photons(movie.frames_adu[0])], wrong, SplinePsf.load(CHALLENGE))
    assert any("PSF or camera" in sentence for sentence in found.doubts())


def test_a_flat_psf_tells_no_z() -> None:
    flat = GaussianPsf(depth_nm=math.inf, gamma_nm=0.0)
    found = made(SCMOS, 0.3, psf=flat, mean=2500, n=150)[1]
    assert not found.z.tells
    assert found.photons.full_frame == pytest.approx(2500, rel=0.15)


def test_plain_json_and_no_doubts_of_a_good_recording(sparse: Made) -> None:
    plain = json.loads(json.dumps(sparse[1].as_dict()))
    assert plain["frames"] == 400 and plain["background"]["structured"] is False
    assert plain["doubts"] == []


def test_too_little_is_refused() -> None:
    psf, rng = GaussianPsf(), np.random.default_rng(1)
    with pytest.raises(RecordingError, match="10 frames are too few"):
        estimate([np.ones((10, 32, 32), np.float32)], SCMOS, psf)
    empty = rng.poisson(30, (50, 32, 32)).astype(np.float32)
    with pytest.raises(RecordingError, match="of them isolated"):
        estimate([empty], SCMOS, psf)
