"""`rtdecode calibrate` from files to PSF, page and words; SMAP's files in and out; refusals before the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from rtdecode.cli.app import run
from rtdecode.cli.bead_files import read_bead_file
from rtdecode.formats.smap import read_smap
from rtdecode.physics.psf import GaussianPsf, SplinePsf, load_psf

Captured = pytest.CaptureFixture[str]
PX = ["--px-nm", "110,100"]


def bead_stack(seed: int) -> np.ndarray:
    """(33, 70, 80) u16: two beads of an astigmatic Gaussian, one at the rim; z from -400 to 400 nm by 25 nm."""
    frames, z = np.full((33, 70, 80), 100, np.float32), np.arange(-16, 17) * 25.0
    for row, column in ((22.3, 20.6), (45.2, 55.1), (4, 60)):
        at = (np.full(33, float(v)) for v in (column, row))
        GaussianPsf().add_to(frames, np.arange(33), *at, z, np.full(33, 50000.0))
    return np.random.default_rng(seed).poisson(frames).astype(np.uint16)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A TIFF with one stack and an .npy with two after each other."""
    folder = tmp_path_factory.mktemp("beads")
    tifffile.imwrite(folder / "a.tif", bead_stack(1))
    np.save(folder / "b.npy", np.concatenate([bead_stack(2), bead_stack(3)]))
    return [str(folder / "a.tif"), str(folder / "b.npy")]


