"""The ring: frames in shared memory from one writer that never waits to up to eight readers that check."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import RingError, RingLapped
from rtdecode.core.frames import Frame, FrameArray, FrameInfo
from rtdecode.streams.files import locked
from rtdecode.streams.memory import SharedMemory, remove_memory
from rtdecode.streams.ring_layout import Header, Layout, slots_for

__all__ = ["FinishedInfo", "RingReader", "RingWriter", "slots_for"]

_NOTHING = np.empty((0, 0), np.uint16)
_POLL_S = 0.0003


@dataclass(frozen=True, slots=True)
class FinishedInfo:
    """How the writer ended: frames the camera was asked for (None: nobody knows), frames received, reason."""

    expected: int | None
    received: int
    reason: str


class RingWriter:
    """The only writer. A frame is filled into `slot()` in place and becomes visible with `publish`."""

    def __init__(self, memory: SharedMemory, header: Header) -> None:
        """Use `create`."""
        self._memory = memory
        self._header = header
        self.path = memory.path

    @classmethod
    def create(
        cls, path: Path, shape: tuple[int, int], dtype: str, slots: int, readers: tuple[str, ...] = ()
    ) -> RingWriter:
        """A new ring of `slots` frames (H, W) of "uint16" or "float32"; RingError when there is no room.

        `readers` are expected: their cursor stands at the first frame from now on, so that a replay
        (`wait_for_readers`) cannot run away before they have opened.
        """
        layout = Layout.of(shape, dtype, slots)
        memory = SharedMemory.create(path, layout.size)
        header = Header.write(memory.view, layout)
        for name in readers:
            header.register(name)
        header.seal()
        return cls(memory, header)

    def slot(self) -> FrameArray:
        """(H, W) view to fill with the next frame; the oldest frame in the ring is gone from here on."""
        return self._header.open_slot()

    def publish(self, info: FrameInfo) -> None:
        """Make what was filled into `slot()` visible. RingError when the index does not grow."""
        if info.index <= self.last_index:
            raise RingError(f"frame index {info.index} came after {self.last_index}; the camera's count must grow")
        self._header.publish(info)

    def wait_for_readers(self, timeout_s: float) -> bool:
        """Replay: wait until the next slot holds nothing that a registered reader has not read. False: not yet."""
        deadline = time.monotonic() + timeout_s
        while self._header.is_full():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def finish(self, expected: int | None, reason: str) -> None:
        """No frame comes any more; `expected` is what the camera was asked for, None where nobody knows."""
        self._header.finish(expected, reason)

    @property
    def received(self) -> int:
        """Frames published so far."""
        return self._header.received

    @property
    def first_index(self) -> int:
        """Camera index of the first published frame, -1 before it."""
        return self._header.first_index

    @property
    def last_index(self) -> int:
        """Camera index of the newest published frame, -1 before the first."""
        return self._header.last_index

    @property
    def lost_before(self) -> int:
        """Frames that the camera counted and that never came here, up to the newest one."""
        return self.last_index + 1 - self.received

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of the registered readers."""
        return self._header.names()

    @property
    def fill(self) -> float:
        """How full the ring is for its slowest registered reader, 0 to 1; 0 without readers."""
        return self._header.fill()

    def close(self, remove: bool = False) -> None:
        """Let go of the memory; with `remove` the file goes too. Safe to call twice."""
        self._header.release()
        self._memory.close()
        if remove:
            remove_memory(self.path)


