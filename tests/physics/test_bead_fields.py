"""Calibration of simulated fields whose PSF and flaws are known: recovered PSF, reasons, z-ramp, verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from bead_fields import DZ, Put, double_helix, field_of, noisy, slices_nm

from rtdecode.core.errors import CalibrationError
from rtdecode.physics.beads import without_hot_pixels
from rtdecode.physics.calibrate import Bead, Calibration, CalibrationSettings, _gaussian_centre, calibrate
from rtdecode.physics.gaussian_fit import fit_gaussian
from rtdecode.physics.psf import GaussianPsf, Psf, load_psf
from rtdecode.physics.psf_check import alike_heights, verdict, z_ramp

CHALLENGE = Path(__file__).parents[2] / "configs" / "challenge-astigmatic.psf.safetensors"
QNANO = Path(__file__).parents[2].parent / "shared/data/qnano_vectorial_MIT/psf_zstack.tiff"
SETTINGS = CalibrationSettings((100.0, 100.0), DZ)
GOOD = [Put(30.3, 30.7), Put(32.6, 110.2, 30), Put(100.1, 35.5, -20), Put(110.7, 112.4, 10, 30000)]


@pytest.fixture(scope="module")
def flawed() -> Calibration:
    """Two stacks of the challenge's PSF; the second starts 300 nm higher, the first has every flaw we know."""
    psf, z = load_psf(CHALLENGE), slices_nm()
    pair, bright, floating = [Put(70.2, 70.4), Put(70.2, 79.0)], Put(150.5, 40.2, 0, 900000), Put(150.2, 110.6, 200)
    first = field_of(psf, [*GOOD, *pair, bright, floating, Put(8, 80)], (190, 150), z)
    first[:, 168:174, 70:76] += 800  # dust: the same in all slices
    second = field_of(psf, [Put(40.4, 40.1), Put(41.2, 100.9, 15), Put(100.5, 70.5, -10)], (150, 150), z + 300)
    return calibrate([noisy(first, full_scale=16383), noisy(second, 2)], SETTINGS)


def bead_near(made: Calibration, row: float, column: float, stack: int = 0) -> Bead:
    return min(
        (b for b in made.beads if b.stack == stack), key=lambda b: np.hypot(b.row_px - row, b.column_px - column)
    )


def worst_difference(psf: Psf, truth: Psf, at_nm: tuple[float, ...], shift_nm: float) -> float:
    """Largest difference over the truth's height, 3 px inside the rim; one height for all slices is free."""
    worst = 0.0
    for z in at_nm:
        one = psf.with_derivatives([18], [18], [z], (37, 37))[0][0]
        other = truth.with_derivatives([18], [18], [z + shift_nm], (37, 37))[0][0]
        worst = max(worst, float(np.abs(one - other)[3:-3, 3:-3].max() / other.max()))
    return worst


def test_the_psf_comes_back(flawed: Calibration) -> None:
    truth, heights = load_psf(CHALLENGE), (-400.0, -200.0, 0.0, 200.0, 400.0)
    shifts = np.arange(-60, 61, 5.0)
    assert min(worst_difference(flawed.psf, truth, heights, s) for s in shifts) < 0.035
    assert worst_difference(flawed.psf, truth, heights, 150) > 0.1  # the measure can fail


def test_positions_and_heights_of_good_beads_come_back_over_both_stacks(flawed: Calibration) -> None:
    found = [bead_near(flawed, put.row, put.column) for put in GOOD]
    assert all(bead.used for bead in found)
    off = np.array([[b.row_px - p.row, b.column_px - p.column] for b, p in zip(found, GOOD, strict=True)])
    np.testing.assert_allclose(off - off.mean(0), 0, atol=0.02)
    assert np.abs(off).max() < 0.1
    heights = np.array([b.dz_nm + p.height_nm for b, p in zip(found, GOOD, strict=True)])  # z + h: higher is earlier
    assert np.ptp(heights) < 5
    other = bead_near(flawed, 40.4, 40.1, stack=1)
    assert other.used and other.dz_nm - heights.mean() == pytest.approx(-300, abs=5)
    assert found[3].brightness == pytest.approx(0.5 * found[0].brightness, rel=0.02)


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        (70.2, 74.7, "something else"),
        (150.5, 40.2, "saturated"),
        (150.2, 110.6, r"focus is (19|20)\d nm"),
        (8, 80, "beyond the frame"),
        (171, 73, "unlike the others"),
    ],
)
def test_a_flawed_bead_is_left_out_with_its_reason(flawed: Calibration, row: float, column: float, words: str) -> None:
    bead = bead_near(flawed, row, column)
    assert np.hypot(bead.row_px - row, bead.column_px - column) < 6 and not bead.used
    with pytest.raises(CalibrationError, match=words):
        raise CalibrationError(bead.reason)


