"""Calibration from bead stacks that we made, so that the right answer is known; and from the real one."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from rtdecode.core.errors import CalibrationError
from rtdecode.physics.calibrate import Calibration, CalibrationSettings, calibrate
from rtdecode.physics.psf import GaussianPsf

REAL = Path(__file__).parents[2] / "../shared/data/epfl2016_AS_beads_MIT/Beads-AS-Exp.tif"
BEADS = [(30.2, 28.7), (32.6, 90.1), (88.4, 60.3)]  # row, column
SETTINGS = CalibrationSettings((100.0, 100.0), 25.0, roi_px=25, min_distance_px=12)


def bead_stack(beads: list[tuple[float, float]], seed: int = 1) -> np.ndarray:
    """(41, 120, 120) u16: astigmatic Gaussian beads of different height, z from -500 to 500 nm by 25 nm."""
    z = np.arange(-20, 21) * 25.0
    frames = np.zeros((len(z), 120, 120), np.float32)
    for n, (row, column) in enumerate(beads):
        size = np.full(len(z), 60000.0 * (1 + 0.2 * n))
        GaussianPsf(psf_sigma_px=1.4).add_to(
            frames, np.arange(len(z)), np.full(len(z), column), np.full(len(z), row), z + 10.0 * n, size
        )
    return np.random.default_rng(seed).poisson(frames + 100).astype(np.uint16)


@pytest.fixture(scope="module")
def made() -> Calibration:
    return calibrate(bead_stack(BEADS), SETTINGS)


def test_beads_are_found_where_they_are(made: Calibration) -> None:
    found = sorted((bead.row_px, bead.column_px) for bead in made.beads)
    shift = np.mean(np.array(found) - np.array(sorted(BEADS)), axis=0)  # the common offset is free
    np.testing.assert_allclose(np.array(found) - shift, sorted(BEADS), atol=0.03)
    heights = {round(b.column_px): b.dz_nm for b in made.beads}
    assert heights[90] - heights[29] == pytest.approx(-10, abs=2)


def test_the_psf_is_the_one_that_made_the_stack(made: Calibration) -> None:
    lo, hi = made.psf.z_range_nm
    assert (lo, hi) == (-500.0, 500.0)
    for z in (-300.0, 0.0, 300.0):
        value = made.psf.with_derivatives([12], [12], [z], (25, 25))[0][0]
        truth = GaussianPsf(psf_sigma_px=1.4).with_derivatives([12], [12], [z + 10], (25, 25))[0][0]
        assert np.abs(value - truth)[3:-3, 3:-3].max() < 0.05 * truth.max()


def test_one_normalisation_for_all_slices() -> None:
    stack = bead_stack(BEADS).astype(np.float64)
    stack[:20] = 100 + (stack[:20] - 100) * 0.5  # half of the light below focus is lost
    samples = calibrate(stack, SETTINGS).samples
    assert samples[5].sum() / samples[35].sum() == pytest.approx(0.5, abs=0.05)


def test_an_odd_bead_is_left_out() -> None:
    stack = bead_stack(BEADS)
    stack[:, 70:107, 80:117] = 100
    for slice_ in stack:  # a flat square that never changes with z
        slice_[88:96, 94:102] = 1500
    beads = calibrate(stack, SETTINGS).beads
    assert [b.used for b in beads].count(False) == 1


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        (np.zeros((41, 120, 120)), "no bead"),
        (np.zeros((5, 120, 120)), "7 slices or more, found"),
        (np.zeros((41, 20, 20)), "smaller --roi-px"),
        (np.full((41, 120, 120), np.nan), "not finite"),
    ],
)
def test_useless_stacks_are_refused_with_a_reason(stack: np.ndarray, words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        calibrate(stack, SETTINGS)


@pytest.mark.shared_data
@pytest.mark.skipif(not REAL.exists(), reason="the challenge's bead stack is not beside the checkout")
def test_the_challenges_beads_agree_with_each_other() -> None:
    made = calibrate(tifffile.imread(REAL)[::3], CalibrationSettings((100.0, 100.0), 30.0))
    assert len(made.beads) == 6
    assert all(b.used and b.similarity > 0.99 for b in made.beads)
    assert max(abs(b.dz_nm) for b in made.beads) < 3  # they lie on one cover slip
    low, high = (made.psf.with_derivatives([18], [18], [z], (37, 37))[0][0] for z in (-250.0, 250.0))
    wide = [[(v.sum(a) * (np.arange(37) - 18) ** 2).sum() for a in (0, 1)] for v in (low, high)]
    assert wide[0][1] > wide[0][0]  # wide in y below focus
    assert wide[1][0] > wide[1][1]  # wide in x above
