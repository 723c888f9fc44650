"""Which pages of which files are the frames of an OME-TIFF movie, and when each was taken, by its OME-XML."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rtdecode.sources.choice import Choice, Value
from rtdecode.sources.recording import unusable

SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "min": 60.0}
NM = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3, "mm": 1e6, "cm": 1e7, "inch": 2.54e7}
_SIZES = {"time": "SizeT", "z": "SizeZ", "channel": "SizeC"}
_LETTERS = {"T": "time", "Z": "z", "C": "channel"}


@dataclass(frozen=True, slots=True)
class OmeMovie:
    """Frames of the chosen part; `pages` only where they are not simply all pages of the one file, in their order."""

    pages: list[tuple[str, int]]  # (file name, page) of each frame
    delays_s: list[float]  # of each frame where all have one, else empty
    interval_s: float | None
    px_nm: tuple[float, float] | None  # (x, y)


def read_ome(path: Path, text: str, choice: Choice) -> OmeMovie | None:
    """The movie that an OME-XML describes; None where it describes no image. Raises RecordingError (see `Choice`)."""
    root = ElementTree.fromstring(text[text.index("<") :])
    if (elsewhere := root.find("{*}BinaryOnly")) is not None:
        first = elsewhere.get("MetadataFile", "another file")
        raise unusable(path, "a later file of a series", f"the one that describes it, {first}", "Name that one.")
    images = root.findall("{*}Image")
    if not images:
        return None
    image = images[0] if len(images) == 1 and choice.position is None else _chosen_image(path, images, choice)
    pixels = image.find("{*}Pixels")
    return None if pixels is None else _movie(path, pixels, choice, several=len(images) > 1)


def _chosen_image(path: Path, images: list[ElementTree.Element], choice: Choice) -> ElementTree.Element:
    names: list[Value] = _names(images)
    return images[names.index(choice.pick(path, "position", names))]


def _names(elements: list[ElementTree.Element]) -> list[Value]:
    """Their names where each has one of its own, else their numbers."""
    names = [element.get("Name") or "" for element in elements]
    return list(names if all(names) and len(set(names)) == len(names) else range(len(names)))


def _movie(path: Path, pixels: ElementTree.Element, choice: Choice, *, several: bool) -> OmeMovie:
    sizes = {axis: int(pixels.get(size, "1")) for axis, size in _SIZES.items()}
    fixed = _fixed(path, pixels, sizes, choice)
    planes = _planes(path.name, pixels, sizes)
    part = sorted(place for place in planes if all(place[axis] == value for axis, value in fixed.items()))
    pages = [planes[place] for place in part]
    all_here = len(part) == len(planes) and {name for name, _ in pages} <= {path.name}
    interval_s, unit = _number(pixels.get("TimeIncrement")), SECONDS.get(pixels.get("TimeIncrementUnit", "s"), 1.0)
    return OmeMovie(
        pages=[] if all_here and not several else pages,
        delays_s=_delays_s(pixels, fixed),
        interval_s=None if interval_s is None else interval_s * unit,
        px_nm=pixel_size(_size_nm(pixels, "X"), _size_nm(pixels, "Y")),
    )


def _fixed(path: Path, pixels: ElementTree.Element, sizes: dict[str, int], choice: Choice) -> dict[int, int]:
    """Place on each axis (by its number in `_SIZES`) but the movie's.

    A movie whose writer did not name its axis lies along z or, with one z, along the channels.
    """
    movie = next((axis for axis in _SIZES if sizes[axis] > 1 and choice.wanted(axis) is None), "time")
    channels = _names(pixels.findall("{*}Channel"))
    there: dict[str, list[Value]] = {axis: list(range(size)) for axis, size in sizes.items()}
    named = channels if len(channels) == sizes["channel"] else there["channel"]
    fixed = {}
    for number, axis in enumerate(_SIZES):
        values = named if axis == "channel" else there[axis]
        if axis != movie:
            fixed[number] = values.index(choice.pick(path, axis, values))
    return fixed


def _planes(own: str, pixels: ElementTree.Element, sizes: dict[str, int]) -> dict[tuple[int, ...], tuple[str, int]]:
    """(file, page) of each plane by its place (t, z, c)."""
    order = [_LETTERS[letter] for letter in pixels.get("DimensionOrder", "XYZCT")[2:]]  # the fastest first
    places = [dict(zip(reversed(order), place, strict=True))
              for place in itertools.product(*(range(sizes[axis]) for axis in reversed(order)))]  # fmt: skip
    stored = [tuple(place[axis] for axis in _SIZES) for place in places]  # as pages follow each other
    blocks = pixels.findall("{*}TiffData")
    if not blocks:
        return {place: (own, page) for page, place in enumerate(stored)}
    numbers = {place: number for number, place in enumerate(stored)}
    found: dict[tuple[int, ...], tuple[str, int]] = {}
    for block in blocks:
        first = numbers[tuple(int(block.get(f"First{letter}", "0")) for letter in "TZC")]
        page = int(block.get("IFD", "0"))
        count = int(block.get("PlaneCount", "1" if "IFD" in block.attrib else str(len(stored) - first)))
        for i, place in enumerate(stored[first : first + count]):
            found[place] = (_file_name(block) or own, page + i)
    return found


def _file_name(block: ElementTree.Element) -> str | None:
    """The file's name alone: a series lies in one folder."""
    uuid = block.find("{*}UUID")
    name = uuid.get("FileName") if uuid is not None else None
    return Path(name).name if name else None


def pixel_size(x_nm: float | None, y_nm: float | None) -> tuple[float, float] | None:
    """(x, y) nm where both are sizes at all."""
    if x_nm is None or y_nm is None or not (0 < x_nm < math.inf and 0 < y_nm < math.inf):
        return None
    return x_nm, y_nm


def _size_nm(pixels: ElementTree.Element, axis: str) -> float | None:
    """PhysicalSizeX or Y, in µm where no unit is given; None for units that are no lengths ("pixel")."""
    size, unit = _number(pixels.get(f"PhysicalSize{axis}")), NM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    return None if size is None or unit is None else size * unit


def _delays_s(pixels: ElementTree.Element, fixed: dict[int, int]) -> list[float]:
    """DeltaT of each plane of the part in its order; empty where one lacks it."""
    found: dict[tuple[int, ...], float | None] = {}
    for plane in pixels.findall("{*}Plane"):
        place = tuple(int(plane.get(f"The{letter}", "0")) for letter in "TZC")
        if all(place[axis] == value for axis, value in fixed.items()):
            delay, unit = _number(plane.get("DeltaT")), SECONDS.get(plane.get("DeltaTUnit", "s"), 1.0)
            found[place] = None if delay is None else delay * unit
    delays = [found[place] for place in sorted(found)]
    known = [delay for delay in delays if delay is not None]
    return known if len(known) == len(delays) else []


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
