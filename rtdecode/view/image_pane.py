"""The image part of the viewer's window: one view box for both images, scale bar and colour bar drawn over it."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6 import QtCore, QtGui, QtWidgets

from rtdecode.core.localizations import Localizations
from rtdecode.view.canvas import ColourScale, Region, colour_values
from rtdecode.view.colours import STEPS, ramp_rgb
from rtdecode.view.follow import RawImage
from rtdecode.view.image_box import ImageBox
from rtdecode.view.labels import length_words, round_length_nm, ticks
from rtdecode.view.scene import View

CIRCLE_PX = 17
BAR_WIDTH_PX, MARGIN_PX = 14, 18
SETTLING = 0.2  # of the way that the raw frame's grey levels go with each frame: they do not flicker


class Overlay(QtWidgets.QWidget):
    """Scale bar, colour bar and title over the image, of fixed size on the screen; mouse events pass through."""

    def __init__(self, parent: QtWidgets.QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.nm_per_px = 0.0  # 0: not known yet, no scale bar
        self.scale = ColourScale()
        self.has_colours = True  # False: no colour bar, for a 2D model's depth says nothing
        self.title = ""

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw over whatever is below."""
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        self._write(painter, QtCore.QPointF(MARGIN_PX, MARGIN_PX + 8), self.title)
        if self.nm_per_px > 0:
            self._scale_bar(painter)
        if self.has_colours:
            self._colour_bar(painter)
        painter.end()

    def _scale_bar(self, painter: QtGui.QPainter) -> None:
        length_nm = round_length_nm(self.width() * self.nm_per_px, share=0.2)
        length = length_nm / self.nm_per_px
        right, bottom = self.width() - MARGIN_PX, self.height() - MARGIN_PX
        bar = QtCore.QRectF(right - length, bottom - 4, length, 4)
        painter.fillRect(bar.adjusted(-1, -1, 1, 1), QtGui.QColor(0, 0, 0, 160))
        painter.fillRect(bar, QtGui.QColor("white"))
        words = length_words(length_nm)
        half = painter.fontMetrics().horizontalAdvance(words) / 2
        x = min(right - length / 2 - half, right - 2 * half)
        self._write(painter, QtCore.QPointF(x, bottom - 10), words)

    def _colour_bar(self, painter: QtGui.QPainter) -> None:
        height = min(220.0, self.height() * 0.4)
        bar = QtCore.QRectF(MARGIN_PX, self.height() - MARGIN_PX - height, BAR_WIDTH_PX, height)
        gradient = QtGui.QLinearGradient(bar.bottomLeft(), bar.topLeft())
        for step, colour in enumerate(ramp_rgb(33)):
            gradient.setColorAt(step / 32, QtGui.QColor(*(int(part) for part in colour)))
        painter.fillRect(bar.adjusted(-1, -1, 1, 1), QtGui.QColor(0, 0, 0, 160))
        painter.fillRect(bar, gradient)
        for value in ticks(self.scale.low, self.scale.high, most=6):
            y = bar.bottom() - (value - self.scale.low) / (self.scale.high - self.scale.low) * height
            self._write(
                painter, QtCore.QPointF(bar.right() + 7, y + 4), f"{value:,g}" if abs(value) < 1e6 else f"{value:g}"
            )
        self._write(painter, QtCore.QPointF(bar.left(), bar.top() - 8), self.scale.title)

    def _write(self, painter: QtGui.QPainter, at: QtCore.QPointF, words: str) -> None:
        """White with a dark rim: read on any image."""
        path = QtGui.QPainterPath()
        path.addText(at, painter.font(), words)
        painter.strokePath(path, QtGui.QPen(QtGui.QColor(0, 0, 0, 200), 3))
        painter.fillPath(path, QtGui.QColor("white"))


