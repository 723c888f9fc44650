"""The bytes of a ring: header, reader cursors, history of indices, slots; and the order of their stores.

Slots are a seqlock. The writer stores -(n + 1) into a slot's sequence word, fills it, then stores n + 1,
and only then counts frame n as received. A reader copies between two looks at the word and believes the copy
only when both said n + 1. Assumptions: an aligned 8-byte store is whole on x86-64 and ARM64 (numpy writes one
int64 item with one move); x86-64 keeps the order of stores and of loads; for ARM64 an uncontended lock between
the steps is the barrier (60 ns), since Python has no other. Measured on x86-64 only.
"""

from __future__ import annotations

import mmap
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import RingError
from rtdecode.core.frames import FRAME_DTYPES, Frame, FrameArray, FrameFlag, FrameInfo
from rtdecode.streams.processes import is_alive, my_identity

MAGIC = int.from_bytes(b"RTDRING1", "little")
READERS = 8
_HEADER_BYTES = 4096
_HISTORY = 65536  # camera indices remembered: 11 minutes at 100 fps, half a megabyte
_HISTORY_MARGIN = 1024  # what the writer may add while a reader looks back
_SLOT_WORDS = 8  # sequence, index, camera time, arrival time, flags; a cache line
_NAME_BYTES = 40
_REASON_BYTES = 1024

# Words (int64) of the header. Each is written by one side only, save the reader table (under the file's lock).
_MAGIC, _SIZE, _HEIGHT, _WIDTH, _DTYPE, _SLOTS, _OWNER, _OWNER_BORN = range(8)
_RECEIVED, _FIRST, _LAST, _FINISHED, _EXPECTED, _REASON_LENGTH, _CHECK = range(8, 15)
_TABLE = 64  # word at which the reader table starts: used, cursor, then 5 words of name, 1 spare
_ENTRY_WORDS = 8
_REASON = 1024  # byte at which the reason's text starts


