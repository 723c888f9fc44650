"""SMAP's calibrations: files laid out as MATLAB writes them come in as they mean; ours go out as DECODE evaluates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smap_files import cspline_of, decode_value, smap_psf, write_v7, write_v73

from rtdecode.core.errors import CalibrationError
from rtdecode.formats.smap import read_smap, write_smap
from rtdecode.physics.psf import GaussianPsf, SplinePsf

CHALLENGE = Path(__file__).parents[2] / "configs" / "challenge-astigmatic.psf.safetensors"
Z0, DZ = 9, 20.0
WRITERS = {"v7": write_v7, "v7.3": write_v73}


@pytest.fixture(scope="module")
def cspline() -> dict[str, Any]:
    return cspline_of(smap_psf(), Z0, DZ)


def value_at(psf: SplinePsf, row: int, column: int, y: float, x: float, z_nm: float) -> float:
    """The PSF of an emitter at (y, x) in pixel (row, column)."""
    return float(psf.with_derivatives([x], [y], [z_nm], (30, 30))[0][0, row, column])


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("cell", [True, False])
def test_a_file_of_smap_means_what_decode_evaluates(
    tmp_path: Path, cspline: dict[str, Any], version: str, cell: bool
) -> None:
    if version == "v7.3":
        pytest.importorskip("h5py")
    path = tmp_path / "cell_3dcal.mat"
    WRITERS[version](path, cspline, cell=cell, um=[0.1, 0.12])
    psf = read_smap(path)
    assert psf.px_nm == pytest.approx((100, 120)) and psf.dz_nm == DZ and psf.roi_px == 13
    assert psf.z_range_nm == pytest.approx(((Z0 - 20) * DZ, Z0 * DZ))  # z 0 stands at slice z0, larger z earlier
    np.testing.assert_allclose(psf.samples(), smap_psf().transpose(2, 0, 1)[::-1], atol=1e-8)
    coeff, x0 = cspline["coeff"].astype(float), cspline["x0"]
    for row, column, z_nm in ((14, 15, 0.0), (13, 17, 57.0), (17, 14, -93.0), (15, 15, 140.0)):
        y, x = 15.3, 14.6  # decode-method 4.2: the ROI begins at floor(x) - (x0 - 1), u = r - frac(x)
        r, c = row - (np.floor(y) - (x0 - 1)), column - (np.floor(x) - (x0 - 1))
        wanted = decode_value(coeff, (r - y % 1, c - x % 1, Z0 - z_nm / DZ))
        assert value_at(psf, row, column, y, x, z_nm) == pytest.approx(wanted, abs=3e-5)  # ends of splines differ
    high = psf.with_derivatives([15], [15], [160.0], (30, 30))[0][0]
    spread = [(high.sum(axis) * (np.arange(30) - 15) ** 2).sum() for axis in (1, 0)]
    assert spread[0] > 1.5 * spread[1]  # early slices, wide along dimension 0: rows


def test_what_is_written_is_evaluated_by_decode_as_by_us(tmp_path: Path) -> None:
    from scipy.io import loadmat

    rng = np.random.default_rng(1)
    samples = (rng.uniform(0.5, 1, (9, 11, 11)) * np.exp(-(np.linspace(-2, 2, 11) ** 2))).astype(np.float32)
    psf = SplinePsf.from_samples(samples / samples[3:6].sum() * 3, 25.0, 3.5, (100.0, 110.0))
    write_smap(tmp_path / "out_3dcal.mat", psf)
    read = loadmat(tmp_path / "out_3dcal.mat", struct_as_record=False, squeeze_me=True)["SXY"].cspline  # as DECODE does
    assert read.coeff.shape == (10, 10, 8, 64) and read.coeff.dtype == np.float32
    assert (read.x0, read.z0, read.dz) == (6, 4.5, 25.0)
    for _ in range(20):
        y, x, z_nm = rng.uniform(14, 16), rng.uniform(14, 16), rng.uniform(-80, 110)
        row, column = int(y) + rng.integers(-2, 3), int(x) + rng.integers(-2, 3)
        at = (row - y + read.x0 - 1, column - x + read.x0 - 1, read.z0 - z_nm / read.dz)
        wanted = decode_value(read.coeff.astype(float), at)
        assert value_at(psf, row, column, y, x, z_nm) == pytest.approx(wanted, rel=2e-5)


def middle_slices(psf: SplinePsf) -> SplinePsf:
    """-200 to 200 nm of it: a file of 5 MB and not of 50."""
    return SplinePsf.from_samples(psf.samples()[55:96], psf.dz_nm, 20, psf.px_nm)


@pytest.mark.parametrize("psf", [middle_slices(SplinePsf.load(CHALLENGE)), GaussianPsf(roi_px=21, px_nm=(110.0, 90.0))])
def test_out_and_in_again_is_the_same_psf(tmp_path: Path, psf: SplinePsf | GaussianPsf) -> None:
    write_smap(tmp_path / "x_3dcal.mat", psf)
    again = read_smap(tmp_path / "x_3dcal.mat")
    assert again.px_nm == pytest.approx(psf.px_nm) and again.z_range_nm == pytest.approx(psf.z_range_nm)
    middle = [float(psf.roi_px // 2)] * 3
    size = (psf.roi_px, psf.roi_px)
    one, other = (p.with_derivatives(middle, middle, [-150, 0, 123], size)[0][:, 2:-2, 2:-2] for p in (psf, again))
    np.testing.assert_allclose(one, other, atol=1e-5 * one.max())  # the rim's cut is the spline's own


def test_an_off_middle_reference_cuts_the_table(tmp_path: Path, cspline: dict[str, Any]) -> None:
    write_v7(tmp_path / "off_3dcal.mat", cspline | {"x0": 6.0}, cell=True, um=[0.1])
    psf = read_smap(tmp_path / "off_3dcal.mat")
    assert psf.roi_px == 11
    np.testing.assert_allclose(psf.samples()[-1], smap_psf()[:11, :11, 0], atol=1e-8)


@pytest.mark.parametrize("version", WRITERS)
def test_what_is_not_one_psf_is_refused(tmp_path: Path, cspline: dict[str, Any], version: str) -> None:
    if version == "v7.3":
        pytest.importorskip("h5py")
    path = tmp_path / "x_3dcal.mat"
    write = WRITERS[version]
    write(path, cspline, cell=True, um=[0.1], parts=2)
    with pytest.raises(CalibrationError, match=r"x_3dcal\.mat.* holds 2 PSFs"):
        read_smap(path)
    write(path, cspline, cell=True, um=None)
    with pytest.raises(CalibrationError, match="--px-nm"):
        read_smap(path)
    assert read_smap(path, (65.0, 70.0)).px_nm == (65.0, 70.0)
    write(path, {**cspline, "coeff": cspline["coeff"][..., :60]}, cell=False, um=[0.1])
    with pytest.raises(CalibrationError, match=r"cspline\.coeff of shape"):
        read_smap(path)
    write(path, {name: value for name, value in cspline.items() if name != "z0"}, cell=True, um=[0.1])
    with pytest.raises(CalibrationError, match="field z0"):
        read_smap(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CalibrationError, match=r"x_3dcal\.mat"):
        read_smap(path)
