"""Spots and their fits: found where they are, alone or not, lit for a whole frame or not, as wide as the PSF or not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtdecode.analysis.psf_width import bright_gaussians, compare_width, psf_curve
from rtdecode.analysis.spot_fits import fit_gaussian, fit_psf, gaussian_model
from rtdecode.analysis.spots import Spots, away_from_rim, crops, find_spots, full_exposures
from rtdecode.core.camera import Camera
from rtdecode.core.localizations import EMITTER_DTYPE
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.psf import GaussianPsf, Psf
from rtdecode.physics.render import expected_frames

CAMERA = Camera(px_nm=(100, 120), baseline_adu=100, e_per_adu=0.46, read_noise_e=1.6)
PSF = GaussianPsf()
N = 300


def lone(psf: Psf = PSF, seed: int = 1, photons: float = 4000.0) -> tuple[NDArray[np.float32], NDArray[np.void]]:
    """One emitter in the middle of each of N frames of 32 x 40 px."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(N, EMITTER_DTYPE)
    truth["frame_index"], truth["photons"] = np.arange(N), photons
    truth["x_nm"], truth["y_nm"] = rng.uniform(1900, 2100, N), rng.uniform(1800, 2000, N)
    truth["z_nm"] = rng.uniform(-400, 400, N)
    expected = expected_frames(psf, truth, 0, N, (32, 40), CAMERA.px_nm)
    return CAMERA.photons(adu_from_photons(CAMERA, expected + 20, rng)), truth


def test_lone_emitters_are_found_once_and_fitted_without_bias() -> None:
    photons, truth = lone()
    spots = find_spots(photons, CAMERA, PSF)
    assert np.bincount(spots.frame, minlength=N).max() == 1
    assert len(spots) > 0.98 * N
    fits, true = fit_psf(crops(photons, spots), CAMERA, PSF), truth[spots.frame]
    x_nm = (fits.parameters[:, 0] - 7 + spots.column) * 100
    y_nm = (fits.parameters[:, 1] - 7 + spots.row) * 120
    errors = np.column_stack([x_nm - true["x_nm"], y_nm - true["y_nm"], fits.parameters[:, 2] - true["z_nm"]])
    scores = errors / (fits.sigmas[:, :3] * [100, 120, 1])
    assert np.abs(np.median(errors, axis=0)).max() < 4
    assert scores.std(axis=0) == pytest.approx([1, 1, 1], abs=0.2)
    assert np.median(fits.parameters[:, 3]) == pytest.approx(4000, rel=0.03)
    assert np.median(fits.parameters[:, 4]) == pytest.approx(20, rel=0.04)
    assert np.median(fits.chi2) == pytest.approx(1, abs=0.08)


def test_empty_frames_hold_no_spots() -> None:
    photons = CAMERA.photons(adu_from_photons(CAMERA, np.full((100, 64, 64), 30.0), np.random.default_rng(2)))
    assert len(find_spots(photons, CAMERA, PSF)) <= 4  # 410,000 pixels


def test_neighbours_rims_and_full_exposures() -> None:
    frame, row, column = np.array([[0, 10, 10], [0, 10, 16], [1, 11, 10], [2, 11, 10], [2, 3, 30], [3, 11, 11]]).T
    spots = Spots(frame, row, column, np.full(6, 9.0), np.full(6, np.inf))
    assert away_from_rim(spots, (32, 40)).tolist() == [True, True, True, True, False, True]
    assert full_exposures(spots).tolist() == [False, False, True, True, False, False]
    assert full_exposures(spots.moved_by(np.array([0, 0, 0, 10, 10, 10]))).tolist() == [False] * 6


def test_gaussian_derivatives_are_those_of_the_model() -> None:
    at = np.array([[7.2, 6.7, 1.3, 2.1, 900.0, 12.0]])
    _, slopes = gaussian_model(at)
    for k, step in enumerate((1e-5, 1e-5, 1e-5, 1e-5, 1e-2, 1e-2)):
        shift = np.eye(6)[k] * step
        numeric = (gaussian_model(at + shift)[0] - gaussian_model(at - shift)[0]) / (2 * step)
        assert slopes[:, k] == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
def test_width_is_compared_over_all_z(scale: float) -> None:
    photons, _ = lone(GaussianPsf(psf_sigma_px=1.3 * scale), photons=8000)
    spots = find_spots(photons, CAMERA, PSF)
    spots = spots.where(away_from_rim(spots, (32, 40)))
    sigmas = bright_gaussians(fit_gaussian(crops(photons, spots), CAMERA))
    found, exchanged = compare_width(sigmas, psf_curve(PSF, CAMERA, 8000, 20))
    assert found == pytest.approx(scale, abs=0.04)
    assert not exchanged


def test_exchanged_axes_are_seen_where_the_psf_tells_them_apart() -> None:
    curve = np.column_stack([np.linspace(1.3, 3.0, 30), np.linspace(1.2, 1.6, 30)])
    spots = curve[::2, ::-1] * np.exp(np.random.default_rng(3).normal(0, 0.02, (15, 2)))
    assert compare_width(spots, curve)[1]
    assert not compare_width(spots[:, ::-1], curve)[1]
