"""The panel beside the image: state, numbers, queue health, and what can be set or asked for."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import PERCENTILE
from rtdecode.view.numbers import Health, Numbers

WIDTH_PX = 264
STOP_CONFIRM_MS = 3000
STATE_COLOUR = {"waiting": "#9aa0ac", "running": "#4cc38a", "finished": "#6cb4ff", "interrupted": "#ff6b6b"}
HEALTH_COLOUR: dict[Health, str] = {"good": "#3d9a6d", "watch": "#d8a031", "danger": "#e5484d"}
KEYS = (
    ("R", "raw frame, localizations circled"),
    ("Home", "whole field"),
    ("P", "pin the contrast"),
    ("+  -", "brighter, darker"),
    ("C", "fit the colours to the depths"),
    ("F", "filter on or off"),
)
STYLE = """
QWidget { background: #16181c; color: #e6e8ec; font-size: 13px; }
QLabel#quiet { color: #9aa0ac; } QLabel#name { font-size: 15px; font-weight: 600; }
QPushButton { background: #262a31; border: 1px solid #3a3f49; border-radius: 4px; padding: 6px; }
QPushButton:hover { background: #30353e; } QPushButton:disabled { color: #5c626e; }
QPushButton:checked { background: #2b4a6f; border-color: #4b7fb8; }
QPushButton#stop:enabled { background: #7d2327; border-color: #b53a40; }
QPushButton#stop[armed="true"] { background: #e5484d; font-weight: 600; }
QProgressBar { background: #262a31; border: 1px solid #3a3f49; border-radius: 3px; text-align: center; height: 16px; }
QDoubleSpinBox { background: #262a31; min-width: 58px; }
QCheckBox::indicator { width: 13px; height: 13px; background: #262a31; border: 1px solid #5c626e; border-radius: 3px; }
QCheckBox::indicator:checked { background: #6cb4ff; border-color: #6cb4ff; }
"""

ROWS = (
    "Frame", "Frames/s", "Lag", "Latency", "Lost", "Rejected", "Localizations", "In a frame", "Per µm²", "Shown",
)  # fmt: skip


class Panel:
    """Widgets only: what a click does is connected by the window."""

    def __init__(self, name: str) -> None:
        self.widget = QtWidgets.QWidget()
        self.widget.setFixedWidth(WIDTH_PX)
        self._column = QtWidgets.QVBoxLayout(self.widget)
        self._column.setSpacing(9)
        self.name = self._label(name, "name")
        self.state = self._label("")
        self.values = self._table()
        self.ring = self._ring()
        self.percentile, self.pin = self._contrast()
        self.filter = QtWidgets.QCheckBox()
        self.filter.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self._column.addWidget(self.filter)
        self.raw = self._button("Raw frame  (R)", checkable=True)
        self.message = self._label("", "quiet")
        self._column.addStretch(1)
        self.keys = self._label("\n".join(f"{key}:  {what}" for key, what in KEYS), "quiet")
        self.stop = self._button("Stop the acquisition")
        self.stop.setObjectName("stop")
        self._disarm = QtCore.QTimer(self.widget)
        self._disarm.setSingleShot(True)
        self._disarm.timeout.connect(self.disarm)

    def show_numbers(self, numbers: Numbers, shown: int) -> None:
        """Write all numbers; lost frames and a filling queue are coloured."""
        words = numbers.state.upper() + (f"\n{numbers.finish}" if numbers.finish else "")
        _set(self.state, words, STATE_COLOUR[numbers.state])
        for name, value in _rows(numbers, shown).items():
            _set(self.values[name], value, "#ff6b6b" if name == "Lost" and numbers.lost else None)
        self._show_ring(numbers)
        self.stop.setEnabled(numbers.state == "running")

    def show_filter(self, quality: QualityFilter) -> None:
        """What the filter's box means."""
        self.filter.setText(_short(quality))
        self.filter.setToolTip(f"Draw only localizations with {quality.words}. The log keeps all.")

    def armed(self) -> bool:
        """For the Stop button: False for a first click, which asks for a second one within 3 s; then True."""
        if self._disarm.isActive():
            self.disarm()
            return True
        self.stop.setText("Click again to stop")
        self._mark_stop(True)
        self._disarm.start(STOP_CONFIRM_MS)
        return False

    def disarm(self) -> None:
        """Back to the first click."""
        self._disarm.stop()
        self.stop.setText("Stop the acquisition")
        self._mark_stop(False)

    def _mark_stop(self, armed: bool) -> None:
        self.stop.setProperty("armed", armed)
        self.stop.style().unpolish(self.stop)
        self.stop.style().polish(self.stop)

    def _show_ring(self, numbers: Numbers) -> None:
        if numbers.ring_fill is None:
            self.ring.setValue(0)
            self.ring.setFormat("no queue")
            return
        self.ring.setValue(round(numbers.ring_fill * 100))
        self.ring.setFormat("%p% full" + (", waits" if numbers.source_waits else ""))
        colour = HEALTH_COLOUR[numbers.health]
        style = f"QProgressBar::chunk {{ background: {colour}; }}"
        if self.ring.styleSheet() != style:
            self.ring.setStyleSheet(style)

    def _label(self, text: str, kind: str = "") -> QtWidgets.QLabel:
        label = QtWidgets.QLabel(text)
        label.setObjectName(kind)
        label.setWordWrap(True)
        self._column.addWidget(label)
        return label

    def _button(self, text: str, checkable: bool = False) -> QtWidgets.QPushButton:
        button = QtWidgets.QPushButton(text)
        button.setCheckable(checkable)
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self._column.addWidget(button)
        return button

    def _table(self) -> dict[str, QtWidgets.QLabel]:
        grid = QtWidgets.QGridLayout()
        grid.setVerticalSpacing(4)
        values = {}
        for row, name in enumerate(ROWS):
            label, value = QtWidgets.QLabel(name), QtWidgets.QLabel("")
            label.setObjectName("quiet")
            value.setAlignment(QtCore.Qt.AlignmentFlag.AlignRight)
            grid.addWidget(label, row, 0)
            grid.addWidget(value, row, 1)
            values[name] = value
        self._column.addLayout(grid)
        return values

    def _ring(self) -> QtWidgets.QProgressBar:
        row = QtWidgets.QHBoxLayout()
        label = QtWidgets.QLabel("Queue")
        label.setObjectName("quiet")
        bar = QtWidgets.QProgressBar()
        row.addWidget(label)
        row.addWidget(bar, 1)
        self._column.addLayout(row)
        return bar

    def _contrast(self) -> tuple[QtWidgets.QDoubleSpinBox, QtWidgets.QCheckBox]:
        row = QtWidgets.QHBoxLayout()
        label = QtWidgets.QLabel("White at %")
        label.setObjectName("quiet")
        percentile, pin = QtWidgets.QDoubleSpinBox(), QtWidgets.QCheckBox("pin")
        percentile.setRange(50.0, 100.0)
        percentile.setSingleStep(0.5)
        percentile.setDecimals(1)
        percentile.setValue(PERCENTILE)
        percentile.setButtonSymbols(QtWidgets.QAbstractSpinBox.ButtonSymbols.NoButtons)  # wheel, arrow keys, typing
        percentile.setFocusPolicy(QtCore.Qt.FocusPolicy.ClickFocus)
        percentile.editingFinished.connect(percentile.clearFocus)  # or it would eat the window's keys
        pin.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        for widget in (label, percentile, pin):
            row.addWidget(widget)
        self._column.addLayout(row)
        return percentile, pin


def _rows(numbers: Numbers, shown: int) -> dict[str, str]:
    """The words of each row; a dash where the number is not known."""
    expected = f" of {numbers.expected:,}" if numbers.expected else ""
    lost = f"{numbers.lost:,}" + (f" ({numbers.lost_in_ring:,} in queue)" if numbers.lost_in_ring else "")
    return {
        "Frame": _count(numbers.frame_index) + (expected if numbers.frame_index is not None else ""),
        "Frames/s": _number(numbers.fps, "{:.1f}"),
        "Lag": "–" if numbers.lag_frames is None else f"{numbers.lag_frames:,} frames",
        "Latency": _number(numbers.latency_ms, "{:.0f} ms"),
        "Lost": lost,
        "Rejected": f"{numbers.rejected:,}",
        "Localizations": f"{numbers.localizations:,}",
        "In a frame": _number(numbers.per_frame, "{:.1f}"),
        "Per µm²": _number(numbers.density_um2, "{:.2f}"),
        "Shown": f"{shown:,}",
    }


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _short(quality: QualityFilter) -> str:
    """The filter in the width of the panel."""
    limits = [] if quality.sigma_xy_nm is None else [f"σxy ≤ {quality.sigma_xy_nm:g}"]
    limits += [] if quality.sigma_z_nm is None else [f"σz ≤ {quality.sigma_z_nm:g}"]
    return ", ".join(limits) + " nm" if limits else "no filter"


def _set(label: QtWidgets.QLabel, text: str, colour: str | None) -> None:
    """Only what changed: setting a style sheet costs more than drawing the panel."""
    if label.text() != text:
        label.setText(text)
    style = f"color: {colour};" if colour else ""
    if label.styleSheet() != style:
        label.setStyleSheet(style)
