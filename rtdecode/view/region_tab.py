"""The panel's page of a region that the user drew: count, density, histograms, resolution, and where it goes."""

from __future__ import annotations

import math

from PySide6 import QtCore, QtWidgets

from rtdecode.view.image_tab import NO_FOCUS
from rtdecode.view.mini_plots import MiniHistogram
from rtdecode.view.regions import Outline, RegionTally

ROWS = ("Localizations", "Area", "Per µm²", "Per µm² and frame", "Resolution")
HISTOGRAMS = {
    "photons": ("Photons", ""),
    "sigma_x_nm": ("σ x", "nm"),
    "sigma_y_nm": ("σ y", "nm"),
    "z_nm": ("z", "nm"),
}
HINT = "Draw a rectangle (B) by dragging, or a polygon (G) corner by corner, a double click closes it."


class RegionTab(QtWidgets.QScrollArea):
    """Widgets only; the window connects them."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(NO_FOCUS)
        inner = QtWidgets.QWidget()
        self.setWidget(inner)
        column = QtWidgets.QVBoxLayout(inner)
        column.setContentsMargins(0, 8, 4, 0)
        column.setSpacing(6)
        self.rectangle, self.polygon = _button("Rectangle (B)", True), _button("Polygon (G)", True)
        self.remove = _button("Remove (Esc)")
        tools = QtWidgets.QGridLayout()
        tools.addWidget(self.rectangle, 0, 0)
        tools.addWidget(self.polygon, 0, 1)
        column.addLayout(tools)
        self.hint = QtWidgets.QLabel(HINT)
        self.hint.setObjectName("quiet")
        self.hint.setWordWrap(True)
        column.addWidget(self.hint)
        grid = QtWidgets.QGridLayout()
        grid.setVerticalSpacing(4)
        self.values: dict[str, QtWidgets.QLabel] = {}
        for row, name in enumerate(ROWS):
            label, self.values[name] = QtWidgets.QLabel(name), QtWidgets.QLabel("–")
            label.setObjectName("quiet")
            grid.addWidget(label, row, 0)
            grid.addWidget(self.values[name], row, 1)
        column.addLayout(grid)
        self.histograms = {name: MiniHistogram(*words) for name, words in HISTOGRAMS.items()}
        for histogram in self.histograms.values():
            column.addWidget(histogram)
        self.measure, self.to_policy = _button("Measure the resolution"), _button("Copy for a policy (YAML)")
        self.to_policy.setToolTip("Puts the region as YAML on the clipboard, in nm from the first pixel's centre")
        for button in (self.measure, self.to_policy, self.remove):
            column.addWidget(button)
        column.addStretch(1)
        self.show_tally(None, 0, False)

    def show_tally(self, tally: RegionTally | None, frames: int, tells_z: bool) -> None:
        """Numbers of a region over so many frames; dashes where there is none."""
        for button in (self.measure, self.to_policy, self.remove):
            button.setEnabled(tally is not None)
        self.hint.setVisible(tally is None)
        for name, histogram in self.histograms.items():
            histogram.setVisible(tally is not None and (tells_z or name != "z_nm"))
        if tally is None:
            for label in self.values.values():
                label.setText("–")
            return
        area, sample = tally.outline.area_um2, tally.sample()
        per_um2 = tally.count / area if area > 0 else math.nan
        self.values["Localizations"].setText(f"{tally.count:,}")
        self.values["Area"].setText(f"{area:,.3g} µm²")
        self.values["Per µm²"].setText(f"{per_um2:,.4g}")
        self.values["Per µm² and frame"].setText(f"{per_um2 / max(frames, 1):.3g}")
        for name, histogram in self.histograms.items():
            histogram.show_values(sample[name])

    def show_resolution(self, words: str) -> None:
        """What was measured; empty for a dash."""
        self.values["Resolution"].setText(words or "–")


def snippet(outline: Outline, run: str) -> str:
    """What is copied for a policy's configuration."""
    return f"# drawn in the viewer on {run}; nm from the centre of the first pixel, x right, y down\n{outline.yaml}"


def _button(text: str, checkable: bool = False) -> QtWidgets.QPushButton:
    button = QtWidgets.QPushButton(text)
    button.setCheckable(checkable)
    button.setFocusPolicy(NO_FOCUS)
    return button
