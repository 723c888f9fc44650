"""The window on an excerpt of a real run, driven by real key and mouse events: golden images, time, region, files.

Golden images are the whole field as the window shows it, averaged to 64 x 64. Tolerance: a mean difference of 0.2 of
255 and none above 6: compilers round Gaussians differently, and a step of contrast is a level.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from view_runs import EXCERPT, WrittenRun, localizations_at, settle, wait_until

from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.streams.drift_file import write_drift
from rtdecode.view.window import open_window

GOLDEN = EXCERPT.with_name("golden.npz")
MEAN_OFF, MOST_OFF = 0.2, 6.0


def press(window: Any, key: str) -> None:
    """One key, as typed."""
    from PySide6 import QtCore, QtTest

    named = getattr(QtCore.Qt.Key, f"Key_{key}")
    window.activateWindow()
    QtTest.QTest.keyClick(window, named)


def drag(widget: Any, begin: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
    """With the left button, in steps as a hand does."""
    from PySide6 import QtCore, QtTest, QtWidgets

    a, b = QtCore.QPoint(*map(round, begin)), QtCore.QPoint(*map(round, end))
    QtTest.QTest.mousePress(widget, QtCore.Qt.MouseButton.LeftButton, pos=a)
    for k in range(1, steps + 1):
        QtTest.QTest.mouseMove(widget, a + (b - a) * k / steps)
        QtWidgets.QApplication.processEvents()
    QtTest.QTest.mouseRelease(widget, QtCore.Qt.MouseButton.LeftButton, pos=b)
    QtWidgets.QApplication.processEvents()


def at(window: Any, x_nm: float, y_nm: float) -> tuple[float, float]:
    """Pixel of the first image's widget where a point of the sample stands."""
    seen, widget = window.pane.visible, window.pane.widget
    return (x_nm - seen.x0_nm) / seen.width_nm * widget.width(), (y_nm - seen.y0_nm) / seen.height_nm * widget.height()


def small(window: Any, second: bool = False) -> NDArray[np.floating]:
    """(64, 64, 3) of an image as it was handed to the screen."""
    shown = window.images.second if second else window.images.first
    rgb = np.asarray(shown.pane.image.image, float)
    rows, columns = (np.linspace(0, n, 65).astype(int) for n in rgb.shape[:2])
    whole = np.vstack([np.zeros((1, *rgb.shape[1:])), rgb]).cumsum(axis=0)
    down = np.diff(whole[rows], axis=0) / np.diff(rows)[:, None, None]
    whole = np.concatenate([np.zeros((64, 1, 3)), down], axis=1).cumsum(axis=1)
    return np.diff(whole[:, columns], axis=1) / np.diff(columns)[None, :, None]


def check(name: str, found: NDArray[np.floating]) -> None:
    """Against the golden image of that name; with RTDECODE_GOLDEN=rewrite it is made anew, to be looked at."""
    if os.environ.get("RTDECODE_GOLDEN") == "rewrite":
        kept = dict(np.load(GOLDEN)) if GOLDEN.exists() else {}
        np.savez_compressed(GOLDEN, **(kept | {name: np.rint(found).astype(np.uint8)}))
    with np.load(GOLDEN) as golden:
        off = np.abs(found - golden[name])
    assert off.mean() <= MEAN_OFF and off.max() <= MOST_OFF, f"{name}: mean {off.mean():.2f}, most {off.max():.1f}"


def test_golden_images_of_each_way_of_drawing_and_colouring(demo_window: Any, qt: Any) -> None:
    page, images = demo_window.panel.image, {"depth": small(demo_window)}
    page.kind.setCurrentIndex(2)
    settle(qt, demo_window)
    images["histogram"] = small(demo_window)
    page.kind.setCurrentIndex(1)
    page.colour.setCurrentIndex(1)
    settle(qt, demo_window)
    images["photons_fixed"] = small(demo_window)
    page.colour.setCurrentIndex(3)
    settle(qt, demo_window)
    images["time"] = small(demo_window)
    for name, image in images.items():
        check(name, image)
    assert all(image.max() > 15 for image in images.values())


