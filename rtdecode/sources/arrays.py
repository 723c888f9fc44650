"""Movies that are one block of numbers: numpy `.npy`, and Picasso's `.raw` beside its `.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from rtdecode.core.errors import RecordingError
from rtdecode.core.yaml_files import yaml_fault
from rtdecode.sources.addresses import Address, Place, open_raw, size_of
from rtdecode.sources.recording import Pixels, Recording, steady_times_ns, unusable

_PICASSO_KEYS = ("Frames", "Height", "Width", "Data Type")


class NpyRecording(Recording):
    """A `.npy` of shape (frames, rows, columns), or one frame (rows, columns).

    Never loaded whole: mapped or, in a store, read frame by frame.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        shape, fortran, dtype, offset = _npy_header(path)
        stated, self.shape, self.dtype = *_movie_shape(path, shape), dtype
        frame_bytes = int(np.prod(self.shape)) * dtype.itemsize
        whole = stated if fortran else 1  # in Fortran order every frame reaches to the file's end
        self.n_frames, self.incomplete = whole_frames(path, offset, stated, frame_bytes, "its header", at_least=whole)
        if isinstance(path, Address):
            self._frames: Any = _StoredFrames(path, offset, self.shape, dtype, fortran)
            return
        order: Any = "F" if fortran else "C"
        block = np.memmap(path, dtype, "r", offset, (self.n_frames, *self.shape)[-len(shape) :], order)
        self._frames = np.asarray(block).reshape(self.n_frames, *self.shape)  # (N, H, W)

    def frame(self, position: int) -> Pixels:
        """See Recording.frame."""
        pixels: Pixels = self._frames[position]
        return pixels


class _StoredFrames:
    """Frames of a `.npy` in a store, each read when it is asked for."""

    def __init__(
        self, address: Address, offset: int, shape: tuple[int, int], dtype: np.dtype[np.generic], fortran: bool
    ) -> None:
        if fortran:
            raise unusable(address, "in Fortran order, where every frame reaches to the file's end", "C order",
                           "Save numpy.ascontiguousarray of it.")  # fmt: skip
        self._file, self._offset, self._shape, self._dtype = address.open(), offset, shape, dtype

    def __getitem__(self, position: int) -> Pixels:
        n_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        self._file.seek(self._offset + position * n_bytes)
        pixels: Pixels = np.frombuffer(self._file.read(n_bytes), self._dtype).reshape(self._shape)
        return pixels


class PicassoRecording(Recording):
    """Picasso's `.raw`: frames without a header, described by the `.yaml` of the same name beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        about = _picasso_about(path.with_suffix(".yaml"))
        stated, self.shape, self.dtype = _picasso_layout(path.with_suffix(".yaml"), about)
        self.px_nm = _picasso_px_nm(about.get("Pixelsize"))
        self._interval_ms = about.get("Camera.Integration Time")
        frame_bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self.n_frames, self.incomplete = whole_frames(path, 0, stated, frame_bytes, "the .yaml", exact=True)
        block = (self.n_frames, *self.shape)
        self._frames: Pixels = np.asarray(np.memmap(path, self.dtype, "r", 0, block))  # (N, H, W)

    def frame(self, position: int) -> Pixels:
        """See Recording.frame."""
        pixels: Pixels = self._frames[position]
        return pixels

    def times_ns(self) -> NDArray[np.int64] | None:
        """From Picasso's `Camera.Integration Time` in ms, where the camera has stated it."""
        stated = self._interval_ms
        return steady_times_ns(stated / 1e3 if isinstance(stated, int | float) else None, self.n_frames)


def _npy_header(path: Place) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Shape, whether in Fortran order, element type, and where the numbers begin."""
    try:
        with open_raw(path) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            return shape, fortran, dtype, file.tell()
    except RecordingError:
        raise
    except Exception as error:  # numpy parses the header as Python text, which may fail in any way
        raise unusable(
            path, f"the header of this .npy is damaged ({error})", "an array written by numpy.save", "Save it again."
        ) from error


def _movie_shape(path: Place, shape: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
    if len(shape) == 4 or (len(shape) == 3 and shape[2] in (3, 4) and shape[0] > 4):
        raise unusable(
            path,
            f"an array of shape {shape}, which looks like colour or several channels",
            "(frames, rows, columns)",
            "Save one grey channel.",
        )
    if len(shape) not in (2, 3):
        raise unusable(path, f"an array of shape {shape}", "(frames, rows, columns)", "Reshape it and save it again.")
    if min(shape) < 1:
        raise unusable(path, f"an empty array of shape {shape}", "at least one frame", "Was the recording stopped?")
    return (shape[0] if len(shape) == 3 else 1), (shape[-2], shape[-1])


def whole_frames(
    path: Place, offset: int, stated: int, frame_bytes: int, by: str, *, exact: bool = False, at_least: int = 1
) -> tuple[int, str | None]:
    """Frames that lie whole in the file, and what is wrong where they are fewer than `by` has stated.

    Raises RecordingError below `at_least` frames, and where `exact` for a file longer than stated.
    """
    size, needed = size_of(path), offset + stated * frame_bytes
    if exact and size > needed:
        raise unusable(
            path,
            f"{size} bytes",
            f"{needed} bytes by {by} beside it",
            f"That {by.split()[-1]} belongs to another movie, or names a wrong frame count, size or data type.",
        )
    there = min(stated, max(0, size - offset) // frame_bytes)
    cut = f"truncated ({size} bytes of {needed} by {by})" if size < needed else None
    if cut and there < at_least:
        raise unusable(path, cut, "a complete file", "Copy it again.")
    return there, cut


def _picasso_about(path: Path) -> dict[str, Any]:
    """First document of Picasso's YAML (later ones tell how localizations were made)."""
    if not path.is_file():
        raise unusable(
            path,
            "missing",
            f"Picasso's description beside {path.with_suffix('.raw').name}",
            f"A .raw has no header: write a .yaml of the same name with {', '.join(_PICASSO_KEYS)}.",
        )
    try:
        about = next(iter(yaml.safe_load_all(path.read_text(encoding="utf-8"))), None)
    except (yaml.YAMLError, ValueError) as error:
        found = f"not valid YAML{yaml_fault(error)}"
        raise unusable(path, found, "Picasso's description", "Save the movie again.") from error
    missing = [key for key in _PICASSO_KEYS if not isinstance(about, dict) or key not in about]
    if missing or not isinstance(about, dict):
        raise unusable(
            path, f"without {', '.join(missing)}", "a description by Picasso", f"Add {', '.join(_PICASSO_KEYS)}."
        )
    return about


def _picasso_px_nm(stated: object) -> tuple[float, float] | None:
    """Picasso's pixels are square; in nm."""
    return (float(stated), float(stated)) if isinstance(stated, int | float) and 0 < stated < 1e9 else None


def _picasso_layout(path: Path, about: dict[str, Any]) -> tuple[int, tuple[int, int], np.dtype[np.generic]]:
    try:
        big = str(about.get("Byte Order", "<")) == ">"
        dtype = np.dtype(str(about["Data Type"])).newbyteorder(">" if big else "<")
        n, height, width = (int(about[key]) for key in ("Frames", "Height", "Width"))
    except (TypeError, ValueError) as error:
        raise unusable(
            path, f"a value that cannot be read ({error})", "numbers and a type such as uint16", "Correct it."
        ) from error
    if min(n, height, width) <= 0:
        raise unusable(path, f"{n} frames of {height} x {width}", "at least one frame and pixel", "Correct it.")
    return n, (height, width), dtype
