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

from rtdecode.sources.recording import steady_times_ns, unusable

_SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "min": 60.0}


@dataclass(frozen=True)
class Description:
    """The facts that a replay needs; what a text does not say keeps its default."""

    planes: int = 1  # frames that lie behind one directory (ImageJ above 4 GB, tifffile truncate=True)
    interval_s: float | None = None
    delays_s: list[float] = field(default_factory=list)  # OME DeltaT of each plane
    files: list[tuple[str, int]] = field(default_factory=list)  # OME: (file name, page) of each frame, if several


def describe(path: Path, text: str) -> Description:
    """Read the description of a TIFF's first page; several channels or positions are refused.

    A text that is damaged or odd tells nothing; the pages themselves are read all the same.
    """
    try:
        if text.startswith("ImageJ="):
            return _imagej(path, text)
        if "<OME" in text:
            return _ome(path, text)
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


def _imagej(path: Path, text: str) -> Description:
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    channels, others = int(lines.get("channels", 1)), int(lines.get("frames", 1)) * int(lines.get("slices", 1))
    if channels > 1 and others > 1:  # alone it is a movie whose writer did not name the axis (tifffile's default)
        raise unusable(path, f"{channels} channels", "one channel", "Split them (Image > Color > Split Channels).")
    interval_s = _number(lines.get("finterval"))
    if interval_s is None and (fps := _number(lines.get("fps"))):
        interval_s = 1.0 / fps
    return Description(planes=int(lines.get("images", 1)), interval_s=interval_s)


def _ome(path: Path, text: str) -> Description:
    root = ElementTree.fromstring(text[text.index("<") :])
    images = root.findall("{*}Image")
    pixels = images[0].find("{*}Pixels") if images else None
    if pixels is None:
        return Description()
    channels, others = int(pixels.get("SizeC", "1")), int(pixels.get("SizeT", "1")) * int(pixels.get("SizeZ", "1"))
    if (channels > 1 and others > 1) or len(images) > 1:
        raise unusable(
            path,
            f"{channels} channels in {len(images)} positions",
            "one channel of one position",
            "Save the one to be replayed as a file of its own.",
        )
    interval_s = _number(pixels.get("TimeIncrement"))
    unit = _SECONDS.get(pixels.get("TimeIncrementUnit", "s"), 1.0)
    delays = [(p.get("DeltaT"), _SECONDS.get(p.get("DeltaTUnit", "s"), 1.0)) for p in pixels.findall("{*}Plane")]
    known = [float(value) * scale for value, scale in delays if value is not None]
    return Description(
        interval_s=None if interval_s is None else interval_s * unit,
        delays_s=known if len(known) == len(delays) else [],
        files=_ome_files(pixels),
    )


def _ome_files(pixels: ElementTree.Element) -> list[tuple[str, int]]:
    """(file, page) of each frame in the order of time, if the movie spans several files."""
    found: list[tuple[int, int, str, int]] = []
    for data in pixels.findall("{*}TiffData"):
        uuid = data.find("{*}UUID")
        name = uuid.get("FileName") if uuid is not None else None
        if name is None:
            return []
        found.append((int(data.get("FirstT", 0)), int(data.get("FirstZ", 0)), name, int(data.get("IFD", 0))))
    several = len({name for _, _, name, _ in found}) > 1
    return [(name, page) for _, _, name, page in sorted(found)] if several else []


def _shaped(text: str) -> Description:
    """tifffile's own: the shape of the whole series."""
    shape = json.loads(text)["shape"]
    return Description(planes=int(np.prod(shape[:-2])) if len(shape) > 2 else 1)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
