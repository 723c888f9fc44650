"""One picture of a volume as PNG: scale bar, colour bar, and below it in words what it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rtdecode.view.canvas import Canvas
from rtdecode.view.picture import BAR_PX, PAGE, QUIET, Page, _colour_bar, _font, _scale_bar, _text, _text_width

LEAST_FONT_PX, MOST_FONT_PX = 13, 60


@dataclass(frozen=True, slots=True)
class OnePanel(Page):
    """A page with one panel and a colour bar; `lines` of words below."""

    lines: int = 1

    @property
    def lefts(self) -> tuple[int, int, int]:
        """Left edge of the panel, twice, and of the colour bar."""
        return self.gap, self.gap, 2 * self.gap + self.panel[0]

    @property
    def size(self) -> tuple[int, int]:
        """Of the whole page."""
        below = round(self.font_px * (1.2 + 1.3 * self.lines))
        return self.lefts[2] + BAR_PX + round(self.font_px * 4.2), self.top + self.panel[1] + below


def write_volume_picture(path: Path, canvas: Canvas, heading: str, words: str, *, coloured: bool) -> None:
    """Write what `canvas` holds, at its own pixels; `coloured`: its scale beside it. The file appears when whole."""
    rgb, region = canvas.to_rgb()
    font_px = min(max(round(max(canvas.shape) / 44), LEAST_FONT_PX), MOST_FONT_PX)
    panel = (canvas.shape[1], canvas.shape[0])
    small = _font(round(font_px * 0.82))
    bare = OnePanel(panel, font_px)
    lines = _wrapped(words, small, bare.size[0] - 2 * bare.gap)
    page = OnePanel(panel, font_px, len(lines))
    image = Image.new("RGB", page.size, PAGE)
    image.paste(Image.fromarray(rgb), (page.lefts[0], page.top))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L"
    _text(draw, (page.lefts[0], page.top - round(font_px * 0.55)), heading, _font(font_px), anchor="ls")
    _scale_bar(draw, page, page.lefts[0], region.width_nm)
    if coloured:
        _colour_bar(image, draw, page, canvas.scale, small)
    for k, line in enumerate(lines):
        at = page.top + page.panel[1] + round(font_px * (0.9 + 1.3 * k))
        _text(draw, (page.lefts[0], at), line, small, QUIET, anchor="lt")
    part = path.with_name(path.name + ".part")
    try:
        image.save(part, format="PNG")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _wrapped(words: str, font: ImageFont.FreeTypeFont, width_px: int) -> Sequence[str]:
    """Lines that fit, as many words in each as do."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and math.ceil(_text_width(longer, font)) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
