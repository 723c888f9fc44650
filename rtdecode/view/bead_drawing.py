"""What the calibration page is drawn with: grey and red-blue images, scatter plots, wrapped text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rtdecode.view.colours import ramp_rgb
from rtdecode.view.labels import ticks

PAGE, INK, QUIET, RED = (18, 19, 22), (236, 238, 242), (150, 154, 164), (240, 98, 90)
WIDTH, GAP = 1560, 24
_LINE, _SHADE = (70, 74, 84), (30, 40, 36)
_MARGIN = (74, 12, 14, 54)  # of a plot: left, top, right, bottom
Pair = tuple[float, float]


def font(size_px: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font: the same page on every machine."""
    found = ImageFont.load_default(size_px)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType; install Pillow from its wheel")
    return found


def wrapped(words: str, face: ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    """Lines that are not wider than `width_px`."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def grey(values: NDArray[np.generic]) -> Image.Image:
    """(H, W) as the square root between the 1st percentile and the maximum: tails are seen beside the core."""
    image = np.asarray(values, np.float64)
    low, high = np.percentile(image, 1), image.max()
    share = np.sqrt(np.clip((image - low) / max(high - low, 1e-30), 0, 1))
    return Image.fromarray(np.rint(share * 255).astype(np.uint8)).convert("RGB")


def red_blue(share: NDArray[np.float64]) -> Image.Image:
    """(H, W) from -1 (blue) over 0 (dark) to 1 (red)."""
    level = np.clip(share, -1, 1)[:, :, None]
    warm, cold = np.array([255.0, 120, 80]), np.array([80.0, 150, 255])
    colour = 28 + np.clip(level, 0, 1) * (warm - 28) + np.clip(-level, 0, 1) * (cold - 28)
    return Image.fromarray(np.rint(colour).astype(np.uint8))


def grown(image: Image.Image, side_px: int) -> Image.Image:
    """The same pixels, larger."""
    return image.resize((side_px, side_px), Image.Resampling.NEAREST)


def plot(
    size: tuple[int, int],
    x_range: Pair,
    y_range: Pair,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    group: NDArray[np.int64],
    x_words: str,
    y_words: str,
    line: tuple[Pair, Pair],
    shaded: Pair | None,
) -> Image.Image:
    """Dots (N,) coloured by group over a line from one (x, y) to another; x between `shaded` is lit."""
    image = Image.new("RGB", size, PAGE)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = _MARGIN
    box = (left, top, size[0] - right, size[1] - bottom)

    def place(at: Pair) -> Pair:
        along = (at[0] - x_range[0]) / (x_range[1] - x_range[0])
        up = (at[1] - y_range[0]) / (y_range[1] - y_range[0])
        return box[0] + along * (box[2] - box[0]), box[3] - up * (box[3] - box[1])

    if shaded is not None:
        draw.rectangle((place((shaded[0], 0))[0], top, place((shaded[1], 0))[0], box[3]), fill=_SHADE)
    draw.rectangle(box, outline=_LINE)
    for value in ticks(*x_range):
        at = place((value, y_range[0]))
        draw.text((at[0], at[1] + 6), f"{value:g}", font=font(15), fill=QUIET, anchor="mt")
    for value in ticks(*y_range):
        at = place((x_range[0], value))
        draw.line((*at, box[2], at[1]), fill=_LINE)
        draw.text((at[0] - 8, at[1]), f"{value:g}", font=font(15), fill=QUIET, anchor="rm")
    draw.text(((box[0] + box[2]) / 2, size[1] - 4), x_words, font=font(15), fill=QUIET, anchor="ms")
    draw.text((box[0] + 8, top + 6), y_words, font=font(15), fill=INK)
    draw.line((*place(line[0]), *place(line[1])), fill=INK)
    _dots(draw, [place(at) for at in zip(x, y, strict=True)], group)
    return image


def _dots(draw: ImageDraw.ImageDraw, places: list[Pair], group: NDArray[np.int64]) -> None:
    colours = ramp_rgb(int(group.max()) + 1 if len(group) else 1)
    for (x, y), number in zip(places, group, strict=True):
        colour = tuple(int(v) for v in colours[number])
        draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=colour)
