"""TIFF movies: one file or a folder of them, stacks of any kind; mapped where they can be, decoded where not."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import RecordingError
from rtdecode.sources.choice import Choice
from rtdecode.sources.recording import Pixels, Recording, unusable
from rtdecode.sources.tiff_layout import MICRO_MANAGER, Page, TiffLayout
from rtdecode.sources.tiff_text import Description, describe, micro_manager_times_ns, stated_px_nm, stated_times_ns

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".tf2")
_STILL_A_COUNT = 100  # missing numbers for each file, beyond which they are dates or names
_Place = tuple[int, int | None, int]  # file number, byte offset (None: decode), page number


class TiffRecording(Recording):
    """A stack, single images in a folder (natural order: 2.tif before 10.tif), or an OME series of files.

    All files are checked at once: size, type, colour, and that no frame reaches beyond its file's end.
    """

    def __init__(self, path: Path, choice: Choice) -> None:
        self.path = path
        files = tiff_files(path) if path.is_dir() else [path]
        layouts = [TiffLayout(file) for file in files]
        self._about = describe(files[0], layouts[0].description, choice)
        if "<OME" not in layouts[0].description:
            choice.check_unused(path, "a TIFF without OME-XML")
        if self._about.files:
            layouts, places = _ome_series(files[0], self._about)
        else:
            _check_whole_series(files)
            places = [place for number in range(len(layouts)) for place in _places(layouts, number)]
            self.cautions = tuple(_gaps(path, files))
        first = layouts[0].pages[0]
        self.px_nm = stated_px_nm(self._about, layouts[0].px_per_unit)
        _check_alike(layouts, first)
        self._layouts, self._frames = layouts, places
        self._first_text: str | None = None  # of frame 0, read when it is first needed
        self._texts = [_own_texts(layout) for layout in layouts]
        self._mapped: tuple[int, NDArray[np.uint8]] | None = None
        self._decoder: tuple[int, Any] | None = None
        self.n_frames, self.shape = len(places), first.shape
        self.times_are_at_hand = len(self._about.delays_s) == self.n_frames
        self.dtype = first.dtype if first.dtype is not None else self._decode(places[0]).dtype

    def frame(self, position: int) -> Pixels:
        """See Recording.frame."""
        file, offset, _ = place = self._frames[position]
        if offset is None:
            return self._decode(place)
        size = self.shape[0] * self.shape[1] * self.dtype.itemsize
        return self._bytes(file, offset, size).view(self.dtype).reshape(self.shape)

    def time_ns(self, position: int) -> int:
        """Written with the frame by Micro-Manager, from the first frame on."""
        if self._first_text is None:
            self._first_text = self._own_text(0)
        here = self._own_text(position) if self._first_text else ""
        times = micro_manager_times_ns([self._first_text, here]) if here else None
        return 0 if times is None else int(times[1])

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

    def _bytes(self, file: int, offset: int, size: int) -> NDArray[np.uint8]:
        """Mapped bytes of one of the files."""
        if self._mapped is None or self._mapped[0] != file:
            self._mapped = (file, np.asarray(np.memmap(self._layouts[file].path, np.uint8, "r")))
        return self._mapped[1][offset : offset + size]

    def _own_text(self, position: int) -> str:
        """What Micro-Manager saved with that frame; empty where it did not."""
        file, _, number = self._frames[position]
        place = self._texts[file].get(number)
        return self._bytes(file, *place).tobytes().decode("utf-8", "replace") if place else ""

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


def _check_whole_series(files: list[Path]) -> None:
    """A file of several of Micro-Manager's without the text that joins them is a part, never the movie."""
    first = files[0]
    if len(files) > 1 or "_MMStack" not in first.name:
        return
    stem = re.sub(r"(_\d+)?\.ome\.tiff?$", "", first.name)
    parts = [
        path.name for path in first.parent.glob("*_MMStack*") if re.sub(r"(_\d+)?\.ome\.tiff?$", "", path.name) == stem
    ]
    if len(parts) > 1:
        raise unusable(
            first,
            f"one of {len(parts)} files ({', '.join(sorted(parts))}) that do not say how they belong together",
            "a whole movie",
            "Name their folder: they are then played one after the other.",
        )


def _series(path: Path) -> str:
    """A name without its numbers and what separates them: alike for all files of one movie."""
    return re.sub(r"[\d\s._()-]+", "", path.name).lower()


def _gaps(folder: Path, files: list[Path]) -> list[str]:
    """A sentence where the numbers of a folder's files leave some out: lost in copying, or never part of the choice."""
    names = [re.findall(r"\d+", path.stem) for path in files]
    if len({len(numbers) for numbers in names}) != 1:
        return []
    counts = [column for column in zip(*names, strict=True) if len(set(column)) > 1]
    if len(counts) != 1:
        return []  # channels, positions: not one count
    there = sorted({int(text) for text in counts[0]})
    first = next((before + 1 for before, after in pairwise(there) if after > before + 1), None)
    missing = there[-1] - there[0] + 1 - len(there)
    if first is None or missing > _STILL_A_COUNT * len(files):
        return []
    return [
        f"{folder}: of the files' numbers {there[0]} to {there[-1]} {missing} are missing, {first} is the first: "
        "the frames are numbered on as if there were no gap"
    ]


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


def _own_texts(layout: TiffLayout) -> dict[int, tuple[int, int]]:
    """(offset, length) of Micro-Manager's text of each page."""
    return {page.number: page.text[MICRO_MANAGER] for page in layout.pages if MICRO_MANAGER in page.text}


def _type_name(page: Page) -> str:
    return "packed numbers" if page.dtype is None else page.dtype.name


def _ome_series(path: Path, about: Description) -> tuple[list[TiffLayout], list[_Place]]:
    """The files that one OME series spans, and its frames in order."""
    names = list(dict.fromkeys(name for name, _ in about.files))
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise unusable(
            path,
            f"a series over {len(names)} files of which {', '.join(missing[:3])} is missing",
            "all of them",
            "Copy them all.",
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
