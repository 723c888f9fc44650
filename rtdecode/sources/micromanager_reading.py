"""One sequence from start to end: frames into the slots they are given, each with its index, and why it ended."""

from __future__ import annotations

import time

import numpy as np

from rtdecode.core.errors import EndOfStream, SourceError, SourceLost
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo
from rtdecode.sources.micromanager_connect import Control, ask_region, frame_size
from rtdecode.sources.micromanager_frames import CheckedCount, Popped, Popper, Region, image_number
from rtdecode.sources.micromanager_line import Line

_MOST_UNDER_WAY_BYTES = 64 * 2**20
_COUNT_S = 1.0  # to hear how many frames wait
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.005  # between two looks at an empty buffer


class Reading:
    """What a source holds from `start` to `close`; frames on one line, questions about the end on another."""

    def __init__(self, frames: int, region: Region, full_scale_adu: float, control: Control, popper: Popper) -> None:
        self._frames, self._region, self._full_scale_adu = frames, region, full_scale_adu
        self._control, self._popper = control, popper
        self._count = CheckedCount()
        self._lost: SourceLost | None = None
        self._made = 0
        self.stopped = False  # by us

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read; once it is lost, each read says the same."""
        if self._lost is not None:
            raise self._lost
        try:
            return self._read(out)
        except SourceLost as error:
            self._lose(error)
            raise

    @property
    def made(self) -> int:
        """Frames read and those that wait in Micro-Manager's buffer; the last that was known where it is gone."""
        if self._lost is None:
            try:
                self._made = self._count.last + 1 + self._popper.settle(_COUNT_S)
            except SourceLost as error:
                self._lose(error)
        return self._made

    def _lose(self, error: SourceLost) -> None:
        self._lost = error
        self._made = self._count.last + 1 + self._popper.counted

    def _read(self, out: FrameArray) -> FrameInfo | None:
        left = self._frames - 1 - self._count.last
        if left <= 0:
            raise EndOfStream(f"all {self._frames} frames were read")
        popped = self._popper.take(left)
        if popped is not None:
            return self._give(popped, out)
        if self._popper.unpoppable:
            return self._give_up()
        if self._popper.is_dry:
            raise self._end()
        return None

    def _give(self, popped: Popped, out: FrameArray) -> FrameInfo:
        t_arrival_ns = time.monotonic_ns()
        index = self._count.index() if popped.tags is None else self._check(popped)
        pixels = popped.pixels
        if not self._region.fits(pixels):
            self._popper.check_soon()
            return FrameInfo(index, 0, t_arrival_ns, FrameFlag.WRONG_SIZE)
        np.copyto(out, pixels.reshape(out.shape), casting="unsafe")  # (H * W,) as Java has it -> (H, W)
        flag = FrameFlag.SATURATED if pixels.max() >= self._full_scale_adu else FrameFlag.GOOD
        return FrameInfo(index, 0, t_arrival_ns, flag)

    def _check(self, popped: Popped) -> int:
        """Index as its tags prove it. Raises SourceLost where they are of another camera or region."""
        assert popped.tags is not None
        checked = self._count.checked
        index = self._count.index(image_number(popped.tags))
        wrong = self._region.differs(popped.tags)
        if wrong is not None and self._region.fits(popped.pixels):
            self._count.last -= 1  # it is not given out
            raise SourceLost(
                f"the camera was changed in mid-run: at frame {index} {wrong}. Frames up to {checked} were as at the "
                f"start, those from {checked + 1} to {index - 1} may be of either; let no other program change it"
            )
        return index

    def _give_up(self) -> FrameInfo:
        """Announce a waiting frame of wrong size without a pop, which would copy memory beyond it; the last one
        empties the buffer."""
        if self._popper.announce():
            self._control.call("empty the buffer", "clearCircularBuffer")
        return FrameInfo(self._count.index(), 0, time.monotonic_ns(), FrameFlag.WRONG_SIZE)

    def _end(self) -> SourceError:
        """The camera has stopped and the buffer is empty: in order, or before its time."""
        got = self._count.last + 1
        if self.stopped:
            return EndOfStream(f"stopped; all {got} frames made were read")
        if self._control.call("ask for an overflow", "isBufferOverflowed"):
            return SourceLost(
                f"Micro-Manager's buffer overflowed and the camera stopped after {got} of {self._frames} frames: they "
                "were not read fast enough. The frames before are complete; raise buffer_mb, or take a smaller "
                "region or a longer exposure."
            )
        now = ask_region(self._control)
        changed = "" if now == self._region else f" (it is {now} now, was {self._region})"
        return SourceLost(
            f"the camera stopped by itself after {got} of {self._frames} frames: it was switched off, or another "
            f"program stopped it, changed its region{changed} or took frames. What was read before is valid."
        )


def popper_for(
    line: Line, control: Control, region: Region, exposure_ms: float, window: int, check_every: int
) -> Popper:
    """A popper for frames of this size at this pace."""
    roi, n_bytes = region.roi, region.bytes_per_pixel
    pause_s = min(max(exposure_ms / 4000, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)

    def still_fits() -> bool:
        return frame_size(control) == (roi.width_px, roi.height_px, n_bytes)

    most = max(2, min(window, _MOST_UNDER_WAY_BYTES // (region.n_pixels * n_bytes)))
    return Popper(line, most, check_every, pause_s, still_fits)
