"""Which frames of a growing data set are the movie: those of one channel, position and z, numbered along one axis."""

from __future__ import annotations

from pathlib import Path

from rtdecode.core.errors import RecordingError
from rtdecode.sources.choice import KEYS, Choice, Value, not_one
from rtdecode.sources.ndtiff_index import Entry
from rtdecode.sources.recording import unusable


class MoviePart:
    """What comes is not known beforehand: the first frame says which axes there are; a second value on one that
    was not chosen raises RecordingError with the key that chooses."""

    def __init__(self, folder: Path, movie: str, choice: Choice) -> None:
        self._folder, self._movie, self._choice = folder, movie, choice
        self._fixed: dict[str, Value] | None = None
        self._others: dict[str, Value] = {}  # values seen on chosen axes that are not ours

    @property
    def words(self) -> str:
        """What came so far although none of it is of this part."""
        seen = ", ".join(f"{axis} {value}" for axis, value in self._others.items())
        return f"frames of {seen} only, none of those chosen" if seen else "no frame yet"

    def index(self, entry: Entry) -> int | None:
        """The frame's number from 0, None for a frame of another part."""
        if self._fixed is None:
            self._check_axes(entry)
            self._fixed = {axis: value for axis, value in entry.axes.items() if self._is_free(axis)}
        for axis, value in entry.axes.items():
            if axis == self._movie:
                continue
            if not self._is_free(axis):
                if not self._is_chosen(axis, value):
                    self._others[axis] = value
                    return None
            elif self._fixed.setdefault(axis, value) != value:
                raise not_one(self._folder, axis, [self._fixed[axis], value], None)
        return self._number(entry)

    def _is_free(self, axis: str) -> bool:
        return axis != self._movie and self._choice.wanted(axis) is None

    def _is_chosen(self, axis: str, value: Value) -> bool:
        """Only by its name: which name will be the n-th nobody knows yet."""
        wanted = self._choice.wanted(axis)
        if isinstance(value, str) and isinstance(wanted, int) and str(wanted) != value:
            raise not_one(self._folder, axis, [value], wanted)
        return str(wanted) == str(value)

    def _check_axes(self, entry: Entry) -> None:
        if self._movie not in entry.axes:
            raise self._no_axis(self._movie, entry, "`axis` names the one along which the frames follow each other.")
        for key in KEYS:
            if self._choice.wanted(key) is not None and key not in entry.axes and key != self._movie:
                raise self._no_axis(key, entry, f"Leave out `{key}`.")

    def _no_axis(self, axis: str, entry: Entry, advice: str) -> RecordingError:
        there = ", ".join(entry.axes) or "none"
        return unusable(self._folder, f"frames with the axes {there}", f"the axis '{axis}'", advice)

    def _number(self, entry: Entry) -> int:
        place = entry.axes.get(self._movie)
        if not isinstance(place, int) or place < 0:
            raise unusable(self._folder, f"a frame at {self._movie} {place!r}", "whole numbers from 0",
                           "`axis` names the axis along which the frames follow each other.")  # fmt: skip
        return place
