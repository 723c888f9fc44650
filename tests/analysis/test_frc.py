"""Fourier ring correlation against theory, on point sets whose blur and labelling are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rtdecode.analysis.frc import HalfImages, frc_resolution, ring_correlation
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations

FIELD_NM, PX_NM = 4000.0, 5.0


def blurred(points: int, per_half: float, sigma_nm: float, on_frames: int = 1, seed: int = 0) -> Localizations:
    """Random molecules, each localized `per_half` times on average in each half, `on_frames` frames in a row."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, FIELD_NM, (points, 2))
    blinks = rng.poisson(2 * per_half / on_frames, points)
    who = np.repeat(np.arange(points), blinks)
    start = rng.integers(0, 100_000, len(who))
    who, frames = np.repeat(who, on_frames), (start[:, None] + np.arange(on_frames)).ravel()
    records = np.zeros(len(who), LOCALIZATION_DTYPE)
    found = places[who] + rng.normal(0, sigma_nm, (len(who), 2))
    records["frame_index"], records["x_nm"], records["y_nm"] = frames, found[:, 0], found[:, 1]
    return Localizations.from_records(np.sort(records, order="frame_index"))


def theory_nm(per_half: float, sigma_nm: float) -> float:
    """Of random points: FRC(q) = m e / (1 + m e), e = exp(-(2 pi q sigma)^2), m localizations of a point in a half.

    A point that is localized k ~ Poisson(m) times gives m^2 e to the cross spectrum and m + m^2 e to each power.
    """
    return 2 * math.pi * sigma_nm / math.sqrt(math.log(6 * per_half))


@pytest.mark.parametrize(("per_half", "sigma_nm"), [(10.0, 10.0), (3.0, 10.0), (3.0, 20.0)])
def test_as_theory_says(per_half: float, sigma_nm: float) -> None:
    found = frc_resolution(blurred(4000, per_half, sigma_nm), PX_NM)
    assert found is not None and found.resolution_nm is not None
    assert found.resolution_nm == pytest.approx(theory_nm(per_half, sigma_nm), rel=0.05)


def test_the_whole_curve_follows_theory() -> None:
    found = frc_resolution(blurred(6000, 5.0, 10.0), PX_NM)
    assert found is not None
    e = np.exp(-((2 * np.pi * found.frequency_per_nm * 10.0) ** 2))
    expected = 5.0 * e / (1 + 5.0 * e)
    inside = slice(20, 150)
    assert np.abs(found.correlation - expected)[inside].mean() < 0.03


def test_frames_in_a_row_do_not_flatter_blocks_but_odd_and_even_frames() -> None:
    once = blurred(4000, 1.5, 10.0, on_frames=3)  # half a blink for each half
    honest = frc_resolution(once, PX_NM)
    odd_even = [np.zeros((800, 800)), np.zeros((800, 800))]
    for half in (0, 1):
        chosen = once[once.frame_index % 2 == half]
        inside = (chosen.x_nm >= 0) & (chosen.y_nm >= 0) & (chosen.x_nm < FIELD_NM) & (chosen.y_nm < FIELD_NM)
        rows, columns = (chosen.y_nm[inside] / PX_NM).astype(int), (chosen.x_nm[inside] / PX_NM).astype(int)
        np.add.at(odd_even[half], (rows, columns), 1)
    flattered = ring_correlation(odd_even[0], odd_even[1], PX_NM)
    assert honest is not None and honest.resolution_nm is not None and flattered.resolution_nm is not None
    assert flattered.resolution_nm < 0.9 * honest.resolution_nm


def test_no_resolution_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    image = rng.poisson(1.0, (128, 128))
    assert ring_correlation(image, image, PX_NM).resolution_nm is None  # equal: it never falls
    other = ring_correlation(image, rng.poisson(1.0, (128, 128)), PX_NM)
    assert np.abs(other.correlation[10:]).mean() < 0.1  # nothing in common
    assert other.resolution_nm is None or other.resolution_nm > 20 * PX_NM
    assert HalfImages(PX_NM).correlation() is None


def test_images_do_not_depend_on_how_localizations_came() -> None:
    table = blurred(300, 2.0, 10.0)
    whole, parts = HalfImages(PX_NM), HalfImages(PX_NM)
    whole.add(table)
    for start in range(0, len(table), 97):
        parts.add(table[start : start + 97])
    assert np.array_equal(whole.images, parts.images) and whole.images.sum() > 0


def test_short_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 100"):
        HalfImages(PX_NM, block_frames=10)
