"""TIFF movies: one file or a folder of them, stacks of any kind; mapped where they can be, decoded where not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import RecordingError
from rtdecode.sources.recording import Pixels, Recording, unusable
from rtdecode.sources.tiff_layout import MICRO_MANAGER, Page, TiffLayout
from rtdecode.sources.tiff_text import Description, describe, stated_times_ns

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".tf2")
_Place = tuple[int, int | None, int]  # file number, byte offset (None: decode), page number


class TiffRecording(Recording):
    """A stack, single images in a folder (natural order: 2.tif before 10.tif), or an OME series of files.

    All files are checked at once: size, type, colour, and that no frame reaches beyond its file's end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        files = tiff_files(path) if path.is_dir() else [path]
        layouts = [TiffLayout(file) for file in files]
        self._about = describe(files[0], layouts[0].description)
        if self._about.files and len(files) == 1:
            layouts, places = _ome_series(path, self._about)
        else:
            places = [place for number in range(len(layouts)) for place in _places(layouts, number)]
        first = layouts[0].pages[0]
        _check_alike(layouts, first)
        self._layouts, self._frames = layouts, places
        self._mapped: tuple[int, NDArray[np.uint8]] | None = None
        self._decoder: tuple[int, Any] | None = None
        self.n_frames, self.shape = len(places), first.shape
        self.dtype = first.dtype if first.dtype is not None else self._decode(places[0]).dtype

    def frame(self, position: int) -> Pixels:
        """See Recording.frame."""
        file, offset, _ = place = self._frames[position]
        if offset is None:
            return self._decode(place)
        if self._mapped is None or self._mapped[0] != file:
            self._mapped = (file, np.asarray(np.memmap(self._layouts[file].path, np.uint8, "r")))
        size = self.shape[0] * self.shape[1] * self.dtype.itemsize
        return self._mapped[1][offset : offset + size].view(self.dtype).reshape(self.shape)

    def times_ns(self) -> NDArray[np.int64] | None:
        """Written with each frame by Micro-Manager or OME, or ImageJ's and OME's frame interval."""

        def page_texts() -> list[str]:
            return [text for layout in self._layouts for text in layout.texts(MICRO_MANAGER)]

        return stated_times_ns(self._about, self.n_frames, page_texts)

    def close(self) -> None:
        """See Recording.close."""
        self._mapped = None
        if self._decoder is not None:
            self._decoder[1].close()
            self._decoder = None

    def _decode(self, place: _Place) -> Pixels:
        """(H, W) of a compressed, tiled or packed page."""
        import tifffile

        file, _, number = place
        path = self._layouts[file].path
        try:
            if self._decoder is None or self._decoder[0] != file:
                self.close()
                self._decoder = (file, tifffile.TiffFile(path))
            pixels: Pixels = self._decoder[1].pages[number].asarray()
        except Exception as error:  # codecs raise whatever they like
            raise _undecodable(path, number, error) from error
        if pixels.shape != self.shape:
            raise unusable(path, f"page {number} decodes to {pixels.shape}", f"{self.shape}", "Save it uncompressed.")
        return pixels


def tiff_files(folder: Path) -> list[Path]:
    """The TIFF files of a folder in natural order (numbers in names count as numbers)."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not found:
        raise unusable(
            folder,
            "a folder without TIFF files",
            "single-frame TIFF files, a stack, or a run of rtdecode that was recorded (record: true)",
            "Name the recording itself.",
        )
    found = sorted(found, key=lambda path: _natural(path.name))
    _check_one_recording(folder, found)
    return found


def _check_one_recording(folder: Path, files: list[Path]) -> None:
    """Files of one movie differ in their numbers only; a folder of several movies would be joined in silence."""
    first = files[0]
    other = next((path for path in files if _series(path) != _series(first)), None)
    if other is not None:
        raise unusable(
            folder,
            f"{first.name} and {other.name}, which look like different recordings",
            "TIFF files of one movie, whose names differ in their numbers only",
            "Name the file itself, or put the movie into a folder of its own.",
        )


def _series(path: Path) -> str:
    """A name without its numbers and what separates them: alike for all files of one movie."""
    return re.sub(r"[\d\s._()-]+", "", path.name).lower()


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _places(layouts: list[TiffLayout], number: int) -> list[_Place]:
    """Where each frame of one file lies; several planes behind one directory follow each other."""
    layout = layouts[number]
    planes = describe(layout.path, layout.description).planes
    if len(layout.pages) > 1 or planes <= 1:
        if layout.description.startswith("ImageJ=") and len(layout.pages) < planes:
            raise _too_few(layout, len(layout.pages), planes)
        return [(number, page.offset, page.number) for page in layout.pages]
    page = layout.pages[0]
    if page.offset is None or page.dtype is None:
        raise _too_few(layout, 1, planes)
    size = page.shape[0] * page.shape[1] * page.dtype.itemsize
    there = (layout.size - page.offset) // size
    if there < planes:
        raise _too_few(layout, there, planes)
    return [(number, page.offset + i * size, 0) for i in range(planes)]


def _too_few(layout: TiffLayout, found: int, planes: int) -> RecordingError:
    return unusable(
        layout.path, f"truncated: {found} frames", f"{planes} by its description", "Copy or save the file again."
    )


def _undecodable(path: Path, number: int, error: Exception) -> RecordingError:
    return unusable(
        path,
        f"page {number} cannot be decoded ({error})",
        "an uncompressed or zlib-compressed image",
        "Save it uncompressed, or `pip install imagecodecs` for other compressions.",
    )


def _check_alike(layouts: list[TiffLayout], first: Page) -> None:
    """Every page of every file must have the size and type of the first."""
    for layout in layouts:
        for page in layout.pages:
            if page.shape != first.shape or page.dtype != first.dtype:
                raise unusable(
                    layout.path,
                    f"page {page.number} is {page.shape[0]} x {page.shape[1]} {_type_name(page)}",
                    f"{first.shape[0]} x {first.shape[1]} {_type_name(first)} as in the first frame",
                    "A movie has one size and type: replay the parts one by one.",
                )


def _type_name(page: Page) -> str:
    return "packed numbers" if page.dtype is None else page.dtype.name


def _ome_series(path: Path, about: Description) -> tuple[list[TiffLayout], list[_Place]]:
    """The files that one OME series spans, and its frames in order."""
    names = list(dict.fromkeys(name for name, _ in about.files))
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise unusable(
            path, f"a series over {len(names)} files of which {missing[0]} is missing", "all of them", "Copy them all."
        )
    layouts = [TiffLayout(path.parent / name) for name in names]
    pages = [{page.number: page for page in layout.pages} for layout in layouts]
    places: list[_Place] = []
    for name, number in about.files:
        file = names.index(name)
        if number not in pages[file]:
            raise _too_few(layouts[file], len(pages[file]), number + 1)
        places.append((file, pages[file][number].offset, number))
    return layouts, places
