"""Nikon's `.nd2` as movies, through the library nd2."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import SourceError
from rtdecode.core.extras import install
from rtdecode.sources.addresses import Place
from rtdecode.sources.choice import Choice, Value, movie_axis
from rtdecode.sources.recording import Pixels, Recording, unusable

ND2_MAGIC = (b"\xda\xce\xbe\x0a", b"\x00\x00\x00\x0cjP")  # today's files, and those of before 2010 (JPEG 2000)
_LOOPS = {"T": "time", "P": "position", "Z": "z"}
_EMPTY = "Its acquisition was aborted, or the copy is damaged: replay the frames before with --last."


class Nd2Recording(Recording):
    """Frames along T (or Z where there is only one T) of one channel, position and z.

    The library gives zeros for a frame whose pixels the file does not have: such a frame is refused.
    """

    def __init__(self, path: Path, choice: Choice) -> None:
        self.path = path
        self._file = _open(path)
        self._times: NDArray[np.int64] | None = None
        try:
            self._plan(choice)
        except BaseException:
            self._file.close()
            raise

    def frame(self, position: int) -> Pixels:
        """See Recording.frame."""
        sequence = self._sequence[position]
        try:
            pixels: Pixels = np.asarray(self._file.read_frame(sequence))
        except Exception as error:  # codecs raise whatever they like
            raise unusable(self.path, f"frame {position} cannot be read ({error})", "pixels", _EMPTY) from error
        pixels = pixels[self._channel] if self._n_channels > 1 else pixels
        if not pixels.any():
            raise unusable(self.path, f"frame {position} has no pixels", "every frame of the acquisition", _EMPTY)
        return pixels.reshape(self.shape)

    def time_ns(self, position: int) -> int:
        """See `times_ns`; they are read at once, when the first is asked for."""
        if self._times is None:
            times = self.times_ns()
            self._times = np.zeros(self.n_frames, np.int64) if times is None else times
        return int(self._times[position])

    def times_ns(self) -> NDArray[np.int64] | None:
        """The time that NIS-Elements wrote for each frame, None where any is missing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns where the file has none
            rows = self._file.events(orient="records")
        seconds = {int(row["Index"]): row.get("Time [s]") for row in rows if row.get("Index") is not None}
        found = [seconds.get(sequence) for sequence in self._sequence]
        if any(not isinstance(second, int | float) for second in found):
            return None
        times = np.round(np.array(found, np.float64) * 1e9).astype(np.int64)
        return times if times.any() else None

    def close(self) -> None:
        """See Recording.close."""
        self._file.close()

    def _plan(self, choice: Choice) -> None:
        """Which of the file's frames are the movie."""
        try:
            sizes = dict(self._file.sizes)
            loops = [dict(place) for place in self._file.loop_indices] or [{}]
            stored = int(self._file.attributes.sequenceCount)
        except Exception as error:
            raise _damaged(self.path, error) from error
        if "S" in sizes:
            raise unusable(self.path, "a colour image", "one grey value for each pixel", "Save one grey channel.")
        self._n_channels = sizes.get("C", 1)
        channels = self._channel_names()
        self._channel = channels.index(choice.pick(self.path, "channel", channels))
        planned = _sequence(self.path, loops, choice)
        self._sequence = [number for number in planned if number < stored]
        if len(self._sequence) < len(planned):
            self.incomplete = f"not complete (of {len(planned)} frames {len(self._sequence)} were acquired)"
        self.n_frames, self.shape = len(self._sequence), (sizes["Y"], sizes["X"])
        self.dtype = np.dtype(self._file.dtype)
        if not self._sequence or 0 in self.shape:
            raise unusable(self.path, "no frame", "at least one", "Was the acquisition stopped at once?")

    def _channel_names(self) -> list[Value]:
        """Their names, or their numbers where the file's description of them cannot be read."""
        try:
            names = [str(channel.channel.name) for channel in self._file.metadata.channels or []]
        except Exception:  # of no weight for the pixels, and many programs write their own
            names = []
        return list(names if len(set(names)) == self._n_channels else range(self._n_channels))


def _sequence(path: Place, loops: list[dict[str, int]], choice: Choice) -> list[int]:
    """Numbers in the file of the movie's frames in order, out of the (T, P, Z, ...) of each frame."""
    there = {axis: sorted({place.get(axis, 0) for place in loops}) for axis in {*_LOOPS, *loops[0]} - {"C"}}
    movie = movie_axis({name: len(there[axis]) for axis, name in _LOOPS.items()}, choice)
    along = next(axis for axis, name in _LOOPS.items() if name == movie)
    fixed = {axis: choice.pick(path, _LOOPS.get(axis, axis), list(values)) for axis, values in there.items()
             if axis != along}  # fmt: skip
    part = [(place.get(along, 0), number) for number, place in enumerate(loops)
            if all(place.get(axis, 0) == value for axis, value in fixed.items())]  # fmt: skip
    return [number for _, number in sorted(part)]


def _open(path: Path) -> Any:
    try:
        import nd2
    except ImportError as error:
        raise SourceError(f"{path}: to read .nd2, the library nd2 is needed; {install('formats')}") from error
    try:
        return nd2.ND2File(str(path))
    except Exception as error:  # a damaged file may raise anything
        raise _damaged(path, error) from error


def _damaged(path: Place, error: Exception) -> Exception:
    return unusable(path, f"truncated or damaged ({error})", "an .nd2 that is complete", "Copy it again.")
