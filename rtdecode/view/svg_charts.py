"""Charts of a page that is printed, as SVG text: histograms with the trained range, curves with their interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

from rtdecode.view.labels import ticks

Floats = NDArray[np.floating]
Range = tuple[float, float]
INK, QUIET, PALE = "#1d2126", "#6b7280", "#e5e7eb"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito: for all eyes
TRAINED = "#d8efe4"  # the range that the model was trained for
WIDTH, HEIGHT = 330, 170  # px of a chart
LEFT, TOP, RIGHT, BOTTOM = 46, 22, 10, 34  # around the axes


@dataclass(frozen=True, slots=True)
class Curve:
    """One line; `low` and `high` draw its interval."""

    x: Floats
    y: Floats
    name: str = ""
    colour: str = BLUE
    low: Floats | None = None
    high: Floats | None = None


@dataclass(slots=True)
class Axes:
    """Scales of one chart and the SVG elements drawn so far."""

    x: Range
    y: Range
    log_x: bool = False
    size: tuple[int, int] = (WIDTH, HEIGHT)
    parts: list[str] = field(default_factory=list)

    def across(self, value: float) -> float:
        """Column of a value, kept inside the axes."""
        low, high, at = (math.log10(v) for v in (*self.x, max(value, 1e-12))) if self.log_x else (*self.x, value)
        return LEFT + (self.size[0] - LEFT - RIGHT) * min(max((at - low) / (high - low), 0.0), 1.0)

    def up(self, value: float) -> float:
        """Row of a value, kept inside the axes."""
        share = min(max((value - self.y[0]) / (self.y[1] - self.y[0]), 0.0), 1.0)
        return self.size[1] - BOTTOM - (self.size[1] - TOP - BOTTOM) * share

    def band(self, ends: Range, colour: str = TRAINED) -> None:
        """Shade a range of x."""
        left, right = self.across(ends[0]), self.across(ends[1])
        height = self.size[1] - TOP - BOTTOM
        self.parts.append(
            f'<rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{height}" fill="{colour}"/>'
        )

    def bars(self, edges: Floats, counts: NDArray[np.generic], colour: str = BLUE) -> None:
        """Histogram bars from the bottom."""
        bottom = self.up(self.y[0])
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
            left, right, top = self.across(float(low)), self.across(float(high)), self.up(float(count))
            if bottom - top > 0.05:
                width, tall = max(right - left - 0.4, 0.4), bottom - top
                self.parts.append(
                    f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{tall:.1f}" fill="{colour}"/>'
                )

    def curve(self, curve: Curve) -> None:
        """A line through the finite points, its interval behind it."""
        if curve.low is not None and curve.high is not None:
            there = [*self._points(curve.x, curve.high), *reversed(list(self._points(curve.x, curve.low)))]
            self.parts.append(f'<polygon points="{" ".join(there)}" fill="{curve.colour}" fill-opacity="0.18"/>')
        line = " ".join(self._points(curve.x, curve.y))
        self.parts.append(f'<polyline points="{line}" fill="none" stroke="{curve.colour}" stroke-width="1.4"/>')

    def _points(self, x: Floats, y: Floats) -> Iterator[str]:
        for a, b in zip(x, y, strict=True):
            if math.isfinite(a) and math.isfinite(b):
                yield f"{self.across(float(a)):.1f},{self.up(float(b)):.1f}"

    def level(self, y: float, colour: str = QUIET) -> None:
        """A dashed line across, e.g. a threshold."""
        row = self.up(y)
        self.parts.append(
            f'<line x1="{LEFT}" x2="{self.size[0] - RIGHT}" y1="{row:.1f}" y2="{row:.1f}" stroke="{colour}" '
            'stroke-dasharray="4 3"/>'
        )

    def svg(self, title: str, x_words: str, names: Sequence[tuple[str, str]] = ()) -> str:
        """The whole chart; `names`: (words, colour) of a legend."""
        width, height = self.size
        frame = (
            f'<rect x="{LEFT}" y="{TOP}" width="{width - LEFT - RIGHT}" height="{height - TOP - BOTTOM}" '
            f'fill="none" stroke="{QUIET}" stroke-width="0.8"/>'
        )
        words = [_text(LEFT, 14, title, INK, "start", 11), *self._numbers()]
        words.append(_text((LEFT + width - RIGHT) / 2, height - 4, x_words, QUIET, "middle"))
        right = width - RIGHT - 6
        words += [_text(right, TOP + 13 + 12 * row, name, colour, "end") for row, (name, colour) in enumerate(names)]
        inside = "".join([*self.parts, frame, *words])
        head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"'
        return f'{head} xmlns="http://www.w3.org/2000/svg">{inside}</svg>'

    def _numbers(self) -> Iterator[str]:
        for x in _log_ticks(self.x) if self.log_x else ticks(*self.x, most=6):
            yield _text(self.across(x), self.size[1] - BOTTOM + 12, _short(x), QUIET, "middle")
        for y in ticks(*self.y, most=5):
            yield _text(LEFT - 4, self.up(y) + 3, _short(y), QUIET, "end")


def histogram(
    values: Floats, title: str, x_words: str, trained: Range | None = None, *, log: bool = False, bins: int = 48
) -> str:
    """Counts of finite `values` between their 0.5th and 99.5th percentile; `trained` is shaded, and always in sight."""
    shown = np.asarray(values, np.float64)
    shown = shown[np.isfinite(shown) & ((shown > 0) | (not log))]
    ends = np.percentile(shown, [0.5, 99.5]) if len(shown) else np.array(trained or (0.0, 1.0))
    low, high = float(ends[0]), float(ends[1])
    if trained is not None:
        low, high = min(low, trained[0]), max(high, trained[1])
    if log:
        low, high = max(low, 1e-3) / 1.1, max(high * 1.1, 1e-2)
        edges = np.geomspace(low, high, bins + 1)
    else:
        room = max(0.03 * (high - low), 1e-6 * max(abs(high), 1.0))
        low, high = low - room, high + room
        edges = np.linspace(low, high, bins + 1)
    counts, _ = np.histogram(shown, edges)
    axes = Axes((low, high), (0.0, 1.12 * max(int(counts.max()), 1)), log_x=log)
    if trained is not None:
        axes.band(trained)
    axes.bars(edges, counts)
    return axes.svg(title, x_words, [("trained range", GREEN)] if trained is not None else ())


def curves(
    lines: Sequence[Curve], title: str, x_words: str, *, level: float | None = None, y: Range | None = None
) -> str:
    """Lines over a common x, with a legend where they have names; `level` draws a threshold."""
    axes = Axes(_range([line.x for line in lines]), y or _range(_heights(lines, level), share=0.08))
    if level is not None:
        axes.level(level)
    for line in lines:
        axes.curve(line)
    return axes.svg(title, x_words, [(line.name, line.colour) for line in lines if line.name])


def _heights(lines: Sequence[Curve], level: float | None) -> list[Floats]:
    values = [part for line in lines for part in (line.y, line.low, line.high) if part is not None]
    return values + ([np.array([level])] if level is not None else [])


def _range(values: Sequence[Floats], share: float = 0.0) -> Range:
    known = np.concatenate([np.asarray(v, np.float64).ravel() for v in values]) if values else np.empty(0)
    known = known[np.isfinite(known)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    room = share * (high - low)
    if high - low < 1e-9 * max(abs(high), 1.0):
        room = max(abs(high) * 0.1, 0.5)
    return low - room, high + room


def _log_ticks(ends: Range) -> list[float]:
    powers = range(math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1])) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in values if ends[0] <= value <= ends[1]]


def _short(value: float) -> str:
    if abs(value) >= 1_000_000:
        return f"{value / 1e6:g}M"
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def _text(x: float, y: float, words: str, colour: str, anchor: str, size: int = 9) -> str:
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'
