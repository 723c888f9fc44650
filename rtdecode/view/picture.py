"""picture.png: the super-resolution image, coloured by depth, beside the summed wide-field image of the same frames."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import Canvas, ColourScale, Region
from rtdecode.view.colours import ramp_rgb
from rtdecode.view.labels import count_words, length_words, round_length_nm, ticks
from rtdecode.view.points import Points, draw

PIXEL_NM = 10.0  # of the super-resolution image, where the panels come out neither tiny nor huge
PANEL_PX = (800, 2400)  # bounds of a panel's longer side
PAGE, INK, QUIET = (18, 19, 22), (236, 238, 242), (150, 154, 164)
BAR_PX = 22  # width of the colour bar


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a picture shows."""

    shown: int  # localizations that passed the filter
    total: int
    pixel_nm: float
    scale: ColourScale | None  # None: a 2D model's localizations, whose colour says nothing


@dataclass(frozen=True, slots=True)
class Page:
    """Where things stand on the page, in px; both panels have one size."""

    panel: tuple[int, int]  # width, height
    font_px: int

    @property
    def gap(self) -> int:
        """Between things."""
        return round(self.font_px * 1.2)

    @property
    def top(self) -> int:
        """Upper edge of the panels."""
        return round(self.font_px * 2.9)

    @property
    def lefts(self) -> tuple[int, int, int]:
        """Left edges of wide-field panel, super-resolution panel and colour bar."""
        first, column = self.gap, max(self.panel[0], self.font_px * 17)  # narrow panels: room for the headings
        return first, first + column + self.gap, first + 2 * (column + self.gap)

    @property
    def size(self) -> tuple[int, int]:
        """Of the whole page."""
        return self.lefts[2] + BAR_PX + round(self.font_px * 4.2), self.top + self.panel[1] + round(self.font_px * 4.3)


def write_picture(
    path: Path,
    localizations: Localizations | Iterable[Localizations],
    widefield_sum: NDArray[np.generic],
    px_nm: tuple[float, float],
    *,
    n_frames: int | None = None,
    title: str = "",
    quality: QualityFilter = QualityFilter(),
    pixel_nm: float | None = None,
    scale: ColourScale | None = None,
) -> Drawn:
    """Write a PNG and say what it shows.

    `widefield_sum` (H, W) is the sum of the frames in any linear unit, `px_nm` the camera's pixel (x, y).
    `quality` limits what is drawn (named in the caption); `pixel_nm` None: 10 nm, finer or coarser where the
    panels would be smaller than 800 or larger than 2400 px; `scale` None: z from 1st to 99th percentile.
    Localizations may come in parts, so that a long run needs 24 bytes for each and no more.
    """
    points = _gather(localizations)
    if len(points) and not points.tells_z:
        quality = replace(quality, sigma_z_nm=None)
    region = Region.of_frame((widefield_sum.shape[0], widefield_sum.shape[1]), px_nm)
    canvas, shown = _draw(points, region, pixel_nm or _pixel_nm(region), quality, scale)
    depth = canvas.scale if points.tells_z or not len(points) else None
    drawn = Drawn(shown, len(points), canvas.px_nm, depth)
    page = Page((canvas.shape[1], canvas.shape[0]), max(15, round(max(canvas.shape) / 44)))
    image = Image.new("RGB", page.size, PAGE)
    image.paste(_widefield(widefield_sum, page.panel), (page.lefts[0], page.top))
    image.paste(Image.fromarray(canvas.to_rgb()[0]), (page.lefts[1], page.top))
    _write_words(image, page, region, drawn, n_frames, title, quality)
    image.save(path, format="PNG")
    return drawn


