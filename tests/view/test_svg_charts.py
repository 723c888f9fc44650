"""Charts read back from their SVG: bars and lines where the numbers are, words escaped, empty input drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from rtdecode.view.svg_charts import BLUE, BOTTOM, HEIGHT, LEFT, RIGHT, TOP, TRAINED, WIDTH, Curve, curves, histogram

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str, kind: str, fill: str | None = None) -> list[dict[str, str]]:
    """Attributes of all elements of a kind."""
    found = ET.fromstring(svg).iter(SVG + kind)
    return [element.attrib for element in found if fill is None or element.attrib.get("fill") == fill]


def test_bars_stand_where_the_values_are_and_are_as_tall_as_their_counts() -> None:
    values = np.repeat([10.0, 20.0, 30.0], [100, 300, 100])
    bars = drawn(histogram(values, "t", "nm", bins=41), "rect", BLUE)
    assert len(bars) == 3
    heights = [float(bar["height"]) for bar in bars]
    middles = [float(bar["x"]) + float(bar["width"]) / 2 for bar in bars]
    assert heights[1] == pytest.approx(3 * heights[0], abs=0.4) and heights[0] == pytest.approx(heights[2], abs=0.2)
    assert middles[1] == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=2) and np.diff(middles) == pytest.approx(128, 3)


@pytest.mark.parametrize("log", [False, True])
def test_the_trained_range_is_always_in_sight(log: bool) -> None:
    values = np.random.default_rng(1).uniform(900, 1000, 500)  # beyond what was trained
    (band,) = drawn(histogram(values, "t", "photons", (100.0, 500.0), log=log), "rect", TRAINED)
    bars = drawn(histogram(values, "t", "photons", (100.0, 500.0), log=log), "rect", BLUE)
    assert float(band["width"]) > 60
    assert min(float(bar["x"]) for bar in bars) > float(band["x"]) + float(band["width"])


def test_a_curve_runs_from_corner_to_corner_and_leaves_out_what_is_not_a_number() -> None:
    x = np.arange(5.0)
    line = curves([Curve(x, np.array([0.0, 1.0, np.nan, 3.0, 4.0]))], "t", "frame", y=(0.0, 4.0))
    (found,) = drawn(line, "polyline")
    points = [tuple(map(float, pair.split(","))) for pair in found["points"].split()]
    assert len(points) == 4
    assert points[0] == (LEFT, HEIGHT - BOTTOM) and points[-1] == (WIDTH - RIGHT, TOP)


def test_words_of_others_cannot_become_markup() -> None:
    svg = curves([Curve(np.arange(2.0), np.arange(2.0), name="<b>&")], "<script>", "a & b")
    words = [element.text for element in ET.fromstring(svg).iter(SVG + "text")]
    assert {"<script>", "a & b", "<b>&"} <= set(words)


@pytest.mark.parametrize("values", [[], [np.nan], [0.0, -1.0], [5.0], [7.0, 7.0]])
@pytest.mark.parametrize("log", [False, True])
def test_a_histogram_of_nothing_or_of_one_value_is_drawn(values: list[float], log: bool) -> None:
    ET.fromstring(histogram(np.array(values), "t", "nm", log=log))
    ET.fromstring(histogram(np.array(values), "t", "nm", (1.0, 2.0), log=log))