class ImagePane:
    """Super-resolution image or raw frame, in nm, x right and y down; zoom and pan are the user's alone."""

    def __init__(self) -> None:
        self.widget = pg.GraphicsLayoutWidget()
        self.widget.ci.setContentsMargins(0, 0, 0, 0)
        self.widget.setMinimumSize(320, 320)
        self.box = ImageBox(lockAspect=True, invertY=True, enableMenu=False)
        self.widget.addItem(self.box)
        self.box.disableAutoRange()
        self.image = pg.ImageItem(axisOrder="row-major")
        self.raw_image = pg.ImageItem(axisOrder="row-major")
        self.circles = pg.ScatterPlotItem(pxMode=True, size=CIRCLE_PX, brush=None)
        self._frame = QtWidgets.QGraphicsRectItem()
        self._frame.setPen(pg.mkPen(70, 74, 84, cosmetic=True))
        for item in (self.image, self.raw_image, self._frame, self.circles):
            self.box.addItem(item, ignoreBounds=True)
        self.overlay = Overlay(self.widget)
        self.is_whole = False
        self.box.sigRangeChangedManually.connect(lambda *_: self.leave_whole())
        self._levels, self._raw_kind = (0.0, 1.0), ""
        self.show_raw(False)

    @property
    def visible(self) -> Region:
        """What the window shows now, in nm."""
        seen = self.box.viewRect()
        return Region(seen.left(), seen.top(), seen.width(), seen.height())

    @property
    def most_px(self) -> int:
        """Physical pixels of the screen along the image's longer side."""
        longer: float = max(self.box.width(), self.box.height()) * self.widget.devicePixelRatioF()
        return max(1, math.ceil(longer))

    @property
    def is_raw(self) -> bool:
        """Whether the raw frame is shown."""
        return bool(self.raw_image.isVisible())

    def show_all(self, field: Region) -> None:
        """Zoom so that the whole field is seen, also after the window's size changes, until the user zooms or pans."""
        self.is_whole = True
        rectangle = _rectangle(field)
        self._frame.setRect(rectangle)
        self.box.setRange(rectangle, padding=0.02)
        self.box.setLimits(minXRange=50.0, minYRange=50.0)

    def leave_whole(self) -> None:
        """The user chose another part."""
        self.is_whole = False

    def show_raw(self, raw: bool) -> None:
        """Raw frame with circles, or the super-resolution image."""
        self.image.setVisible(not raw)
        self.raw_image.setVisible(raw)
        self.circles.setVisible(raw)

    def draw(self, view: View, scale: ColourScale) -> None:
        """Put the super-resolution image where it lies."""
        if view.rgb.size:
            self.image.setImage(view.rgb, autoLevels=False, levels=None)
            self.image.setRect(_rectangle(view.region))
        self.overlay.scale = scale

    def draw_raw(self, raw: RawImage, field: Region, scale: ColourScale) -> None:
        """Put a frame under its localizations, circled in their colour."""
        kind = raw.title.split(" ")[0]
        self._follow_levels(raw.pixels, jump=kind != self._raw_kind)
        self._raw_kind = kind
        self.raw_image.setImage(np.ascontiguousarray(raw.pixels), autoLevels=False, levels=self._levels)
        self.raw_image.setRect(_rectangle(field))
        self.overlay.title = raw.title
        self.circles.setData(x=raw.localizations.x_nm, y=raw.localizations.y_nm, pen=_pens(raw.localizations, scale))

    def place_overlay(self, title: str, with_bar: bool = True) -> None:
        """Over the whole image, with the zoom as it is now."""
        self.overlay.setGeometry(self.widget.rect())
        self.overlay.nm_per_px = self.visible.width_nm / max(self.box.width(), 1.0) if with_bar else 0.0
        if not self.is_raw:
            self.overlay.title = title
        self.overlay.update()

    def _follow_levels(self, pixels: NDArray[np.generic], jump: bool) -> None:
        finite = np.asarray(pixels, np.float64)
        finite = finite[np.isfinite(finite)]
        if not len(finite):
            return
        low, high = (float(value) for value in np.percentile(finite, [1, 99.8]))
        share = 1.0 if self._levels == (0.0, 1.0) or jump else SETTLING
        low, high = (old + share * (new - old) for old, new in zip(self._levels, (low, high), strict=True))
        self._levels = (low, max(high, low + 1e-9))


def _rectangle(region: Region) -> QtCore.QRectF:
    return QtCore.QRectF(region.x0_nm, region.y0_nm, region.width_nm, region.height_nm)


def _pens(localizations: Localizations, scale: ColourScale) -> list[QtGui.QPen]:
    values = colour_values(dict(localizations.columns()), scale.column)
    share = (np.asarray(values, np.float32) - scale.low) / (scale.high - scale.low)
    steps = np.nan_to_num(np.clip(share, 0, 1) * (STEPS - 1)).astype(int)
    ramp = ramp_rgb()
    return [pg.mkPen(*(int(part) for part in ramp[step]), width=1.5) for step in steps]
