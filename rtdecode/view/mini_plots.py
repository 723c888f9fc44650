"""Small plots of the panel, painted by hand: a histogram against its training range, a trend with its interval."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PySide6 import QtCore, QtGui, QtWidgets

from rtdecode.view.findings import Trend

BINS = 48
BAR, OUT, TRAINED, REGION, QUIET, INK = "#5b8fc9", "#e8a33d", "#22372d", "#ffd166", "#9aa0ac", "#e6e8ec"
OUT_TOLD = 0.02  # share of the localizations outside the training range from which it is told
TOP_PX, BOTTOM_PX = 17, 13
LINES = {"x": "#ef7a6d", "y": "#6fce8f", "z": "#6cb4ff"}

Floats = NDArray[np.floating]


class MiniHistogram(QtWidgets.QWidget):
    """One quantity of the localizations shown; what lies beyond the model's training range is amber."""

    def __init__(self, name: str, unit: str = "") -> None:
        super().__init__()
        self.setFixedHeight(64)
        self.name, self.unit = name, unit
        self.trained: tuple[float, float] | None = None
        self.limits: tuple[float, float] | None = None  # of the filter
        self.counts: Floats = np.zeros(BINS)
        self.of_region: Floats = np.zeros(BINS)
        self.low, self.high = 0.0, 1.0
        self.median = math.nan
        self.outside = 0.0  # share outside the training range

    def show_values(self, values: Floats, of_region: Floats | None = None) -> None:
        """Take new values; the axis spans their 0.5th to 99.5th percentile, in steps so that it does not jump."""
        finite = values[np.isfinite(values)]
        if len(finite):
            self._span(finite)
            self.median = float(np.median(finite))
            self.outside = self._outside(finite)
        else:
            self.median, self.outside = math.nan, 0.0
        self.counts = self._binned(finite)
        self.of_region = self._binned(of_region) if of_region is not None else np.zeros(BINS)
        self.setToolTip(self._tip())
        self.update()

    @property
    def is_off(self) -> bool:
        """Whether the data leave the training range."""
        return self.outside >= OUT_TOLD

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Band, bars, the region's outline, words."""
        painter = QtGui.QPainter(self)
        self._paint_band(painter)
        self._paint_bars(painter)
        self._paint_region(painter)
        self._paint_words(painter)
        painter.end()

    def _span(self, finite: Floats) -> None:
        low, high = (float(value) for value in np.percentile(finite, [0.5, 99.5]))
        least = 1e-3 * max(abs(low), abs(high), 1.0)  # all values alike: float32 tells no finer bins apart
        step = 10.0 ** math.floor(math.log10(max(high - low, least))) / 2
        self.low, self.high = math.floor(low / step) * step, math.ceil(high / step) * step
        self.high = max(self.high, self.low + step)

    def _outside(self, finite: Floats) -> float:
        if self.trained is None:
            return 0.0
        return float(np.mean((finite < self.trained[0]) | (finite > self.trained[1])))

    def _binned(self, values: Floats) -> Floats:
        counts = np.histogram(values, BINS, (self.low, self.high))[0].astype(float)
        return np.asarray(counts / max(counts.max(), 1.0))

    def _at(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) * self.width()

    def _paint_band(self, painter: QtGui.QPainter) -> None:
        height = self.height() - TOP_PX - BOTTOM_PX
        painter.fillRect(QtCore.QRectF(0, TOP_PX, self.width(), height), QtGui.QColor("#1d2026"))
        if self.trained is not None:
            left, right = (min(max(self._at(end), 0.0), float(self.width())) for end in self.trained)
            painter.fillRect(QtCore.QRectF(left, TOP_PX, right - left, height), QtGui.QColor(TRAINED))

    def _paint_bars(self, painter: QtGui.QPainter) -> None:
        bottom, room = self.height() - BOTTOM_PX, self.height() - TOP_PX - BOTTOM_PX
        wide = self.width() / BINS
        for k, count in enumerate(self.counts):
            middle = self.low + (k + 0.5) / BINS * (self.high - self.low)
            inside = self.trained is None or self.trained[0] <= middle <= self.trained[1]
            bar = QtCore.QRectF(k * wide, bottom - count * room, max(wide - 1, 1), count * room)
            painter.fillRect(bar, QtGui.QColor(BAR if inside else OUT))
        if self.limits is not None:
            painter.setPen(QtGui.QPen(QtGui.QColor(INK), 1, QtCore.Qt.PenStyle.DashLine))
            for end in self.limits:
                if self.low < end < self.high:
                    painter.drawLine(QtCore.QLineF(self._at(end), TOP_PX, self._at(end), bottom))

    def _paint_region(self, painter: QtGui.QPainter) -> None:
        if not self.of_region.any():
            return
        bottom, room = self.height() - BOTTOM_PX, self.height() - TOP_PX - BOTTOM_PX
        wide = self.width() / BINS
        points = [QtCore.QPointF((k + 0.5) * wide, bottom - count * room) for k, count in enumerate(self.of_region)]
        painter.setPen(QtGui.QPen(QtGui.QColor(REGION), 1.5))
        painter.drawPolyline(points)

    def _paint_words(self, painter: QtGui.QPainter) -> None:
        painter.setFont(_small(self.font()))
        unit = f" {self.unit}" if self.unit else ""
        _words(painter, QtCore.QRectF(0, 0, self.width(), TOP_PX - 2), self.name, QUIET)
        right = "" if math.isnan(self.median) else f"{self.median:,.4g}{unit}"
        if self.is_off:
            right = f"{self.outside:.0%} untrained  {right}"
        _words(painter, QtCore.QRectF(0, 0, self.width(), TOP_PX - 2), right, OUT if self.is_off else INK, right=True)
        ends = QtCore.QRectF(0, self.height() - BOTTOM_PX, self.width(), BOTTOM_PX)
        _words(painter, ends, f"{self.low:g}", QUIET)
        _words(painter, ends, f"{self.high:g}", QUIET, right=True)

    def _tip(self) -> str:
        tip = f"{self.name}: median {self.median:.4g} {self.unit}".rstrip()
        if self.trained is not None:
            tip += f"\nThe model was trained for {self.trained[0]:g} to {self.trained[1]:g} (green); "
            tip += f"{self.outside:.1%} lie outside."
        return tip + ("\nDashed: the filter." if self.limits is not None else "")


