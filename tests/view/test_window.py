"""The window, opened offscreen on run folders written by the real log: its pixels, its numbers, keys and mouse."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from view_runs import WrittenRun, localizations_at, wait_until

from rtdecode.core.actions import Stop
from rtdecode.core.errors import RunFolderError
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.streams.door import Door
from rtdecode.view.canvas import ColourScale
from rtdecode.view.window import open_window, qt_fault, screen_problem, view

SCALE = ColourScale(-500, 500)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[WrittenRun]:
    run = WrittenRun(tmp_path / "cell 3")
    yield run
    run.close()


@pytest.fixture
def opened(qt: Any, run: WrittenRun) -> Iterator[Any]:
    """A window on `run`, closed at the end."""
    window = open_window(run.folder.path, scale=SCALE)
    yield window
    window.close()
    window.deleteLater()
    qt.processEvents()


def settle(qt: Any, window: Any, condition: Callable[[], bool] | None = None) -> None:
    """Let the window work until all is drawn and `condition` holds."""
    wait_until(lambda: window.is_up_to_date and (condition is None or condition()), qt.processEvents)
    window.refresh()
    qt.processEvents()


def pixels(widget: Any) -> NDArray[np.int_]:
    """(H, W, 3) of a widget as it looks now."""
    from PySide6 import QtGui

    image = widget.grab().toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : image.width() * 3].reshape(image.height(), image.width(), 3).astype(int)


def spot(window: Any, x_nm: float, y_nm: float) -> tuple[int, int]:
    """(row, column) in the grabbed image where a point of the sample stands, from the window's edges alone."""
    seen, widget = window.pane.visible, window.pane.widget
    column = (x_nm - seen.x0_nm) / seen.width_nm * widget.width()
    row = (y_nm - seen.y0_nm) / seen.height_nm * widget.height()
    return round(row), round(column)


def brightest_near(image: NDArray[np.int_], at: tuple[int, int], reach: int = 3) -> NDArray[np.int_]:
    part = image[at[0] - reach : at[0] + reach + 1, at[1] - reach : at[1] + reach + 1].reshape(-1, 3)
    return np.asarray(part[part.sum(axis=1).argmax()])


def test_known_localizations_light_up_at_their_places_in_the_colour_of_their_depth(
    qt: Any, run: WrittenRun, opened: Any
) -> None:
    """x to the right, y down: (2600, 300) is right and high, (400, 1900) left and low."""
    run.frame(0)
    run.commit(0, localizations_at([2600.0, 400.0, 1500.0], [300.0, 1900.0, 1200.0], [-480.0, 480.0, 0.0], 30.0))
    settle(qt, opened, lambda: opened.scene.shown == 3)
    image = pixels(opened.pane.widget)
    low, high, middle = (brightest_near(image, spot(opened, x, y)) for x, y in ((2600, 300), (400, 1900), (1500, 1200)))
    assert low[2] > low[0] + 50 and high[0] > high[2] + 50 and middle[1] == middle.max() > 100
    for x, y in ((300, 2600 % 2400), (1900, 400), (2600, 1900), (400, 300)):  # swapped, flipped
        assert brightest_near(image, spot(opened, x, y)).max() < 20


def test_the_numbers_are_those_of_the_log(qt: Any, run: WrittenRun, opened: Any) -> None:
    for index in range(4):
        run.frame(index)
        run.commit(
            index, localizations_at(np.full(300, 900.0), 900.0, sigma_nm=np.r_[np.full(200, 9), np.full(100, 99)])
        )
    run.commit(4, Localizations.empty(), Fate.LOST_IN_RING)
    settle(qt, opened, lambda: opened.scene.shown == 800)
    words = {name: label.text() for name, label in opened.panel.values.items()}
    assert words["Frame"] == "4 of 100" and words["Localizations"] == "1,200" and words["Shown"] == "800"
    assert words["In a frame"] == "300.0" and words["Lost"] == "1 (1 in queue)"
    assert "RUNNING" in opened.panel.state.text() and opened.panel.name.text() == "cell 3"
    assert "#ff6b6b" in opened.panel.values["Lost"].styleSheet()
    run.end()
    wait_until(lambda: "FINISHED" in opened.panel.state.text(), qt.processEvents)
    assert "completed" in opened.panel.state.text() and not opened.panel.stop.isEnabled()


