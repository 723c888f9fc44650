"""OME-Zarr images as movies, in data of zarr v2 and v3: level 0 of the multiscales, read chunk by chunk."""

from __future__ import annotations

from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import SourceError
from rtdecode.core.extras import install
from rtdecode.sources.addresses import Address, Place, names_below
from rtdecode.sources.choice import Choice, Value, movie_axis
from rtdecode.sources.recording import Pixels, Recording, steady_times_ns, unusable

MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_NAMES = {"t": "time", "c": "channel", "z": "z"}
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6, "minute": 60.0}
_AT_ONCE = 32  # frames read in one call at least: each call into zarr costs as much as some ten decoded frames


def is_zarr(folder: Place) -> bool:
    """Whether the folder is a zarr group or array."""
    return any((folder / name).is_file() for name in MARKS)


class ZarrRecording(Recording):
    """Frames along t (or z where there is only one t) of one channel and z; `position` names an image of several.

    Chunks that are missing would be read as zeros: a movie without them ends before the first (`incomplete`).
    """

    def __init__(self, path: Place, choice: Choice) -> None:
        self.path = path
        image_path, about = _multiscales(path, _open(path), choice)
        self._place = image_path / str(about["datasets"][0]["path"])
        self._array, self._keys = _open(self._place), frozenset[str]()
        self._axes = _axes(path, about, self._array)
        sizes = dict(zip(self._axes, self._array.shape, strict=True))
        self._movie = movie_axis(sizes, choice)
        self._fixed = _fixed(path, sizes, self._movie, choice)
        self.shape, self.dtype = self._array.shape[-2:], np.dtype(self._array.dtype)
        stated = sizes.get(self._movie, 1)
        if 0 in (stated, *self.shape):
            raise unusable(path, f"an image of shape {self._array.shape}", "at least one frame", "Record it again.")
        self.n_frames = self._whole_frames(stated)
        self._step = -(-_AT_ONCE // self._chunk) * self._chunk  # whole chunks: none is decoded twice
        self._interval_s = _interval_s(about) if self._movie == "time" else None
        self._block: tuple[int, NDArray[np.generic]] = (-1, np.empty(0))

    def frame(self, position: int) -> Pixels:
        """See Recording.frame."""
        number = position // self._step
        if self._block[0] != number:
            self._block = (number, self._read(number * self._step))
        pixels: Pixels = self._block[1][position - number * self._step]
        return pixels

    def times_ns(self) -> NDArray[np.int64] | None:
        """From the scale of the time axis, where its unit is stated; the files have no times of single frames."""
        return steady_times_ns(self._interval_s, self.n_frames)

    @property
    def _chunk(self) -> int:
        """Frames that share a chunk."""
        return int(self._array.chunks[self._axes.index(self._movie)]) if self._movie in self._axes else 1

    def _read(self, first: int) -> NDArray[np.generic]:
        """(n, H, W) frames from `first` on."""
        frames = slice(first, min(first + self._step, self.n_frames))
        place = tuple(frames if axis == self._movie else self._fixed.get(axis, slice(None)) for axis in self._axes)
        try:
            block: NDArray[np.generic] = np.asarray(self._array[place])
        except Exception as error:  # codecs raise whatever they like
            raise unusable(
                self.path, f"frames {first} to {frames.stop - 1} cannot be decoded ({error})", "whole chunks",
                "Copy the recording again.",
            ) from error  # fmt: skip
        return block if self._movie in self._axes else block[None]

    def _whole_frames(self, stated: int) -> int:
        """Frames before the first whose chunk (or shard) was never written; the rest is noted as missing."""
        sizes = [int(size) for size in self._array.shards or self._array.chunks]
        along = self._axes.index(self._movie) if self._movie in self._axes else None
        spans = [self._span(number, size) for number, size in enumerate(sizes)]
        for block in range(1 if along is None else -(-stated // sizes[along])):
            here = [range(block, block + 1) if number == along else span for number, span in enumerate(spans)]
            if not all(self._is_stored(chunk) for chunk in product(*here)):
                whole = 0 if along is None else block * sizes[along]
                if not whole:
                    raise unusable(self.path, "an image without the chunks of its first frames", "all chunks",
                                   "Copy it again; was the acquisition stopped at once?")  # fmt: skip
                self.incomplete = f"not complete (of {stated} frames those from {whole} on were not all written)"
                return whole
        return stated

    def _is_stored(self, chunk: tuple[int, ...]) -> bool:
        key = str(self._array.metadata.encode_chunk_key(chunk))
        if isinstance(self._place, Path):
            return (self._place / key).is_file()
        self._keys = self._keys or frozenset(self._place.listed())  # a request for 1000 chunks, not for each
        return key in self._keys

    def _span(self, number: int, size: int) -> range:
        """Numbers of the chunks of `size` that a frame needs on that axis."""
        axis = self._axes[number]
        if axis in self._fixed:
            return range(self._fixed[axis] // size, self._fixed[axis] // size + 1)
        return range(-(-int(self._array.shape[number]) // size))


def _open(path: Place) -> Any:
    """A zarr group or array."""
    try:
        import zarr
    except ImportError as error:
        raise SourceError(f"{path}: to read OME-Zarr, the library zarr is needed; {install('formats')}") from error
    if isinstance(path, Address):
        return path.open_zarr()
    try:
        return zarr.open(str(path), mode="r")
    except Exception as error:  # the library raises whatever it likes
        raise unusable(path, f"not readable as zarr ({error})", "an OME-Zarr image", "Copy it again.") from error


def _multiscales(path: Place, node: Any, choice: Choice) -> tuple[Place, dict[str, Any]]:
    """The image that was chosen and what its metadata say; several images are a choice of `position`."""
    told = dict(node.attrs)
    told = told.get("ome", told)
    found = told.get("multiscales") if isinstance(told, dict) else None
    if isinstance(found, list) and found and isinstance(found[0], dict) and found[0].get("datasets"):
        if choice.position is not None:
            raise unusable(path, "one image", "several to choose a position from", "Leave out position.")
        return path, found[0]
    images: list[Value] = sorted(str(PurePosixPath(mark).parent) for mark in _image_marks(path))
    if not images:
        raise unusable(path, "zarr without the metadata 'multiscales'", "an OME-Zarr image",
                       "Name the folder of the image itself, or save it as OME-Zarr.")  # fmt: skip
    inner = path / str(choice.pick(path, "position", images))
    return _multiscales(inner, _open(inner), Choice())


def _image_marks(path: Place) -> list[str]:
    """Metadata files of the images within, down to a plate's fields (row/column/field)."""
    marks = [mark for depth in ("*", "*/*", "*/*/*") for name in (".zattrs", "zarr.json")
             for mark in names_below(path, f"{depth}/{name}")]  # fmt: skip
    return [mark for mark in marks if b'"multiscales"' in (path / mark).read_bytes()]


def _axes(path: Place, about: dict[str, Any], array: Any) -> list[str]:
    """time, channel, z, y, x as far as they are there; versions before 0.3 name none and have all five."""
    stated = about.get("axes") or list("tczyx")[-5:]
    names = [str(axis.get("name") if isinstance(axis, dict) else axis).lower() for axis in stated]
    ndim = len(getattr(array, "shape", ()))
    if len(names) != ndim or names[-2:] != ["y", "x"] or len(set(names)) != ndim:
        raise unusable(path, f"axes {', '.join(names)} of {ndim} dimensions", "t, c, z, y, x or a part of them",
                       "Save it as OME-Zarr.")  # fmt: skip
    return [_NAMES.get(name, name) for name in names]


def _fixed(path: Place, sizes: dict[str, int], movie: str, choice: Choice) -> dict[str, int]:
    """Place on every axis but the movie's and the image's own two."""
    for key in ("channel", "z"):
        if choice.wanted(key) is not None and key not in sizes:
            raise unusable(path, f"no axis '{key}'", f"what was asked for as `{key}`", f"Leave out {key}.")
    others = [axis for axis in sizes if axis not in (movie, "y", "x")]
    return {axis: int(choice.pick(path, axis, list(range(sizes[axis])))) for axis in others}


def _interval_s(about: dict[str, Any]) -> float | None:
    """Scale of the time axis in seconds; without a unit it is a placeholder of 1."""
    axes = about.get("axes", [])
    for number, axis in enumerate(axes):
        if isinstance(axis, dict) and axis.get("name") == "t" and axis.get("unit") in _SECONDS:
            for transform in about["datasets"][0].get("coordinateTransformations", []):
                scale = transform.get("scale", [])
                if len(scale) == len(axes) and isinstance(scale[number], int | float):
                    return float(scale[number]) * _SECONDS[axis["unit"]]
    return None