def test_the_z_ramp_is_straight_and_the_verdict_good(flawed: Calibration) -> None:
    ramp = z_ramp(flawed.psf, flawed.used)
    assert ramp.slope == pytest.approx(1.0, abs=0.03) and abs(ramp.bias_nm) < 3 and ramp.scatter_nm < 8
    judged = verdict(flawed.psf, len(flawed.used), ramp, alike_heights(flawed.psf))
    assert judged.grade == "good" and "slope 1.0" in judged.words


def test_a_ramp_of_another_microscope_is_not_usable(flawed: Calibration) -> None:
    mirrored = GaussianPsf(1.6, -156.0, 241.0, flawed.psf.z_range_nm, round_at_nm=-136.0)
    judged = verdict(mirrored, 5, z_ramp(mirrored, flawed.used), alike_heights(mirrored))
    assert judged.grade == "unusable" and "does not follow the stage" in judged.words


def test_a_double_helix_needs_nothing_of_its_own() -> None:
    helix = double_helix()
    puts = [Put(30.3, 30.7), Put(32.6, 100.2, 30), Put(100.1, 35.5, -20), Put(95.7, 102.4, 10, 30000)]
    made = calibrate(noisy(field_of(helix, puts, (130, 130), slices_nm())), SETTINGS)
    assert len(made.used) == 4
    assert bead_near(made, 30.3, 30.7).column_px == pytest.approx(30.7, abs=0.1)  # between the lobes
    ramp, alike = z_ramp(made.psf, made.used), alike_heights(made.psf)
    assert ramp.slope == pytest.approx(1.0, abs=0.03) and alike is None
    assert verdict(made.psf, 4, ramp, alike).grade == "good"


def test_a_psf_that_is_symmetric_in_z_is_named() -> None:
    round_spot = GaussianPsf(gamma_nm=0.0)
    made = calibrate(noisy(field_of(round_spot, GOOD, (150, 150), slices_nm())), SETTINGS)
    alike = alike_heights(made.psf)
    assert alike is not None and alike.mirrored_at_nm == pytest.approx(0, abs=30)
    judged = verdict(made.psf, 4, z_ramp(made.psf, made.used), alike)
    assert judged.grade == "unusable" and "above and below z" in judged.words and "cylindrical lens" in judged.words
    assert alike_heights(GaussianPsf()) is None


def test_beads_give_the_astigmatic_gaussian_that_made_them() -> None:
    truth = GaussianPsf(1.35, -220.0, 350.0, round_at_nm=60.0)
    made = calibrate(noisy(field_of(truth, GOOD, (150, 150), slices_nm())), SETTINGS)
    heights = np.median([0, 30, -20, 10])  # of the beads: the average stands at their median
    found = fit_gaussian(made.psf)
    assert found.psf_sigma_px == pytest.approx(1.35, abs=0.03)
    assert found.gamma_nm == pytest.approx(-220, abs=10) and found.depth_nm == pytest.approx(350, abs=15)
    assert found.round_at_nm == pytest.approx(60 - heights, abs=6)
    ramp = z_ramp(found, made.used)
    assert ramp.slope == pytest.approx(1.0, abs=0.03) and abs(ramp.bias_nm) < 5


def test_stacks_of_different_length_share_their_focus() -> None:
    truth = GaussianPsf()
    long = noisy(field_of(truth, GOOD, (150, 150), slices_nm(700)))
    short = noisy(field_of(truth, GOOD[:2], (130, 150), slices_nm(500)), 3)
    made = calibrate([long, short], SETTINGS)
    assert len(made.used) == 6 and made.psf.z_range_nm[1] >= 500
    assert np.ptp([b.dz_nm for b in made.beads if b.column_px < 40 and b.row_px < 40]) < 4


def test_a_copy_is_no_second_bead() -> None:
    stack = noisy(field_of(GaussianPsf(), GOOD[:1], (60, 60), slices_nm()))
    made = calibrate([stack, stack.copy()], SETTINGS)
    assert [b.used for b in made.beads] == [True, False] and "copy of the bead" in made.beads[1].reason
    words = verdict(made.psf, 1, z_ramp(made.psf, made.used), None).words
    assert "one bead only" in words.lower()


def test_no_usable_bead_is_told_with_the_reasons() -> None:
    stack = noisy(field_of(GaussianPsf(), [Put(8, 30), Put(30, 52)], (60, 60), slices_nm()))
    with pytest.raises(CalibrationError, match="2 x its 37 px ROI reaches beyond the frame"):
        calibrate(stack, SETTINGS)


def test_hot_pixels_are_no_beads_and_spoil_none() -> None:
    stack = noisy(field_of(load_psf(CHALLENGE), GOOD, (150, 150), slices_nm()))
    clean = calibrate(stack, SETTINGS)
    for row, column, level in ((60, 60, 60000), (30, 33, 20000), (101, 36, 65535), (101, 37, 65535)):
        stack[:, row, column] = level
    stack[:, 20, 100] = 0  # dead
    made = calibrate(stack, SETTINGS)
    assert [bead.used for bead in made.beads] == [True] * 4
    assert made.notes == ("5 hot or dead pixels were replaced by their neighbours' median",)
    np.testing.assert_allclose(made.samples, clean.samples, atol=0.05 * clean.samples.max())