def test_golden_images_of_the_run_and_its_last_frames_side_by_side(demo_window: Any, qt: Any) -> None:
    demo_window.times.length.setValue(20)
    press(demo_window, "3")
    settle(qt, demo_window)
    second = demo_window.images.second
    assert second.pane.widget.isVisible() and second.scene.shown < demo_window.scene.shown / 3
    assert abs(second.pane.widget.width() - demo_window.pane.widget.width()) <= 1
    assert second.pane.visible.width_nm == pytest.approx(demo_window.pane.visible.width_nm, rel=0.01)
    for _ in range(60):
        settle(qt, demo_window)
    check("window", small(demo_window, second=True))
    assert demo_window.images.second.pane.visible.x0_nm == pytest.approx(demo_window.pane.visible.x0_nm, abs=5)
    demo_window.pane.box.scaleBy((0.3, 0.3))
    assert demo_window.images.second.pane.visible.width_nm == pytest.approx(demo_window.pane.visible.width_nm, rel=0.01)
    press(demo_window, "1")
    assert not demo_window.images.second.pane.widget.isVisible()


def test_dragging_the_slider_plays_time_back_and_the_right_end_is_live(
    demo_window: Any, qt: Any, excerpt: Localizations
) -> None:
    window, strip = demo_window, demo_window.times.strip
    window._figures_now()
    settle(qt, window, lambda: strip.run == (0, 99))
    drag(strip, (strip.x_of(99) - 1, 10), (strip.x_of(30), 10))
    settle(qt, window)
    passing = excerpt[window.scene.shown_quality.passes(dict(excerpt.columns()))]
    last = window.times.last
    assert abs(last - 30) <= 1 and window.scene.shown == np.count_nonzero(passing.frame_index <= last)
    assert window.pane.overlay.title == f"frames 0 to {last}"
    press(window, "2")
    window.times.length.setValue(10)
    settle(qt, window)
    drag(strip, (strip.x_of(last - 5), 10), (strip.x_of(last + 45), 10))  # the part between the ends
    settle(qt, window)
    first, last = window.scene.span.ends(0, 99)
    inside = (passing.frame_index >= first) & (passing.frame_index <= last)
    assert last > 70 and last - first == 9 and window.scene.shown == np.count_nonzero(inside)
    drag(strip, (strip.x_of(last), 10), (strip.width() + 30, 10))
    assert window.times.last is None


def test_space_plays_from_the_beginning_to_the_newest(demo_window: Any, qt: Any) -> None:
    window, seen = demo_window, []
    window._figures_now()
    settle(qt, window, lambda: window.times.strip.run == (0, 99))
    press(window, "Space")
    assert window.times.last == 0
    wait_until(lambda: bool(seen.append(window.times.last)) or window.times.last is None, qt.processEvents)
    moves = [frame for frame in seen if frame is not None]
    assert moves == sorted(moves) and len(set(moves)) > 10 and not window.times.play.isChecked()


def test_typing_a_limit_filters_at_once_and_f_shows_all_again(
    demo_window: Any, qt: Any, excerpt: Localizations
) -> None:
    from PySide6 import QtCore, QtTest

    window, box = demo_window, demo_window.panel.image.limits["photons"][0]
    box.setFocus()
    box.selectAll()
    QtTest.QTest.keyClicks(box, "4000")
    QtTest.QTest.keyClick(box, QtCore.Qt.Key.Key_Return)
    settle(qt, window)
    quality = window.scene.quality
    assert quality.photons == (4000.0, 1e7) and quality.sigma_xy_nm == 40.0
    assert window.scene.shown == len(quality.of(excerpt)) < 1000
    assert not box.hasFocus()  # or F would be typed into it
    press(window, "F")
    settle(qt, window)
    assert window.scene.quality == SHOW_ALL and window.scene.shown == len(excerpt)


