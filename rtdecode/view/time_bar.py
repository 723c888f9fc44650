"""The bar under the image: which part of the run is shown, played back or followed live."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6 import QtCore, QtGui, QtWidgets

from rtdecode.view.spans import Span

Mode = Literal["whole", "window", "both"]
MODES: dict[Mode, str] = {"whole": "Cumulative  (1)", "window": "Window  (2)", "both": "Both  (3)"}
TIPS: dict[Mode, str] = {
    "whole": "All localizations up to the slider",
    "window": "Only those of the last frames before the slider",
    "both": "Cumulative image and window side by side",
}
GRAB_PX = 8
PLAY_MS, PLAY_S = 50, 15.0  # the whole run is played in 15 s
BINS = 200
_LEFT = QtCore.Qt.MouseButton.LeftButton


class TimeStrip(QtWidgets.QWidget):
    """Localizations per frame over the run, and over it the part that is shown, whose ends can be dragged."""

    moved = QtCore.Signal(int, int, bool)  # first frame, last frame, and whether the last was put at the newest

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(34)
        self.setMinimumWidth(160)
        self.setMouseTracking(True)
        self.run = (0, 0)  # first and newest frame
        self.shown = (0, 0)
        self.has_start = False  # whether the first end can be dragged
        self._profile: NDArray[np.floating] = np.zeros(0)
        self._grabbed: tuple[str, int] | None = None  # end, and the frame under the pointer

    def set_profile(self, counts: NDArray[np.floating]) -> None:
        """Localizations of equal parts of the run."""
        self._profile = counts / max(float(counts.max(initial=0)), 1.0)
        self.update()

    def set_shown(self, run: tuple[int, int], shown: tuple[int, int], has_start: bool) -> None:
        """Where the run and the shown part begin and end."""
        if (run, shown, has_start) != (self.run, self.shown, self.has_start):
            self.run, self.shown, self.has_start = run, shown, has_start
            self.update()

    def x_of(self, frame: int) -> float:
        """Pixel of a frame."""
        return (frame - self.run[0]) / max(self.run[1] - self.run[0], 1) * (self.width() - 1)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Profile, shade outside the part shown, ends."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor("#1d2026"))
        left, right, height = self.x_of(self.shown[0]), self.x_of(self.shown[1]), self.height()
        painter.fillRect(QtCore.QRectF(left, 0, right - left, height), QtGui.QColor("#2b4a6f"))
        wide = self.width() / max(len(self._profile), 1)
        for k, share in enumerate(self._profile):
            inside = left <= (k + 0.5) * wide <= right
            bar = QtCore.QRectF(k * wide, height - share * (height - 4), wide + 0.5, share * (height - 4))
            painter.fillRect(bar, QtGui.QColor("#6cb4ff" if inside else "#3a4654"))
        for x in (left, right) if self.has_start else (right,):
            painter.fillRect(QtCore.QRectF(min(max(x - 1.5, 0), self.width() - 3), 0, 3, height), QtGui.QColor("white"))
        painter.end()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Take an end, the part between, or put the last end here."""
        if event.button() != _LEFT:
            return
        self._grabbed = (self._end_at(event.position().x()), self._frame(event.position().x()))
        if self._grabbed[0] == "last":
            self._go(event.position().x())

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Drag what was taken."""
        end = self._end_at(event.position().x())
        self.setCursor(QtCore.Qt.CursorShape.SizeAllCursor if end == "between" else QtCore.Qt.CursorShape.SizeHorCursor)
        if self._grabbed is not None:
            self._go(event.position().x())

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Let go."""
        self._grabbed = None

    def _end_at(self, x: float) -> str:
        left, right = self.x_of(self.shown[0]), self.x_of(self.shown[1])
        near = min(GRAB_PX, (right - left) / 3)  # the middle of a short window can be taken, too
        if abs(x - right) <= near or not self.has_start:
            return "last"
        if abs(x - left) <= near:
            return "first"
        return "between" if left < x < right else "last"

    def _frame(self, x: float) -> int:
        share = min(max(x / max(self.width() - 1, 1), 0.0), 1.0)
        return self.run[0] + round(share * (self.run[1] - self.run[0]))

    def _go(self, x: float) -> None:
        end, taken_at = self._grabbed or ("last", 0)
        here, (first, last) = self._frame(x), self.shown
        if end == "first":
            first = min(here, last)
        elif end == "between":
            step = min(max(here - taken_at, self.run[0] - first), self.run[1] - last)
            first, last, self._grabbed = first + step, last + step, (end, taken_at + step)
        else:
            first, last = (max(self.run[0], here - (last - first)) if self.has_start else first), here
        self.shown = (first, last)
        self.moved.emit(first, last, last >= self.run[1])