@pytest.mark.parametrize("psf", [load_psf(CHALLENGE), GaussianPsf(psf_sigma_px=0.8), double_helix()])
def test_no_pixel_of_a_bead_is_hot(psf: Psf) -> None:
    stack = noisy(field_of(psf, [Put(p.row, p.column) for p in GOOD], (150, 150), slices_nm()))
    assert without_hot_pixels(stack.astype(np.float32))[1] == 0


def test_a_falling_stage_is_told_by_a_negative_step() -> None:
    stack = noisy(field_of(load_psf(CHALLENGE), GOOD, (150, 150), slices_nm()))
    up = calibrate(stack, CalibrationSettings((100.0, 100.0), DZ, focus_slice=20))
    down = calibrate(stack[::-1], CalibrationSettings((100.0, 100.0), -DZ, focus_slice=len(stack) - 1 - 20))
    assert down.psf.dz_nm == DZ and down.psf.z_range_nm == up.psf.z_range_nm == (-500.0, 700.0)
    np.testing.assert_array_equal(down.samples, up.samples)


def test_beads_on_a_tilted_cover_slip_are_used_and_one_that_floats_is_not() -> None:
    """9 mrad, usual for a slip that lies on something: 450 nm over 50 um; here over a field of 15 um."""
    places = [(30.3, 30.7), (32.6, 110.2), (100.1, 35.5), (110.7, 112.4), (72.2, 71.1), (135, 72), (70, 128)]
    puts = [Put(row, column, 4 * (column - 70) + (350 if row == 72.2 else 0)) for row, column in places]
    made = calibrate(noisy(field_of(load_psf(CHALLENGE), puts, (160, 150), slices_nm())), SETTINGS)
    assert len(made.used) == 6 and "focus is 3" in bead_near(made, 72.2, 71.1).reason
    assert "tilted plane, 39" in made.notes[0] or "tilted plane, 38" in made.notes[0]


def test_heights_without_a_majority_are_told_and_all_used() -> None:
    puts = [Put(p.row, p.column, (p.column - 72) * 6) for p in GOOD]
    made = calibrate(noisy(field_of(load_psf(CHALLENGE), puts, (150, 150), slices_nm())), SETTINGS)
    assert len(made.used) == 4 and "differ by 4" in made.notes[0]


def test_beads_that_are_mostly_noise_are_refused_and_a_dim_one_is_named() -> None:
    psf = load_psf(CHALLENGE)
    dim = [Put(p.row, p.column, 0, 600) for p in GOOD]
    with pytest.raises(CalibrationError, match=r"of 4 spots no two are alike .*brighter beads"):
        calibrate(noisy(field_of(psf, dim, (150, 150), slices_nm())), SETTINGS)
    one = calibrate(noisy(field_of(psf, [Put(30, 30, 0, 3000)], (60, 60), slices_nm())), SETTINGS)
    judged = verdict(one.psf, 1, z_ramp(one.psf, one.used), None, one.noise)
    assert "noise is" in judged.words and one.noise > 0.02
    assert verdict(one.psf, 1, None, None, 0.08).grade == "unusable"


def test_a_focus_far_from_zero_is_told() -> None:
    psf, z = load_psf(CHALLENGE), slices_nm(900)
    made = calibrate(noisy(field_of(psf, GOOD, (150, 150), z + 450)), SETTINGS)
    assert "sharpest near z = -" in made.notes[0] and "--focus-slice by -" in made.notes[0]
    assert calibrate(noisy(field_of(psf, GOOD, (150, 150), z)), SETTINGS).notes == ()


def test_spots_without_any_shape_do_not_end_in_a_traceback() -> None:
    """A fit of the centre that does not end is no Gaussian; found with hot pixels that were taken for beads."""
    image = np.zeros((15, 15))
    image[7, 7], image[3, 11] = 1.0, 1.0
    centre = _gaussian_centre(image)
    assert centre is None or np.isfinite(centre).all()


@pytest.mark.shared_data
@pytest.mark.skipif(not QNANO.exists(), reason="the qnano bead stacks are not beside the checkout")
@pytest.mark.parametrize("roi_px", [13, 15])
def test_beads_of_another_group_in_frames_of_16_px(roi_px: int) -> None:
    made = calibrate(list(tifffile.imread(QNANO)), CalibrationSettings((65.0, 65.0), 600 / 119, roi_px=roi_px))
    assert [b.used for b in made.beads] == [True, False, False]  # the file has one bead three times
    ramp = z_ramp(made.psf, made.used)
    assert ramp.slope == pytest.approx(1.0, abs=0.05) and ramp.scatter_nm < 10
    judged = verdict(made.psf, 1, ramp, alike_heights(made.psf))
    assert judged.grade != "good" and "ambiguous z" in judged.words.lower()  # 50 milliwaves of astigmatism
