"""The panel's page of the data: histograms against the model's training range, what policies and analysis say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6 import QtCore, QtWidgets

from rtdecode.core.quality import QualityFilter
from rtdecode.view.findings import Findings, ModelCard
from rtdecode.view.mini_plots import MiniHistogram, MiniTrend
from rtdecode.view.points import Block

HISTOGRAMS = {
    "photons": ("Photons", ""),
    "background": ("Background per pixel", ""),
    "z_nm": ("z", "nm"),
    "sigma_x_nm": ("σ x", "nm"),
    "sigma_y_nm": ("σ y", "nm"),
    "sigma_z_nm": ("σ z", "nm"),
}
OF_Z = ("z_nm", "sigma_z_nm")


class DataTab(QtWidgets.QScrollArea):
    """Histograms of the localizations of the part of the run that is shown, before the filter."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        inner = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(inner)
        column.setContentsMargins(0, 8, 4, 0)
        column.setSpacing(5)
        self.histograms = {name: MiniHistogram(*words) for name, words in HISTOGRAMS.items()}
        self.coverage, self.resolution = MiniTrend("Coverage"), MiniTrend("Resolution (FRC)")
        self.drift, self.verdicts = MiniTrend("Drift"), QtWidgets.QLabel("")
        self.verdicts.setObjectName("quiet")
        self.verdicts.setWordWrap(True)
        self.verdicts.setVisible(False)
        for widget in (self.verdicts, self.coverage, self.resolution, self.drift, *self.histograms.values()):
            column.addWidget(widget)
        column.addStretch(1)
        self.setWidget(inner)

    def set_card(self, card: ModelCard) -> None:
        """Ranges that the model was trained for."""
        for name, histogram in self.histograms.items():
            histogram.trained = card.ranges.get(name)

    def show_values(self, sample: Block, of_region: Block | None, quality: QualityFilter, tells_z: bool) -> None:
        """Fill the histograms."""
        limits = {"photons": quality.photons, "z_nm": quality.z_nm} | {
            name: (0.0, limit) if limit is not None else None
            for name, limit in (
                ("sigma_x_nm", quality.sigma_xy_nm),
                ("sigma_y_nm", quality.sigma_xy_nm),
                ("sigma_z_nm", quality.sigma_z_nm),
            )
        }
        for name, histogram in self.histograms.items():
            histogram.limits = limits.get(name)
            if name in OF_Z:
                histogram.setVisible(tells_z)
            empty = of_region is None or not len(of_region[name])
            histogram.show_values(sample[name], None if empty or of_region is None else of_region[name])

    def show_findings(self, findings: Findings) -> None:
        """What policies and analysis found so far."""
        self.coverage.show_trends({"": findings.coverage})
        self.resolution.show_trends({"": findings.resolution})
        self.drift.show_trends(findings.drift)
        words = "\n".join(findings.verdicts)
        self.verdicts.setVisible(bool(words))
        if self.verdicts.text() != words:
            self.verdicts.setText(words)

    @property
    def off(self) -> list[str]:
        """Quantities that leave the training range."""
        return [h.name.lower() for h in self.histograms.values() if h.is_off and not h.isHidden()]


def frame_medians(sample: Block, most_frames: int = 300) -> NDArray[np.float32]:
    """Median background of each frame (thinned evenly to `most_frames`), of columns in order of frames."""
    frames, starts = np.unique(sample["frame_index"], return_index=True)
    parts = np.split(np.asarray(sample["background"], np.float64), starts[1:])[:: max(1, len(frames) // most_frames)]
    return np.array([np.median(part) for part in parts if len(part)], np.float32)