class TimeBar(QtWidgets.QWidget):
    """Mode, play button, strip, length of the window."""

    changed = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.mode: Mode = "whole"
        self.last: int | None = None  # None: follows the newest frame
        self.fps = 0.0
        self._run = (0, 0)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(8, 4, 8, 4)
        self.buttons = {mode: self._mode_button(mode) for mode in MODES}
        self.play, self.strip, self.words = QtWidgets.QPushButton("▶"), TimeStrip(), QtWidgets.QLabel("")
        self.length, self.unit = QtWidgets.QDoubleSpinBox(), QtWidgets.QComboBox()
        self._build_length()
        self.play.setToolTip("Play the run back  (Space)")
        self.play.setFixedWidth(34)
        self.play.setCheckable(True)
        self.words.setFixedWidth(104)
        self.words.setObjectName("quiet")
        widgets: list[Any] = [*self.buttons.values(), self.play, self.strip, self.words]
        for widget in [*widgets, self.unit]:
            widget.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        for widget in [*widgets, self.length, self.unit]:
            row.addWidget(widget, 1 if widget is self.strip else 0)
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(self._step)
        self.play.toggled.connect(self._play)
        self.strip.moved.connect(self._moved)
        self.set_mode("whole")

    @property
    def window_frames(self) -> int:
        """Length of the window in camera frames."""
        seconds = self.unit.currentText() == "s"
        return max(1, round(self.length.value() * (self.fps if seconds and self.fps > 0 else 1.0)))

    @property
    def spans(self) -> tuple[Span, Span | None]:
        """What the first image shows, and the second one where there are two."""
        window = Span(self.window_frames, self.last)
        whole = Span(None, self.last)
        if self.mode == "both":
            return whole, window
        return (window if self.mode == "window" else whole), None

    def set_mode(self, mode: Mode) -> None:
        """Cumulative, window, or both side by side."""
        self.mode = mode
        self.buttons[mode].setChecked(True)
        self.length.setVisible(mode != "whole")
        self.unit.setVisible(mode != "whole")
        self._show()
        self.changed.emit()

    def set_run(self, first: int, newest: int, fps: float | None) -> None:
        """How far the run reaches now; seconds of a window are taken at `fps`."""
        rate = round(fps, 1) if fps else self.fps
        if self.unit.currentText() == "s" and rate and abs(rate - self.fps) > 0.02 * rate:
            self.fps = rate
            self.changed.emit()
        elif not self.fps:
            self.fps = rate
        self.unit.model().item(1).setEnabled(self.fps > 0)
        self._run = (first, newest)
        self._show()

    def go_to(self, last: int | None) -> None:
        """Show the run up to a frame; None: follow it."""
        self.last = last if last is None or last < self._run[1] else None
        self._show()
        self.changed.emit()

    def _mode_button(self, mode: Mode) -> QtWidgets.QPushButton:
        button = QtWidgets.QPushButton(MODES[mode])
        button.setCheckable(True)
        button.setAutoExclusive(True)
        button.setToolTip(TIPS[mode])
        button.clicked.connect(lambda: self.set_mode(mode))
        return button

    def _build_length(self) -> None:
        self.length.setRange(0.1, 1e7)
        self.length.setDecimals(0)
        self.length.setValue(500)
        self.length.setSingleStep(100)
        self.length.setKeyboardTracking(False)
        self.length.setFocusPolicy(QtCore.Qt.FocusPolicy.ClickFocus)
        self.length.setButtonSymbols(QtWidgets.QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.length.setToolTip("Length of the window")
        self.length.editingFinished.connect(self.length.clearFocus)
        self.unit.addItems(["frames", "s"])
        self.length.valueChanged.connect(lambda _: self._length_changed())
        self.unit.currentTextChanged.connect(self._unit_changed)

    def _length_changed(self) -> None:
        self._show()
        self.changed.emit()

    def _unit_changed(self, unit: str) -> None:
        """The same window in the other unit."""
        frames = self.length.value() * (self.fps if unit == "frames" else 1.0)
        self.length.setDecimals(1 if unit == "s" else 0)
        self.length.setValue(frames if unit == "frames" else frames / max(self.fps, 1e-9))

    def _moved(self, first: int, last: int, at_newest: bool) -> None:
        if self.strip.has_start and last - first + 1 != self.window_frames:
            frames = max(last - first + 1, 1)
            self.length.setValue(frames if self.unit.currentText() == "frames" else frames / max(self.fps, 1e-9))
        self.play.setChecked(False)
        self.go_to(None if at_newest else last)

    def _play(self, on: bool) -> None:
        self.play.setText("⏸" if on else "▶")
        if not on:
            self._timer.stop()
            return
        if self.last is None:
            self.go_to(self._run[0] + (0 if self.mode == "whole" else min(self.window_frames, self._run[1])))
        self._timer.start(PLAY_MS)

    def _step(self) -> None:
        step = max(1, round((self._run[1] - self._run[0]) * PLAY_MS / 1000 / PLAY_S))
        if self.last is None or self.last + step >= self._run[1]:
            self.play.setChecked(False)
            self.go_to(None)
        else:
            self.go_to(self.last + step)

    def _show(self) -> None:
        window = self.spans[1] or self.spans[0]
        ends = window.ends(*self._run)
        self.strip.set_shown(self._run, ends, self.mode != "whole")
        at = "newest" if self.last is None else f"frame {self.last:,}"
        self.words.setText(at)
