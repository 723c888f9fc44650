"""Frames out of the core's buffer: many pops under way at once, never more than were counted, one in 200 with its tags.

`popNextImage` is one round trip, a tagged image is four (300 frames/s over the real bridge): so frames are numbered
by counting, which is right as long as overflow stops the camera, and a tagged one now and then proves the count.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import SourceLost
from rtdecode.core.frames import Roi
from rtdecode.sources.micromanager_line import Answer, Line
from rtdecode.sources.mmcore_tags import PIXEL_TYPES, whole_number

POP, TAGGED, COUNT, RUNNING = "popNextImage", "popNextTaggedImage", "getRemainingImageCount", "isSequenceRunning"
_FAILED_ROUNDS = 50  # one after the other without a frame, though frames were counted


@dataclass(frozen=True, slots=True)
class Popped:
    """One frame as it came: flat pixels, and its tags where they were asked for."""

    pixels: NDArray[Any]
    tags: Mapping[str, Any] | None


class Popper:
    """Keeps a line busy in rounds: is the camera running, how many frames wait, then that many pops.

    The next round is asked behind the last pop, so its count is what is left after them. Every question is
    answered in order by one thread: what is counted can be popped, unless another program pops too.
    """

    def __init__(
        self, line: Line, window: int, check_every: int, pause_s: float, still_fits: Callable[[], bool]
    ) -> None:
        self._line, self._window, self._check_every, self._pause_s = line, window, check_every, pause_s
        self._still_fits = still_fits
        self._frames: deque[Popped] = deque()  # came while something else was waited for
        self._credit = 0  # counted and not asked for yet
        self._pops = 0  # under way
        self._rounds = 0  # counts under way
        self._tagged = False  # one is under way: nothing is asked behind it
        self._asked = 0  # frames asked for and not refused since the start
        self._next_round_at = 0.0
        self._failed_rounds = 0
        self._check_next = True  # the first frame
        self.is_running = True  # as of the last round
        self.is_dry = False  # the last round began after the camera had stopped, and found nothing
        self._stuck = 0  # frames that wait and must not be popped: the core's size is not theirs any more
        self._announced = 0  # of these

    def take(self, last: int) -> Popped | None:
        """The next frame, None where none is here yet; `last`: how many frames at most are still to come."""
        while not self._frames:
            self._ask(last)
            answer = self._line.answer()
            if answer is None:
                return None
            self._hear(answer)
        frame = self._frames.popleft()
        self._ask(last - 1)
        return frame

    def check_soon(self) -> None:
        """The next frame that is asked for comes with its tags."""
        self._check_next = True

    @property
    def unpoppable(self) -> int:
        """Frames that wait and cannot be had, and have not been announced yet."""
        return self._stuck - self._announced

    def announce(self) -> bool:
        """One of them is given up; whether it was the last."""
        self._announced += 1
        if self.unpoppable:
            return False
        self._stuck = self._announced = 0
        return True

    @property
    def counted(self) -> int:
        """Frames that are still to come, as far as is known now."""
        return len(self._frames) + self._pops + self._credit + self.unpoppable

    def settle(self, within_s: float) -> int:
        """Count now, whatever is under way; frames that come meanwhile are kept. Raises SourceLost."""
        self._begin_round()
        until = time.monotonic() + within_s
        while self._rounds:
            if time.monotonic() > until:
                raise SourceLost(f"Micro-Manager has not said within {within_s:g} s how many frames wait")
            if (answer := self._line.answer(0.02)) is not None:
                self._hear(answer)
        return self.counted

    def _ask(self, last: int) -> None:
        if self._pops <= self._window // 2:  # in bursts: a send on its own wakes a thread (halves our time for a frame)
            while self._credit and not self._tagged and not self._rounds and self._pops < self._window:
                self._pop(last)
        idle = not (self._credit or self._rounds or self._tagged or self.unpoppable)
        if idle and (self._pops or time.monotonic() >= self._next_round_at):
            self._begin_round()

    def _pop(self, last: int) -> None:
        self._tagged = self._is_due(last)
        self._check_next = False
        self._line.ask(TAGGED if self._tagged else POP)
        self._credit -= 1
        self._pops += 1
        self._asked += 1

    def _is_due(self, last: int) -> bool:
        """The first frame, one in `check_every`, the last of all, the last that is left after a stop."""
        is_last = len(self._frames) + self._pops + 1 >= last or (self._credit == 1 and not self.is_running)
        return self._check_next or is_last or self._asked % self._check_every == 0

    def _begin_round(self) -> None:
        self._line.ask(RUNNING)  # before the count: what is made in between is seen
        self._line.ask(COUNT)
        self._rounds += 1

    def _hear(self, answer: Answer) -> None:
        if answer.method == RUNNING:
            self.is_running = bool(_told(answer))
        elif answer.method == COUNT:
            self._count(_whole(answer))
        else:
            self._receive(answer)

    def _count(self, waiting: int) -> None:
        self._rounds -= 1
        is_safe = self.is_running or not waiting or self._still_fits()
        self._credit, self._stuck = (waiting, 0) if is_safe else (0, waiting)
        self.is_dry = not waiting and not self.is_running and not self._pops
        if not waiting:
            self._next_round_at = time.monotonic() + self._pause_s

    def _receive(self, answer: Answer) -> None:
        self._pops -= 1
        if answer.method == TAGGED:
            self._tagged = False
        if answer.fault is not None:
            self._refused(answer)
            return
        self._failed_rounds = 0
        self._frames.append(_popped(answer.value))

    def _refused(self, answer: Answer) -> None:
        """Another program took the frame or emptied the buffer: what was counted is no more."""
        self._asked -= 1
        self._check_next = True
        self._failed_rounds += not self._pops
        self._credit = 0
        if self._failed_rounds > _FAILED_ROUNDS:
            raise SourceLost(f"Micro-Manager counts frames and does not give them: {answer.fault}")


def _told(answer: Answer) -> Any:
    if answer.fault is not None:
        raise SourceLost(f"Micro-Manager does not say {answer.method}: {answer.fault}")
    return answer.value


def _whole(answer: Answer) -> int:
    number = _told(answer)
    if not isinstance(number, int) or number < 0:
        raise SourceLost(f"Micro-Manager says {number!r} for {answer.method}, expected a whole number")
    return number


def _popped(value: Any) -> Popped:
    pixels, tags = (value.get("pix"), value.get("tags")) if isinstance(value, dict) else (value, None)
    if not isinstance(pixels, np.ndarray) or not isinstance(tags, Mapping | None):
        raise SourceLost(f"Micro-Manager gave {type(pixels).__name__} for a frame, expected pixels")
    return Popped(pixels.reshape(-1), tags)


class CheckedCount:
    """Index of each frame by counting, set right by the `ImageNumber` of those that have their tags.

    A number beyond the count: frames were lost before us, the index jumps. A number behind it: the buffer was
    emptied and the core began a new count (older cores do); the index goes on, and what was lost nobody knows.
    """

    def __init__(self) -> None:
        self.last = -1
        self.checked = -1  # last index that tags have proved
        self.lost = 0  # frames that the tags say were lost
        self.restarts = 0  # new counts
        self._base = 0  # index of the frame that the core numbers 0

    def index(self, number: int | None = None) -> int:
        """Index of the next frame; `number` is its ImageNumber where it has tags."""
        counted = self.last + 1
        self.last = counted if number is None else self._set_right(counted, number)
        return self.last

    def _set_right(self, counted: int, number: int) -> int:
        if self._base + number < counted:
            self.restarts += 1
            index = max(counted, self.checked + 1 + number)
            self._base = index - number
        else:
            index = self._base + number
        self.lost += index - counted
        self.checked = index
        return index


@dataclass(frozen=True, slots=True)
class Region:
    """What every frame of the run must be: the camera, its region, its type."""

    camera: str
    roi: Roi
    bytes_per_pixel: int

    @property
    def n_pixels(self) -> int:
        """Pixels of a frame."""
        return self.roi.width_px * self.roi.height_px

    def fits(self, pixels: NDArray[Any]) -> bool:
        """Whether a flat frame has the right number of pixels of the right size."""
        return pixels.size == self.n_pixels and pixels.dtype.itemsize == self.bytes_per_pixel

    def differs(self, tags: Mapping[str, Any]) -> str | None:
        """Which tag says otherwise, and what; a tag that is missing says nothing.

        Width, Height and ROI are what the core thinks now, ROI-X-start and -Y-start what it thought when the
        frame came.
        """
        roi = self.roi
        wanted = {
            "Camera": self.camera,
            "Width": str(roi.width_px),
            "Height": str(roi.height_px),
            "ROI": f"{roi.x0_px}-{roi.y0_px}-{roi.width_px}-{roi.height_px}",
            "ROI-X-start": str(roi.x0_px),
            "ROI-Y-start": str(roi.y0_px),
            "PixelType": PIXEL_TYPES[self.bytes_per_pixel],
        }
        wrong = [
            f"{name} is {tags[name]}, was {value}" for name, value in wanted.items() if _differs(tags, name, value)
        ]
        return ", ".join(wrong) or None


def _differs(tags: Mapping[str, Any], name: str, value: str) -> bool:
    return name in tags and str(tags[name]) != value


def image_number(tags: Mapping[str, Any]) -> int | None:
    """The core's own number of the frame, None where the tag is missing."""
    return whole_number(str(tags["ImageNumber"])) if "ImageNumber" in tags else None
