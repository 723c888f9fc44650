"""PSF jitter: no change is no change, blur and scales are what they say, light is kept, clips get different PSFs."""

import numpy as np
import pytest

from rtdecode.core.camera import Camera
from rtdecode.core.errors import CalibrationError
from rtdecode.core.localizations import EMITTER_DTYPE
from rtdecode.physics.jitter import PsfChange, PsfJitter, changed
from rtdecode.physics.psf import GaussianPsf, Psf, SplinePsf
from rtdecode.physics.simulate import SimulationConfig, _expected, simulate_clips

N = 31
GAUSSIAN = GaussianPsf(psf_sigma_px=1.5, gamma_nm=200, depth_nm=400, z_limits_nm=(-500, 500), roi_px=N)
CAMERA = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.5)


@pytest.fixture(scope="module")
def spline() -> SplinePsf:
    z = np.arange(-10, 11) * 50.0
    samples = GAUSSIAN.with_derivatives([N // 2] * 21, [N // 2] * 21, z, (N, N))[0]
    return SplinePsf.from_samples(samples, 50.0, 10, (100.0, 100.0))


def image(psf: Psf, z_nm: float = 0.0, x_px: float = 20.0, y_px: float = 20.0) -> np.ndarray:
    return psf.with_derivatives(x_px, y_px, z_nm, (41, 41))[0][0].astype(float)


def moments(spot: np.ndarray) -> tuple[float, float, float, float, float]:
    """Sum, variances along x and y, covariance, mean x; spots are well inside."""
    y, x = np.indices(spot.shape)
    total = spot.sum()
    mx, my = (spot * x).sum() / total, (spot * y).sum() / total
    return (
        total,
        (spot * (x - mx) ** 2).sum() / total,
        (spot * (y - my) ** 2).sum() / total,
        (spot * (x - mx) * (y - my)).sum() / total,
        mx,
    )


def test_no_change_is_no_change(spline: SplinePsf) -> None:
    same = changed(spline, PsfChange())
    assert isinstance(same, SplinePsf)
    assert np.abs(same.coefficients - spline.coefficients).max() < 1e-6
    assert changed(GAUSSIAN, PsfChange()) == GAUSSIAN


@pytest.mark.parametrize("x_px", [20.0, 20.3])
def test_blur_adds_its_variance(spline: SplinePsf, x_px: float) -> None:
    before, after = (moments(image(psf, x_px=x_px)) for psf in (spline, changed(spline, PsfChange(blur_px=0.3))))
    assert after[0] == pytest.approx(before[0], rel=1e-3)
    assert after[1] - before[1] == pytest.approx(0.09, rel=0.05)
    assert after[2] - before[2] == pytest.approx(0.09, rel=0.05)
    assert after[4] == pytest.approx(before[4], abs=1e-3)


@pytest.mark.parametrize("scale", [0.97, 1.03])
def test_lateral_scale_stretches_and_keeps_the_light(spline: SplinePsf, scale: float) -> None:
    before, after = (moments(image(psf)) for psf in (spline, changed(spline, PsfChange(lateral_scale=scale))))
    assert after[0] == pytest.approx(before[0], rel=2e-3)
    assert after[1] / before[1] == pytest.approx(scale**2, rel=0.01)
    assert after[2] / before[2] == pytest.approx(scale**2, rel=0.01)
    assert after[4] == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("psf_kind", ["spline", "gaussian"])
def test_z_scale_moves_the_slices(spline: SplinePsf, psf_kind: str) -> None:
    psf: Psf = spline if psf_kind == "spline" else GAUSSIAN
    longer = changed(psf, PsfChange(z_scale=1.03))
    assert longer.z_range_nm == pytest.approx((-515.0, 515.0))
    assert np.allclose(image(longer, 309.0), image(psf, 300.0), atol=1e-5)
    assert not np.allclose(image(longer, 300.0), image(psf, 300.0), atol=1e-4)


def test_rotation_turns_the_long_axis(spline: SplinePsf) -> None:
    angle = np.deg2rad(3)
    _, vx, vy, _, _ = moments(image(spline, 400.0))
    total, _, _, covariance, _ = moments(image(changed(spline, PsfChange(rotation_deg=3)), 400.0))
    assert abs(covariance) == pytest.approx(abs(vx - vy) * np.sin(angle) * np.cos(angle), rel=0.03)
    assert total == pytest.approx(image(spline, 400.0).sum(), rel=2e-3)
    assert abs(moments(image(spline, 400.0))[3]) < 1e-6


def test_a_psf_of_unknown_kind_is_refused() -> None:
    with pytest.raises(CalibrationError, match="leave `psf_jitter` out"):
        changed(object(), PsfChange())  # type: ignore[arg-type]


@pytest.mark.parametrize("jitter", [None, PsfJitter(blur_px=0.5, lateral_scale=0.1)])
def test_each_clip_has_its_own_psf(spline: SplinePsf, jitter: PsfJitter | None) -> None:
    """Two clips of the same emitters: seen through one PSF they are equal but for noise, through two they are not."""
    config = SimulationConfig(shape_px=(24, 24), psf_jitter=jitter)
    light = np.zeros(2, EMITTER_DTYPE)
    light["frame_index"], light["x_nm"], light["y_nm"], light["photons"] = [0, 1], 1200, 1200, 1000
    first, second = _expected(spline, CAMERA, config, light, (2, 1), np.random.default_rng(2))[:, 0]
    assert (np.abs(first - second).max() > 1.0) == (jitter is not None)
    assert first.sum() == pytest.approx(1000, rel=0.01)


def test_a_seed_gives_the_same_jittered_clips(spline: SplinePsf) -> None:
    config = SimulationConfig(shape_px=(16, 16), psf_jitter=PsfJitter(rotation_deg=1.0))
    a, b = (simulate_clips(spline, CAMERA, config, 2, 3, np.random.default_rng(7)).frames_adu for _ in range(2))
    assert a.tobytes() == b.tobytes()