def test_a_filling_queue_is_shown_red(qt: Any, run: WrittenRun, opened: Any) -> None:
    for index in range(14):
        run.frame(index)
    wait_until(lambda: opened.panel.ring.value() > 80, qt.processEvents)
    red, green, blue = np.median(pixels(opened.panel.ring)[4:6, 8:40].reshape(-1, 3), axis=0)
    assert red > green + 60 and red > blue + 60


def test_refresh_keeps_the_users_zoom_and_contrast(qt: Any, run: WrittenRun, opened: Any) -> None:
    from PySide6 import QtCore

    run.frame(0)
    run.commit(0, localizations_at([1000.0, 1200.0], 1000.0))
    settle(qt, opened, lambda: opened.scene is not None)
    opened.pane.box.setRange(QtCore.QRectF(900.0, 900.0, 500.0, 400.0), padding=0)
    opened.panel.pin.setChecked(True)
    before, white = opened.pane.visible, opened.scene.contrast.white_density
    for index in range(1, 6):
        run.frame(index)
        run.commit(index, localizations_at(np.full(500, 1100.0), 1100.0))
        settle(qt, opened, lambda index=index: opened.scene.shown == 2 + 500 * index)
    assert opened.pane.visible == before and opened.scene.contrast.white_density == white > 0
    assert opened.scene.detail is not None  # zoomed in: drawn at the screen's resolution
    assert brightest_near(pixels(opened.pane.widget), spot(opened, 1100, 1100)).max() > 100


def test_keys_toggle_raw_frame_pin_filter_and_whole_field(qt: Any, run: WrittenRun, opened: Any) -> None:
    from PySide6 import QtCore, QtTest

    run.frame(0, brightest=(4, 27))  # row 4, column 27
    run.commit(0, localizations_at([2700.0, 800.0], [400.0, 1500.0], sigma_nm=[10.0, 70.0]))
    settle(qt, opened, lambda: opened.scene is not None)
    whole = opened.pane.visible
    opened.activateWindow()
    QtTest.QTest.keyClick(opened, QtCore.Qt.Key.Key_R)
    settle(qt, opened, lambda: "Frame 0" in opened.pane.overlay.title)
    image = pixels(opened.pane.widget)
    bright, ring_of_circle = spot(opened, 2700, 400), spot(opened, 800, 1500)
    assert image[bright].min() > 200 and image[spot(opened, 1600, 1200)].max() < 60
    assert brightest_near(image, ring_of_circle, reach=12).max() > 100 > image[ring_of_circle].max()  # an empty circle
    QtTest.QTest.keyClick(opened, QtCore.Qt.Key.Key_R)
    assert not opened.pane.is_raw
    QtTest.QTest.keyClick(opened, QtCore.Qt.Key.Key_F)
    settle(qt, opened, lambda: opened.scene.shown == 2)
    opened.pane.box.scaleBy((0.3, 0.3))
    assert opened.pane.visible != whole
    QtTest.QTest.keyClick(opened, QtCore.Qt.Key.Key_Home)
    assert opened.pane.visible.width_nm == pytest.approx(whole.width_nm)
    white = opened.scene.contrast.white_density
    QtTest.QTest.keyClick(opened, QtCore.Qt.Key.Key_Minus)
    assert opened.scene.contrast.white_density > white and opened.panel.pin.isChecked()


