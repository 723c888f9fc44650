"""Pupils: the Airy spot, all light at every z, a helix that turns one way with z and keeps its bound over z."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import j1

from rtdecode.core.camera import Camera
from rtdecode.core.errors import CalibrationError
from rtdecode.physics.crlb import crlb
from rtdecode.physics.psf import load_psf
from rtdecode.physics.pupil import HELIX_MODES, Mask, Pupil, clear, double_helix, gauss_laguerre, pupil_psf

PUPIL = Pupil(1.4, 670.0, 1.518, (100.0, 100.0))
SHIPPED = Path(__file__).parents[2] / "configs" / "double-helix.psf.safetensors"
CAMERA = Camera(px_nm=(100.0, 100.0), baseline_adu=100.0, e_per_adu=0.46, read_noise_e=1.6)


def angle_deg(image: np.ndarray) -> float:
    """Of the long axis of the brightest half, from x towards y (down), modulo 180."""
    y, x = np.indices(image.shape) - len(image) // 2
    light = np.where(image > 0.5 * image.max(), image, 0.0)
    return float(np.degrees(0.5 * np.arctan2(2 * (light * x * y).sum(), (light * (x**2 - y**2)).sum())))


def test_without_a_mask_it_is_airys_spot() -> None:
    fine = Pupil(0.9, 600.0, 1.33, (20.0, 20.0))  # pixels so small that each has its centre's brightness
    (image,) = fine.images(clear, [0.0], 61)
    row, column = np.indices(image.shape) - 30
    v = 2 * np.pi * 0.9 / 600.0 * 20.0 * np.hypot(row, column) + 1e-9
    airy = (0.9 / 600.0) ** 2 * np.pi * (2 * j1(v) / v) ** 2 * 20.0**2
    np.testing.assert_allclose(image, airy, atol=0.01 * airy.max())


@pytest.mark.parametrize("mask", [clear, double_helix()], ids=["clear", "helix"])
def test_all_light_is_somewhere_at_every_z(mask: Mask) -> None:
    side = 201
    pupil = Pupil(
        1.2, 2 * 1.2 * side * 100.0 / 128, 1.4, (100.0, 100.0)
    )  # its images repeat after 201 px: none is lost
    light = pupil.images(mask, [-800.0, 0.0, 300.0], side).sum((1, 2))
    np.testing.assert_allclose(light, 1.0, rtol=1e-6)


def test_the_helix_turns_one_way_and_is_odd_in_z() -> None:
    z = np.arange(-900, 901, 150.0)
    turned = np.unwrap([angle_deg(image) for image in PUPIL.images(double_helix(), z, 37)], period=180)
    turned -= turned[len(z) // 2]
    assert (np.diff(turned) > 5).all()
    np.testing.assert_allclose(turned, -turned[::-1], atol=2)
    assert 150 < turned[-1] - turned[0] < 180  # less than half a turn: no two heights look alike
    slow = np.unwrap([angle_deg(image) for image in PUPIL.images(double_helix(0.3), z, 37)], period=180)
    assert slow[-1] - slow[0] < turned[-1] - turned[0] - 20


def test_its_modes_lie_on_a_line_and_have_unit_power() -> None:
    orders = np.array(HELIX_MODES)
    assert set(np.diff(orders[:, 1]) / np.diff(orders[:, 0])) == {2.0}
    side = np.linspace(-4, 4, 401)
    x, y = np.meshgrid(side, side)
    modes = [gauss_laguerre(m, n, 0.9, np.hypot(x, y), np.arctan2(y, x)).ravel() for m, n in HELIX_MODES]
    overlaps = np.array(modes).conj() @ np.array(modes).T * (side[1] - side[0]) ** 2
    np.testing.assert_allclose(overlaps, np.eye(5), atol=1e-3)


def test_a_pixels_two_sides_may_differ() -> None:
    (wide,) = Pupil(1.4, 670.0, 1.518, (100.0, 50.0)).images(clear, [300.0], 31)
    (tall,) = Pupil(1.4, 670.0, 1.518, (50.0, 100.0)).images(clear, [300.0], 31)
    np.testing.assert_allclose(wide, tall.T, atol=1e-12)
    spread = [(wide * (np.arange(31) - 15) ** 2).sum(), (wide * ((np.arange(31) - 15) ** 2)[:, None]).sum()]  # px²
    assert spread[0] < 0.5 * spread[1]  # along x pixels are twice as large


def test_a_psf_of_a_pupil_is_normalised_at_focus_and_read_as_any_other(tmp_path: Path) -> None:
    psf = pupil_psf(PUPIL, double_helix(), (-610.0, 400.0), 25.0, 25)
    assert psf.z_range_nm == (-600.0, 400.0) and psf.roi_px == 25 and psf.px_nm == (100.0, 100.0)
    light = psf.samples().sum((1, 2))
    assert light[23:26].mean() == pytest.approx(1, abs=1e-4)  # z = -25, 0, 25 nm
    assert 0.8 < light[0] < 0.97 and np.abs(psf.samples()[:, 0]).max() < 0.05 * psf.samples().max()
    psf.save(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(load_psf(tmp_path / "p.safetensors").samples(), psf.samples())  # type: ignore[union-attr]


def test_the_shipped_helix_is_what_its_command_makes_and_has_an_even_bound() -> None:
    shipped = load_psf(SHIPPED)
    np.testing.assert_allclose(shipped.samples(), pupil_psf(PUPIL, double_helix(), (-900, 900)).samples(), atol=1e-6)  # type: ignore[union-attr]
    z = np.arange(-800, 801, 100.0)
    bounds = crlb(shipped, CAMERA, 2030.0, 1980.0, z, 3000.0, 20.0, (41, 41))
    assert (bounds.z_nm > 8).all() and (bounds.z_nm < 16).all()
    assert bounds.radial_nm.max() < 1.6 * bounds.radial_nm.min()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Pupil(1.6, 670.0, 1.518, (100.0, 100.0)), "refractive index 1.518: the NA must be above 0 and below"),
        (lambda: Pupil(1.4, -1.0, 1.518, (100.0, 100.0)), "must be above 0"),
        (lambda: pupil_psf(PUPIL, clear, (20.0, 500.0)), "on both sides of the focus"),
        (lambda: pupil_psf(PUPIL, clear, roi_px=36), "odd"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        make()
