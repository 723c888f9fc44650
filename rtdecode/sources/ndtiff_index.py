"""What `NDTiff.index` says of each frame, and the TIFF files it points into: Micro-Manager's and pycromanager's format.

Source: the specification of NDTiff 3.x (README of micro-manager/NDTiffStorage). Its Python library reads an index
once, with a line on stdout for each frame, and knows an end only in the process that writes: no way to follow.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Literal

import numpy as np

from rtdecode.core.errors import RecordingError
from rtdecode.sources.addresses import Place, open_raw, size_of
from rtdecode.sources.choice import Value
from rtdecode.sources.recording import Pixels, unusable

INDEX_NAME = "NDTiff.index"
NDTIFF_MARK = struct.pack("=I", 483729)  # at byte 8 of every one of its TIFF files
_LENGTH, _NUMBERS = struct.Struct("=I"), struct.Struct("=8I")  # in the writer's own order; all today are little-endian
_MOST_TEXT = 3000  # bytes of an entry's axes or file name: far above any real one
MOST_PIXELS = 1 << 28  # of a frame: no camera has more, and a damaged number must not ask for all memory
_RGB = 2
_TYPES = {0: "u1", 1: "u2", 3: "u2", 4: "u2", 5: "u2", 6: "u2"}  # by NDTiff's pixel type; above 1: 10 to 14 bits
_ELAPSED = re.compile(r'"ElapsedTime-ms":\s*"?([0-9.eE+-]+)')
_RECEIVED = re.compile(r'"TimeReceivedByCore":\s*"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one frame (H, W) of `dtype` and its text lie, and its place on each axis, e.g. {"time": 3}."""

    axes: dict[str, Value]
    file: str
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    text_offset: int
    text_length: int

    @property
    def end(self) -> int:
        """Byte behind its text, which follows its pixels."""
        return max(self.text_offset + self.text_length, self.offset + self.size)

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


def is_ndtiff(folder: Place) -> bool:
    """Whether an NDTiff data set lies there."""
    return (folder / INDEX_NAME).is_file()


def parse_entries(folder: Place, content: bytes) -> tuple[list[Entry], int]:
    """Whole entries at the start of `content` and the bytes they take; RecordingError for what is no index.

    What follows may be the torn tail of an entry being written, or the zeros that the Java writer puts there.
    """
    entries: list[Entry] = []
    at = 0
    while (parts := _texts(folder, content, at)) is not None:
        axes, file, numbers_at = parts
        entries.append(_entry(folder, axes, file, _NUMBERS.unpack_from(content, numbers_at)))
        at = numbers_at + _NUMBERS.size
    return entries, at


def _texts(folder: Place, content: bytes, at: int) -> tuple[bytes, bytes, int] | None:
    """Axes, file name and where the numbers begin, if the whole entry is there."""
    found: list[bytes] = []
    for _ in range(2):
        if at + _LENGTH.size > len(content):
            return None
        (length,) = _LENGTH.unpack_from(content, at)
        if length == 0 and not found:
            return None  # not written yet
        if not 0 < length <= _MOST_TEXT:
            raise _damaged(folder, f"an entry of {length} bytes")
        found.append(content[at + _LENGTH.size : at + _LENGTH.size + length])
        at += _LENGTH.size + length
    return (found[0], found[1], at) if at + _NUMBERS.size <= len(content) else None


def _entry(folder: Place, axes: bytes, file: bytes, numbers: tuple[int, ...]) -> Entry:
    offset, width, height, kind, compression, text_offset, text_length, _ = numbers
    try:
        name, places = file.decode("utf-8"), json.loads(axes)
    except ValueError as error:
        raise _damaged(folder, str(error)) from error
    if kind == _RGB:
        raise unusable(folder, "colour images", "one grey value for each pixel", "Save one grey channel.")
    if kind not in _TYPES or compression or not 0 < width * height <= MOST_PIXELS or not is_axes(places):
        raise _damaged(folder, f"the entry {axes[:80]!r}")
    if not name.isprintable() or name != PurePosixPath(name).name or name != PureWindowsPath(name).name:
        raise _damaged(folder, f"the file name {name[:80]!r}")
    return Entry(places, name, offset, (height, width), np.dtype(_TYPES[kind]), text_offset, text_length)


def is_axes(places: Any) -> bool:
    """Whether this is a place on axes: names to numbers or names."""
    return isinstance(places, dict) and all(isinstance(value, int | str) for value in places.values())


def _damaged(folder: Place, what: str) -> RecordingError:
    return unusable(folder / INDEX_NAME, f"damaged ({what})", "the index of an NDTiff data set", "Copy it again.")


class FrameFiles:
    """The TIFF files of a data set, opened when they are needed.

    Read, never mapped: under Windows a file that somebody has mapped cannot be cut to its length by its writer.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = folder
        self._files: dict[str, RawIOBase] = {}

    def pixels(self, entry: Entry) -> Pixels:
        """(H, W) as stored; RecordingError where the file ends before."""
        content = bytearray(entry.size)
        file = self._file(entry.file)
        file.seek(entry.offset)
        if (file.readinto(content) or 0) < entry.size:
            raise self.cut(entry)
        pixels: Pixels = np.frombuffer(content, entry.dtype).reshape(entry.shape)
        return pixels

    def text(self, entry: Entry) -> str:
        """The JSON that was saved with the frame; shorter where the file ends."""
        return self.bytes_at(entry.file, entry.text_offset, entry.text_length).decode("utf-8", "replace")

    def bytes_at(self, name: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from there; fewer at the end of the file."""
        file = self._file(name)
        file.seek(offset)
        return file.read(length) or b""

    def size(self, name: str) -> int:
        """Bytes of the file by now."""
        return size_of(self.folder / name)

    def cut(self, entry: Entry) -> RecordingError:
        """The error for a frame that reaches beyond its file."""
        return unusable(
            self.folder / entry.file,
            f"truncated: frame {entry.axes} reaches to byte {entry.end} of {self.size(entry.file)}",
            "all frames that its index names",
            "Copy the data set again.",
        )

    def _file(self, name: str) -> RawIOBase:
        if name not in self._files:
            try:
                self._files[name] = open_raw(self.folder / name)
            except FileNotFoundError as error:
                raise unusable(self.folder, f"the file {name} is missing", "every file that its index names",
                               "Copy the data set whole.") from error  # fmt: skip
        return self._files[name]

    def close(self) -> None:
        """Close them; a later read opens them again."""
        for file in self._files.values():
            file.close()
        self._files.clear()


@dataclass(frozen=True, slots=True)
class Clock:
    """Which of the times in a frame's text is the camera's: chosen from the first frame, then always the same."""

    kind: Literal["elapsed", "received"]

    @classmethod
    def of(cls, first_text: str) -> Clock:
        """`ElapsedTime-ms` where it is above 0 (pycromanager's Python engine writes 0), else `TimeReceivedByCore`."""
        no_elapsed = cls("elapsed").ns(first_text) <= 0
        return cls("received" if no_elapsed and cls("received").ns(first_text) > 0 else "elapsed")

    def ns(self, text: str) -> int:
        """Time of the frame with this text; 0 where it says none."""
        pattern = _ELAPSED if self.kind == "elapsed" else _RECEIVED
        found = pattern.search(text)
        if found is None:
            return 0
        try:
            return round(float(found[1]) * 1e6) if self.kind == "elapsed" else _wall_ns(found[1])
        except (ValueError, OverflowError):
            return 0


def _wall_ns(text: str) -> int:
    """`2026-11-23 22:52:07.489760` on the writer's wall clock, whose zone nobody states; differences are right."""
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
