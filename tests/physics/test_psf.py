"""PSFs evaluate, place and differentiate as they say; their files survive and refuse what is foreign."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from rtdecode.core.errors import CalibrationError
from rtdecode.core.localizations import EMITTER_DTYPE
from rtdecode.physics.psf import GaussianPsf, Psf, SplinePsf, load_psf, spline_of
from rtdecode.physics.render import expected_frames

ROI, SLICES, DZ = 21, 31, 50.0


def astigmatic_samples() -> np.ndarray:
    """(31, 21, 21) samples of a Gaussian that is wide in x at high z and wide in y at low z."""
    z, y, x = np.mgrid[-15:16, -10:11, -10:11].astype(float)
    samples = np.exp(-(x**2) / (2 * (1.6 + 0.03 * z) ** 2) - y**2 / (2 * (1.6 - 0.03 * z) ** 2))
    return (samples / samples[15].sum()).astype(np.float32)


@pytest.fixture(scope="module")
def spline() -> SplinePsf:
    return SplinePsf.from_samples(astigmatic_samples(), DZ, 15, (100.0, 100.0))


def test_samples_come_back_at_whole_pixels_and_slices(spline: SplinePsf) -> None:
    value, *_ = spline.with_derivatives([12], [15], [-200.0], (40, 40))
    # Two pixels inside the ROI's rim: the spline is cut there, the table's mirror is not.
    np.testing.assert_allclose(value[0, 7:24, 4:21], astigmatic_samples()[11, 2:-2, 2:-2], atol=2e-7)


def test_off_grid_values_equal_scipys_spline(spline: SplinePsf) -> None:
    x, y, z = 20.3, 14.7, 123.0
    value, *_ = spline.with_derivatives([x], [y], [z], (40, 40))
    rows, columns = np.mgrid[8:22, 14:27]
    at = [np.full(rows.shape, z / DZ + 15), rows - y + 10, columns - x + 10]
    expected = map_coordinates(astigmatic_samples().astype(float), at, order=3, mode="mirror")
    np.testing.assert_allclose(value[0, 8:22, 14:27], expected, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.floats(12, 28), st.floats(12, 28), st.floats(-600, 600))
def test_derivatives_equal_differences(x: float, y: float, z: float) -> None:
    psf = SplinePsf.from_samples(astigmatic_samples(), DZ, 15, (100.0, 100.0))
    h = np.array([0.02, 0.02, 2.0])
    _, *derivatives = psf.with_derivatives([x], [y], [z], (40, 40))
    for axis, derivative in enumerate(derivatives):
        step = np.eye(3)[axis] * h
        ahead = psf.with_derivatives(*(np.array([x, y, z]) + step)[:, None], (40, 40))[0]
        behind = psf.with_derivatives(*(np.array([x, y, z]) - step)[:, None], (40, 40))[0]
        difference = (ahead - behind) / (2 * h[axis])
        inner = (slice(None), *(slice(int(v) - 6, int(v) + 7) for v in (y, x)))  # the rim's cut is not smooth
        np.testing.assert_allclose(derivative[inner], difference[inner], atol=2e-3 * np.abs(derivative).max())


@pytest.mark.parametrize("psf", [SplinePsf.from_samples(astigmatic_samples(), DZ, 15, (100.0, 100.0)), GaussianPsf()])
def test_an_off_diagonal_emitter_lands_in_its_column_and_row(psf: Psf) -> None:
    emitter = np.array([(3, 1230.0, 2570.0, 0.0, 1000.0)], EMITTER_DTYPE)
    frames = expected_frames(psf, emitter, 2, 3, (40, 50), (100.0, 100.0))
    rows, columns = np.indices(frames.shape[1:])
    assert frames[0].sum() == frames[2].sum() == 0
    assert (frames[1] * columns).sum() / frames[1].sum() == pytest.approx(12.3, abs=0.02)
    assert (frames[1] * rows).sum() / frames[1].sum() == pytest.approx(25.7, abs=0.02)
    assert frames[1].sum() == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize("psf", [SplinePsf.from_samples(astigmatic_samples(), DZ, 15, (100.0, 100.0)), GaussianPsf()])
def test_high_z_is_wide_in_x(psf: Psf) -> None:
    high, *_ = psf.with_derivatives([20], [20], [500.0], (41, 41))
    spread = [(high[0].sum(axis) * (np.arange(41) - 20) ** 2).sum() for axis in (0, 1)]  # along x, along y
    assert spread[0] > 1.3 * spread[1]


def test_emitters_beyond_the_rim_shed_light_and_far_ones_do_not(spline: SplinePsf) -> None:
    near = np.array([(0, -300.0, 1000.0, 0.0, 1000.0)], EMITTER_DTYPE)
    far = np.array([(0, -3000.0, 1000.0, 0.0, 1000.0)], EMITTER_DTYPE)
    light = [expected_frames(spline, e, 0, 1, (20, 20), (100.0, 100.0)).sum() for e in (near, far)]
    assert 1 < light[0] < 500
    assert light[1] == 0


def test_file_round_trip_is_exact(spline: SplinePsf, tmp_path: Path) -> None:
    spline.save(tmp_path / "psf.safetensors")
    again = SplinePsf.load(tmp_path / "psf.safetensors")
    assert np.array_equal(again.coefficients, spline.coefficients)
    assert (again.dz_nm, again.z0_index, again.px_nm) == (spline.dz_nm, spline.z0_index, spline.px_nm)


@pytest.mark.parametrize("content", [b"", b"not a psf", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_foreign_files_are_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "psf.safetensors"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"psf\.safetensors"):
        SplinePsf.load(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_a_saved_psf_may_be_read_by_whoever_the_umask_lets(tmp_path: Path) -> None:
    samples = GaussianPsf(roi_px=15).with_derivatives([7] * 3, [7] * 3, [-100.0, 0.0, 100.0], (15, 15))[0]
    before = os.umask(0o027)
    try:
        SplinePsf.from_samples(samples, 100.0, 1, (100.0, 100.0)).save(tmp_path / "psf.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "psf.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("psf", [GaussianPsf(1.1, -200.0, 300.0, (-400.0, 500.0), 21, 50.0, (110.0, 90.0)),
                                 GaussianPsf(1.3, 0.0, np.inf)])  # fmt: skip
def test_a_gaussian_comes_back_from_its_file(psf: GaussianPsf, tmp_path: Path) -> None:
    psf.save(tmp_path / "psf.safetensors")
    assert load_psf(tmp_path / "psf.safetensors") == psf
    with pytest.raises(CalibrationError, match=r"psf\.safetensors: a Gaussian PSF"):
        SplinePsf.load(tmp_path / "psf.safetensors")


def test_a_file_says_itself_which_kind_it_is(spline: SplinePsf, tmp_path: Path) -> None:
    spline.save(tmp_path / "psf.safetensors")
    again = load_psf(tmp_path / "psf.safetensors")
    assert isinstance(again, SplinePsf) and again.summary()["kind"] == "cubic spline"
    np.testing.assert_allclose(again.samples(), astigmatic_samples(), atol=1e-8)


def test_round_at_moves_the_gaussian_along_z() -> None:
    psf, moved = GaussianPsf(), GaussianPsf(round_at_nm=120.0)
    one, other = (p.with_derivatives([9], [9], [z], (19, 19))[0] for p, z in ((psf, 80.0), (moved, 200.0)))
    np.testing.assert_array_equal(one, other)


def test_the_spline_of_a_gaussian_is_that_gaussian() -> None:
    psf = GaussianPsf(roi_px=21)
    spline = spline_of(psf, 25.0)
    assert spline.z_range_nm == psf.z_range_nm
    one, other = (p.with_derivatives([15.3], [14.8], [33.0], (30, 30))[0][0, 8:22, 8:22] for p in (psf, spline))
    assert np.abs(one - other).max() < 0.005 * one.max()
