"""Frames of an acquisition that another program runs, read from the NDTiff data set that it writes to disk."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, PrivateAttr

from rtdecode.core.actions import Action, Stop
from rtdecode.core.camera import Camera
from rtdecode.core.errors import EndOfStream, RecordingError, SourceError, SourceLost
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo, Roi
from rtdecode.core.yaml_files import StrictModel
from rtdecode.sources.choice import Choice, Value
from rtdecode.sources.follow_part import MoviePart
from rtdecode.sources.ndtiff_growth import GrowingDataset
from rtdecode.sources.ndtiff_index import Clock, Entry
from rtdecode.sources.pixels import PixelConverter

ResultT = TypeVar("ResultT")

POLL_S = 0.001  # between looks for new frames while none come; the disk cache answers in some 20 us
FIND_S = 0.02  # between looks whether the data set is there
LOOK_S = 0.1  # between looks whether a writer that is silent has finished


class FollowSource(StrictModel):
    """The NDTiff data set in `path` while Micro-Manager or pycromanager writes it; nothing is popped or set here.

    Example: `use: follow`, `path: D:/data/cell3_1`, `channel: GFP`. With a `*` in its last part
    (`D:/data/cell3_*`) it is the first data set of such a name that appears from now on. The folder need not be
    there yet. A frame's index is its place on `axis`: a place left out is a lost frame. Frames stay on disk until
    they are read, so none is ever lost here. The run ends when the writer closes the data set, or by a Stop, which
    ends the following only: the acquisition is not ours. A writer that dies leaves it waiting until a Stop.
    """

    path: Path
    channel: Value | None = None
    position: Value | None = None
    z: Value | None = None
    axis: str = "time"
    camera: Camera | None = None
    wait_s: Annotated[float, Field(gt=0)] = 240.0  # how long `open` waits for the first frame
    _known: frozenset[Path] | None = PrivateAttr(None)  # data sets that were there before, where `path` has a *
    _data: GrowingDataset | None = PrivateAttr(None)
    _part: MoviePart | None = PrivateAttr(None)
    _waiting: deque[tuple[int, Entry]] = PrivateAttr(default_factory=deque)
    _converter: PixelConverter | None = PrivateAttr(None)
    _shape: tuple[int, int] = PrivateAttr((0, 0))
    _clock: Clock | None = PrivateAttr(None)
    _made: int = PrivateAttr(0)
    _last: int = PrivateAttr(-1)  # index given last
    _started: bool = PrivateAttr(False)
    _over: str | None = PrivateAttr(None)  # why no more frames come
    _next_look_s: float = PrivateAttr(0.0)
    _next_end_look_s: float = PrivateAttr(0.0)

    @property
    def roi(self) -> Roi:
        """Of every frame; where it lies on the sensor the files do not say reliably."""
        self._need()
        return Roi(0, 0, self._shape[1], self._shape[0])

    @property
    def dtype(self) -> str:
        """8-bit cameras are widened."""
        return "uint16"

    @property
    def expected(self) -> int | None:
        """Up to the last time of a data set that its writer has closed; None before, nobody knows."""
        data = self._need()
        self._take(data)
        ended = self._over is not None or _readable(self.path, lambda: data.finished)
        return self._made if ended else None

    @property
    def made(self) -> int | None:
        """Frames on disk by the data set's own count; after a Stop those that were there. Known after `close`."""
        if self._data is not None and self._shape != (0, 0):
            self._take(self._data)
        return self._made

    @property
    def can_wait(self) -> bool:
        """The disk is the buffer: a frame read late is still there."""
        return True

    @property
    def has_hardware(self) -> bool:
        """The camera belongs to who runs the acquisition."""
        return False

    @property
    def waiting_for(self) -> str | None:
        """What the first frame is waited for, in words; None once it is there."""
        if self._waiting or self._shape != (0, 0):
            return None
        if self._data is None:
            numbered = [path.name for path in self.path.parent.glob(f"{self.path.name}_*")]
            other = f" (there is {max(numbered)}: acquisitions are numbered)" if numbered else ""
            return f"{self.path}: no such data set yet{other}; waiting for its acquisition to begin"
        return f"{self._data.folder}: {self._part.words if self._part else 'no frame yet'}; waiting"

    def status(self) -> dict[str, Any]:
        """For whoever watches: why no frame has come yet, or why no more will. Plain JSON."""
        return {"why": self.waiting_for or self._over or ""}

    def prepare(self) -> bool:
        """Look once whether the first frame is there; True: `open` will not wait. Raises SourceError."""
        if self._data is None:
            if time.monotonic() < self._next_look_s:
                return False
            self._next_look_s = time.monotonic() + FIND_S
            folder = self._find()
            if folder is None:
                return False
            self._next_look_s = 0.0
            self._data, self._part = GrowingDataset(folder), MoviePart(folder, self.axis, self._choice)
        if not self._waiting and self._shape == (0, 0):
            self._take(self._data)
        return bool(self._waiting) or self._shape != (0, 0)

    def open(self) -> None:
        """Find the data set and its first frame, waiting for at most `wait_s`; raises SourceError, RecordingError."""
        self._forget()
        until = time.monotonic() + self.wait_s
        while not self.prepare():
            if time.monotonic() > until:
                words = self.waiting_for
                self.close()
                raise SourceError(f"{words}; none came within {self.wait_s:g} s. Was the acquisition saved there?")
            time.sleep(POLL_S)
        first = self._waiting[0][1]
        self._shape = first.shape
        self._converter = PixelConverter(self.path, first.dtype, None, self.camera)

    def start(self) -> None:
        """Frames come from the data set's first on, however long it has been written."""
        self._need()
        self._started = True

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read. SourceLost: the folder can no longer be read. RecordingError: a second channel came."""
        data = self._need()
        if not self._started:
            return None
        while True:
            if not self._waiting:
                self._take(data)
            if not self._waiting:
                self._check_end(data)
                return None
            index, entry = self._waiting.popleft()
            if index > self._last:  # one that came too late was counted as lost when its successor came
                self._last = index
                return self._frame(data, index, entry, out)

    def apply(self, action: Action) -> None:
        """Stop: frames that are on disk by now can still be read, then it is over; the acquisition goes on."""
        data = self._need()
        if not isinstance(action, Stop):
            raise SourceError(f"{action}: the camera belongs to the program that runs the acquisition; set it there")
        if self._over is None:
            self._next_look_s = 0.0
            self._take(data)
            self._over = "stopped following; the acquisition itself goes on, its own program must stop it"

    def close(self) -> None:
        """Release the files; safe to call twice."""
        if self._data is not None:
            self._data.close()
        self._data, self._converter, self._shape = None, None, (0, 0)
        self._waiting.clear()

    @property
    def _choice(self) -> Choice:
        return Choice(self.channel, self.position, self.z)

    def _need(self) -> GrowingDataset:
        if self._data is None or self._shape == (0, 0):
            raise SourceError(f"{self.path}: not open (call open first; after close it is over)")
        return self._data

    def _forget(self) -> None:
        """As before the first look, but for the data sets that were there already."""
        if self._shape != (0, 0) or self._data is None:
            self.close()
            self._made, self._last = 0, -1
        self._started, self._over, self._clock = False, None, None

    def _find(self) -> Path | None:
        """The folder once a data set is in it."""
        if "*" not in self.path.name:
            return self.path if GrowingDataset(self.path).is_there else None
        folders = frozenset(path for path in self.path.parent.glob(self.path.name) if path.is_dir())
        if self._known is None:
            self._known = folders
        new = [path for path in sorted(folders - self._known) if GrowingDataset(path).is_there]
        return new[0] if new else None

    def _take(self, data: GrowingDataset) -> None:
        """Note what has been written since the last look, as far as it is of our part."""
        if self._over is not None or self._part is None or time.monotonic() < self._next_look_s:
            return
        part = self._part
        for entry in _readable(self.path, data.poll):
            index = part.index(entry)
            if index is not None:
                self._waiting.append((index, entry))
                self._made = max(self._made, index + 1)
        self._next_look_s = time.monotonic() + POLL_S

    def _check_end(self, data: GrowingDataset) -> None:
        if self._over is None and time.monotonic() >= self._next_end_look_s:
            self._next_end_look_s = time.monotonic() + LOOK_S
            if _readable(self.path, lambda: data.finished):
                self._over = f"its writer has closed the data set; all its {self._made} frames were read"
        if self._over is not None:
            raise EndOfStream(self._over)

    def _frame(self, data: GrowingDataset, index: int, entry: Entry, out: FrameArray) -> FrameInfo:
        converter = self._converter
        text = _readable(self.path, lambda: data.files.text(entry))
        if self._clock is None:
            self._clock = Clock.of(text)
        t_camera_ns = self._clock.ns(text)
        if entry.shape != self._shape or converter is None:
            return FrameInfo(index, t_camera_ns, time.monotonic_ns(), FrameFlag.WRONG_SIZE)
        pixels = _readable(self.path, lambda: data.files.pixels(entry))
        return FrameInfo(index, t_camera_ns, time.monotonic_ns(), converter.convert(pixels, out, index))


def _readable(path: Path, read: Callable[[], ResultT]) -> ResultT:
    """Whatever the disk answers; SourceLost where it is gone."""
    try:
        return read()
    except RecordingError:
        raise
    except OSError as error:
        raise SourceLost(
            f"{path}: can no longer be read ({error.strerror or error}); was it moved, or the disk taken away? "
            "What was read before is valid."
        ) from error