class MiniTrend(QtWidgets.QWidget):
    """Numbers over the frames of the run, with the interval as a band; hidden while there is none."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setFixedHeight(64)
        self.setVisible(False)
        self.name = name
        self._trends: dict[str, Trend] = {}

    def show_trends(self, trends: dict[str, Trend]) -> None:
        """Curves by the axis they belong to (x, y, z), or one by any name."""
        self._trends = {axis: trend for axis, trend in trends.items() if trend.value}
        self.setVisible(bool(self._trends))
        self.update()

    @property
    def words(self) -> str:
        """The newest values."""
        if len(self._trends) == 1:
            return next(iter(self._trends.values())).words
        return "  ".join(f"{axis} {trend.value[-1]:.0f}" for axis, trend in self._trends.items()) + " nm"

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Band, curve, words."""
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        room = QtCore.QRectF(0, TOP_PX, self.width(), self.height() - TOP_PX - BOTTOM_PX)
        painter.fillRect(room, QtGui.QColor("#1d2026"))
        low, high = self._ends()
        for axis, trend in self._trends.items():
            self._paint(painter, room, trend, LINES.get(axis, BAR), (low, high))
        painter.setFont(_small(self.font()))
        _words(painter, QtCore.QRectF(0, 0, self.width(), TOP_PX - 2), self.name, QUIET)
        _words(painter, QtCore.QRectF(0, 0, self.width(), TOP_PX - 2), self.words if self._trends else "", INK, True)
        ends = QtCore.QRectF(0, self.height() - BOTTOM_PX, self.width(), BOTTOM_PX)
        factor = 100 if any(trend.unit == "share" for trend in self._trends.values()) else 1
        _words(painter, ends, f"{low * factor:.3g} to {high * factor:.3g}", QUIET)
        newest = max((trend.frame[-1] for trend in self._trends.values()), default=0)
        _words(painter, ends, f"frame {newest:,}", QUIET, right=True)
        painter.end()

    def _ends(self) -> tuple[float, float]:
        values = [v for t in self._trends.values() for v in (*t.value, *t.low, *t.high) if math.isfinite(v)]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        return (low, high) if high > low else (low - 1, high + 1)

    def _paint(
        self, painter: QtGui.QPainter, room: QtCore.QRectF, trend: Trend, colour: str, ends: tuple[float, float]
    ) -> None:
        first, last = trend.frame[0], max(trend.frame[-1], trend.frame[0] + 1)
        x = [room.left() + (frame - first) / (last - first) * room.width() for frame in trend.frame]

        def at(values: list[float]) -> list[QtCore.QPointF]:
            share = [(value - ends[0]) / (ends[1] - ends[0]) for value in values]
            return [QtCore.QPointF(a, room.bottom() - s * room.height()) for a, s in zip(x, share, strict=True)]

        if len(trend.value) > 1 and all(map(math.isfinite, (*trend.low, *trend.high))):
            band = QtGui.QColor(colour)
            band.setAlpha(60)
            painter.setPen(QtCore.Qt.PenStyle.NoPen)
            painter.setBrush(band)
            painter.drawPolygon([*at(trend.low), *reversed(at(trend.high))])
        painter.setPen(QtGui.QPen(QtGui.QColor(colour), 1.6))
        painter.drawPolyline(at(trend.value))


def _small(font: QtGui.QFont) -> QtGui.QFont:
    font = QtGui.QFont(font)
    font.setPixelSize(11)
    return font


def _words(painter: QtGui.QPainter, where: QtCore.QRectF, text: str, colour: str, right: bool = False) -> None:
    side = QtCore.Qt.AlignmentFlag.AlignRight if right else QtCore.Qt.AlignmentFlag.AlignLeft
    painter.setPen(QtGui.QColor(colour))
    painter.drawText(where, int(side | QtCore.Qt.AlignmentFlag.AlignVCenter), text)
