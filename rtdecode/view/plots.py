"""Small plots for pages of pictures: histograms, points, curves and images with axes, drawn with Pillow."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rtdecode.view.labels import ticks
from rtdecode.view.picture import INK, PAGE, QUIET, _font, _text, widefield_grey

Colour = tuple[int, int, int]
Pair = tuple[float, float]
Floats = NDArray[np.floating]
FIRST, SECOND, THIRD, BAND = (104, 170, 240), (240, 170, 92), (120, 200, 140), (44, 58, 50)
FONT = 19
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 46, 18, 62  # around the axes, px


@dataclass(frozen=True, slots=True)
class Axes:
    """A rectangle of a page with its scales; `log` for values above 0."""

    image: Image.Image
    box: tuple[int, int, int, int]  # of the axes, px: left, top, right, bottom
    x: Pair
    y: Pair
    log_x: bool = False
    log_y: bool = False

    def at(self, x: Floats, y: Floats) -> list[tuple[float, float]]:
        """Pixels of points."""
        left, top, right, bottom = self.box
        across, up = _share(x, self.x, self.log_x), _share(y, self.y, self.log_y)
        return [(left + a * (right - left), bottom - u * (bottom - top)) for a, u in zip(across, up, strict=True)]

    def curve(self, x: Floats, y: Floats, colour: Colour, width: int = 3) -> None:
        """A line through points, cut at the axes."""
        ImageDraw.Draw(self.image).line(_inside(self.at(x, y), self.box), fill=colour, width=width, joint="curve")

    def dots(self, x: Floats, y: Floats, colour: Colour, radius: float = 3.0) -> None:
        """Filled circles; what lies outside is left out."""
        draw, (left, top, right, bottom) = ImageDraw.Draw(self.image), self.box
        for px, py in self.at(x, y):
            if left <= px <= right and top <= py <= bottom:
                draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=colour)

    def bars(self, values: Floats, colour: Colour = FIRST) -> None:
        """Histogram counts of equal bins over the x range, from the bottom."""
        edges = np.linspace(*self.x, len(values) + 1)
        if self.log_x:
            edges = np.geomspace(*self.x, len(values) + 1)
        draw = ImageDraw.Draw(self.image)
        tops = self.at(edges[:-1], np.maximum(values, self.y[0]))
        ends = self.at(edges[1:], np.full(len(values), self.y[0]))
        for (x0, y0), (x1, y1) in zip(tops, ends, strict=True):
            if y1 - y0 >= 1:
                draw.rectangle((x0, y0, max(x1 - 1, x0), y1), fill=colour)

    def line_at(self, x: float, colour: Colour) -> None:
        """A vertical line."""
        (px, _), *_ = self.at(np.array([x]), np.array([self.y[0]]))
        if self.box[0] <= px <= self.box[2]:
            ImageDraw.Draw(self.image).line((px, self.box[1], px, self.box[3]), fill=colour, width=2)

    def words(self, text: str, colour: Colour, row: int = 0, *, left: bool = False) -> None:
        """A line of explanation inside the axes, in an upper corner."""
        x, anchor = (self.box[0] + 10, "la") if left else (self.box[2] - 8, "ra")
        at = (x, self.box[1] + 8 + row * round(FONT * 1.15))
        _text(ImageDraw.Draw(self.image), at, text, _font(round(FONT * 0.82)), colour, anchor=anchor)


def axes(
    image: Image.Image,
    corner: tuple[int, int],
    size: tuple[int, int],
    x: Pair,
    y: Pair,
    title: str,
    x_words: str,
    *,
    band: Pair | None = None,
    log_x: bool = False,
    log_y: bool = False,
) -> Axes:
    """Draw empty axes into a cell of a page; `band` shades a range of x."""
    left, top = corner
    box = (left + _LEFT, top + _TOP, left + size[0] - _RIGHT, top + size[1] - _BOTTOM)
    made = Axes(image, box, x, y, log_x, log_y)
    draw, small = ImageDraw.Draw(image), _font(round(FONT * 0.82))
    _text(draw, (left, top + 4), title, _font(FONT))
    if band is not None:
        shares = np.clip(_share(np.array(band), x, log_x), 0, 1) * (box[2] - box[0]) + box[0]
        draw.rectangle((shares[0], box[1], shares[1], box[3]), fill=BAND)
    draw.rectangle(box, outline=QUIET)
    for value in _ticks(x, log_x, 6):
        (px, _), *_ = made.at(np.array([value]), np.array([y[0]]))
        draw.line((px, box[3], px, box[3] + 5), fill=QUIET)
        _text(draw, (px, box[3] + 8), _short(value), small, QUIET, anchor="ma")
    for value in _ticks(y, log_y, 5):
        (_, py), *_ = made.at(np.array([x[0]]), np.array([value]))
        draw.line((box[0] - 5, py, box[0], py), fill=QUIET)
        _text(draw, (box[0] - 9, py), _short(value), small, QUIET, anchor="rm")
    _text(draw, ((box[0] + box[2]) / 2, box[3] + 32), x_words, small, QUIET, anchor="ma")
    return made


def histogram(
    image: Image.Image,
    corner: tuple[int, int],
    size: tuple[int, int],
    values: Floats,
    title: str,
    x_words: str,
    band: Pair,
    *,
    bins: int = 40,
    log: bool = False,
) -> Axes:
    """Counts of `values`, with the proposed range `band` shaded; the axis shows both."""
    shown = values[np.isfinite(values) & ((values > 0) | (not log))]
    ends = np.percentile(shown, [0.5, 99.5]) if len(shown) else np.array(band)
    low, high = min(ends[0], band[0]), max(ends[1], band[1])
    if log:
        x = (max(low, 1e-3) / 1.15, high * 1.15)
        counts, _ = np.histogram(shown, np.geomspace(*x, bins + 1))
    else:
        spare = 0.05 * max(high - low, 1e-6)
        x = (low - spare, high + spare)
        counts, _ = np.histogram(shown, np.linspace(*x, bins + 1))
    most = 1.3 * max(int(counts.max()), 1)
    made = axes(image, corner, size, x, (0.0, most), title, x_words, band=band, log_x=log)
    made.bars(counts.astype(np.float64))
    return made


def picture(
    image: Image.Image,
    corner: tuple[int, int],
    size: tuple[int, int],
    values: Floats,
    title: str,
    below: str,
    rings: Sequence[tuple[NDArray[np.float64], Colour]] = (),
    limits: Pair | None = None,
) -> None:
    """A grey image as large as the cell allows, with rings (row, column) on it."""
    left, top = corner
    room = (size[0] - _RIGHT, size[1] - _TOP - _BOTTOM // 2)
    scale = min(room[0] / values.shape[1], room[1] / values.shape[0])
    shape = (max(round(values.shape[1] * scale), 1), max(round(values.shape[0] * scale), 1))
    grey = widefield_grey(values) if limits is None else _grey(values, limits)
    image.paste(Image.fromarray(grey).resize(shape, Image.Resampling.NEAREST).convert("RGB"), (left, top + _TOP))
    draw = ImageDraw.Draw(image)
    _text(draw, (left, top + 4), title, _font(FONT))
    _text(draw, (left, top + _TOP + shape[1] + 6), below, _font(round(FONT * 0.82)), QUIET)
    radius = max(4.0 * scale, 5.0)
    for places, colour in rings:
        for row, column in places:
            x, y = left + (column + 0.5) * scale, top + _TOP + (row + 0.5) * scale
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=2)


def paragraph(image: Image.Image, corner: tuple[int, int], lines: Sequence[tuple[str, Colour]], width: int) -> int:
    """Lines of text, wrapped to `width` px; returns the y below them."""
    draw, font = ImageDraw.Draw(image), _font(round(FONT * 0.9))
    y = corner[1]
    for sentence, colour in lines:
        for k, line in enumerate(wrapped(sentence, width)):
            _text(draw, (corner[0] + (18 if k else 0), y), line, font, colour)
            y += round(FONT * 1.28)
    return y


def wrapped(sentence: str, width: int) -> list[str]:
    """Lines of at most `width` px."""
    return textwrap.wrap(sentence.replace("²", "2"), max(20, int(width / (FONT * 0.455)))) or [""]


def page(width: int, height: int, title: str) -> Image.Image:
    """An empty page with its heading."""
    image = Image.new("RGB", (width, height), PAGE)
    _text(ImageDraw.Draw(image), (24, 18), title, _font(round(FONT * 1.3)), INK)
    return image


def _grey(values: Floats, limits: Pair) -> NDArray[np.uint8]:
    share = np.clip((values - limits[0]) / max(limits[1] - limits[0], 1e-9), 0, 1)
    return np.asarray(np.rint(share * 255), np.uint8)


def _share(values: Floats, ends: Pair, log: bool) -> NDArray[np.float64]:
    if log:
        low, high = np.log(ends[0]), np.log(ends[1])
        return np.asarray((np.log(np.maximum(values, 1e-12)) - low) / (high - low), np.float64)
    return np.asarray((values - ends[0]) / (ends[1] - ends[0]), np.float64)


def _inside(points: list[tuple[float, float]], box: tuple[int, int, int, int]) -> list[tuple[float, float]]:
    left, top, right, bottom = box
    return [(min(max(x, left), right), min(max(y, top), bottom)) for x, y in points]


def _ticks(ends: Pair, log: bool, most: int) -> list[float]:
    if not log:
        return ticks(*ends, most=most)
    low, high = np.floor(np.log10(ends[0])), np.ceil(np.log10(ends[1]))
    factors = (1, 2, 5) if high - low <= 3 else (1,)
    values = [f * 10.0**power for power in np.arange(low, high + 1) for f in factors]
    return [value for value in values if ends[0] <= value <= ends[1]]


def _short(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"