class RingReader:
    """One reader with its own cursor. With a name it is registered: a replay waits for it, `fill` counts it.

    A name belongs to one reader at a time; opening it again (after a crash) goes on at its old cursor.
    Without a name (viewer) the writer knows nothing of it; it starts at the oldest frame still there.
    """

    def __init__(self, memory: SharedMemory, header: Header, entry: int | None) -> None:
        """Use `open`."""
        self._memory = memory
        self._header = header
        self._entry = entry
        self._at = header.cursor(entry) if entry is not None else header.oldest_safe()
        self._last_read_index = -1
        self.path = memory.path

    @classmethod
    def open(cls, path: Path, name: str | None = None) -> RingReader:
        """Open a ring; RingError when it is missing, foreign, cut short, or eight readers have it already."""
        memory = SharedMemory.open(path)
        try:
            header = Header.read(memory.view, path)
            with locked(memory.fileno()):
                entry = None if name is None else header.register(name)
        except RingError:
            memory.close()
            raise
        return cls(memory, header, entry)

    def read(self, out: FrameArray | None = None) -> Frame | None:
        """The next frame as a private copy (into `out` (H, W) if given); None: none is here yet.

        Raises RingLapped once when frames were overwritten before they were read; the next call goes on
        with the oldest safe one. A WRONG_SIZE frame has pixels of shape (0, 0).
        """
        if self._at >= self._header.received:
            return None
        frame = self._header.copy(self._at, out)
        if frame is None:
            raise self._skip()
        self._move_to(self._at + 1)
        self._last_read_index = frame.index
        return frame

    def seek(self, frame_index: int) -> bool:
        """Go to the frame with this camera index; False (cursor at the oldest safe frame) when it is not there."""
        position = self._header.find(frame_index)
        found = position is not None and position >= self._header.oldest_safe()
        self._move_to(position if found and position is not None else self._header.oldest_safe())
        return found

    def published_indices(self, after_index: int, before_index: int) -> NDArray[np.int64] | None:
        """Camera indices (N,) of all frames published between these two (both excluded); None: forgotten.

        The ring remembers indices far longer than frames. What is missing here never reached the ring.
        """
        return self._header.published_between(after_index, before_index)

    def peek_newest(self) -> Frame | None:
        """The newest frame as a private copy without moving the cursor; None when there is none (or just now)."""
        for _ in range(3):
            newest = self._header.received - 1
            if newest < 0:
                return None
            if (frame := self._header.copy(newest, None)) is not None:
                return frame
        return None

    @property
    def finished(self) -> FinishedInfo | None:
        """How the writer ended, None while it has not said so."""
        ended = self._header.ended()
        return None if ended is None else FinishedInfo(ended[0], self._header.received, ended[1])

    @property
    def drained(self) -> bool:
        """True when the writer has finished and every frame has been read."""
        return self._header.ended() is not None and self._at >= self._header.received

    def writer_is_alive(self) -> bool:
        """Whether the process that made the ring still runs."""
        return self._header.owner_is_alive()

    @property
    def waiting(self) -> int:
        """Frames published and not yet read by this reader (lapped ones included)."""
        return self._header.received - self._at

    @property
    def fill(self) -> float:
        """`waiting` as a fraction of the ring, 0 to 1."""
        return min(1.0, self.waiting / self._header.layout.usable)

    @property
    def slowest_fill(self) -> float:
        """How full the ring is for its slowest registered reader, 0 to 1: for a reader that only watches."""
        return self._header.fill()

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of a frame."""
        return self._header.layout.shape

    @property
    def dtype(self) -> str:
        """ "uint16" or "float32"."""
        return self._header.layout.dtype

    @property
    def slots(self) -> int:
        """Frames that the ring holds; one of them may be in the writer's hands."""
        return self._header.layout.slots

    @property
    def received(self) -> int:
        """Frames published so far."""
        return self._header.received

    @property
    def first_index(self) -> int:
        """Camera index of the first published frame, -1 before it."""
        return self._header.first_index

    @property
    def last_index(self) -> int:
        """Camera index of the newest published frame, -1 before the first."""
        return self._header.last_index

    def close(self, unregister: bool = True) -> None:
        """Let go; the writer no longer waits for this reader. Safe to call twice."""
        if self._entry is not None and unregister:
            with locked(self._memory.fileno()):
                self._header.unregister(self._entry)
        self._entry = None
        self._header.release()
        self._memory.close()

    def _move_to(self, position: int) -> None:
        self._at = position
        if self._entry is not None:
            self._header.set_cursor(self._entry, position)

    def _skip(self) -> RingLapped:
        """Go on a little after the oldest frame: a reader that is too slow gets few long gaps, not many short."""
        start, stop = self._at, self._header.oldest_safe() + self._header.layout.slots // 8
        stop = max(start + 1, min(stop, self._header.received))
        indices = self._header.indices_of(start, stop)
        self._move_to(stop)
        return self._lapped(stop - start, indices)

    def _lapped(self, count: int, indices: NDArray[np.int64] | None) -> RingLapped:
        first, last = (
            (self._last_read_index + 1, self._header.last_index)
            if indices is None
            else (int(indices[0]), int(indices[-1]))
        )
        known = None if indices is None else tuple(indices.tolist())
        message = f"{count} frames ({first} to {last}) were overwritten before they were read; they are lost"
        return RingLapped(message, count, first, last, known)
