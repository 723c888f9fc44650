"""The panel's page of what the image shows: colour, drawing, contrast, filter."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.view.canvas import PERCENTILE, Style

NO_FOCUS, CLICK_FOCUS = QtCore.Qt.FocusPolicy.NoFocus, QtCore.Qt.FocusPolicy.ClickFocus
KINDS = {"own": "own σ", "fixed": "fixed width", "histogram": "histogram"}
COLOUR_NAMES = {  # of COLOURINGS
    "z_nm": "depth z", "photons": "photons", "sigma_xy_nm": "σ x, y", "frame_index": "time", "none": "one colour",
}  # fmt: skip
ANY = "any"
LIMITS = {  # name: words, unit, lowest (means no limit), highest, step, decimals
    "sigma_xy_nm": ("σ x, y up to", " nm", 0.0, 1000.0, 1.0, 0),
    "sigma_z_nm": ("σ z up to", " nm", 0.0, 1000.0, 5.0, 0),
    "probability": ("p at least", "", 0.0, 1.0, 0.05, 2),
    "photons": ("photons", "", 0.0, 1e7, 100.0, 0),
    "z_nm": ("z", " nm", -10_000.0, 10_000.0, 50.0, 0),
}
SPANS = ("photons", "z_nm")
OF_Z = ("sigma_z_nm", "z_nm")


class ImageTab(QtWidgets.QWidget):
    """Widgets and the filter that they state; the window carries it out."""

    filter_changed = QtCore.Signal()

    def __init__(self, quality: QualityFilter) -> None:
        super().__init__()
        self._grid = QtWidgets.QGridLayout(self)
        self._grid.setContentsMargins(0, 8, 0, 0)
        self._grid.setVerticalSpacing(5)
        self._rows = 0
        self.colour, self.kind, self.width_nm = QtWidgets.QComboBox(), QtWidgets.QComboBox(), number(1, 500, 1, " nm")
        self.percentile, self.pin = number(50, 100, 0.5, "", 1), QtWidgets.QCheckBox("pin (P)")
        self.filter = QtWidgets.QCheckBox("Filter  (F)")
        self.drift = QtWidgets.QCheckBox("Drift taken off  (D)")
        self.limits: dict[str, list[QtWidgets.QDoubleSpinBox]] = {}
        self._labels: dict[str, QtWidgets.QLabel] = {}
        self._is_set = False  # while the boxes are being filled
        self._build()
        self.set_quality(quality, quality != SHOW_ALL)

    @property
    def quality(self) -> QualityFilter:
        """The filter as the boxes state it; everything when it is off."""
        return self.stated if self.filter.isChecked() else SHOW_ALL

    @property
    def stated(self) -> QualityFilter:
        """What the boxes say, on or off."""
        single = {name: _limit(boxes[0]) for name, boxes in self.limits.items() if len(boxes) == 1}
        spans = {name: _span(boxes) for name, boxes in self.limits.items() if len(boxes) == 2}
        return QualityFilter(**single, **spans)  # type: ignore[arg-type]

    @property
    def drawing(self) -> Style:
        """How localizations are drawn."""
        return Style(list(KINDS)[self.kind.currentIndex()], self.width_nm.value())  # type: ignore[arg-type]

    def set_quality(self, quality: QualityFilter, on: bool) -> None:
        """Fill the boxes."""
        self._is_set = True
        for name, boxes in self.limits.items():
            value = getattr(quality, name)
            ends = (value,) if len(boxes) == 1 else (value or (None, None))
            for box, end in zip(boxes, ends, strict=True):
                unlimited = end is None or not box.minimum() < end < box.maximum()
                box.setValue(box.minimum() if unlimited else end)
        self.filter.setChecked(on)
        self._is_set = False

    def show_z(self, tells_z: bool) -> None:
        """A 2D model's localizations have no z: nothing of it is offered."""
        for name in OF_Z:
            self._labels[name].setVisible(tells_z)
            for box in self.limits[name]:
                box.setVisible(tells_z)
        self.colour.view().setRowHidden(0, not tells_z)
        if not tells_z and self.colour.currentIndex() == 0:
            self.colour.setCurrentIndex(list(COLOUR_NAMES).index("none"))

    def _build(self) -> None:
        for name, words in COLOUR_NAMES.items():
            self.colour.addItem(words, name)
        self.kind.addItems(list(KINDS.values()))
        self.width_nm.setValue(10)
        self.width_nm.setVisible(False)
        self.kind.currentIndexChanged.connect(lambda index: self.width_nm.setVisible(index == 1))
        self.percentile.setValue(PERCENTILE)
        self.percentile.setToolTip("This share of the pixels that hold anything is darker than full brightness")
        self._row("Colour", self.colour)
        self._row("Drawn by", self.kind, self.width_nm)
        self._row("White at %", self.percentile, self.pin)
        self.drift.setVisible(False)
        self._grid.addWidget(self.drift, self._rows, 0, 1, 3)
        self._rows += 1
        self._grid.addWidget(self.filter, self._rows, 0, 1, 3)
        self._rows += 1
        for name, (words, unit, low, high, step, decimals) in LIMITS.items():
            self.limits[name] = [number(low, high, step, unit, decimals, ANY) for _ in range(2 if name in SPANS else 1)]
            self._labels[name] = self._row(words, *self.limits[name])
            for box in self.limits[name]:
                box.valueChanged.connect(self._limit_changed)
        self.filter.toggled.connect(lambda _: None if self._is_set else self.filter_changed.emit())
        for widget in (self.colour, self.kind, self.pin, self.filter, self.drift):
            widget.setFocusPolicy(NO_FOCUS)
        self._grid.setRowStretch(self._rows, 1)
        for column, share in enumerate((0, 1, 1)):
            self._grid.setColumnStretch(column, share)
        self._labels["probability"].setToolTip("Probability that a molecule is there, as the model states it")

    def _limit_changed(self) -> None:
        if self._is_set:
            return
        self._is_set = True
        self.filter.setChecked(True)
        self._is_set = False
        self.filter_changed.emit()

    def _row(self, words: str, *widgets: QtWidgets.QWidget) -> QtWidgets.QLabel:
        label = QtWidgets.QLabel(words)
        label.setObjectName("quiet")
        self._grid.addWidget(label, self._rows, 0)
        for k, widget in enumerate(widgets):
            self._grid.addWidget(widget, self._rows, 1 + k, 1, 2 if len(widgets) == 1 else 1)
        self._rows += 1
        return label


def number(
    low: float, high: float, step: float, unit: str, decimals: int = 0, nothing: str = ""
) -> QtWidgets.QDoubleSpinBox:
    """A box for a number: wheel, arrow keys, typing; its lowest value may stand for no limit."""
    box = QtWidgets.QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setSuffix(unit)
    box.setSpecialValueText(nothing)
    box.setValue(low)
    box.setKeyboardTracking(False)
    box.setButtonSymbols(QtWidgets.QAbstractSpinBox.ButtonSymbols.NoButtons)
    box.setFocusPolicy(CLICK_FOCUS)
    box.setMinimumSize(56, 24)
    box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
    box.editingFinished.connect(box.clearFocus)  # or it would eat the window's keys
    return box


def _limit(box: QtWidgets.QDoubleSpinBox) -> float | None:
    return None if box.value() <= box.minimum() else box.value()


def _span(boxes: list[QtWidgets.QDoubleSpinBox]) -> tuple[float, float] | None:
    low, high = (_limit(box) for box in boxes)
    if low is None and high is None:
        return None
    return (boxes[0].minimum() if low is None else low), (boxes[1].maximum() if high is None else high)