def test_the_wheel_zooms_about_the_pointer(qt: Any, run: WrittenRun, opened: Any) -> None:
    from PySide6 import QtCore, QtGui, QtWidgets

    run.frame(0)
    run.commit(0, localizations_at(800.0, 600.0))
    settle(qt, opened, lambda: opened.scene is not None)
    row, column = spot(opened, 800, 600)
    before, at = opened.pane.visible, QtCore.QPointF(column, row)
    event = QtGui.QWheelEvent(
        at, opened.pane.widget.mapToGlobal(at), QtCore.QPoint(), QtCore.QPoint(0, 240),
        QtCore.Qt.MouseButton.NoButton, QtCore.Qt.KeyboardModifier.NoModifier,
        QtCore.Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QtWidgets.QApplication.sendEvent(opened.pane.widget.viewport(), event)
    assert opened.pane.visible.width_nm < before.width_nm
    assert np.abs(np.subtract(spot(opened, 800, 600), (row, column))).max() <= 2


def test_the_stop_button_asks_twice_and_then_the_session(qt: Any, run: WrittenRun, opened: Any) -> None:
    from PySide6 import QtCore, QtTest

    door = Door()
    run.folder.publish_door(door.endpoint)
    run.frame(0)
    run.commit(0, localizations_at(800.0, 600.0))
    settle(qt, opened, opened.panel.stop.isEnabled)
    heard: list[Any] = []
    click = lambda: QtTest.QTest.mouseClick(opened.panel.stop, QtCore.Qt.MouseButton.LeftButton)  # noqa: E731
    click()
    assert "again" in opened.panel.stop.text() and not door.poll(timeout_ms=50)
    click()

    def rounds() -> None:
        heard.extend(door.poll(timeout_ms=10))
        qt.processEvents()

    wait_until(lambda: "is stopping" in opened.panel.message.text(), rounds)
    assert [type(action) for message in heard for action in message.actions] == [Stop]
    door.close()


def test_a_damaged_log_is_told_and_the_window_lives_on(qt: Any, run: WrittenRun, opened: Any) -> None:
    run.commit(0, localizations_at([1.0, 2.0], 3.0))
    with run.folder.localizations.open("r+b") as file:
        file.write(b"\xff\xff\xff")
    run.folder.append_event("acquire", "restart", frame_index=7, reason="camera lost")
    wait_until(lambda: "locs.bin" in opened.panel.message.text(), qt.processEvents)
    assert opened.isVisible()


def test_closing_in_the_middle_leaves_the_run_alone(qt: Any, run: WrittenRun) -> None:
    window = open_window(run.folder.path)
    run.frame(0)
    run.commit(0, localizations_at(np.full(1000, 500.0), 500.0))
    qt.processEvents()
    window.close()
    window.refresh()
    run.frame(1)
    run.commit(1, localizations_at(1.0, 1.0))
    assert run.ring.received == 2 and run.log.frames == 2
    window.deleteLater()
    qt.processEvents()


def test_a_window_opens_before_the_run_exists_and_on_a_finished_one(qt: Any, tmp_path: Path) -> None:
    window = open_window(tmp_path / "later")
    wait_until(lambda: "WAITING" in window.panel.state.text(), qt.processEvents)
    run = WrittenRun(tmp_path / "later")
    run.commit(0, localizations_at(np.linspace(0, 3000, 50), 700.0))
    run.end("stopped")
    run.close()
    wait_until(lambda: "FINISHED" in window.panel.state.text() and window.is_up_to_date, qt.processEvents)
    assert window.scene.shown == 50
    window.close()
    window.deleteLater()
    qt.processEvents()


def test_view_runs_until_the_window_is_closed_and_returns_0(qt: Any, run: WrittenRun) -> None:
    from PySide6 import QtCore

    run.commit(0, localizations_at(500.0, 500.0))
    run.end()
    timer = QtCore.QTimer()

    def close_when_drawn() -> None:
        for widget in qt.topLevelWidgets():
            if getattr(widget, "is_up_to_date", False):
                widget.close()

    timer.timeout.connect(close_when_drawn)
    timer.start(20)
    assert view(run.folder.path) == 0
    timer.stop()


def test_view_refuses_what_is_no_run(qt: Any, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        view(tmp_path)


def in_another_process(**environment: str) -> str:
    """What `screen_problem` says there."""
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    code = "from rtdecode.view.window import screen_problem; print(screen_problem())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only: elsewhere there is always a screen")
def test_without_a_screen_the_message_says_what_to_do(qt: Any) -> None:
    assert "no screen" in in_another_process() and "picture.png" in in_another_process()
    said = in_another_process(DISPLAY=":4242")
    assert "Qt cannot start" in said and "apt install" in said


def test_without_qt_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = screen_problem()
    assert said is not None and 'pip install -e ".[view]"' in said and "PySide6" in said


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is not counted from Python 3.12 on")
def test_a_qt_that_miscounts_none_is_refused() -> None:
    class Miscounting:
        rounds = 0

        def processEvents(self) -> None:
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(None))
            self.rounds += 1

    class Sound:
        def processEvents(self) -> None:
            pass

    faulty = Miscounting()
    said = qt_fault(faulty)
    for _ in range(faulty.rounds):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))
    assert said is not None and "PySide6-Essentials" in said
    assert qt_fault(Sound()) is None
