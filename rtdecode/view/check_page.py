"""One page on whether a model fits a recording: residuals of the PSFs that were tried, their misfit, the findings."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rtdecode.view.picture import INK, PAGE, QUIET, _font, _text

WIDTH, GAP, PANEL, FONT = 1240, 30, 240, 20
BAR_HEIGHT, BAR_ROW, NAME_WIDTH = 16, 28, 170
SHOWN = 4  # residual pictures
FULL_SCALE = 0.5  # mean residual, in standard deviations of a pixel, that is drawn in full colour
GOOD, BAD, OPEN = (104, 190, 140), (240, 124, 92), (150, 154, 164)
VERDICT_INK = {"ok": GOOD, "warning": BAD, "unknown": OPEN}


def write_check_page(
    path: Path,
    title: str,
    findings: Sequence[tuple[str, str, str]],
    residuals: Mapping[str, NDArray[np.float64]],
    excess: Mapping[str, tuple[float, float]],
) -> None:
    """Write a PNG. `findings`: (check, verdict, sentence); `residuals` (n, n) in standard deviations of a pixel and
    `excess` (mean, standard error of the reduced chi-squared over the first's), by PSF, the model's own first.
    """
    shown = _chosen(list(residuals), excess)
    rows = [_wrapped(*finding) for finding in findings]
    lines = sum(len(row[2]) for row in rows)
    middle = max(PANEL + 2 * FONT if shown else 0, 0)
    bars = len(excess) * BAR_ROW + 3 * FONT if excess else 0
    height = 5 * FONT + middle + bars + lines * round(FONT * 1.3) + len(rows) * 8 + 2 * GAP
    image = Image.new("RGB", (WIDTH, height), PAGE)
    draw = ImageDraw.Draw(image)
    _text(draw, (GAP, GAP), title, _font(round(FONT * 1.25)))
    y = GAP + round(FONT * 2.2)
    for k, name in enumerate(shown):
        _panel(image, draw, GAP + k * (PANEL + GAP), y, name, residuals[name])
    if shown:
        legend = (
            f"Mean of data less fit, lone bright emitters: blue too dark, orange too bright, full at {FULL_SCALE:g} sd"
        )
        _text(draw, (GAP, y + middle - round(FONT * 0.2)), legend, _font(round(FONT * 0.75)), QUIET)
    y += middle + (round(FONT * 1.8) if shown else 0)
    if excess:
        _bars(draw, y, excess)
        y += bars
    for check, verdict, wrapped in rows:
        y = _finding(draw, y, check, verdict, wrapped)
    image.save(path, format="PNG")


def _chosen(names: list[str], excess: Mapping[str, tuple[float, float]]) -> list[str]:
    """The model's own, the best, and the next ones."""
    if not names:
        return []
    ranked = sorted(names[1:], key=lambda name: excess[name][0] if name in excess else 0.0)
    return [names[0], *ranked][:SHOWN]


def _panel(
    image: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, name: str, residual: NDArray[np.float64]
) -> None:
    share = np.clip(residual / FULL_SCALE, -1, 1)[..., None]
    ends = np.array([(70, 130, 230), PAGE, (240, 110, 70)], np.float64)  # too dark, right, too bright
    colours = np.where(share < 0, ends[1] + (ends[0] - ends[1]) * -share, ends[1] + (ends[2] - ends[1]) * share)
    panel = Image.fromarray(np.rint(colours).astype(np.uint8)).resize((PANEL, PANEL), Image.Resampling.NEAREST)
    _text(draw, (x, y), f"residual, PSF {_words(name)}", _font(round(FONT * 0.85)), QUIET)
    image.paste(panel, (x, y + round(FONT * 1.4)))
    draw.rectangle((x, y + round(FONT * 1.4), x + PANEL - 1, y + round(FONT * 1.4) + PANEL - 1), outline=(60, 63, 70))


def _bars(draw: ImageDraw.ImageDraw, y: int, excess: Mapping[str, tuple[float, float]]) -> None:
    """Left of the line fits better than the model's PSF, right of it worse."""
    small = _font(round(FONT * 0.85))
    _text(
        draw,
        (GAP, y),
        "misfit over that of the model's PSF (reduced chi-squared): to the left fits better",
        small,
        QUIET,
    )
    y += round(FONT * 1.7)
    most = max(max(abs(mean) + 2 * se for mean, se in excess.values()), 0.02)
    room = (WIDTH - 2 * GAP - NAME_WIDTH - 110) / 2
    zero = GAP + NAME_WIDTH + room
    draw.line((zero, y - 4, zero, y + len(excess) * BAR_ROW), fill=QUIET)
    for k, (name, (mean, se)) in enumerate(excess.items()):
        top, length = y + k * BAR_ROW, mean / most * room
        _text(draw, (GAP, top + BAR_HEIGHT // 2), _words(name), small, anchor="lm")
        left, right = sorted((zero, zero + length))
        draw.rectangle((left, top, right, top + BAR_HEIGHT), fill=BAD if mean < -5 * se else GOOD)
        middle, whisker = top + BAR_HEIGHT // 2, se / most * room
        draw.line((zero + length - whisker, middle, zero + length + whisker, middle), fill=INK, width=2)
        _text(draw, (WIDTH - GAP, middle), f"{mean:+.3f}", small, QUIET, anchor="rm")


def _finding(draw: ImageDraw.ImageDraw, y: int, check: str, verdict: str, wrapped: list[str]) -> int:
    font = _font(round(FONT * 0.9))
    _text(draw, (GAP, y), check, font)
    _text(draw, (GAP + NAME_WIDTH - 20, y), verdict, font, VERDICT_INK.get(verdict, QUIET))
    for line in wrapped:
        _text(draw, (GAP + NAME_WIDTH + 80, y), line, font, INK if verdict == "warning" else QUIET)
        y += round(FONT * 1.3)
    return y + 8


def _wrapped(check: str, verdict: str, sentence: str) -> tuple[str, str, list[str]]:
    return check, verdict, textwrap.wrap(sentence.replace("±", "+-"), 96) or [""]


def _words(name: str) -> str:
    return name.replace("scaled_", "width x ").replace("as_is", "of the model").replace("_", " ")
