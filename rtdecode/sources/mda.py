"""Frames of an MDA that another program runs in this process (napari-micromanager): listened to, never popped."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PrivateAttr

from rtdecode.core.actions import Action, Stop
from rtdecode.core.camera import Camera
from rtdecode.core.errors import EndOfStream, SourceError
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo, Roi
from rtdecode.core.yaml_files import StrictModel
from rtdecode.sources.mmcore_connect import camera_region, full_scale, running_core, trying
from rtdecode.sources.mmcore_tags import Expected

MS_TO_NS = 1e6
NO_CORE = (
    "an MDA can only be heard in the process that runs it: call rtdecode.session.listen in that program, once its "
    "configuration is loaded (docs/micromanager.md, 'Listening to an MDA')"
)


class MDASource(StrictModel):
    """Every frame that pymmcore-plus' runner announces by `frameReady`, in its order, from `start` to the MDA's end.

    Whoever started the MDA owns the camera: nothing is popped, set or closed here. The runner's thread only
    copies the frame into a queue of `queue_mb`; where that is full the frame is counted and dropped, and shows
    as a gap. `may_cancel: true` lets a Stop cancel the MDA; without it a Stop only ends the listening.
    `keep: {c: 1, p: 0}` takes only events with these indices; an MDA that varies other axes than time and is
    not narrowed to one of each is refused when it begins.
    """

    frames: Annotated[int, Field(gt=0)] | None = None  # that the MDA will make, where you know: missing ones are lost
    queue_mb: Annotated[int, Field(gt=0)] = 512
    may_cancel: bool = False
    keep: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    camera: Camera | None = None
    psf: Path | None = None  # given to every source; a real camera has no use for it
    truth: Path | None = None
    _core: Any = PrivateAttr(None)
    _attached: Any = PrivateAttr(None)
    _expected: Expected | None = PrivateAttr(None)
    _full_scale_adu: float = PrivateAttr(0.0)
    _queue: deque[tuple[FrameInfo, Any]] = PrivateAttr(default_factory=deque)
    _places: int = PrivateAttr(0)  # frames that the queue holds
    _announced: int = PrivateAttr(0)
    _problem: str | None = PrivateAttr(None)
    _over: str | None = PrivateAttr(None)  # why no more frames come

    def attach(self, core: Any) -> None:
        """Listen to this CMMCorePlus instead of the instance that pymmcore-plus keeps for the process."""
        self._attached = core

    @property
    def roi(self) -> Roi:
        """The camera's region as it was at `open`."""
        return self._need().roi

    @property
    def dtype(self) -> str:
        """8-bit cameras are widened."""
        return "uint16"

    @property
    def expected(self) -> int | None:
        """`frames`; without it nobody knows before the MDA begins, and it may be cancelled."""
        return self.frames

    @property
    def made(self) -> int | None:
        """Frames announced since `start`, dropped ones too."""
        return self._announced

    @property
    def has_hardware(self) -> bool:
        """Camera and light are the owner's."""
        return False

    def open(self) -> None:
        """Find the core and its camera; raises SourceError."""
        self.close()
        self._core = self._attached if self._attached is not None else running_core(NO_CORE)
        self._expected = trying("ask the camera", lambda: camera_region(self._core))
        self._full_scale_adu = full_scale(self._core, self.camera)
        height, width = self._expected.roi.shape
        self._places = max(2, int(self.queue_mb * 1e6 / (height * width * self._expected.bytes_per_pixel)))
        self._queue.clear()
        self._announced, self._problem, self._over = 0, None, None

    def start(self) -> None:
        """Listen from here on; an MDA that runs already is heard from its next frame."""
        self._need()
        events = self._core.mda.events
        events.sequenceStarted.connect(self._begins)
        events.frameReady.connect(self._take)
        events.sequenceFinished.connect(self._ends)

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read; raises SourceError for an MDA that is not a plain movie."""
        self._need()
        over = self._over  # asked before the queue: the runner fills it before it says that it is over
        if self._queue:
            info, pixels = self._queue.popleft()
            if info.flags != FrameFlag.WRONG_SIZE:
                np.copyto(out, pixels, casting="unsafe")
            return info
        if self._problem is not None:
            raise SourceError(self._problem)
        if over is not None:
            raise EndOfStream(over)
        return None

    def apply(self, action: Action) -> None:
        """Stop ends the listening, and the MDA where `may_cancel` says so. Properties belong to who runs the MDA."""
        self._need()
        if not isinstance(action, Stop):
            raise SourceError(f"{action}: the camera belongs to the program that runs the MDA; set it there")
        if self.may_cancel and self._core.mda.is_running():
            trying("cancel the MDA", self._core.mda.cancel)
        else:
            self._end("stopped listening; the MDA was left to its owner")

    def close(self) -> None:
        """Listen no more. Camera and light are the owner's, who closes them at the MDA's end."""
        if self._core is None:
            return
        events = self._core.mda.events
        for signal, slot in (
            (events.sequenceStarted, self._begins),
            (events.frameReady, self._take),
            (events.sequenceFinished, self._ends),
        ):
            try:
                signal.disconnect(slot)
            except (ValueError, RuntimeError, TypeError):
                pass  # psygnal and Qt say each in their way that it was not connected
        self._core = self._expected = None

    def _need(self) -> Expected:
        if self._expected is None:
            raise SourceError("the source is not open (call open first; after close it is over)")
        return self._expected

    def _begins(self, sequence: Any, *_: Any) -> None:
        """In the runner's thread: refuse what is no movie, before its first frame."""
        varied = [f"{axis}: {n}" for axis, n in getattr(sequence, "sizes", {}).items() if n > 1 and axis != "t"]
        loose = [text for text in varied if text.split(":")[0] not in self.keep]
        if loose:
            self._problem = (
                f"the MDA varies {', '.join(loose)} besides time; one movie is one place, colour and height: "
                "name the one to fit, e.g. keep: {c: 0, z: 0}"
            )

    def _take(self, pixels: Any, event: Any = None, meta: Any = None) -> None:
        """In the runner's thread: copy and leave (micromanager.md §5, rule 6)."""
        t_arrival_ns = time.monotonic_ns()
        expected = self._expected
        indices = dict(getattr(event, "index", None) or {})
        if expected is None or self._over is not None or any(indices.get(k, v) != v for k, v in self.keep.items()):
            return
        index, self._announced = self._announced, self._announced + 1
        if len(self._queue) >= self._places or self._problem is not None:
            return
        fits = pixels.shape == expected.roi.shape and pixels.dtype.itemsize == expected.bytes_per_pixel
        flags = FrameFlag.WRONG_SIZE
        if fits:
            flags = FrameFlag.SATURATED if pixels.max() >= self._full_scale_adu else FrameFlag.GOOD
        t_camera_ns = round(float((meta or {}).get("runner_time_ms", 0.0)) * MS_TO_NS)
        info = FrameInfo(index, t_camera_ns, t_arrival_ns, flags)
        self._queue.append((info, np.array(pixels) if fits else None))

    def _ends(self, *_: Any) -> None:
        self._end("the MDA is over")

    def _end(self, why: str) -> None:
        self._over = self._over or why
