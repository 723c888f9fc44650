"""What the viewer leaves on disk: a picture as it is seen, the image as numbers; with the filter that made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from rtdecode.core.errors import ViewerError
from rtdecode.view.canvas import Canvas, Region
from rtdecode.view.labels import length_words, round_length_nm

NM_PER_INCH = 25_400_000.0
MOST_SAVED_PX = 100_000_000  # 1.2 GB while it is drawn
BAR_SHARE, BAR_PX = 0.2, 6


def check_size(region: Region, px_nm: float) -> None:
    """ViewerError where an image of `region` would not fit into memory."""
    pixels = region.width_nm / px_nm * region.height_nm / px_nm
    if pixels > MOST_SAVED_PX:
        least = (region.width_nm * region.height_nm / MOST_SAVED_PX) ** 0.5
        raise ViewerError(
            f"pixels of {px_nm:g} nm make an image of {pixels / 1e6:.0f} million pixels, "
            f"{MOST_SAVED_PX // 1_000_000} million fit; choose at least {least:.1f} nm, or zoom in and save the view"
        )


def write_tiff(path: Path, canvas: Canvas, notes: dict[str, Any]) -> None:
    """32-bit float TIFF of localizations per pixel with its pixel size: ImageJ reads µm, others the resolution tag.

    `notes` (filter, span, run) stand in the ImageJ info. Raises OSError.
    """
    import tifffile

    px_um = canvas.px_nm / 1000
    tifffile.imwrite(
        path,
        np.ascontiguousarray(canvas.weight),
        imagej=True,
        resolution=(1 / px_um, 1 / px_um),
        metadata={"unit": "um", "axes": "YX", "Info": json.dumps(notes | _place(canvas))},
    )


def write_png(path: Path, canvas: Canvas, white_density: float, notes: dict[str, Any]) -> None:
    """8-bit colours as shown, with a scale bar; pixel size and `notes` in the file's text. Raises OSError."""
    rgb, _ = canvas.to_rgb(white_density)
    picture = Image.fromarray(rgb)
    _scale_bar(picture, canvas.px_nm)
    text = PngInfo()
    text.add_itxt("rtdecode", json.dumps(notes | _place(canvas)))
    per_inch = NM_PER_INCH / canvas.px_nm
    picture.save(path, format="PNG", pnginfo=text, dpi=(per_inch, per_inch))


def _place(canvas: Canvas) -> dict[str, Any]:
    return {"px_nm": canvas.px_nm, "x0_nm": canvas.region.x0_nm, "y0_nm": canvas.region.y0_nm}


def _scale_bar(picture: Image.Image, px_nm: float) -> None:
    """White with a dark rim, in the lower right corner."""
    drawing, (width, height) = ImageDraw.Draw(picture), picture.size
    length_nm = round_length_nm(width * px_nm, BAR_SHARE)
    margin, length = max(width // 50, 4), round(length_nm / px_nm)
    font = ImageFont.load_default(max(12, width // 50))
    left, bottom = width - margin - length, height - margin
    drawing.rectangle((left - 1, bottom - BAR_PX - 1, left + length + 1, bottom + 1), fill="black")
    drawing.rectangle((left, bottom - BAR_PX, left + length, bottom), fill="white")
    drawing.text(
        (left + length / 2, bottom - BAR_PX - 4), length_words(length_nm), font=font, fill="white",
        anchor="mb", stroke_width=2, stroke_fill="black",
    )  # fmt: skip
