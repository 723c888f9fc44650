"""What the texts in a TIFF say of the movie: ImageJ's, OME's, Micro-Manager's and tifffile's own description."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from rtdecode.sources.choice import Choice
from rtdecode.sources.recording import steady_times_ns, unusable
from rtdecode.sources.tiff_ome import NM, pixel_size, read_ome


@dataclass(frozen=True)
class Description:
    """The facts that a replay needs; what a text does not say keeps its default."""

    planes: int = 1  # frames that lie behind one directory (ImageJ above 4 GB, tifffile truncate=True)
    interval_s: float | None = None
    delays_s: list[float] = field(default_factory=list)  # OME DeltaT of each plane
    files: list[tuple[str, int]] = field(default_factory=list)  # OME: (file name, page) of each frame, if not all
    px_nm: tuple[float, float] | None = None  # OME: (x, y)
    unit_nm: float | None = None  # ImageJ: length of the unit in which the resolution tags count


def describe(path: Path, text: str, choice: Choice | None = None) -> Description:
    """Read the description of a TIFF's first page; of several channels, positions or z one must be chosen.

    A text that is damaged or odd tells nothing; the pages themselves are read all the same.
    """
    try:
        if text.startswith("ImageJ="):
            return _imagej(path, text)
        if "<OME" in text:
            return _ome(path, text, choice or Choice())
        if text.startswith('{"shape"'):
            return _shaped(text)
    except (ValueError, TypeError, KeyError, ElementTree.ParseError):
        pass
    return Description()


def micro_manager_times_ns(texts: list[str]) -> NDArray[np.int64] | None:
    """(n,) from the tag `ElapsedTime-ms` that Micro-Manager writes with each frame; None if any lacks it."""
    found = [re.search(r'"ElapsedTime-ms":\s*"?([0-9.eE+-]+)', text) for text in texts]
    if not found or any(match is None for match in found):
        return None
    elapsed_ms = np.array([float(match[1]) for match in found if match])
    return np.asarray(np.round((elapsed_ms - elapsed_ms[0]) * 1e6), np.int64)


def stated_times_ns(about: Description, n_frames: int, page_texts: Callable[[], list[str]]) -> NDArray[np.int64] | None:
    """(n_frames,) camera times: of each frame where they are written, else from a stated interval."""
    if len(about.delays_s) == n_frames:
        return np.round(np.array(about.delays_s) * 1e9).astype(np.int64)
    each = micro_manager_times_ns(page_texts())
    return each if each is not None and len(each) == n_frames else steady_times_ns(about.interval_s, n_frames)


def stated_px_nm(about: Description, px_per_unit: tuple[float, float] | None) -> tuple[float, float] | None:
    """Pixel size (x, y) by OME, or by ImageJ's unit and the resolution tags: alone those mean a printer's dots."""
    if about.unit_nm is None or px_per_unit is None or 0 in px_per_unit:
        return about.px_nm
    return pixel_size(about.unit_nm / px_per_unit[0], about.unit_nm / px_per_unit[1])


def _imagej(path: Path, text: str) -> Description:
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    channels, others = int(lines.get("channels", 1)), int(lines.get("frames", 1)) * int(lines.get("slices", 1))
    if channels > 1 and others > 1:  # alone it is a movie whose writer did not name the axis (tifffile's default)
        raise unusable(path, f"{channels} channels", "one channel", "Split them (Image > Color > Split Channels).")
    interval_s = _number(lines.get("finterval"))
    if interval_s is None and (fps := _number(lines.get("fps"))):
        interval_s = 1.0 / fps
    unit = lines.get("unit", "").strip().replace("\\u00B5", "µ")  # ImageJ escapes it
    return Description(planes=int(lines.get("images", 1)), interval_s=interval_s, unit_nm=NM.get(unit))


def _ome(path: Path, text: str, choice: Choice) -> Description:
    movie = read_ome(path, text, choice)
    if movie is None:
        return Description()
    return Description(interval_s=movie.interval_s, delays_s=movie.delays_s, files=movie.pages, px_nm=movie.px_nm)


def _shaped(text: str) -> Description:
    """tifffile's own: the shape of the whole series."""
    shape = json.loads(text)["shape"]
    return Description(planes=int(np.prod(shape[:-2])) if len(shape) > 2 else 1)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
