"""The bounds against an analytic formula, numerical differentiation and an estimator that reaches them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from rtdecode.core.camera import Camera
from rtdecode.core.localizations import EMITTER_DTYPE
from rtdecode.physics.crlb import crlb
from rtdecode.physics.psf import GaussianPsf, Psf, SplinePsf
from rtdecode.physics.render import expected_frames

PERFECT = Camera(px_nm=(100.0, 100.0), baseline_adu=0, e_per_adu=1, read_noise_e=0)
EMCCD = PERFECT.model_copy(update={"em_gain": 300.0, "e_per_adu": 45.0})
CHALLENGE = Path(__file__).parents[2] / "configs" / "challenge-astigmatic.psf.safetensors"
SHAPE = (41, 41)


def mortensen(sigma_nm: float, px_nm: float, photons: float, background: float) -> float:
    """Bound on one lateral axis for a round Gaussian (Mortensen et al. 2010, eq. 5): analytic but for one integral."""
    broad = sigma_nm**2 + px_nm**2 / 12
    tau = 2 * np.pi * broad * background / (photons * px_nm**2)
    integral = quad(lambda t: np.log(t) / (1 + t / tau), 0, 1)[0] if tau > 0 else 0.0
    return float(np.sqrt(broad / photons / (1 + integral)))


@pytest.mark.parametrize(("photons", "background"), [(5000, 0.001), (5000, 20), (1000, 90), (20000, 5)])
def test_round_gaussian_has_the_analytic_bound(photons: float, background: float) -> None:
    psf = GaussianPsf(psf_sigma_px=1.5, depth_nm=np.inf)
    bounds = crlb(psf, PERFECT, 2000, 2000, 0, photons, background, SHAPE)
    expected = mortensen(150, 100, photons, background)
    assert bounds.x_nm[0] == pytest.approx(expected, rel=0.015)
    assert bounds.y_nm[0] == pytest.approx(expected, rel=0.015)
    assert bounds.radial_nm[0] == pytest.approx(np.sqrt(2) * expected, rel=0.015)
    assert np.isinf(bounds.z_nm[0])  # a 2D PSF says nothing of z, and that spoils nothing else
    assert bounds.photons[0] >= np.sqrt(photons) * 0.999


def test_the_bound_of_a_2d_psf_is_that_of_four_unknowns() -> None:
    psf, at = GaussianPsf(psf_sigma_px=1.3, depth_nm=np.inf, roi_px=41), (2030.0, 1960.0, 0.0, 3000.0, 20.0)
    value, d_x, d_y, _ = psf.with_derivatives([20.3], [19.6], [0.0], SHAPE)
    slopes = np.stack([3000 * d_x / 100, 3000 * d_y / 100, value, np.ones_like(value)]).reshape(4, -1).astype(float)
    four = np.sqrt(np.diag(np.linalg.inv(slopes / (3000 * value.ravel() + 20) @ slopes.T)))
    bounds = crlb(psf, PERFECT, *at, SHAPE)
    got = [bounds.x_nm[0], bounds.y_nm[0], bounds.photons[0], bounds.background[0]]
    np.testing.assert_allclose(got, four, rtol=1e-3)


def differentiated(psf: Psf, at: tuple[float, ...], shape: tuple[int, int]) -> NDArray[np.float64]:
    """The five bounds from central differences of rendered frames over the whole frame."""

    def frame(x: float, y: float, z: float, photons: float, background: float) -> NDArray[np.float64]:
        emitter = np.array([(0, x, y, z, photons)], EMITTER_DTYPE)
        return expected_frames(psf, emitter, 0, 1, shape, (100.0, 100.0))[0].astype(np.float64) + background

    slopes = []
    for k, step in enumerate((2.0, 2.0, 2.0, at[3] * 0.01, 1.0)):
        up, down = list(at), list(at)
        up[k], down[k] = at[k] + step, at[k] - step
        slopes.append(((frame(*up) - frame(*down)) / (2 * step)).ravel())
    fisher = np.array(slopes) / frame(*at).ravel() @ np.array(slopes).T
    return np.sqrt(np.diag(np.linalg.inv(fisher)))


def spline() -> SplinePsf:
    """A spline through samples of an astigmatic Gaussian with its axes swapped, cut at its ROI."""
    z = np.arange(-600.0, 601.0, 50.0)
    beads = GaussianPsf(roi_px=41)
    samples = beads.with_derivatives(np.full(len(z), 18.0), np.full(len(z), 18.0), z, (37, 37))[0]
    return SplinePsf.from_samples(samples.transpose(0, 2, 1), 50.0, 12, (100.0, 100.0))


@pytest.mark.parametrize("z_nm", [-420.0, -100.0, 30.0, 310.0])
@pytest.mark.parametrize("kind", ["spline", "gaussian"])
def test_bounds_agree_with_numerical_differentiation(kind: str, z_nm: float) -> None:
    psf = spline() if kind == "spline" else GaussianPsf()
    at, shape = (1930.0, 1890.0, z_nm, 4000.0, 60.0), (39, 39)  # just the pixels that the bound looks at
    bounds = crlb(psf, PERFECT, *at, shape)
    found = [bounds.x_nm[0], bounds.y_nm[0], bounds.z_nm[0], bounds.photons[0], bounds.background[0]]
    np.testing.assert_allclose(found, differentiated(psf, at, shape), rtol=0.01)


def test_em_gain_costs_the_square_root_of_two() -> None:
    one, other = (crlb(GaussianPsf(), c, 2000, 2000, 100, 5000, 90, SHAPE) for c in (PERFECT, EMCCD))
    for name in ("x_nm", "y_nm", "z_nm", "photons", "radial_nm"):
        assert getattr(other, name)[0] / getattr(one, name)[0] == pytest.approx(np.sqrt(2), rel=1e-6)


def test_read_noise_worsens_and_quantum_efficiency_betters() -> None:
    def bound(**changes: float) -> float:
        camera = PERFECT.model_copy(update=changes)
        return float(crlb(GaussianPsf(), camera, 2000, 2000, 0, 1000, 5, SHAPE).x_nm[0])

    assert bound(read_noise_e=5) > 1.3 * bound()
    assert bound(qe=0.5) == pytest.approx(np.sqrt(2) * bound(), rel=1e-3)


def test_at_the_rim_half_the_light_is_gone() -> None:
    psf = GaussianPsf(psf_sigma_px=1.3, depth_nm=np.inf)
    middle, rim, outside = (crlb(psf, PERFECT, x, 2000, 0, 5000, 0.01, SHAPE) for x in (2000.0, -50.0, -5000.0))
    assert rim.y_nm[0] == pytest.approx(np.sqrt(2) * middle.y_nm[0], rel=0.01)
    assert np.isinf(outside.radial_nm[0])


def test_many_emitters_at_once_are_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    n = 300  # more than one chunk
    at = [rng.uniform(lo, hi, n) for lo, hi in ((0, 4000), (0, 4000), (-500, 500), (200, 9000), (10, 100))]
    together = crlb(GaussianPsf(), EMCCD, *at, SHAPE)
    for k in (0, 255, 256, 299):
        alone = crlb(GaussianPsf(), EMCCD, *(column[k] for column in at), SHAPE)
        assert alone.z_nm[0] == pytest.approx(together.z_nm[k], rel=1e-6)
        assert alone.photons[0] == pytest.approx(together.photons[k], rel=1e-6)


def test_the_challenges_psf_has_the_bounds_that_the_trial_found() -> None:
    """sqrt2 * CRLB in nm at 5,000 photo-electrons over background 90, EM gain: y / x / z at z = 0 and +-200."""
    psf = SplinePsf.load(CHALLENGE)
    z = np.array([-200.0, 0.0, 200.0])
    bounds = crlb(psf, EMCCD, 3200, 3200, z, 5000, 90, (64, 64))
    np.testing.assert_allclose(bounds.z_nm, [24, 17, 22], rtol=0.25)
    np.testing.assert_allclose(bounds.y_nm, [21, 11, 10], rtol=0.25)
    np.testing.assert_allclose(bounds.x_nm, [11, 8, 10], rtol=0.25)
