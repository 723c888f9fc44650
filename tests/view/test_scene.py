"""The scene: drawing a little at a time ends at the same image; zoom, filter and colours draw anew."""

from __future__ import annotations

import numpy as np
import pytest
from view_runs import SHAPE, localizations_at, scattered

from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.view import points as points_module
from rtdecode.view.canvas import Canvas, ColourScale, Region
from rtdecode.view.points import Points
from rtdecode.view.scene import Scene

FIELD = Region.of_frame(SHAPE, (100.0, 100.0))
SCALE = ColourScale(-500, 500)


def complete(scene: Scene) -> Scene:
    for _ in range(1000):
        scene.advance(0.0)
        if not scene.follow_contrast() and scene.is_complete:
            return scene
    raise AssertionError("1000 rounds did not draw everything")


def reference(localizations: Localizations, quality: QualityFilter, scale: ColourScale = SCALE) -> bytes:
    canvas = Canvas(FIELD, 10.0, scale)
    canvas.add(quality.of(localizations))
    return canvas.sums.tobytes()


def test_points_come_back_in_order_over_block_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_module, "BLOCK_ROWS", 64)
    localizations, points = scattered(500, 1), Points()
    for start in range(0, 500, 37):
        points.append(localizations[start : start + 37])
    assert len(points) == 500
    for name in ("x_nm", "sigma_z_nm"):
        joined = np.concatenate([block[name] for block in points.blocks()])
        np.testing.assert_array_equal(joined, getattr(localizations, name))
    rows = [points.rows(start, 50)["y_nm"] for start in (0, 60, 64, 490)]
    assert [len(part) for part in rows] == [50, 4, 50, 10]
    np.testing.assert_array_equal(rows[2], localizations.y_nm[64:114])


def test_little_by_little_gives_the_same_image_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtdecode.view.layer.ROWS_AT_ONCE", 100)
    localizations, scene = scattered(1500, 2), Scene(FIELD, scale=SCALE)
    for start in range(0, 1500, 333):
        scene.add(localizations[start : start + 333])
        scene.advance(0.0)
    assert not scene.is_complete
    assert complete(scene).overview.canvas.sums.tobytes() == reference(localizations, QualityFilter())
    assert scene.shown == len(QualityFilter().of(localizations)) < 1500


def test_another_filter_draws_anew_and_back_gives_the_first_image_again() -> None:
    localizations, scene = scattered(800, 3), Scene(FIELD, scale=SCALE)
    scene.add(localizations)
    first = complete(scene).overview.canvas.sums.tobytes()
    scene.set_quality(SHOW_ALL)
    assert complete(scene).overview.canvas.sums.tobytes() == reference(localizations, SHOW_ALL) != first
    scene.set_quality(QualityFilter())
    assert complete(scene).overview.canvas.sums.tobytes() == first


def test_the_colours_are_fitted_once_by_themselves_and_then_only_when_asked() -> None:
    scene = Scene(FIELD)
    scene.add(localizations_at(np.full(2000, 500.0), 500.0, np.linspace(-220, 330, 2000)))
    assert scene.scale == ColourScale(-250, 350)
    scene.add(localizations_at(np.full(4000, 500.0), 500.0, np.linspace(-900, 900, 4000)))
    assert scene.scale == ColourScale(-250, 350)
    scene.fit_colours()
    assert scene.scale == ColourScale(-900, 900)
    assert complete(scene).overview.canvas.scale == scene.scale


def test_zooming_in_shows_the_overview_first_and_then_a_finer_image_of_the_part() -> None:
    scene = Scene(FIELD, scale=SCALE)
    scene.add(localizations_at([1200.0, 1230.0], 800.0, sigma_nm=4.0))
    complete(scene)
    part = Region(1100.0, 700.0, 200.0, 200.0)
    scene.look_at(part, 400)
    assert scene.view(part, 400).region.width_nm / scene.view(part, 400).rgb.shape[1] == pytest.approx(10.0)
    view = complete(scene).view(part, 400)
    assert view.region.width_nm / view.rgb.shape[1] == pytest.approx(2.0)
    line = view.rgb[:, :, :].max(axis=(0, 2)).astype(int)
    peaks = [round((x - view.region.x0_nm) / 2.0 - 0.5) for x in (1200.0, 1230.0)]
    assert min(line[peak] for peak in peaks) > 100 > line[sum(peaks) // 2] + 60  # resolved, 30 nm apart
    scene.look_at(FIELD, 400)
    assert scene.detail is None


def test_new_localizations_reach_the_finer_image_too() -> None:
    scene, part = Scene(FIELD, scale=SCALE), Region(1100.0, 700.0, 200.0, 200.0)
    scene.look_at(part, 400)
    scene.add(localizations_at(1200.0, 800.0))
    complete(scene)
    detail = scene.detail
    scene.look_at(Region(1110.0, 690.0, 200.0, 200.0), 400)
    assert scene.detail is detail is not None  # a small pan keeps it
    scene.add(localizations_at(1190.0, 790.0))
    complete(scene)
    assert float(detail.canvas.weight.sum()) == pytest.approx(2.0, rel=1e-4)


def test_the_contrast_does_not_depend_on_the_zoom() -> None:
    scene = Scene(FIELD, scale=SCALE)
    scene.add(scattered(3000, 6))
    white = complete(scene).contrast.white_density
    scene.look_at(Region(1000.0, 1000.0, 300.0, 300.0), 600)
    assert complete(scene).contrast.white_density == pytest.approx(white)


def test_the_contrast_is_looked_at_only_when_the_image_changed() -> None:
    scene = Scene(FIELD, scale=SCALE)
    scene.add(scattered(500, 6))
    white = complete(scene).contrast.white_density
    scene.contrast.white_density = white * 2
    assert not scene.follow_contrast()  # nothing drawn since it arrived
    scene.set_percentile(50.0)
    assert complete(scene).contrast.white_density < white


def test_a_huge_field_gets_larger_pixels() -> None:
    scene = Scene(Region.of_frame((2048, 2048), (100.0, 100.0)))
    assert scene.overview.canvas.weight.size <= 12.1e6
