"""An NDTiff data set while another process writes it: its new frames, and whether its writer has finished.

Micro-Manager's Java writer names each frame in the index at once. The Python writer (pycromanager's Python engine)
names them in blocks of 8 kB, about 80 frames late; so the frames behind the last named one are read from the TIFF
file itself, where their own text says which they are (`Axes`).
Tried with both Python writers in another process on one machine; a network share was not.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.sources.ndtiff_index import (
    INDEX_NAME,
    MOST_PIXELS,
    NDTIFF_MARK,
    Entry,
    FrameFiles,
    is_axes,
    parse_entries,
)

_ENTRIES = 13  # of each directory that an NDTiff writer makes
_DIRECTORY = struct.Struct("=H" + "HHII" * _ENTRIES)
_WIDTH, _HEIGHT, _OFFSET, _COUNT, _TEXT = 256, 257, 273, 279, 51123
_BLOCK = 8192  # bytes of the index read at once: holds any entry, and little is read in vain
_FULL = 4 * 2**30 - 5_000_000  # a file that the next frame would bring so near to 4 GB is closed, a new one begun
_MOST_TEXT = 1 << 24  # bytes of a frame's own text


class GrowingDataset:
    """New frames by `poll`; nothing here waits. Raises RecordingError for a damaged index, OSError for a lost disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = FrameFiles(folder)
        self._index_at = 0
        self._early: set[tuple[str, int]] = set()  # given before the index named them
        self._last: Entry | None = None
        self._reads_ahead = True

    @property
    def is_there(self) -> bool:
        """Whether anything of it can be read by now."""
        return (self.folder / INDEX_NAME).is_file() or self._first_file() is not None

    def poll(self) -> list[Entry]:
        """Frames that were written since the last call, in the order of writing."""
        found = self._named()
        self._last = found[-1] if found and not self._early else self._last
        while (entry := self._ahead()) is not None:
            self._early.add((entry.file, entry.offset))
            found.append(entry)
            self._last = entry
        return found

    @property
    def finished(self) -> bool:
        """Whether its writer has closed it: index and last file end right behind the last frame.

        A writer that died leaves the room that it kept for more frames (4 GB). A full file is followed by another
        one, so the end of a data set that ends exactly with a full file is not seen; it takes a Stop.
        """
        if self._last is None:
            return False
        size = self.files.size(self._last.file)  # asked first: it tells that the folder has vanished
        if self._early:
            return False
        fits = size + self._last.end - self._last.offset < _FULL
        return size <= self._last.end + 1 and fits and (self.folder / INDEX_NAME).stat().st_size == self._index_at

    def close(self) -> None:
        """Release the files."""
        self.files.close()

    def _named(self) -> list[Entry]:
        """New entries of the index that were not read ahead."""
        found: list[Entry] = []
        while (self.folder / INDEX_NAME).is_file():
            content = self.files.bytes_at(INDEX_NAME, self._index_at, _BLOCK)
            entries, used = parse_entries(self.folder, content)
            self._index_at += used
            found += entries
            if not used or len(content) < _BLOCK:
                break
        new = [entry for entry in found if (entry.file, entry.offset) not in self._early]
        self._early -= {(entry.file, entry.offset) for entry in found}
        return new

    def _ahead(self) -> Entry | None:
        """The frame behind the last one, if it is whole and says itself which it is."""
        place = self._next_place() if self._reads_ahead else None
        if place is None:
            return None
        name, at = place
        content = self.files.bytes_at(name, at, _DIRECTORY.size)
        if len(content) < _DIRECTORY.size:
            return None
        count, *numbers = _DIRECTORY.unpack(content)
        tags = {numbers[i]: (numbers[i + 2], numbers[i + 3]) for i in range(0, len(numbers), 4)}
        if count != _ENTRIES or not {_WIDTH, _HEIGHT, _OFFSET, _COUNT, _TEXT} <= set(tags):
            return None  # zeros: not written yet
        return self._entry(name, {tag: value for tag, (_, value) in tags.items()}, tags[_TEXT][0])

    def _entry(self, name: str, tags: dict[int, int], text_length: int) -> Entry | None:
        """Pixels and text are written in this order: where the text has its last brace, all is there."""
        shape, text_at = (tags[_HEIGHT], tags[_WIDTH]), tags[_TEXT]
        item = tags[_COUNT] // max(1, shape[0] * shape[1])
        if item not in (1, 2) or shape[0] * shape[1] > MOST_PIXELS or not 0 < text_length <= _MOST_TEXT:
            return None
        text = self.files.bytes_at(name, text_at, text_length)
        if len(text) < text_length or text[-1:] != b"}":
            return None
        axes = _own_axes(text)
        if axes is None:
            self._reads_ahead = False  # only the index knows
            return None
        return Entry(axes, name, tags[_OFFSET], shape, np.dtype(f"u{item}"), text_at, text_length)

    def _next_place(self) -> tuple[str, int] | None:
        """File and byte at which the next directory begins: on a word behind the last frame, or a file's first."""
        if self._last is None:
            first = self._first_file()
            return self._first_place(first) if first is not None else None
        at = self._last.end + self._last.end % 2
        if at >= self.files.size(self._last.file):  # full and closed
            return self._first_place(_next_file(self.folder / self._last.file))
        return self._last.file, at

    def _first_place(self, file: Path) -> tuple[str, int] | None:
        head = self.files.bytes_at(file.name, 0, 12) if file.is_file() else b""
        if len(head) < 12 or head[8:] != NDTIFF_MARK:
            return None
        return file.name, int(struct.unpack_from("=I", head, 4)[0])

    def _first_file(self) -> Path | None:
        return next(iter(self.folder.glob("*NDTiffStack.tif")), None)


def _next_file(file: Path) -> Path:
    """..._NDTiffStack.tif, ..._NDTiffStack_1.tif, ..._NDTiffStack_2.tif"""
    stem, _, number = file.stem.rpartition("_")
    counted = number.isdecimal()
    return file.with_name(f"{stem}_{int(number) + 1}.tif" if counted else f"{file.stem}_1.tif")


def _own_axes(text: bytes) -> dict[str, Any] | None:
    try:
        axes = json.loads(text).get("Axes")
    except (ValueError, AttributeError):
        return None
    return axes if is_axes(axes) and axes else None
