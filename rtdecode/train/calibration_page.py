"""The picture of a calibration: is p honest, are sigmas, before and after; and which threshold was taken."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from rtdecode.analysis.honesty import QUANTITIES
from rtdecode.view.chart import GREY, INK, Chart, around
from rtdecode.view.labels import count_words

PAGE = "calibration.png"
SIZE = (1500, 900)
BEFORE, AFTER, IDEAL = "#9db8d9", "#1f4e9c", "#bbbbbb"
GOAL = (0.9, 1.1)
BAND = "#e8f4ea"


def draw_calibration(path: Path, name: str, figures: dict[str, Any]) -> None:
    """Write the picture (PNG) of `scores.calibration` of a bundle's card."""
    image = Image.new("RGB", SIZE, "white")
    _headline(image, name, figures["accept"])
    _reliability(image, figures["reliability"], figures["accept"]["chosen"])
    variances = figures["z_score_variance"]
    densities = list(variances["by_density"].values())
    photons = variances["alone_by_photons"]
    for number, quantity in enumerate(QUANTITIES):
        left = 470 + number * 257
        box = (left, 190, left + 215, 440)
        names = list(variances["by_density"])
        _variance(image, box, f"{quantity}: by density", "emitters per um^2", names, densities, quantity)
        box = (left, 560, left + 215, 810)
        names = [f"{part['from'] / 1000:g}" for part in photons]
        _variance(image, box, f"{quantity}: alone", "thousand photons and more", names, photons, quantity)
    image.quantize(128).save(path, "PNG", optimize=True)


def _headline(image: Image.Image, name: str, accept: dict[str, Any]) -> None:
    chart = Chart(ImageDraw.Draw(image), (0, 0, *SIZE), (0, 1), (0, 1))
    chart.words((30, 16), f"{name}: calibration on held-out scenes", 26, INK, "lt")
    words = f"accept {accept['chosen']:g}: {accept['reason']}".replace("²", "^2")  # the font lacks it
    lines = textwrap.wrap(words, 170)
    for number, line in enumerate(lines[:3]):
        chart.words((30, 56 + 22 * number), line, 16, GREY, "lt")
    chart.words((470, 140), "variance of error / sigma (honest: 1; the goal is the green band)", 16, INK, "lt")
    chart.words((SIZE[0] - 50, 140), "before", 16, BEFORE, "rt")
    chart.words((SIZE[0] - 120, 140), "after", 16, AFTER, "rt")


def _reliability(image: Image.Image, curves: dict[str, Any], accept: float) -> None:
    pen = ImageDraw.Draw(image)
    chart = Chart(pen, (80, 190, 400, 510), (0, 1), (0, 1))
    chart.axes("is p honest? share that is true", "probability said")
    chart.line([0, 1], [0, 1], IDEAL)
    chart.line([accept, accept], [0, 1], IDEAL, 1)
    for name, colour in (("before", BEFORE), ("after", AFTER)):
        bins = curves[name]["bins"]
        chart.line([b["stated"] for b in bins], [b["true"] for b in bins], colour)
        for one in bins:
            spread = math.sqrt(max(one["true"] * (1 - one["true"]), 0.25 / one["n"]) / one["n"])
            low, high = max(one["true"] - spread, 0), min(one["true"] + spread, 1)
            chart.upright(one["stated"], low, high, colour)
            chart.dot(one["stated"], one["true"], 4, colour)
    total = count_words(sum(b["n"] for b in curves["after"]["bins"]))
    errors = [curves[name]["error"] for name in ("before", "after")]
    shown = " to ".join("-" if error is None else f"{error:.3f}" for error in errors)
    chart.words((80, 566), f"mean |said - true| from {shown}, {total} found", 15, GREY, "lt")
    chart.words((80, 588), f"the upright line is accept, {accept:g}", 15, GREY, "lt")


def _variance(
    image: Image.Image,
    box: tuple[int, int, int, int],
    title: str,
    below: str,
    names: list[str],
    parts: list[dict[str, Any]],
    quantity: str,
) -> None:
    """Bins side by side, before and after; the number of localizations decides the error bar, as of a normal sample."""
    pen, n = ImageDraw.Draw(image), max(len(names), 1)
    values = [part[when][quantity] or math.nan for part in parts for when in ("before", "after")]
    chart = Chart(pen, box, (-0.5, n - 0.5), around([0.0, 2.0, *values]))
    band = [chart.at(-0.5, GOAL[1]), chart.at(n - 0.5, GOAL[0])]
    _frame(chart, title, below, names)
    pen.rectangle([band[0][0] + 1, band[0][1], band[1][0] - 1, band[1][1]], fill=BAND)
    chart.line([-0.5, n - 0.5], [1, 1], IDEAL, 1)
    for when, colour in (("before", BEFORE), ("after", AFTER)):
        found = [part[when][quantity] or math.nan for part in parts]
        chart.line(list(range(len(found))), found, colour)
        for at, (value, part) in enumerate(zip(found, parts, strict=True)):
            if math.isfinite(value):
                spread = value * math.sqrt(2 / max(part["n"], 1))
                chart.upright(at, value - spread, value + spread, colour)
                chart.dot(at, value, 4, colour)


def _frame(chart: Chart, title: str, below: str, names: list[str]) -> None:
    """As Chart.axes, with a name under each bin in place of round numbers."""
    left, top, right, bottom = chart.box
    for y in (0.5, 1.0, 1.5, 2.0):
        _, row = chart.at(chart.x[0], y)
        chart.words((left - 6, row), f"{y:g}", 13, GREY, "rm")
    for at, name in enumerate(names):
        chart.words((chart.at(at, chart.y[0])[0], bottom + 5), name, 13, GREY, "mt")
    chart.pen.rectangle(chart.box, outline=GREY)
    chart.words((left, top - 8), title, 16, INK, "ls")
    chart.words(((left + right) / 2, bottom + 24), below, 13, GREY, "mt")