def widefield_grey(widefield_sum: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(H, W) bytes: 1st percentile black, 99.8th white, values that are not finite black."""
    values = np.asarray(widefield_sum, np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99.8]) if len(finite) else (0.0, 1.0)
    share = (np.nan_to_num(values, nan=low, posinf=low, neginf=low) - low) / max(high - low, 1e-12)
    return np.asarray(np.rint(np.clip(share, 0, 1) * 255), np.uint8)


def _gather(localizations: Localizations | Iterable[Localizations]) -> Points:
    points = Points()
    for part in [localizations] if isinstance(localizations, Localizations) else localizations:
        points.append(part)
    return points


def _pixel_nm(region: Region) -> float:
    longer = max(region.width_nm, region.height_nm)
    return longer / min(max(round(longer / PIXEL_NM), PANEL_PX[0]), PANEL_PX[1])


def _draw(
    points: Points, region: Region, pixel_nm: float, quality: QualityFilter, scale: ColourScale | None
) -> tuple[Canvas, int]:
    """The canvas with what passes, and how many that were."""
    canvas = Canvas(region, pixel_nm, scale or ColourScale.fitted(points.shown_column("z_nm", quality)))
    return canvas, sum(draw(canvas, block, quality) for block in points.blocks())


def _widefield(widefield_sum: NDArray[np.generic], size: tuple[int, int]) -> Image.Image:
    grey = Image.fromarray(widefield_grey(widefield_sum))
    return grey.resize(size, Image.Resampling.NEAREST).convert("RGB")


def _write_words(
    image: Image.Image,
    page: Page,
    region: Region,
    drawn: Drawn,
    n_frames: int | None,
    title: str,
    quality: QualityFilter,
) -> None:
    """Headings, scale bars, colour bar and caption."""
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L"
    heading, small = _font(page.font_px), _font(round(page.font_px * 0.82))
    above, below = page.top - round(page.font_px * 0.55), page.top + page.panel[1] + round(page.font_px * 0.9)
    frames = "" if n_frames is None else f", sum of {count_words(n_frames)} frames"
    _text(draw, (page.lefts[0], above), f"Wide-field{frames}", heading, anchor="ls")
    colour = "" if drawn.scale is None else ", colour is depth"
    _text(draw, (page.lefts[1], above), f"Super-resolution{colour}", heading, anchor="ls")
    for left in page.lefts[:2]:
        _scale_bar(draw, page, left, region.width_nm)
    if drawn.scale is not None:
        _colour_bar(image, draw, page, drawn.scale, small)
    first = f"{title}: {_sentence(drawn, n_frames)}" if title else _sentence(drawn, n_frames)
    _text(draw, (page.lefts[0], below), first, small, anchor="lt")
    second = below + round(page.font_px * 1.3)
    _text(draw, (page.lefts[0], second), _drawing(drawn, quality), small, QUIET, anchor="lt")


def _sentence(drawn: Drawn, n_frames: int | None) -> str:
    frames = "" if n_frames is None else f" in {count_words(n_frames)} frames"
    if drawn.total == 0:
        return f"No localizations{frames}"
    return f"{count_words(drawn.shown)} of {count_words(drawn.total)} localizations{frames}"


def _drawing(drawn: Drawn, quality: QualityFilter) -> str:
    return f"Shown: {quality.words}. Gaussians of their own sigma, {drawn.pixel_nm:.3g} nm per pixel."


def _scale_bar(draw: ImageDraw.ImageDraw, page: Page, left: int, width_nm: float) -> None:
    """White bar with its length, lower right in a panel, on a shade so that it is read on white as well."""
    length_nm = round_length_nm(width_nm)
    length = round(length_nm / width_nm * page.panel[0])
    thick, font = max(4, page.font_px // 4), _font(round(page.font_px * 0.9))
    right, bottom = left + page.panel[0] - page.gap, page.top + page.panel[1] - page.gap
    words = length_words(length_nm)
    half = max(length, _text_width(words, font)) // 2 + thick * 2
    middle, upper = right - length // 2, bottom - thick - round(page.font_px * 1.35)
    draw.rectangle((middle - half, upper, middle + half, bottom + thick), fill=(0, 0, 0))
    draw.rectangle((right - length, bottom - thick, right - 1, bottom - 1), fill=INK)
    _text(draw, (middle, bottom - thick - page.font_px // 3), words, font, anchor="ms")


def _colour_bar(
    image: Image.Image, draw: ImageDraw.ImageDraw, page: Page, scale: ColourScale, font: ImageFont.FreeTypeFont
) -> None:
    """The ramp with the high end up, as long as the panels, with round values beside it."""
    left, height = page.lefts[2], page.panel[1]
    ramp = ramp_rgb(height)[::-1]  # (height, 3)
    image.paste(Image.fromarray(np.repeat(ramp[:, None, :], BAR_PX, axis=1)), (left, page.top))
    _text(draw, (left, page.top - round(page.font_px * 0.55)), "z (nm)", font, anchor="ls")
    for value in ticks(scale.low, scale.high):
        y = page.top + (scale.high - value) / (scale.high - scale.low) * (height - 1)
        draw.line((left + BAR_PX, y, left + BAR_PX + 6, y), fill=QUIET, width=1)
        y = min(max(y, page.top + page.font_px * 0.4), page.top + height - page.font_px * 0.4)
        _text(draw, (left + BAR_PX + 11, round(y)), f"{value:g}", font, anchor="lm")


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)  # Pillow's own: the same picture on every machine
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType; install Pillow from its wheel")
    return font


def _text_width(words: str, font: ImageFont.FreeTypeFont) -> int:
    return math.ceil(font.getlength(words.replace("µ", "u")))


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    words: str,
    font: ImageFont.FreeTypeFont,
    fill: tuple[int, int, int] = INK,
    anchor: str = "la",
) -> None:
    """Text; Pillow's font has no µ, so it is a u with the stem drawn down from its left stroke."""
    written = words.replace("µ", "u")
    draw.text(at, written, font=font, fill=fill, anchor=anchor)
    if "µ" in words:
        left, _, _, _ = draw.textbbox(at, written, font=font, anchor=anchor)
        x = left + font.getlength(words[: words.index("µ")]) + font.size * 0.075
        _, top, _, bottom = draw.textbbox(at, "u", font=font, anchor=anchor)
        stem = max(2, round(font.size * 0.09))
        draw.rectangle((round(x), top + 1, round(x) + stem - 1, bottom + round(font.size * 0.2)), fill=fill)
