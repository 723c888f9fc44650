"""The view box of an image, and the region that is drawn on it with the mouse: a rectangle or a polygon."""

from __future__ import annotations

import math
from typing import Any, Literal

import pyqtgraph as pg
from PySide6 import QtCore

from rtdecode.view.regions import Outline

Tool = Literal["", "rectangle", "polygon"]
PEN, HOVER = pg.mkPen("#ffd166", width=2), pg.mkPen("#ffffff", width=2)
SMALLEST_NM = 5.0
_LEFT = QtCore.Qt.MouseButton.LeftButton


class ImageBox(pg.ViewBox):  # type: ignore[misc]
    """Wheel zooms about the pointer, dragging pans, dragging with the right button zooms; a tool draws instead."""

    outlined = QtCore.Signal()  # the outline was drawn, moved or taken away

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.tool: Tool = ""
        self._roi: Any = None
        self._sketch: list[QtCore.QPointF] = []
        self._line = pg.PlotCurveItem(pen=PEN)
        self.addItem(self._line, ignoreBounds=True)

    @property
    def outline(self) -> Outline | None:
        """What is drawn, in nm; None where nothing is."""
        if self._roi is None:
            return None
        if isinstance(self._roi, pg.RectROI):
            at, size = self._roi.pos(), self._roi.size()
            x0, x1 = sorted((at.x(), at.x() + size.x()))
            y0, y1 = sorted((at.y(), at.y() + size.y()))
            return Outline(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), is_rectangle=True)
        points = [self._roi.mapToParent(handle["item"].pos()) for handle in self._roi.handles]
        return Outline(tuple((point.x(), point.y()) for point in points))

    def take(self, tool: Tool) -> None:
        """Draw with the mouse from now on; "" to pan and zoom again."""
        self.tool, self._sketch = tool, []
        self._line.setData([], [])
        self.setCursor(QtCore.Qt.CursorShape.CrossCursor if tool else QtCore.Qt.CursorShape.ArrowCursor)

    def clear_outline(self) -> None:
        """Take the region away."""
        if self._roi is not None:
            self.removeItem(self._roi)
            self._roi = None
            self.outlined.emit()

    def set_outline(self, outline: Outline) -> None:
        """Draw a region, its handles can be dragged."""
        self.clear_outline()
        if outline.is_rectangle:
            x0, x1, y0, y1 = outline.bounds_nm
            self._roi = pg.RectROI((x0, y0), (x1 - x0, y1 - y0), pen=PEN, hoverPen=HOVER)
            self._roi.addScaleHandle((0, 0), (1, 1))
        else:
            self._roi = pg.PolyLineROI(outline.corners, closed=True, pen=PEN, hoverPen=HOVER)
        self.addItem(self._roi, ignoreBounds=True)
        self._roi.sigRegionChanged.connect(lambda *_: self.outlined.emit())
        self.outlined.emit()

    def mouseDragEvent(self, ev: Any, axis: int | None = None) -> None:  # noqa: N802 (pyqtgraph's name)
        """A rectangle from corner to corner; without the tool the box's own."""
        if self.tool != "rectangle" or ev.button() != _LEFT:
            super().mouseDragEvent(ev, axis)
            return
        ev.accept()
        begin, end = self.mapToView(ev.buttonDownPos()), self.mapToView(ev.pos())
        (x0, x1), (y0, y1) = sorted((begin.x(), end.x())), sorted((begin.y(), end.y()))
        self._line.setData([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0])
        if ev.isFinish():
            self.take("")
            if min(x1 - x0, y1 - y0) >= SMALLEST_NM:
                self.set_outline(Outline(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), is_rectangle=True))

    def mouseClickEvent(self, ev: Any) -> None:  # noqa: N802 (pyqtgraph's name)
        """A polygon's corners; the first one again, or a double click, closes it."""
        if self.tool != "polygon" or ev.button() != _LEFT:
            super().mouseClickEvent(ev)
            return
        ev.accept()
        here = self.mapToView(ev.pos())
        if len(self._sketch) >= 3 and (ev.double() or self._is_near(here, self._sketch[0])):
            corners = tuple((point.x(), point.y()) for point in self._sketch)
            self.take("")
            self.set_outline(Outline(corners))
            return
        self._sketch.append(here)
        self._line.setData([p.x() for p in self._sketch], [p.y() for p in self._sketch])

    def _is_near(self, one: QtCore.QPointF, other: QtCore.QPointF, px: float = 10.0) -> bool:
        nm_per_px = self.viewRect().width() / max(self.width(), 1.0)
        return bool(math.hypot(one.x() - other.x(), one.y() - other.y()) < px * nm_per_px)


def pan(box: pg.ViewBox, across: float, down: float) -> None:
    """Move the view by shares of what is seen."""
    seen = box.viewRect()
    box.sigRangeChangedManually.emit(box.state["mouseEnabled"])
    box.translateBy(x=across * seen.width(), y=down * seen.height())


def zoom(box: pg.ViewBox, factor: float) -> None:
    """About the middle of what is seen; above 1 shows more."""
    box.sigRangeChangedManually.emit(box.state["mouseEnabled"])
    box.scaleBy((factor, factor), center=QtCore.QPointF(box.viewRect().center()))
