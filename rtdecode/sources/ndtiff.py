"""A finished NDTiff data set as a movie; `ndtiff_growth` reads one that is still being written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rtdecode.sources.addresses import Place
from rtdecode.sources.choice import KEYS, Choice, Value, movie_axis, not_one
from rtdecode.sources.ndtiff_index import INDEX_NAME, Clock, Entry, FrameFiles, parse_entries
from rtdecode.sources.recording import Pixels, Recording, unusable

FULL_RESOLUTION = "Full resolution"  # folder of the images themselves where there is also a pyramid of them


class NdtiffRecording(Recording):
    """Frames of one channel, position and z in the order of `time`; a missing time is a frame that was lost.

    A data set that its writer did not finish is `incomplete`: its frames are whole, but not known to be all.
    """

    def __init__(self, folder: Place, choice: Choice) -> None:
        self.path = folder
        content = (folder / INDEX_NAME).read_bytes()
        entries, used = parse_entries(folder, content)
        self._files = FrameFiles(folder)
        self._frames = chosen_frames(folder, entries, choice)
        self._check(entries)
        self.incomplete = self._unfinished(entries[-1], len(content) - used)
        first = next(iter(self._frames.values()))
        self.n_frames, self.shape, self.dtype = len(self._frames), first.shape, first.dtype
        self._indices = sorted(self._frames)
        self._clock: Clock | None = None

    def frame(self, position: int) -> Pixels:
        """See Recording.frame."""
        return self._files.pixels(self._at(position))

    def index(self, position: int) -> int:
        """Its place on the time axis."""
        return self._indices[position]

    def time_ns(self, position: int) -> int:
        """From the text saved with each frame."""
        if self._clock is None:
            self._clock = Clock.of(self._files.text(self._at(0)))
        return self._clock.ns(self._files.text(self._at(position)))

    def times_ns(self) -> NDArray[np.int64] | None:
        """See `time_ns`; None where the frames have no times."""
        times = np.array([self.time_ns(position) for position in range(self.n_frames)], np.int64)
        return times if times.any() else None

    @property
    def expected(self) -> int:
        """Up to the last time that was saved."""
        return self._indices[-1] + 1

    def close(self) -> None:
        """See Recording.close."""
        self._files.close()

    def _at(self, position: int) -> Entry:
        return self._frames[self._indices[position]]

    def _check(self, entries: list[Entry]) -> None:
        """One size and type, and no frame beyond its file's end."""
        first = next(iter(self._frames.values()))
        for entry in self._frames.values():
            if (entry.shape, entry.dtype) != (first.shape, first.dtype):
                raise unusable(
                    self.path,
                    f"frame {entry.axes} is {entry.shape[0]} x {entry.shape[1]} {entry.dtype.name}",
                    f"{first.shape[0]} x {first.shape[1]} {first.dtype.name} as in the first frame",
                    "A movie has one size and type: choose its part with --first and --last.",
                )
        furthest = {entry.file: entry for entry in sorted(entries, key=lambda entry: entry.end)}
        for name, entry in furthest.items():
            if (self._files.bytes_at(name, entry.end - 1, 1) if entry.end else b"") == b"":
                raise self._files.cut(entry)

    def _unfinished(self, last: Entry, unread: int) -> str | None:
        """A finished writer cuts the index and the last file right behind the last frame."""
        if unread:
            return "not finished by its writer (its index has no proper end)"
        if self._files.size(last.file) > last.end + 1:
            return f"not finished by its writer ({last.file} still has the room kept for more frames)"
        return None


def chosen_frames(folder: Place, entries: list[Entry], choice: Choice) -> dict[int, Entry]:
    """Entries of the movie by their place on its axis; RecordingError lists what would have to be chosen."""
    if not entries:
        raise unusable(folder, "an NDTiff data set without a frame", "at least one", "Was it stopped at once?")
    there = axes_there(entries)
    movie = movie_axis({axis: len(values) for axis, values in there.items()}, choice)
    if movie not in there:
        movie = next((axis for axis, values in there.items() if len(values) > 1 and axis not in KEYS), movie)
    fixed = {axis: choice.pick(folder, axis, values) for axis, values in there.items() if axis != movie}
    for key in KEYS:
        if choice.wanted(key) is not None and key not in there:
            raise unusable(folder, f"no axis '{key}' ({', '.join(there)})", "what was asked for", f"Leave out {key}.")
    found = [entry for entry in entries if is_part(entry, fixed)]
    if not found:
        raise unusable(folder, f"no frame at {fixed}", "a combination that was saved", "Choose another one.")
    for entry in found:
        if not isinstance(entry.axes.get(movie, 0), int):
            raise not_one(folder, movie, there[movie], None)
    return _numbered(folder, found, movie)


def axes_there(entries: list[Entry]) -> dict[str, list[Value]]:
    """Every axis with its values in the order in which they came."""
    there: dict[str, dict[Value, None]] = {}
    for entry in entries:
        for axis, value in entry.axes.items():
            there.setdefault(axis, {})[value] = None
    return {axis: list(values) for axis, values in there.items()}


def is_part(entry: Entry, fixed: Mapping[str, Value]) -> bool:
    """Whether the entry lies at these values; an axis that it does not have does not exclude it."""
    return all(entry.axes.get(axis, value) == value for axis, value in fixed.items())


def _numbered(folder: Place, entries: list[Entry], movie: str) -> dict[int, Entry]:
    """By time; what was saved twice counts as it was saved last."""
    frames = {int(entry.axes.get(movie, 0)): entry for entry in entries}
    if min(frames) < 0:
        raise unusable(folder, f"{movie} {min(frames)}", "times from 0", "Its numbers are not those of frames.")
    return frames
