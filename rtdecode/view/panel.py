"""The panel beside the image: state, numbers, queue health, and what can be set or asked for."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

from rtdecode.core.quality import QualityFilter
from rtdecode.view.data_tab import DataTab
from rtdecode.view.image_tab import ImageTab
from rtdecode.view.numbers import Health, Numbers
from rtdecode.view.region_tab import RegionTab

WIDTH_PX = 292
STOP_CONFIRM_MS = 3000
STATE_COLOUR = {"waiting": "#9aa0ac", "running": "#4cc38a", "finished": "#6cb4ff", "interrupted": "#ff6b6b"}
HEALTH_COLOUR: dict[Health, str] = {"good": "#3d9a6d", "watch": "#d8a031", "danger": "#e5484d"}
STYLE = """
QWidget { background: #16181c; color: #e6e8ec; font-size: 13px; }
QLabel#quiet { color: #9aa0ac; } QLabel#name { font-size: 15px; font-weight: 600; }
QPushButton { background: #262a31; border: 1px solid #3a3f49; border-radius: 4px; padding: 6px; }
QPushButton:hover { background: #30353e; } QPushButton:disabled { color: #5c626e; }
QPushButton:checked { background: #2b4a6f; border-color: #4b7fb8; }
QPushButton#stop:enabled { background: #7d2327; border-color: #b53a40; }
QPushButton#stop[armed="true"] { background: #e5484d; font-weight: 600; }
QProgressBar { background: #262a31; border: 1px solid #3a3f49; border-radius: 3px; text-align: center; height: 16px; }
QComboBox { background: #262a31; border: 1px solid #3a3f49; border-radius: 3px; padding: 2px 4px; }
QDoubleSpinBox { background: #262a31; } QDoubleSpinBox:focus { background: #2b4a6f; }
QComboBox QAbstractItemView { background: #262a31; }
QComboBox::drop-down { border: none; width: 16px; }
QComboBox::down-arrow { width: 0; height: 0; border-left: 4px solid #262a31; border-right: 4px solid #262a31;
  border-top: 5px solid #9aa0ac; }
QTabWidget::pane { border: none; border-top: 1px solid #3a3f49; }
QTabBar::tab { background: #16181c; color: #9aa0ac; padding: 5px 12px; border: none; }
QTabBar::tab:selected { color: #e6e8ec; border-bottom: 2px solid #6cb4ff; }
QScrollBar:vertical { background: #16181c; width: 8px; } QScrollBar::handle:vertical { background: #3a3f49; }
QScrollBar::add-line, QScrollBar::sub-line { height: 0; }
QToolTip { background: #262a31; color: #e6e8ec; border: 1px solid #3a3f49; }
QCheckBox::indicator { width: 13px; height: 13px; background: #262a31; border: 1px solid #5c626e; border-radius: 3px; }
QCheckBox::indicator:checked { background: #6cb4ff; border-color: #6cb4ff; }
"""

ROWS = (
    "Frame", "Frames/s", "Lag", "Latency", "Lost", "Rejected", "Localizations", "In a frame", "Per µm²", "Shown",
)  # fmt: skip


class Panel:
    """Widgets only: what a click does is connected by the window."""

    def __init__(self, name: str, quality: QualityFilter) -> None:
        self.widget = QtWidgets.QWidget()
        self.widget.setFixedWidth(WIDTH_PX)
        self._column = QtWidgets.QVBoxLayout(self.widget)
        self._column.setSpacing(7)
        self.name = self._label(name, "name")
        self.state = self._label("")
        self.values = self._table()
        self.ring = self._ring()
        self.tabs = QtWidgets.QTabWidget()
        self.tabs.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.tabs.tabBar().setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.image, self.data, self.region = ImageTab(quality), DataTab(), RegionTab()
        for title, page in (("Image", self.image), ("Data", self.data), ("Region", self.region)):
            self.tabs.addTab(page, title)
        self._column.addWidget(self.tabs, 1)
        self.message = self._label("H: all keys", "quiet")
        self.raw, self.widefield = self._pair("Raw frame  (R)", "Wide field  (W)", checkable=True)
        self.snapshot, self.export = self._pair("Snapshot  (S)", "Export …  (E)")
        self.stop = self._button("Stop the acquisition")
        self.stop.setObjectName("stop")
        self._disarm = QtCore.QTimer(self.widget)
        self._disarm.setSingleShot(True)
        self._disarm.timeout.connect(self.disarm)
        self.trained_density: tuple[float, float] | None = None  # localizations per µm² and frame
        self.percentile, self.pin, self.filter = self.image.percentile, self.image.pin, self.image.filter

    def show_numbers(self, numbers: Numbers, shown: int) -> None:
        """Write all numbers; lost frames and a filling queue are coloured."""
        words = numbers.state.upper() + (f"\n{numbers.finish}" if numbers.finish else "")
        _set(self.state, words, STATE_COLOUR[numbers.state])
        for name, value in _rows(numbers, shown).items():
            _set(self.values[name], value, self._colour(name, numbers))
        self._show_ring(numbers)
        self.stop.setEnabled(numbers.state == "running")

    def _colour(self, name: str, numbers: Numbers) -> str | None:
        """Red for lost frames, amber for a density that the model was not trained for."""
        if name == "Lost" and numbers.lost:
            return "#ff6b6b"
        trained, density = self.trained_density, numbers.density_um2
        if name == "Per µm²" and trained is not None and density is not None and density > trained[1]:
            self.values[name].setToolTip(f"Localizations in a frame; the model was trained for up to {trained[1]:g}")
            return "#e8a33d"
        return None

    def mark_data(self, off: list[str]) -> None:
        """Say on the page's name that data leave the training range."""
        self.tabs.setTabText(1, "Data  ⚠" if off else "Data")
        self.tabs.tabBar().setTabTextColor(1, QtGui.QColor("#e8a33d" if off else "#9aa0ac"))
        self.tabs.setTabToolTip(1, f"Outside of what the model was trained for: {', '.join(off)}" if off else "")

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
        button = _button(text, checkable)
        self._column.addWidget(button)
        return button

    def _pair(self, *words: str, checkable: bool = False) -> list[QtWidgets.QPushButton]:
        """Buttons side by side."""
        row = QtWidgets.QHBoxLayout()
        buttons = [_button(text, checkable) for text in words]
        for button in buttons:
            row.addWidget(button)
        self._column.addLayout(row)
        return buttons

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


def _button(text: str, checkable: bool) -> QtWidgets.QPushButton:
    button = QtWidgets.QPushButton(text)
    button.setCheckable(checkable)
    button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
    return button


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _set(label: QtWidgets.QLabel, text: str, colour: str | None) -> None:
    """Only what changed: setting a style sheet costs more than drawing the panel."""
    if label.text() != text:
        label.setText(text)
    style = f"color: {colour};" if colour else ""
    if label.styleSheet() != style:
        label.setStyleSheet(style)
