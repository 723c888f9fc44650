"""Where the frames of a TIFF file lie: its chain of directories, read and checked against the file's end.

tifffile ends a broken chain with a log line and fewer frames; a truncated recording must be an error.
Source: TIFF 6.0 and the BigTIFF proposal, as far as cameras' programs write them.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtdecode.core.errors import RecordingError
from rtdecode.sources.recording import unusable

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SUBFILE, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_DESCRIPTION, _SAMPLES, _FORMAT = 270, 277, 339
_X_RESOLUTION, _Y_RESOLUTION = 282, 283
_OFFSETS, _COUNTS, _TILE_OFFSETS, _TILE_COUNTS = 273, 279, 324, 325
MICRO_MANAGER = 51123
_WANTED = {_SUBFILE, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _FORMAT}
_WANTED |= {_OFFSETS, _COUNTS, _TILE_OFFSETS, _TILE_COUNTS}
_NOTED = {_DESCRIPTION, MICRO_MANAGER, _X_RESOLUTION, _Y_RESOLUTION}  # read only when asked for
_COLOUR = {2, 5, 6, 8}  # RGB, separated, YCbCr, CIELab


@dataclass(frozen=True, slots=True)
class Page:
    """One directory: a frame (H, W) of `dtype` at byte `offset`, or to be decoded (`offset` None) as page `number`."""

    number: int
    shape: tuple[int, int]
    dtype: np.dtype[np.generic] | None  # None: only the decoder knows (12-bit packed and the like)
    offset: int | None  # None: compressed, tiled or scattered
    text: dict[int, tuple[int, int]]  # tag -> (offset, length) of what is read only when asked for


class TiffLayout:
    """The pages of one file in order, reduced-size thumbnails left out. Raises RecordingError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_magic(path)
        self.size = path.stat().st_size
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            reader = _Reader(path, memory)
            self.pages = list(reader.pages())
            self.description = reader.text(self.pages[0], _DESCRIPTION) if self.pages else ""
            self.px_per_unit = reader.resolution(self.pages[0]) if self.pages else None
        if not self.pages:
            raise unusable(path, "a TIFF file without a frame", "at least one", "Was the recording stopped?")

    def texts(self, tag: int) -> list[str]:
        """That tag's text of every page, empty where a page has none."""
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            reader = _Reader(self.path, memory)
            return [reader.text(page, tag) for page in self.pages]