def test_stacks_of_several_files_become_psf_page_and_verdict(
    files: list[str], tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "psf.safetensors"
    options = ["--dz-nm", "25", "--slices", "33", "--roi-px", "25", *PX]
    assert run(["calibrate", *files, *options, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "6 of 9 beads used" in said and "of stack 3: its 25 px ROI reaches beyond the frame" in said
    assert "Good. Z-ramp slope" in said
    psf = load_psf(out)
    assert isinstance(psf, SplinePsf) and psf.px_nm == (110.0, 100.0) and psf.z_range_nm == (-400.0, 400.0)
    page = np.asarray(Image.open(tmp_path / "psf.png"))
    assert page.shape[1] == 1560 and page.shape[0] > 1400
    green, red = ((np.abs(page.astype(int) - colour).max(2) < 10).sum() for colour in ((86, 214, 124), (240, 98, 90)))
    assert green > 6 * 50 and red > 3 * 50  # rings of nine beads


def test_an_astigmatic_gaussian_of_beads_goes_out_to_smap_and_comes_in(
    files: list[str], tmp_path: Path, capsys: Captured
) -> None:
    ours, smap, again = (tmp_path / name for name in ("g.safetensors", "g_3dcal.mat", "again.safetensors"))
    options = ["--kind", "gaussian", "--dz-nm", "25", "--roi-px", "25", *PX]
    assert run(["calibrate", files[0], *options, "--out", str(ours)]) == 0
    gaussian = load_psf(ours)
    assert isinstance(gaussian, GaussianPsf) and gaussian.gamma_nm == pytest.approx(250, abs=15)
    assert run(["calibrate", str(ours), "--out", str(smap), "--page", str(tmp_path / "2.png")]) == 0
    assert read_smap(smap).z_range_nm == pytest.approx(gaussian.z_range_nm)
    assert run(["calibrate", str(smap), "--out", str(again)]) == 0
    assert "cubic spline, 25 x 25 px, z -400 to 400 nm" in capsys.readouterr().out
    middle = [np.full(3, 12.0)] * 2
    one, other = (p.with_derivatives(*middle, [-200, 0, 200], (25, 25))[0] for p in (gaussian, load_psf(again)))
    np.testing.assert_allclose(one[:, 2:-2, 2:-2], other[:, 2:-2, 2:-2], atol=1e-4 * one.max())


def test_a_2d_gaussian_needs_no_beads_and_simulates(tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "psf.safetensors"
    assert run(["calibrate", "--kind", "gaussian-2d", "--psf-sigma-px", "1.2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2D Gaussian" in said and "pixels of 100 nm are taken" in said
    assert load_psf(out).with_derivatives([9], [9], [0], (19, 19))[3].max() == 0


def test_a_double_helix_is_made_from_optics(tmp_path: Path, capsys: Captured) -> None:
    out, optics = tmp_path / "psf.safetensors", ["--na", "1.2", "--wavelength-nm", "600", "--refractive-index", "1.33"]
    size = ["--z-nm", "-500,400", "--dz-nm", "50", "--roi-px", "31", *PX]
    assert run(["calibrate", "--kind", "double-helix", *optics, *size, "--out", str(out)]) == 0
    assert "cubic spline, 31 x 31 px, z -500 to 400 nm" in capsys.readouterr().out
    psf = load_psf(out)
    assert psf.px_nm == (110.0, 100.0) and psf.z_range_nm == (-500.0, 400.0)
    assert Image.open(tmp_path / "psf.png").width == 1560


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "gauss"], "--kind 'gauss'"),
        (["--kind", "gaussian-2d"], "--psf-sigma-px belong together"),
        (["--psf-sigma-px", "1.3"], "--psf-sigma-px belong together"),
        (["--kind", "double-helix", "--na", "1.4"], "--kind double-helix and --wavelength-nm belong together"),
        (["FILE", "--na", "1.4"], "--kind double-helix and --na belong together"),
        (["--kind", "double-helix", "--na", "1.6", "--wavelength-nm", "600"], "NA 1.6 in a medium"),
        (["--kind", "double-helix", "--na", "1.2", "--wavelength-nm", "600", "--z-nm", "900"], "--z-nm '900'"),
        ([], "name a bead stack"),
        (["FILE"], "--dz-nm is missing"),
        (["FILE", "--dz-nm", "10", "--slices", "32"], "33 frames are no whole number of stacks"),
        (["FILE", "--dz-nm", "10", "--px-nm", "x"], "--px-nm 'x'"),
        (["FILE", "--dz-nm", "0"], "--dz-nm 0: expected"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    files: list[str], tmp_path: Path, arguments: list[str], words: str, capsys: Captured
) -> None:
    given = [files[0] if a == "FILE" else a for a in arguments]
    assert run(["calibrate", *given, "--out", str(tmp_path / "psf.safetensors")]) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(["calibrate", *given, "--out", str(tmp_path / "psf.txt")]) == 1


def test_a_files_own_axes_pixels_and_step_are_taken(tmp_path: Path, capsys: Captured) -> None:
    """OME-TIFF of two time points of a stack, as Micro-Manager makes them; what is given instead is held against it."""
    movie = np.stack([bead_stack(4), bead_stack(5)])
    about = {"axes": "TZYX", "PhysicalSizeX": 0.11, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.025}
    tifffile.imwrite(tmp_path / "beads.ome.tif", movie, ome=True, metadata=about)
    words = ["calibrate", str(tmp_path / "beads.ome.tif"), "--roi-px", "25"]
    assert run([*words, "--out", str(tmp_path / "psf.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "pixels of 110 x 100 nm are taken: as the file states" in said and "4 of 6 beads used" in said
    psf = load_psf(tmp_path / "psf.safetensors")
    assert psf.px_nm == (110.0, 100.0) and psf.z_range_nm == (-400.0, 400.0)
    given = ["--dz-nm", "-50", "--px-nm", "100", "--out", str(tmp_path / "other.safetensors")]
    assert run([*words, *given]) == 0
    said = capsys.readouterr().out
    assert "states pixels of 110 x 100 nm, taken are 100 x 100 nm" in said
    assert "states steps of 25 nm, taken are 50 nm" in said


def test_imagej_and_unnamed_axes(tmp_path: Path) -> None:
    stack = bead_stack(6)
    about = {"axes": "ZYX", "unit": "um", "spacing": 0.05}
    tifffile.imwrite(tmp_path / "ij.tif", stack, imagej=True, resolution=(1 / 0.16, 1 / 0.16), metadata=about)
    found = read_bead_file(tmp_path / "ij.tif", None)
    assert found.dz_nm == pytest.approx(50) and found.px_nm == pytest.approx((160, 160), rel=1e-3)
    assert [one.shape for one in found.stacks] == [stack.shape]
    tifffile.imwrite(tmp_path / "four.tif", np.stack([stack, stack, stack]))
    found = read_bead_file(tmp_path / "four.tif", None)
    assert [one.shape for one in found.stacks] == [stack.shape] * 3 and found.dz_nm is None
    np.testing.assert_array_equal(found.stacks[2], stack)


def test_a_page_that_exists_is_kept(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "psf.png").write_text("precious")
    out = ["--out", str(tmp_path / "psf.safetensors")]
    assert run(["calibrate", "--kind", "gaussian-2d", "--psf-sigma-px", "1.2", *out]) == 1
    assert "psf.png: exists already" in capsys.readouterr().err and not (tmp_path / "psf.safetensors").exists()
