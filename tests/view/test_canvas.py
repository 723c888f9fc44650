"""The canvas: where a localization lands, what it weighs, what colour it has, and that portions do not matter."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from view_runs import PX_NM, SHAPE, localizations_at, scattered

from rtdecode.core.localizations import Localizations
from rtdecode.view.canvas import Canvas, ColourScale, Contrast, Region
from rtdecode.view.colours import LIGHTNESS, hue_ramp, linear_rgb, ramp_rgb
from rtdecode.view.labels import length_words, round_length_nm, ticks

FIELD = Region.of_frame(SHAPE, (PX_NM, PX_NM))


def canvas_with(localizations: Localizations, px_nm: float = 10.0, scale: ColourScale | None = None) -> Canvas:
    canvas = Canvas(FIELD, px_nm, scale)
    canvas.add(localizations)
    return canvas


def lightness(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """OKLab lightness of sRGB bytes (..., 3), by the published matrices in the other direction."""
    x = rgb.astype(float) / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    lms = linear @ np.array(
        [[0.4122214708, 0.2119034982, 0.0883024619], [0.5363325363, 0.6806995451, 0.2817188376],
         [0.0514459929, 0.1073969566, 0.6299787005]]
    )  # fmt: skip
    return np.asarray(np.cbrt(lms) @ [0.2104542553, 0.7936177850, -0.0040720468])


def centre_of_mass_nm(canvas: Canvas) -> tuple[float, float]:
    rows, columns = np.indices(canvas.shape)
    total = canvas.weight.sum()
    x = (columns * canvas.weight).sum() / total * canvas.px_nm + canvas.region.x0_nm + canvas.px_nm / 2
    y = (rows * canvas.weight).sum() / total * canvas.px_nm + canvas.region.y0_nm + canvas.px_nm / 2
    return float(x), float(y)


def test_a_canvas_covers_the_frame_from_the_corner_of_its_first_pixel() -> None:
    assert canvas_with(Localizations.empty()).shape == (SHAPE[0] * 10, SHAPE[1] * 10)
    assert (FIELD.x0_nm, FIELD.y0_nm, FIELD.x1_nm, FIELD.y1_nm) == (-50, -50, 3150, 2350)


@pytest.mark.parametrize("px_nm", [2.0, 10.0, 40.0])
def test_an_off_diagonal_localization_lies_right_along_columns_and_down_along_rows(px_nm: float) -> None:
    canvas = canvas_with(localizations_at(2503.7, 411.2, sigma_nm=25.0), px_nm)
    assert centre_of_mass_nm(canvas) == pytest.approx((2503.7, 411.2), abs=0.3)
    row, column = np.unravel_index(canvas.weight.argmax(), canvas.shape)
    assert column == int((2503.7 + 50) / px_nm) and row == int((411.2 + 50) / px_nm)


@pytest.mark.parametrize("sigma_nm", [0.1, 5.0, 25.0, 100.0, 5000.0])
def test_each_localization_weighs_one_whatever_its_sigma(sigma_nm: float) -> None:
    canvas = canvas_with(localizations_at([1500.0, 900.3], [1200.0, 1100.9], sigma_nm=sigma_nm))
    assert float(canvas.weight.sum()) == pytest.approx(2.0, rel=1e-4)


def test_the_drawn_width_is_the_sigma_of_each_axis() -> None:
    one = localizations_at(1500.0, 1200.0, sigma_nm=20.0)
    one.sigma_y_nm[:] = 60.0
    canvas = canvas_with(one, 5.0)
    across, down = canvas.weight.sum(axis=0), canvas.weight.sum(axis=1)
    spreads = [float(np.sqrt(np.cov(np.arange(len(p)), fweights=None, aweights=p))) * 5.0 for p in (across, down)]
    assert spreads == pytest.approx([20.0, 60.0], rel=0.03)  # cut at 3 sigma: 1.4 % narrower


def test_what_falls_outside_is_lost_and_nothing_else() -> None:
    canvas = canvas_with(localizations_at([-50.0, 3150.0, 9e9, -9e9], [1200.0, 2350.0, 0.0, 0.0], sigma_nm=30.0))
    assert float(canvas.weight.sum()) == pytest.approx(0.5 + 0.25, abs=0.01)


@given(cuts=st.lists(st.integers(0, 400), max_size=6), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_any_portions_give_the_same_bytes(cuts: list[int], seed: int) -> None:
    localizations = scattered(400, seed)
    whole, parts = canvas_with(localizations), Canvas(FIELD, 10.0)
    bounds = [0, *sorted(cuts), 400]
    for start, stop in pairwise(bounds):
        parts.add(localizations[start:stop])
    assert parts.sums.tobytes() == whole.sums.tobytes()
    assert parts.to_rgb()[0].tobytes() == whole.to_rgb()[0].tobytes()


def test_the_same_localizations_on_a_part_of_the_field_give_the_same_picture_there() -> None:
    localizations = scattered(500, 3)
    whole = canvas_with(localizations)
    part = Canvas(Region(950.0, 450.0, 800.0, 600.0), 10.0)
    part.add(localizations)
    np.testing.assert_allclose(part.weight, whole.weight[50:110, 100:180], rtol=2e-3, atol=1e-7)


def test_values_that_are_not_finite_are_counted_and_not_drawn() -> None:
    bad = localizations_at([np.nan, 500.0, 500.0, 500.0, 500.0], [500.0, np.inf, 500.0, 500.0, 500.0])
    bad.sigma_x_nm[2], bad.sigma_y_nm[3], bad.z_nm[4] = 0.0, np.nan, np.nan
    canvas = canvas_with(bad)
    assert canvas.unusable == 5
    assert not canvas.sums.any()


def test_depth_decides_the_hue_and_mixing_two_depths_shows_neither_nor_a_third() -> None:
    scale = ColourScale(-500, 500)
    colours = {}
    for z in (-500.0, 0.0, 500.0):
        canvas = canvas_with(localizations_at(1000.0, 1000.0, z), scale=scale)
        colours[z] = canvas.to_rgb(percentile=50)[0][105, 105].astype(int)
    both = canvas_with(localizations_at([1000.0, 1000.0], 1000.0, [-500.0, 500.0]), scale=scale)
    mixed = both.to_rgb(percentile=50)[0][105, 105].astype(int)
    assert colours[-500.0][2] > colours[-500.0][0] + 50  # low: blue
    assert colours[500.0][0] > colours[500.0][2] + 50  # high: red
    assert colours[0.0][1] == max(colours[0.0])  # middle: green
    assert all(np.abs(mixed - ramp).sum() > 40 for ramp in ramp_rgb().astype(int))  # no depth of the ramp


def test_the_ramp_has_one_lightness_and_even_steps_and_stays_on_the_screen() -> None:
    ab = hue_ramp()
    steps = np.linalg.norm(np.diff(ab, axis=0), axis=1)
    assert np.ptp(steps) < 1e-4 * 255
    linear = linear_rgb(np.column_stack([np.full(len(ab), LIGHTNESS), ab]))
    assert linear.min() >= 0.0 and linear.max() <= 1.0
    np.testing.assert_allclose(lightness(ramp_rgb()), LIGHTNESS, atol=0.004)


def test_lightness_grows_with_density_and_saturates_at_white() -> None:
    canvas = canvas_with(localizations_at(np.repeat([500.0, 1500.0, 2500.0], [1, 4, 16]), 1000.0))
    density = canvas.weight[105, [55, 155, 255]] / 1e-4  # of 10 nm pixels, in um^-2
    rgb = canvas.to_rgb(white_density=float(density[1]), gamma=0.5)[0][105, [55, 155, 255]]
    assert lightness(rgb) == pytest.approx(LIGHTNESS * np.array([0.5, 1.0, 1.0]), abs=0.006)


def test_an_empty_canvas_is_black() -> None:
    rgb, region = Canvas(FIELD, 10.0).to_rgb()
    assert not rgb.any() and region == FIELD


def test_a_view_of_a_part_is_that_part_and_says_which() -> None:
    canvas = canvas_with(scattered(300, 5))
    rgb, region = canvas.to_rgb(100.0, visible=Region(1003.0, 501.0, 400.0, 300.0))
    assert region.covers(Region(1003.0, 501.0, 400.0, 300.0))
    row, column = round((region.y0_nm + 50) / 10), round((region.x0_nm + 50) / 10)
    whole = canvas.to_rgb(100.0)[0]
    np.testing.assert_array_equal(rgb, whole[row : row + rgb.shape[0], column : column + rgb.shape[1]])
    assert canvas.to_rgb(100.0, visible=Region(9e6, 0, 10, 10))[0].size == 0


def test_blocks_average_and_cover_the_same_ground() -> None:
    canvas = canvas_with(localizations_at(2500.0, 400.0, sigma_nm=30.0))
    rgb, region = canvas.to_rgb(1.0, most_px=64)
    assert max(rgb.shape[:2]) <= 64 and region.covers(FIELD)
    side = region.width_nm / rgb.shape[1]
    row, column = np.argwhere(rgb.any(axis=2)).mean(axis=0)
    assert region.x0_nm + (column + 0.5) * side == pytest.approx(2500.0, abs=side)
    assert region.y0_nm + (row + 0.5) * side == pytest.approx(400.0, abs=side)


def test_the_density_does_not_depend_on_the_pixel_size() -> None:
    localizations = localizations_at(*np.random.default_rng(2).uniform(0, 2300, (2, 20000)), sigma_nm=100.0)
    fine, coarse = (canvas_with(localizations, px_nm).density_percentile(90) for px_nm in (10.0, 40.0))
    assert fine == pytest.approx(coarse, rel=0.1)


def test_contrast_follows_in_small_steps_and_holds_when_pinned() -> None:
    canvas, contrast = canvas_with(scattered(100, 1)), Contrast(percentile=99.0)
    first = contrast.follow(canvas)
    assert first == pytest.approx(canvas.density_percentile(99.0))
    canvas.add(localizations_at(np.full(5000, 1500.0), 1200.0, sigma_nm=100.0))
    assert contrast.follow(canvas) == pytest.approx(first * contrast.most_step)
    for _ in range(200):
        contrast.follow(canvas)
    assert contrast.white_density == pytest.approx(canvas.density_percentile(99.0))
    contrast.pinned = True
    canvas.clear()
    assert contrast.follow(canvas) == contrast.white_density > 0


def test_the_colour_scale_is_fitted_to_most_values_in_round_numbers() -> None:
    z = np.r_[np.random.default_rng(0).uniform(-420, 380, 5000), 9000.0, np.nan].astype(np.float32)
    assert ColourScale.fitted(z) == ColourScale(-450, 400)
    assert ColourScale.fitted(np.empty(0)) == ColourScale()
    assert ColourScale.fitted(np.full(10, 20.0)) == ColourScale(0, 50)


def test_round_numbers_for_bars() -> None:
    assert [round_length_nm(w) for w in (6400, 100, 204800, 23)] == pytest.approx([1000, 20, 20000, 5])
    assert [length_words(n) for n in (500, 1000, 20000, 2e6)] == ["500 nm", "1 µm", "20 µm", "2 mm"]
    assert ticks(-500, 500) == [-400, -200, 0, 200, 400]
    assert ticks(0, 50) == [0, 10, 20, 30, 40, 50]
    assert ticks(0, 650) == [0, 200, 400, 600]
    assert all(2 <= len(ticks(0.3, 0.3 + 1.01**k)) <= 7 for k in range(-500, 900))