def slots_for(
    seconds: float, fps: float, shape: tuple[int, int], dtype: str, max_mb: float = 1024.0, at_least: int = 8
) -> int:
    """Slots for `seconds` at `fps` frames/s, never more than `max_mb` (1e6 bytes), nor fewer than `at_least`."""
    stride = Layout.of(shape, dtype, at_least).stride
    return max(at_least, min(int(np.ceil(seconds * fps)) + 1, int(max_mb * 1e6 // stride)))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies, from the shape (H, W), element type and number of slots."""

    shape: tuple[int, int]
    dtype: str
    slots: int

    @classmethod
    def of(cls, shape: tuple[int, int], dtype: str, slots: int) -> Layout:
        """Checked; RingError for sizes that make no ring."""
        if dtype not in FRAME_DTYPES:
            raise RingError(f"a ring holds frames of {' or '.join(FRAME_DTYPES)}, not {dtype!r}")
        if min(shape) < 1 or max(shape) > 65536 or not 2 <= slots <= 1 << 32:
            raise RingError(f"no ring of {slots} slots of {shape[0]} x {shape[1]} px; at least 2 slots of 1 x 1")
        return cls((int(shape[0]), int(shape[1])), dtype, int(slots))

    @property
    def stride(self) -> int:
        """Bytes from slot to slot: its words and pixels, rounded up to whole cache lines."""
        pixels = self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize
        return _SLOT_WORDS * 8 + -(-pixels // 64) * 64

    @property
    def slots_start(self) -> int:
        """Byte of the first slot."""
        return _HEADER_BYTES + 8 * _HISTORY

    @property
    def size(self) -> int:
        """Bytes of the whole ring."""
        return self.slots_start + self.slots * self.stride

    @property
    def usable(self) -> int:
        """Frames that a reader may be behind; one slot is the writer's."""
        return self.slots - 1


class Header:
    """A mapped ring, typed: every load and store of it happens here."""

    def __init__(self, view: mmap.mmap, layout: Layout) -> None:
        """Use `write` (writer) or `read` (readers)."""
        self.layout = layout
        self._words = np.frombuffer(view, np.int64, _HEADER_BYTES // 8)
        self._bytes = np.frombuffer(view, np.uint8, _HEADER_BYTES)
        self._history = np.frombuffer(view, np.int64, _HISTORY, _HEADER_BYTES)
        self._slot_words, self._pixels = _slot_arrays(view, layout)
        self._barrier = threading.Lock()
        self._open_slot = -1

    @classmethod
    def write(cls, view: mmap.mmap, layout: Layout) -> Header:
        """Fill in all but the magic word of a new ring; `seal` makes it a ring."""
        header = cls(view, layout)
        header._words[_SIZE : _OWNER_BORN + 1] = [
            layout.size, *layout.shape, FRAME_DTYPES.index(layout.dtype), layout.slots,
            *map(int, my_identity()),
        ]  # fmt: skip
        header._words[_CHECK] = zlib.crc32(header._words[_SIZE : _OWNER_BORN + 1].tobytes())
        header._words[_RECEIVED], header._words[_FIRST], header._words[_LAST] = 0, -1, -1
        return header

    @classmethod
    def read(cls, view: mmap.mmap, path: Path) -> Header:
        """An existing ring; RingError when it is not one or was cut short."""
        if len(view) < _HEADER_BYTES or np.frombuffer(view, np.int64, 1)[0] != MAGIC:
            raise RingError(f"{path}: not a ring of this version of rtdecode, or not yet ready")
        words = np.frombuffer(view, np.int64, _CHECK + 1)
        if words[_CHECK] != zlib.crc32(words[_SIZE : _OWNER_BORN + 1].tobytes()):
            raise RingError(f"{path}: the ring's header is damaged")
        size, height, width, dtype, slots = words[_SIZE : _SLOTS + 1].tolist()
        if size != len(view):
            raise RingError(f"{path}: cut short: has {len(view)} bytes, its header says {size}")
        return cls(view, Layout.of((height, width), FRAME_DTYPES[dtype], slots))

    def seal(self) -> None:
        """Last step of making a ring: now readers accept it."""
        self._fence()
        self._words[_MAGIC] = MAGIC

    def _fence(self) -> None:
        """Stores and loads before stay before (see the top of this file)."""
        with self._barrier:
            pass

    # writer

    def open_slot(self) -> FrameArray:
        """(H, W) pixels of the slot for the next frame, marked as being written."""
        position = self.received
        slot = position % self.layout.slots
        if self._open_slot != position:
            self._slot_words[slot, 0] = -(position + 1)
            self._fence()
            self._open_slot = position
        pixels: FrameArray = self._pixels[slot]
        return pixels

    def publish(self, info: FrameInfo) -> None:
        """Make the open slot frame number `received`."""
        self.open_slot()
        position = self.received
        words = self._slot_words[position % self.layout.slots]
        words[1:5] = (info.index, info.t_camera_ns, info.t_arrival_ns, info.flags)
        self._history[position % _HISTORY] = info.index
        self._fence()
        words[0] = position + 1
        self._words[_LAST] = info.index
        if position == 0:
            self._words[_FIRST] = info.index
        self._fence()
        self._words[_RECEIVED] = position + 1

    def is_full(self) -> bool:
        """Whether the next frame would overwrite one that a registered reader has not read."""
        slowest = self._slowest()
        return slowest is not None and self.received - slowest > self.layout.usable

    def fill(self) -> float:
        """Of the slowest registered reader, 0 to 1."""
        slowest = self._slowest()
        return 0.0 if slowest is None else min(1.0, (self.received - slowest) / self.layout.usable)

    def _slowest(self) -> int | None:
        table = self._table()
        used = table[:, 0] != 0
        return int(table[used, 1].min()) if used.any() else None

    def finish(self, expected: int | None, reason: str) -> None:
        """Say that no frame comes any more."""
        text = reason.encode()[:_REASON_BYTES].decode(errors="ignore").encode()
        self._bytes[_REASON : _REASON + len(text)] = np.frombuffer(text, np.uint8)
        self._words[_REASON_LENGTH] = len(text)
        self._words[_EXPECTED] = -1 if expected is None else expected
        self._fence()
        self._words[_FINISHED] = 1

    # both

    @property
    def received(self) -> int:
        """Frames published."""
        return int(self._words[_RECEIVED])

    @property
    def first_index(self) -> int:
        """Camera index of the first frame, -1: none yet."""
        return int(self._words[_FIRST])

    @property
    def last_index(self) -> int:
        """Camera index of the newest frame, -1: none yet."""
        return int(self._words[_LAST])

    def ended(self) -> tuple[int | None, str] | None:
        """(expected, reason) once the writer has finished."""
        if not self._words[_FINISHED]:
            return None
        self._fence()
        text = self._bytes[_REASON : _REASON + int(self._words[_REASON_LENGTH])].tobytes()
        expected = int(self._words[_EXPECTED])
        return (None if expected < 0 else expected), text.decode(errors="replace")

    def owner_is_alive(self) -> bool:
        """Whether the writer's process runs (the same one, not a later one with its number)."""
        return is_alive(int(self._words[_OWNER]), float(self._words[_OWNER_BORN]))

    def release(self) -> None:
        """Let go of the mapping so that it can close; the header's facts stay readable as they were last."""
        self._words, self._bytes = self._words.copy(), self._bytes.copy()
        self._history = np.empty(0, np.int64)
        self._slot_words, self._pixels = np.empty((0, _SLOT_WORDS), np.int64), np.empty((0, 0, 0), np.uint16)

    # readers

    def copy(self, position: int, out: FrameArray | None) -> Frame | None:
        """Frame number `position` as a private copy, None when it was overwritten before or while copied."""
        slot = position % self.layout.slots
        words = self._slot_words[slot]
        if words[0] != position + 1:
            return None
        self._fence()
        _, index, t_camera_ns, t_arrival_ns, flags = words[:5].tolist()
        pixels = self._copy_pixels(slot, flags, out)
        self._fence()
        if words[0] != position + 1:
            return None
        return Frame(FrameInfo(index, t_camera_ns, t_arrival_ns, flags), pixels)

    def _copy_pixels(self, slot: int, flags: int, out: FrameArray | None) -> FrameArray:
        if flags & FrameFlag.WRONG_SIZE:
            return np.empty((0, 0), self._pixels.dtype)
        if out is None:
            out = np.empty_like(self._pixels[slot])
        np.copyto(out, self._pixels[slot], casting="no")
        return out

    def oldest_safe(self) -> int:
        """Number of the oldest frame that the writer's next frame does not overwrite."""
        return max(0, self.received - self.layout.usable)

    def find(self, frame_index: int) -> int | None:
        """Number of the frame with this camera index, None when it is not among those remembered."""
        start = max(0, self.received - _HISTORY + _HISTORY_MARGIN)
        indices = self.indices_of(start, self.received)
        if indices is None:
            return None
        at = int(np.searchsorted(indices, frame_index))
        return start + at if at < len(indices) and indices[at] == frame_index else None

    def indices_of(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """Camera indices of the frames numbered start to stop - 1, None when some are forgotten."""
        if stop <= start:
            return np.empty(0, np.int64)
        indices = self._history[np.arange(start, stop) % _HISTORY]
        self._fence()
        return indices if start > self.received - _HISTORY else None

    def published_between(self, after_index: int, before_index: int) -> NDArray[np.int64] | None:
        """Camera indices in the open interval, None when the ring has forgotten some of them."""
        start = max(0, self.received - _HISTORY + _HISTORY_MARGIN)
        indices = self.indices_of(start, self.received)
        if indices is None or (start > 0 and indices[0] > after_index + 1):
            return None
        return indices[(indices > after_index) & (indices < before_index)]

    def _table(self) -> NDArray[np.int64]:
        """(8, 8) int64: used, cursor, name (5 words), spare."""
        return self._words[_TABLE : _TABLE + READERS * _ENTRY_WORDS].reshape(READERS, _ENTRY_WORDS)

    def names(self) -> tuple[str, ...]:
        """Of the registered readers."""
        table = self._table()
        return tuple(table[i, 2:7].tobytes().rstrip(b"\0").decode() for i in np.flatnonzero(table[:, 0]))

    def register(self, name: str) -> int:
        """Entry of `name` in the reader table, made where there is none; call under the file's lock."""
        wanted = _name_words(name)
        table = self._table()
        for entry in range(READERS):
            if table[entry, 0] and np.array_equal(table[entry, 2:7], wanted):
                return entry
        free = np.flatnonzero(table[:, 0] == 0)
        if not len(free):
            raise RingError(f"the ring has {READERS} readers already, no room for {name!r}")
        table[free[0], 1:7] = [self.oldest_safe(), *wanted]
        self._fence()
        table[free[0], 0] = 1
        return int(free[0])

    def unregister(self, entry: int) -> None:
        """Free the entry."""
        self._table()[entry, 0] = 0

    def cursor(self, entry: int) -> int:
        """Number of the frame that the reader reads next."""
        return int(self._table()[entry, 1])

    def set_cursor(self, entry: int, position: int) -> None:
        """Tell the writer how far the reader is; after the frame was copied."""
        self._words[_TABLE + entry * _ENTRY_WORDS + 1] = position


def _slot_arrays(view: mmap.mmap, layout: Layout) -> tuple[NDArray[np.int64], FrameArray]:
    """(slots, 8) int64 words and (slots, H, W) pixels, both strided over the slots."""
    height, width = layout.shape
    dtype = np.dtype(layout.dtype)
    words = np.ndarray((layout.slots, _SLOT_WORDS), np.int64, view, layout.slots_start, (layout.stride, 8))
    pixels: FrameArray = np.ndarray(
        (layout.slots, height, width),
        dtype,
        view,
        layout.slots_start + _SLOT_WORDS * 8,
        (layout.stride, width * dtype.itemsize, dtype.itemsize),
    )
    return words, pixels


def _name_words(name: str) -> list[int]:
    data = name.encode()
    if not data or len(data) > _NAME_BYTES:
        raise RingError(f"a ring reader's name has 1 to {_NAME_BYTES} bytes, not {name!r}")
    return [int(word) for word in np.frombuffer(data.ljust(_NAME_BYTES, b"\0"), np.int64)]
