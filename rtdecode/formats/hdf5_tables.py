"""HDF5 files written piece by piece and whole or not at all, and opened with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from rtdecode.core.errors import FileFormatError

GROWTH_ROWS = 1 << 16  # of one chunk on disk


@contextmanager
def written(path: Path, **options: Any) -> Iterator[h5py.File]:
    """A new file that takes its name when the block has ended well. Raises FileFormatError."""
    draft = path.with_name(path.name + ".part")
    try:
        with h5py.File(draft, "w", **options) as file:
            yield file
        draft.replace(path)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def opened(path: Path, what: str) -> Iterator[h5py.File]:
    """An existing file; FileFormatError where it is none, `what` is not in it, or it is damaged further in."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read as HDF5: {error}") from error
    with file:
        if what not in file:
            held = ", ".join(sorted(file)[:8]) or "nothing"
            raise FileFormatError(f"{path}: expected '{what}' in it, found {held}")
        try:
            yield file
        except (OSError, RuntimeError) as error:  # h5py has both for a block that is cut off or does not unpack
            raise FileFormatError(f"{path}: is damaged, or cut short: {error}") from error


def check_columns(path: Path, place: h5py.Group, names: Iterable[str], *, flat: bool) -> None:
    """FileFormatError where one of the data sets holds no numbers, or another count of rows than the first.

    `flat`: all numbers of a data set are rows, however it is shaped; else its first axis counts them.
    """
    count: int | None = None
    for name in names:
        data = place[name]
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "biuf" or data.ndim not in (1, 2):
            raise FileFormatError(f"{path}: '{place.name}/{name}' holds no table of numbers")
        rows = data.size if flat else data.shape[0]
        count = rows if count is None else count
        if rows != count:
            raise FileFormatError(f"{path}: '{place.name}/{name}' has {rows} rows, others {count}")


class Column:
    """A data set that grows along one axis."""

    def __init__(self, place: h5py.Group, name: str, dtype: DTypeLike, shape: tuple[int, ...] = (0,)) -> None:
        """`shape` with 0 where it grows: (0,), (0, 3) or (1, 0)."""
        self.axis = shape.index(0)
        most = tuple(None if k == self.axis else side for k, side in enumerate(shape))
        chunk = tuple(GROWTH_ROWS if k == self.axis else side for k, side in enumerate(shape))
        self.data = place.create_dataset(name, shape, dtype, maxshape=most, chunks=chunk)

    def add(self, values: NDArray[Any]) -> None:
        """Behind what is there; shaped as the data set, or (N,) where it has one other side of 1."""
        rows = len(values) if values.ndim == 1 else values.shape[self.axis]
        start = self.data.shape[self.axis]
        self.data.resize(start + rows, self.axis)
        if values.ndim == 1 and self.data.ndim == 2:
            values = np.expand_dims(values, 1 - self.axis)
        if self.axis == 0:
            self.data[start:] = values
        else:
            self.data[:, start:] = values
