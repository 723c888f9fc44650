"""Small charts on a picture: axes with round numbers, lines, steps, points, words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw, ImageFont

from rtdecode.view.labels import ticks

INK, GREY, PALE = "#222222", "#888888", "#e6e6e6"
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart in the box (left, top, right, bottom) of a picture; a logarithmic `y` range must lie above 0."""

    pen: ImageDraw.ImageDraw
    box: tuple[int, int, int, int]
    x: Range
    y: Range
    log: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a point; outside the ranges it is drawn at their edge."""
        left, top, right, bottom = self.box
        low, high, value = (math.log10(v) for v in (*self.y, max(y, self.y[0]))) if self.log else (*self.y, y)
        across, up = (x - self.x[0]) / (self.x[1] - self.x[0]), (value - low) / (high - low)
        return left + (right - left) * min(max(across, 0), 1), bottom - (bottom - top) * min(max(up, 0), 1)

    def axes(self, title: str, below: str = "") -> None:
        """Frame, grid, numbers, and words above and below."""
        left, top, right, bottom = self.box
        for x in ticks(*self.x, most=6):
            column, _ = self.at(x, self.y[0])
            self.pen.line([(column, top), (column, bottom)], fill=PALE)
            self.words((column, bottom + 5), f"{x:g}", 13, GREY, "mt")
        for y in self._y_ticks():
            _, row = self.at(self.x[0], y)
            self.pen.line([(left, row), (right, row)], fill=PALE)
            self.words((left - 6, row), f"{y:g}", 13, GREY, "rm")
        self.pen.rectangle(self.box, outline=GREY)
        self.words((left, top - 8), title, 16, INK, "ls")
        self.words(((left + right) / 2, bottom + 24), below, 13, GREY, "mt")

    def _y_ticks(self) -> list[float]:
        if not self.log:
            return ticks(*self.y, most=6)
        low, high = (math.log10(v) for v in self.y)
        steps = [10.0**k * m for k in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
        return [value for value in steps if self.y[0] <= value <= self.y[1]]

    def line(self, x: Sequence[float], y: Sequence[float], colour: str, width: int = 2) -> None:
        """A line through all finite points."""
        points = [self.at(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
        if len(points) > 1:
            self.pen.line(points, fill=colour, width=width, joint="curve")

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        """A filled circle, its radius in picture pixels."""
        column, row = self.at(x, y)
        self.pen.ellipse([column - radius, row - radius, column + radius, row + radius], fill=colour)

    def upright(self, x: float, low: float, high: float, colour: str) -> None:
        """An error bar."""
        self.pen.line([self.at(x, low), self.at(x, high)], fill=colour, width=2)

    def words(self, place: tuple[float, float], text: str, size: int, colour: str, anchor: str) -> None:
        """Text at a pixel of the picture."""
        if text:
            self.pen.text(place, text, fill=colour, font=ImageFont.load_default(size), anchor=anchor)

    def legend(self, names: Sequence[tuple[str, str]]) -> None:
        """(words, colour) side by side above the right corner."""
        _, top, right, _ = self.box
        for text, colour in reversed(names):
            self.words((right, top - 8), text, 15, colour, "rs")
            right -= round(ImageFont.load_default(15).getlength(text)) + 14


def around(values: Sequence[float], log: bool = False, share: float = 0.05) -> Range:
    """A range that holds all finite values with a little room; (0, 1), or (0.1, 1) if `log`, where there are none."""
    known = np.array([v for v in values if math.isfinite(v) and (v > 0 or not log)])
    if not len(known):
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = (float(v) for v in (known.min(), known.max()))
    if log:
        room = max(high / low, 1.2) ** share
        return low / room, high * room
    room = max(high - low, 1e-3 * max(abs(high), 1e-9)) * share
    return low - room, high + room
