"""report.html: a run on two printed pages, in one file that needs no network and runs no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from rtdecode.view.canvas import ColourScale
from rtdecode.view.colours import ramp_rgb
from rtdecode.view.labels import length_words, round_length_nm, ticks

TEMPLATE, COMPARISON = "report.html.jinja", "comparison.html.jinja"
BAR_STEPS = 64


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture in the page: PNG bytes, and the words below it."""

    png: bytes
    words: str = ""
    smooth: bool = True  # False: a camera's pixels stay squares

    @property
    def source(self) -> str:
        """As a data URI: the page stays one file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A length in words, and as a share of the picture's width in percent."""

    words: str
    percent: float

    @classmethod
    def of_width(cls, width_nm: float) -> ScaleBar:
        """A round length of at most a fifth of the picture."""
        length_nm = round_length_nm(width_nm)
        return cls(length_words(length_nm), 100 * length_nm / width_nm)


@dataclass(frozen=True, slots=True)
class ColourBar:
    """Colours from low to high as a picture, and the numbers beside it with their place in percent from the left."""

    title: str
    source: str
    numbers: tuple[tuple[float, str], ...]

    @classmethod
    def of_scale(cls, scale: ColourScale, title: str) -> ColourBar:
        """A lying bar of the ramp that the pictures are coloured by."""
        png = png_of(ramp_rgb(BAR_STEPS)[None].repeat(2, axis=0))
        span = scale.high - scale.low
        numbers = tuple((100 * (tick - scale.low) / span, f"{tick:g}") for tick in ticks(scale.low, scale.high, most=6))
        return cls(title, Figure(png).source, numbers)


@dataclass(frozen=True, slots=True)
class RunPage:
    """All that the page shows; each part may be empty."""

    title: str
    verdict: str  # one sentence
    good: bool  # whether the verdict is a good one
    about: str  # date, model, source in one line
    warnings: Sequence[str]
    whole: Figure | None
    widefield: Figure | None
    scale_bar: ScaleBar | None
    colours: ColourBar | None
    slices: Sequence[Figure]
    charts: Sequence[str]  # SVG
    rows: Sequence[tuple[str, str]]  # the summary
    versions: Sequence[tuple[str, str]]
    configuration: str
    notes: Sequence[str] = field(default_factory=tuple)  # what the pictures are made of


def write_report_page(path: Path, page: RunPage) -> None:
    """Write the page; everything that came from a file or a person is escaped."""
    _write(path, _environment().get_template(TEMPLATE).render(page=page))


def write_comparison(
    path: Path, names: Sequence[str], rows: Sequence[tuple[str, tuple[str, ...]]], pictures: Sequence[Figure | None]
) -> None:
    """Write a page with one column for each of the runs `names`."""
    made = _environment().get_template(COMPARISON)
    _write(path, made.render(names=names, rows=rows, pictures=pictures))


def _write(path: Path, made: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(made, encoding="utf-8")
    part.replace(path)


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of (H, W) grey or (H, W, 3) colours."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", optimize=True)
    return out.getvalue()


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("rtdecode.view", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