def test_a_rectangle_drawn_with_the_mouse_is_counted_and_copied(
    demo_window: Any, qt: Any, excerpt: Localizations
) -> None:
    from PySide6 import QtWidgets

    window = demo_window
    press(window, "B")
    drag(window.pane.widget.viewport(), at(window, 1500, 2000), at(window, 4500, 4000))
    outline = window.pane.box.outline
    settle(qt, window, lambda: window.regions.tally is not None)
    x0, x1, y0, y1 = outline.bounds_nm
    assert outline.bounds_nm == pytest.approx((1500, 4500, 2000, 4000), abs=25)
    good = window.scene.shown_quality.of(excerpt)
    inside = (good.x_nm > x0) & (good.x_nm < x1) & (good.y_nm > y0) & (good.y_nm < y1)
    assert window.panel.region.values["Localizations"].text() == f"{np.count_nonzero(inside):,}" != "0"
    window.regions.copy()
    said = yaml.safe_load(QtWidgets.QApplication.clipboard().text())["region"]
    assert said["x_nm"] == pytest.approx([x0, x1], abs=0.06)
    before = window.pane.visible
    press(window, "Escape")
    assert window.pane.box.outline is None and window.pane.visible == before
    assert window.panel.region.values["Localizations"].text() == "–"


def test_a_polygon_is_clicked_corner_by_corner(demo_window: Any, qt: Any) -> None:
    from PySide6 import QtCore, QtTest

    window, corners = demo_window, [(1000, 1000), (5000, 1200), (3000, 5000)]
    press(window, "G")
    for x, y in [*corners, corners[0]]:
        place = QtCore.QPoint(*map(round, at(window, x, y)))
        QtTest.QTest.mouseClick(window.pane.widget.viewport(), QtCore.Qt.MouseButton.LeftButton, pos=place, delay=0)
        qt.processEvents()
        window.pane.widget.scene().clickEvents.clear()
        window.pane.widget.scene().lastMoveEventTime = 0
    outline = window.pane.box.outline
    assert outline is not None and not outline.is_rectangle
    assert np.array(outline.corners) == pytest.approx(np.array(corners, float), abs=30)


def test_arrows_pan_and_ctrl_plus_zooms(demo_window: Any, qt: Any) -> None:
    from PySide6 import QtCore, QtTest

    window, before = demo_window, demo_window.pane.visible
    press(window, "Right")
    assert window.pane.visible.x0_nm == pytest.approx(before.x0_nm + 0.1 * before.width_nm)
    QtTest.QTest.keyClick(window, QtCore.Qt.Key.Key_Plus, QtCore.Qt.KeyboardModifier.ControlModifier)
    assert window.pane.visible.width_nm == pytest.approx(0.8 * before.width_nm)
    zoomed = window.pane.visible
    window.refresh()
    assert window.pane.visible == zoomed
    press(window, "Home")
    assert window.pane.visible.width_nm == pytest.approx(before.width_nm)


def test_w_shows_the_wide_field_and_r_the_frame_instead(demo: WrittenRun, qt: Any, own_settings: Path) -> None:
    sums = np.zeros((64, 64))
    sums[10, 50] = 9000.0
    np.savez(demo.folder.path / "widefield.part.npz", total_adu=sums, frames=100, last_index=99)
    window = open_window(demo.folder.path)
    settle(qt, window)
    press(window, "W")
    settle(qt, window)
    assert window.pane.raw_image.isVisible() and window.pane.raw_image.image[10, 50] == 9000.0
    assert "Wide field" in window.pane.overlay.title and not window.pane.overlay.has_colours
    press(window, "R")
    assert window.panel.raw.isChecked() and not window.panel.widefield.isChecked()
    press(window, "R")
    settle(qt, window)
    assert not window.pane.is_raw and window.pane.overlay.has_colours
    window.close()


def test_the_measured_drift_is_taken_off_and_put_back(demo_window: Any, demo: WrittenRun, qt: Any) -> None:
    window = demo_window
    write_drift(demo.folder.path / "drift.csv", Drift(np.array([0.0]), np.array([[500.0, 0, 0]]), np.ones((1, 3))))
    window.follower.findings.look(demo.folder.path)
    before = window.scene.overview.canvas.weight.copy()
    press(window, "D")
    settle(qt, window)
    moved = window.scene.overview.canvas.weight
    np.testing.assert_allclose(moved[:, 10:500], before[:, 60:550], atol=2e-3)
    press(window, "D")
    settle(qt, window)
    np.testing.assert_allclose(window.scene.overview.canvas.weight, before, atol=1e-6)


