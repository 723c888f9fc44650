"""Layers, spans and points without Qt: windows of time by the shortest way, styles, bands, spill, drift."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from view_runs import SHAPE, localizations_at, scattered

from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.view import canvas as canvas_module
from rtdecode.view import points as points_module
from rtdecode.view.canvas import Canvas, ColourScale, Region, Style
from rtdecode.view.points import Points, localizations_of
from rtdecode.view.scene import Scene
from rtdecode.view.spans import WHOLE, Span

FIELD = Region.of_frame(SHAPE, (100.0, 100.0))
SCALE = ColourScale(-500, 500)


def over_frames(n: int, frames: int, seed: int) -> Localizations:
    found = scattered(n, seed)
    found.frame_index[:] = np.sort(np.random.default_rng(seed).integers(0, frames, n))
    return found


def complete(scene: Scene) -> Scene:
    for _ in range(1000):
        scene.advance(0.0)
        if not scene.follow_contrast() and scene.is_complete:
            return scene
    raise AssertionError("1000 rounds did not draw everything")


def drawn(localizations: Localizations, px_nm: float = 10.0, **named: object) -> Canvas:
    canvas = Canvas(FIELD, px_nm, SCALE, **named)  # type: ignore[arg-type]
    canvas.add(localizations)
    return canvas


def test_a_window_that_rolls_shows_the_same_as_one_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtdecode.view.layer.ROWS_AT_ONCE", 70)
    found, scene = over_frames(3000, 300, 1), Scene(FIELD, SHOW_ALL, SCALE)
    scene.add(found)
    for last in (60, 65, 90, 91, 240, 100, 95, 299):  # onwards, a leap, and back
        scene.set_span(Span(40, last))
        inside = found[(found.frame_index > last - 40) & (found.frame_index <= last)]
        np.testing.assert_allclose(complete(scene).overview.canvas.sums, drawn(inside).sums, atol=1e-5)
        assert scene.shown == len(inside) > 0


def test_what_is_taken_away_leaves_black_and_not_a_stain() -> None:
    found, canvas = over_frames(2000, 10, 2), Canvas(FIELD, 10.0, SCALE)
    canvas.add(found)
    canvas.add_columns(dict(found.columns()), take_away=True)
    assert 0 < np.abs(canvas.sums).max() < 1e-5 and not canvas.to_rgb(1.0)[0].any()


def test_the_whole_run_up_to_a_frame_and_back_is_the_first_image_again() -> None:
    found, scene = over_frames(2000, 100, 3), Scene(FIELD, SHOW_ALL, SCALE)
    scene.add(found)
    first = complete(scene).overview.canvas.sums.copy()
    scene.set_span(Span(None, 20))
    assert complete(scene).shown == np.count_nonzero(found.frame_index <= 20) < 2000
    scene.set_span(WHOLE)
    np.testing.assert_allclose(complete(scene).overview.canvas.sums, first, atol=1e-5)


def test_two_scenes_share_points_and_show_their_own_part() -> None:
    scene = Scene(FIELD, SHOW_ALL, SCALE)
    second = Scene(FIELD, SHOW_ALL, SCALE, points=scene.points)
    second.set_span(Span(10))
    scene.add(over_frames(500, 50, 4))
    complete(scene), complete(second)
    scene.add(localizations_at(500.0, 500.0, frame_index=60))
    assert complete(scene).shown == 501 and complete(second).shown == 1


def test_spans_say_which_frames_they_show() -> None:
    assert Span(500).words(0, 9999) == "last 500 frames" and WHOLE.words(0, 9) == ""
    assert Span(500, 4999).words(0, 9999) == "frames 4,500 to 4,999" and Span(None, 70).words(0, 99) == "frames 0 to 70"
    assert Span(50, 20).ends(0, 99) == (0, 20)


@pytest.mark.parametrize("threads", [2, 3])
def test_bands_drawn_at_the_same_time_give_the_same_bytes(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scattered(6000, 5)
    alone = drawn(found)
    monkeypatch.setattr(canvas_module, "ALONE_BELOW", 0)
    monkeypatch.setattr(canvas_module, "SMALL_IMAGE", 0)
    monkeypatch.setattr(canvas_module, "THREADS", threads)
    together = drawn(found)
    assert together.sums.tobytes() == alone.sums.tobytes() and together.unusable == alone.unusable
    np.testing.assert_array_equal(together.to_rgb(50.0)[0], alone.to_rgb(50.0)[0])


def test_a_histogram_counts_in_single_pixels_and_a_fixed_width_is_that_width() -> None:
    one = localizations_at([1000.0, 1004.0, 2003.0], [800.0, 803.0, 1500.0], sigma_nm=30.0)
    counted = drawn(one, style=Style("histogram")).weight
    assert counted[85, 105] == 2.0 and counted[155, 205] == 1.0 and np.count_nonzero(counted) == 2
    line = drawn(one[2:3], 5.0, style=Style("fixed", 12.0)).weight.sum(axis=0)
    at = np.arange(len(line))
    assert np.sqrt(np.average((at - np.average(at, weights=line)) ** 2, weights=line)) * 5 == pytest.approx(
        12, rel=0.03
    )


@pytest.mark.parametrize("column", ["photons", "sigma_xy_nm", "frame_index"])
def test_colours_tell_other_columns_too(column: str) -> None:
    two = localizations_at([800.0, 2200.0], 1000.0, sigma_nm=[10.0, 30.0], frame_index=[3, 90])
    two.photons[:] = [500, 4000]
    scene = Scene(FIELD, SHOW_ALL)
    scene.add(two)
    scene.colour_by(column)
    rgb = complete(scene).overview.canvas.to_rgb(1.0)[0].astype(int)
    low, high = rgb[105, 85], rgb[105, 225]
    assert scene.scale.column == column and low[2] > low[0] + 50 and high[0] > high[2] + 50


def test_of_2d_localizations_limits_of_z_hide_nothing() -> None:
    flat = localizations_at([800.0, 2200.0], 1000.0, z_nm=0.0)
    flat.sigma_z_nm[:] = np.nan
    scene = Scene(FIELD, QualityFilter(40.0, 80.0, z_nm=(10.0, 20.0)), SCALE)
    scene.add(flat)
    assert complete(scene).shown == 2 and "sigma z" not in scene.shown_quality.words
    scene.add(localizations_at(900.0, 1000.0, z_nm=15.0))  # it has z after all
    assert complete(scene).shown == 1


def test_blocks_beyond_memory_lie_in_a_file_and_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_module, "BLOCK_ROWS", 64)
    monkeypatch.setattr(points_module, "BLOCKS_IN_MEMORY", 1)
    found, points = over_frames(300, 40, 6), Points()
    for start, stop in pairwise([0, 50, 130, 300]):
        points.append(found[start:stop])
    read = np.concatenate([block["photons"] for block in points.blocks()])
    np.testing.assert_array_equal(read, found.photons)
    for frame in (0, 7, 20, 39, 40):
        assert points.row_of(frame) == np.searchsorted(found.frame_index, frame)
    thin = points.sample((10, 290), SHOW_ALL, most=30)
    np.testing.assert_array_equal(thin["y_nm"], found.y_nm[10:290:10])


def test_a_drift_is_taken_off_whatever_is_read() -> None:
    found, points = over_frames(200, 100, 7), Points()
    points.append(found)
    points.drift = Drift(np.array([0.0, 100.0]), np.array([[0.0, 0, 0], [50.0, -20.0, 30.0]]), np.zeros((2, 3)))
    back, expected = localizations_of(points.rows(0, 200)), points.drift.undone(found)
    for name in ("x_nm", "y_nm", "z_nm"):
        np.testing.assert_allclose(getattr(back, name), getattr(expected, name), atol=1e-3)
