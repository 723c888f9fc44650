"""The one series that a stream source takes: which events are its frames, which are dropped, and when it is over."""

from __future__ import annotations

import numpy as np

from rtdecode.core.errors import EndOfStream, SourceError, SourceLost
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo, Roi
from rtdecode.streams.wire import End, Image, Message, Pixels, Start

MAX_JUMP = 1_000_000
"""An image number further ahead is a fault of the sender, not a loss: each lost frame costs a record on disk."""


class Series:
    """Known from a start, or from a first image where its start was missed or does not say enough."""

    def __init__(self, start: Start, image: Image | None = None) -> None:
        """Raises SourceError where the frames of this series cannot be taken."""
        problem = start.problem or (image.problem if image is not None else None)
        if problem is not None:
            raise SourceError(f"the sender's frames cannot be taken: {problem}")
        pixels = image.pixels if image is not None else None
        if pixels is None and (start.shape is None or start.dtype is None):
            raise SourceError("neither a start nor an image says shape and type of the frames")
        self.name = start.series if start.series is not None else image.series if image is not None else None
        self.shape: tuple[int, int] = start.shape or _shape(pixels)
        self.wire_dtype: str = start.dtype or _dtype(pixels)
        self.expected, self.fps = start.frames, start.fps
        self.can_wait, self.can_stop = start.can_wait, start.can_stop
        self._origin, self._saturation = start.origin, start.saturation
        self.last = -1  # number of the frame handed over last
        self.made = 0  # by the sender's word
        self.until: int | None = None  # after a Stop that the sender does not obey: frames from here on are not taken
        self.heard_end = False
        self.resumed = 0
        self.dropped = 0  # repeated, or later than their turn
        self.unusable = 0  # numbered, but of another size or type, or with pixels that cannot be read
        self.why = ""  # of the last of these

    @property
    def roi(self) -> Roi:
        """Of every frame; at the sensor's origin where the sender does not say."""
        x0, y0, binning = self._origin
        return Roi(x0, y0, self.shape[1], self.shape[0], binning)

    @property
    def dtype(self) -> str:
        """Of the ring's slots: 8 bits are widened."""
        return "float32" if self.wire_dtype == "float32" else "uint16"

    @property
    def frame_bytes(self) -> int:
        """On the wire."""
        return self.shape[0] * self.shape[1] * np.dtype(self.wire_dtype).itemsize

    @property
    def total(self) -> int:
        """Frames that were made, as far as is known here."""
        return max(self.last + 1, self.made)

    def take(self, event: Message, t_arrival_ns: int, out: FrameArray) -> FrameInfo | None:
        """The frame of an event, written into `out`; None where it is none. Raises EndOfStream, SourceLost."""
        if isinstance(event, Image):
            if event.series is not None and self.name is not None:
                self._hold_identity(event.series)
            return self._image(event, t_arrival_ns, out)
        if isinstance(event, Start):
            self._hold_identity(event.series)
            self.resumed += 1  # the sender began again: frames that are known will be dropped by their number
            return None
        if None in (event.series, self.name) or event.series == self.name:
            self._end(event)
        return None

    def _hold_identity(self, name: str | None) -> None:
        """A series without a name cannot be taken up again: its next start is another one's."""
        if name is not None and name == self.name:
            return
        raise EndOfStream(
            f"the series {self.name or '(unnamed)'} gave way to {name or '(unnamed)'} without an end of its own; "
            f"its {self.last + 1} frames up to then are complete"
        )

    def _image(self, image: Image, t_arrival_ns: int, out: FrameArray) -> FrameInfo | None:
        if image.index <= self.last:
            self.dropped += 1
            return None
        if image.index > self.last + MAX_JUMP:
            self.unusable += 1
            self.why = f"image number {image.index} after {self.last}: a jump of more than {MAX_JUMP}"
            return None
        if self.until is not None and image.index >= self.until:
            raise self.stopped()
        self.last = image.index
        flags = self._write(image, out)
        return FrameInfo(image.index, image.t_camera_ns, t_arrival_ns, flags)

    def _write(self, image: Image, out: FrameArray) -> int:
        """Pixels into the slot, in this machine's byte order; the frame's flags."""
        if image.pixels is None or image.flags & FrameFlag.WRONG_SIZE:
            self._note_unusable(image.problem or "announced as of wrong size")
            return FrameFlag.WRONG_SIZE
        if image.pixels.shape != self.shape or image.pixels.dtype.name != self.wire_dtype:
            self._note_unusable(f"{_words(image.pixels.shape, image.pixels.dtype.name)}, "
                                f"expected {_words(self.shape, self.wire_dtype)}")  # fmt: skip
            return FrameFlag.WRONG_SIZE
        np.copyto(out, image.pixels, casting="unsafe")
        full = self._saturation is not None and bool(out.max() >= self._saturation)
        return FrameFlag.SATURATED if full else image.flags

    def _note_unusable(self, why: str) -> None:
        self.unusable, self.why = self.unusable + 1, why

    def _end(self, end: End) -> None:
        self.heard_end, self.made = True, max(self.made, end.frames or 0)
        if end.fault is not None:
            raise SourceLost(f"the sender's camera: {end.fault}. Its {self.last + 1} frames before are valid.")
        words = f"the sender ended the series after {self.total} frames"
        raise EndOfStream(f"{words}: {end.reason}" if end.reason else words)

    def stopped(self) -> EndOfStream:
        """What ends a series that was stopped here."""
        return EndOfStream(f"stopped; the {self.last + 1} frames up to then were read")


def _shape(pixels: Pixels | None) -> tuple[int, int]:
    assert pixels is not None  # checked by the caller
    return (pixels.shape[0], pixels.shape[1])


def _dtype(pixels: Pixels | None) -> str:
    assert pixels is not None
    return pixels.dtype.name


def _words(shape: tuple[int, ...], dtype: str) -> str:
    return f"{shape[0]} x {shape[1]} {dtype}"
