"""The single-emitter fit: exact without noise, at the bound with it, and quiet where there is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtdecode.analysis.evaluate import judge, score_of
from rtdecode.analysis.honesty import errors, sigma_calibration
from rtdecode.analysis.single_fit import Candidates, FitSettings, SingleEmitterFit, as_spline
from rtdecode.core.camera import Camera
from rtdecode.core.localizations import EMITTER_DTYPE
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.crlb import crlb
from rtdecode.physics.psf import GaussianPsf, SplinePsf
from rtdecode.physics.render import expected_frames

PSF = Path(__file__).parents[2] / "configs" / "challenge-astigmatic.psf.safetensors"
EMCCD = Camera(px_nm=(100.0, 100.0), baseline_adu=100, e_per_adu=45, read_noise_e=74.4, em_gain=300.0, spurious_e=0.002)
SCMOS = Camera(px_nm=(100.0, 120.0), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.5)
SIDE = 17  # px of the frames, which are the fit's whole square


def lone(n: int, photons: float, z_nm: tuple[float, float], px_nm: tuple[float, float], seed: int) -> np.ndarray:
    """(n,) EMITTER_DTYPE, each alone in frame k, near the middle."""
    rng = np.random.default_rng(seed)
    out = np.zeros(n, EMITTER_DTYPE)
    out["frame_index"], out["photons"] = np.arange(n), photons
    for name, size in zip(("x_nm", "y_nm"), px_nm, strict=True):
        out[name] = (SIDE // 2 + rng.uniform(-1, 1, n)) * size
    out["z_nm"] = rng.uniform(*z_nm, n)
    return out


def test_without_noise_it_returns_the_truth() -> None:
    psf = SplinePsf.load(PSF)
    truth = lone(40, 5000.0, (-450, 450), EMCCD.px_nm, 1)
    light = expected_frames(psf, truth, 0, 40, (SIDE, SIDE), EMCCD.px_nm) + np.float32(90)
    fit = SingleEmitterFit(psf, EMCCD, FitSettings(roi_px=SIDE))
    at = Candidates(np.arange(40), np.full(40, SIDE // 2), np.full(40, SIDE // 2))
    found = fit.fit(light, at)
    assert len(found) == 40
    for name, within in (("x_nm", 0.5), ("y_nm", 0.5), ("z_nm", 1.0), ("photons", 10.0)):
        np.testing.assert_allclose(found[name], truth[name], atol=within, err_msg=name)
    np.testing.assert_allclose(found["background"], 90, atol=0.5)


@pytest.mark.parametrize("camera", [EMCCD, SCMOS], ids=["emccd", "scmos"])
def test_with_noise_it_reaches_the_bound_and_its_sigmas_are_honest(camera: Camera) -> None:
    psf = SplinePsf.load(PSF)
    truth = lone(300, 5000.0, (-300, 300), camera.px_nm, 2)
    light = expected_frames(psf, truth, 0, 300, (SIDE, SIDE), camera.px_nm) + np.float32(60)
    frames = adu_from_photons(camera, light, np.random.default_rng(3))
    judged = judge(truth, SingleEmitterFit(psf, camera, FitSettings(roi_px=SIDE))(frames))
    assert len(judged.pairs) >= 295
    bounds = crlb(psf, camera, *(truth[n] for n in ("x_nm", "y_nm", "z_nm", "photons")), 60.0, (SIDE, SIDE))
    bound = np.column_stack([bounds.x_nm, bounds.y_nm, bounds.z_nm, bounds.photons])[judged.pairs[:, 0]]
    ratio = np.sqrt(np.mean((errors(judged) / bound) ** 2, axis=0))
    assert np.all((ratio > 0.88) & (ratio < 1.12)), ratio  # 300 emitters: 4 % standard error
    for name, one in sigma_calibration(judged).items():
        assert 0.75 < one["variance"] < 1.25, name


def test_lone_emitters_are_found_once_and_nothing_in_empty_frames() -> None:
    psf = SplinePsf.load(PSF)
    truth = lone(60, 5000.0, (-400, 400), EMCCD.px_nm, 4)
    truth["x_nm"] += 1500
    truth["y_nm"] += 1200
    truth["frame_index"] = 2 * truth["frame_index"] + 1
    light = expected_frames(psf, truth, 0, 121, (40, 48), EMCCD.px_nm) + np.float32(90)
    frames = adu_from_photons(EMCCD, light, np.random.default_rng(5))
    found = SingleEmitterFit(psf, EMCCD)(frames)
    score = score_of(judge(truth, found, frames=range(121)))
    assert score.recall > 0.97
    assert score.precision > 0.97
    assert score.photon_ratio == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(found.probability, 1.0)
    again = SingleEmitterFit(psf, EMCCD)(frames)
    np.testing.assert_array_equal(found.records(), again.records())


def test_a_gaussian_is_fitted_through_its_spline_and_a_flat_one_keeps_its_z() -> None:
    camera = EMCCD
    for psf, z_known in ((GaussianPsf(), True), (GaussianPsf(depth_nm=np.inf), False)):
        truth = lone(30, 6000.0, (-200, 200) if z_known else (0, 0), camera.px_nm, 6)
        light = expected_frames(psf, truth, 0, 30, (SIDE, SIDE), camera.px_nm) + np.float32(50)
        found = SingleEmitterFit(psf, camera, FitSettings(roi_px=SIDE)).fit(
            light, Candidates(np.arange(30), np.full(30, SIDE // 2), np.full(30, SIDE // 2))
        )
        assert len(found) == 30
        np.testing.assert_allclose(found["x_nm"], truth["x_nm"], atol=1.0)
        np.testing.assert_allclose(found["y_nm"], truth["y_nm"], atol=1.0)
        if z_known:
            np.testing.assert_allclose(found["z_nm"], truth["z_nm"], atol=3.0)
            assert np.all(found["sigma_z_nm"] > 0)
        else:
            np.testing.assert_array_equal(found["sigma_z_nm"], 0)


def test_the_spline_of_a_gaussian_is_the_gaussian() -> None:
    psf = GaussianPsf()
    spline = as_spline(psf, (100.0, 100.0))
    value = [p.with_derivatives([20.3], [19.6], [137.0], (41, 41))[0] for p in (psf, spline)]
    assert np.abs(value[0] - value[1]).max() < 0.01 * value[0].max()
    assert spline.z_range_nm == pytest.approx(psf.z_range_nm)