class _Reader:
    """Bounds-checked view of one file's bytes."""

    def __init__(self, path: Path, memory: mmap.mmap) -> None:
        self.path, self.memory = path, memory
        self.order = "<" if memory[:2] == b"II" else ">"
        self.big = self._numbers(2, "H", 1)[0] == 43

    def pages(self) -> Iterator[Page]:
        """Pages of the chain; a link beyond the file's end is a truncated file, a link back a damaged one."""
        at = self._numbers(8, "Q", 1)[0] if self.big else self._numbers(4, "I", 1)[0]
        seen: set[int] = set()
        number = 0
        while at:
            if at in seen:
                raise unusable(
                    self.path, "a chain of frames that runs in a circle", "a TIFF file", "It is damaged; copy it again."
                )
            seen.add(at)
            tags, text, at = self._directory(at)
            if not (tags.get(_SUBFILE, (0,))[0] & 1):
                yield self._page(number, tags, text)
            number += 1

    def text(self, page: Page, tag: int) -> str:
        """Text of a tag that was noted in the page; empty where there is none."""
        offset, length = page.text.get(tag, (0, 0))
        return self.memory[offset : offset + length].rstrip(b"\0").decode("utf-8", "replace")

    def resolution(self, page: Page) -> tuple[float, float] | None:
        """Pixels for each unit of length, (x, y); None where it is not written."""
        places = [page.text.get(tag, (0, 0)) for tag in (_X_RESOLUTION, _Y_RESOLUTION)]
        if any(size != 8 for _, size in places):
            return None
        (x, x_by), (y, y_by) = (self._numbers(offset, "I", 2) for offset, _ in places)
        return (x / x_by, y / y_by) if x_by and y_by else None

    def _directory(self, at: int) -> tuple[dict[int, tuple[int, ...]], dict[int, tuple[int, int]], int]:
        """Numbers of the wanted tags, places of the texts, and the next directory's offset (0: none)."""
        head, entry, inline = (8, 20, 8) if self.big else (2, 12, 4)
        count = self._numbers(at, "Q" if self.big else "H", 1)[0]
        tags: dict[int, tuple[int, ...]] = {}
        text: dict[int, tuple[int, int]] = {}
        self._need(at + head, count * entry + inline)
        layout = struct.Struct(self.order + ("HHQ" if self.big else "HHI"))
        for place in range(at + head, at + head + count * entry, entry):
            tag, kind, n = layout.unpack_from(self.memory, place)
            if tag in _WANTED or tag in _NOTED:
                value = place + entry - inline
                size = n * _SIZES.get(kind, 1)
                start = value if size <= inline else self._numbers(value, "Q" if self.big else "I", 1)[0]
                if tag in _WANTED and kind in _CODES and n:
                    tags[tag] = self._numbers(start, _CODES[kind], n)
                elif tag not in _WANTED:
                    self._need(start, size)
                    text[tag] = (start, size)
        return tags, text, self._numbers(at + head + count * entry, "Q" if self.big else "I", 1)[0]

    def _page(self, number: int, tags: dict[int, tuple[int, ...]], text: dict[int, tuple[int, int]]) -> Page:
        if _WIDTH not in tags or _LENGTH not in tags or not ({_OFFSETS, _TILE_OFFSETS} & set(tags)):
            raise unusable(
                self.path, f"page {number} without size or data", "an image", "It is damaged; copy it again."
            )
        shape = (tags[_LENGTH][0], tags[_WIDTH][0])
        if tags.get(_SAMPLES, (1,))[0] > 1 or tags.get(_PHOTOMETRIC, (1,))[0] in _COLOUR:
            raise unusable(self.path, f"page {number} is a colour image", "one grey value for each pixel", _GREY)
        if 0 in shape:
            raise unusable(self.path, f"page {number} is empty ({shape[0]} x {shape[1]})", "pixels", "Record it again.")
        offsets = tags.get(_OFFSETS) or tags[_TILE_OFFSETS]
        counts = tags.get(_COUNTS) or tags.get(_TILE_COUNTS) or (0,) * len(offsets)
        dtype = _element_type(tags, self.order)
        needed = 0 if dtype is None else shape[0] * shape[1] * dtype.itemsize
        plain = tags.get(_COMPRESSION, (1,))[0] == 1 and _OFFSETS in tags and dtype is not None
        plain = plain and (len(offsets) == 1 or _one_run(offsets, counts, needed))
        self._check_data(number, offsets, (needed,) if plain and len(offsets) == 1 else counts)
        return Page(number, shape, dtype, offsets[0] if plain else None, text)

    def _check_data(self, number: int, offsets: tuple[int, ...], counts: tuple[int, ...]) -> None:
        end = max(offset + count for offset, count in zip(offsets, counts, strict=False))
        if end > len(self.memory):
            raise truncated(self.path, number, end, len(self.memory))

    def _numbers(self, at: int, code: str, n: int) -> tuple[int, ...]:
        self._need(at, n * struct.calcsize("=" + code))
        return struct.unpack_from(f"{self.order}{n}{code}", self.memory, at)

    def _need(self, at: int, size: int) -> None:
        if at + size > len(self.memory):
            raise truncated(self.path, None, at + size, len(self.memory))


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise unusable(path, "an empty file", "a TIFF image", "Was the recording stopped, or the disk full?")
    if start not in TIFF_MAGIC:
        raise unusable(
            path, f"not a TIFF file (it begins with {start!r})", "a TIFF image", "Take it out of the folder."
        )


_GREY = "Save one grey channel (in ImageJ: Image > Type > 16-bit)."


def truncated(path: Path, number: int | None, end: int, size: int) -> RecordingError:
    """The error for a TIFF whose data or chain lies beyond its end."""
    where = "its list of frames" if number is None else f"frame {number}"
    return unusable(
        path, f"truncated: {where} reaches to byte {end} of {size}", "a complete TIFF", "Copy or save it again."
    )


def _element_type(tags: dict[int, tuple[int, ...]], order: str) -> np.dtype[np.generic] | None:
    kind = {1: "u", 2: "i", 3: "f"}.get(tags.get(_FORMAT, (1,))[0])
    bits = tags.get(_BITS, (1,))[0]
    if kind is None or bits not in (8, 16, 32, 64) or (kind == "f" and bits == 8):
        return None
    return np.dtype(f"{order}{kind}{bits // 8}")


def _one_run(offsets: tuple[int, ...], counts: tuple[int, ...], needed: int) -> bool:
    """Whether the strips follow each other without a hole and hold the frame."""
    ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
    return list(offsets[1:]) == ends[:-1] and sum(counts) >= needed