def test_localizations_are_exported_with_the_filter(demo_window: Any, qt: Any, tmp_path: Path) -> None:
    """Through the real command, in a process of its own."""
    from rtdecode.view.window_saving import Order, export_words

    words = export_words(tmp_path, tmp_path / "a.csv", QualityFilter(40.0, None, 0.5, (100.0, 1e7), (-300.0, 200.0)))
    assert words[-6:] == ["--max-sigma-xy-nm", "40.0", "--min-probability", "0.5", "--photons=100.0,10000000.0",
                          "--z-nm=-300.0,200.0"]  # fmt: skip
    out = tmp_path / "out.csv"
    demo_window.saving.save(Order(out), demo_window.scene)
    wait_until(lambda: not demo_window.saving.is_busy, qt.processEvents)
    assert out.exists(), demo_window.panel.message.text()
    with out.open() as file:
        assert len(list(csv.reader(file))) - 1 == demo_window.scene.shown


def test_an_image_is_exported_and_a_snapshot_taken(demo_window: Any, qt: Any, tmp_path: Path) -> None:
    import tifffile
    from PIL import Image

    from rtdecode.view.window_saving import Order

    demo_window.saving.save(Order(tmp_path / "a.tif", px_nm=20.0), demo_window.scene)
    wait_until(lambda: not demo_window.saving._waiting or demo_window.saving.tick() is not None, demo_window.refresh)
    image = tifffile.imread(tmp_path / "a.tif")
    assert image.shape == (320, 320) and float(image.sum()) == pytest.approx(demo_window.scene.shown, rel=0.01)
    demo_window.ask_snapshot(tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (demo_window.pane.widget.width(), demo_window.pane.widget.height())
        assert np.asarray(picture.convert("L")).max() > 100
    assert "s.png" in demo_window.panel.message.text()


def test_the_window_comes_back_as_it_was_left(demo: WrittenRun, qt: Any, own_settings: Path) -> None:
    window = open_window(demo.folder.path)
    settle(qt, window)
    press(window, "2")
    window.times.length.setValue(70)
    window.panel.tabs.setCurrentIndex(1)
    window.close()
    assert own_settings.exists()
    again = open_window(demo.folder.path)
    assert again.times.mode == "window" and again.times.window_frames == 70 and again.panel.tabs.currentIndex() == 1
    again.close()


def test_histograms_mark_what_leaves_the_training_range(demo_window: Any, excerpt: Localizations) -> None:
    from rtdecode.view.findings import ModelCard

    data = demo_window.panel.data
    limit = float(np.percentile(excerpt.photons, 80))
    data.set_card(ModelCard({"photons": (0.0, limit), "z_nm": (-2000.0, 2000.0)}))
    demo_window._show_figures(demo_window.scene)
    assert data.histograms["photons"].outside == pytest.approx(0.2, abs=0.01) and data.off == ["photons"]
    assert data.histograms["photons"].median == pytest.approx(float(np.median(excerpt.photons)), rel=1e-4)
    assert "⚠" in demo_window.panel.tabs.tabText(1)


def test_of_a_2d_run_nothing_of_z_is_offered(qt: Any, tmp_path: Path, own_settings: Path) -> None:
    run = WrittenRun(tmp_path / "flat")
    flat = localizations_at(np.linspace(100, 3000, 60), 900.0)
    flat.sigma_z_nm[:] = np.nan
    run.commit(0, flat)
    run.end()
    window = open_window(run.folder.path)
    window._figures_now()
    settle(qt, window, lambda: window.scene.shown == 60)
    window._show_figures(window.scene)
    page = window.panel.image
    assert page.limits["sigma_z_nm"][0].isHidden() and page.limits["z_nm"][0].isHidden()
    assert not page.limits["sigma_xy_nm"][0].isHidden() and page.colour.currentText() == "one colour"
    assert window.panel.data.histograms["z_nm"].isHidden() and not window.pane.overlay.has_colours
    window.close()
    run.close()
