"""Acquire: from the source into the ring; the only stage that touches camera and light."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rtdecode.core.actions import Action, Stop
from rtdecode.core.config import LimitsConfig, RingConfig
from rtdecode.core.contracts import Source
from rtdecode.core.errors import EndOfStream, RtdecodeError, RunFolderError
from rtdecode.core.frames import FRAME_DTYPES, FrameInfo
from rtdecode.stages.notes import note
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.safe_stop import note_closed, note_opening
from rtdecode.streams.memory import place_for_memory, remove_memory
from rtdecode.streams.ring import RingWriter, slots_for
from rtdecode.streams.ring_layout import Layout
from rtdecode.streams.run_folder import RunFolder

ASSUMED_FPS = 200.0  # of a camera that cannot say; only the ring's length in seconds depends on it
REPLAY_SLOTS = 512  # a source that can wait needs no seconds of memory
KEPT_SLOTS = 8  # frames behind the slowest reader that a replay keeps, so that a restart can look back
CLOSING_ERRORS = (RtdecodeError, OSError, RuntimeError, ValueError)


def _is_ready() -> bool:
    """Of a source that has nothing to wait for before it is opened."""
    return True


class AcquireStage:
    """Opens the source, makes the ring, starts when every needed reader is there, publishes until the end.

    A live camera is never made to wait: readers are lapped instead, and count it. A source that `can_wait`
    (a recording) waits for the slowest reader. Whatever happens, the source is closed before the ring says
    that it ended: camera idle, light off, then bookkeeping.
    """

    def __init__(
        self, source: Source, folder: RunFolder, ring: RingConfig, limits: LimitsConfig, readers: frozenset[str]
    ) -> None:
        self._source, self._folder, self._ring_config, self._limits = source, folder, ring, limits
        self._needed = readers
        self._ring: RingWriter | None = None
        self._slots = 0
        self._asked: int | None = None
        self._opened = False  # or about to be: something may have to be closed
        self._started = False
        self._stop: Stop | None = None
        self.outcome: Outcome | None = None

    def step(self) -> bool | None:
        """Open, wait for readers, then one frame for each call; None when the source is closed for good."""
        if self.outcome is not None:
            return None
        try:
            return self._work()
        except EndOfStream:
            self._finish(Outcome.stopped(self._stop.reason) if self._stop else Outcome.completed())
        except RtdecodeError as error:
            if self._ring is None:
                raise  # nothing was acquired: the run is refused, not ended
            self._finish(Outcome.failed(str(error)))
        return True

    def _work(self) -> bool:
        if self._ring is None:
            return self._prepare()
        if not self._started:
            return self._start()
        return self._read(self._ring)

    def _prepare(self) -> bool:
        """Open as soon as the source has what it needs (a sender, a data set); until then a Stop ends the wait."""
        if self._stop is not None:
            self._finish(Outcome.stopped(self._stop.reason))
            return True
        if not getattr(self._source, "prepare", _is_ready)():
            return False
        self._open()
        return True

    def _open(self) -> None:
        note_opening(self._folder, self._source)
        self._opened = True
        self._source.open()
        self._asked = self._source.expected  # a source that is closed may no longer say
        dtype, shape = self._source.dtype, self._source.roi.shape
        if dtype not in FRAME_DTYPES:
            raise RtdecodeError(f"the source gives frames of type {dtype}, expected {' or '.join(FRAME_DTYPES)}")
        self._slots = self._ring_slots()
        size = Layout.of(shape, dtype, self._slots).size
        path = place_for_memory(size, self._folder.ring_place(), self._folder.path)
        because = getattr(self._source, "lost_because", None)
        self._event(
            "source", **asdict(self._source.roi), dtype=dtype, expected=self._asked, can_wait=self._can_wait,
            **({"lost_because": because} if because else {}),
        )  # fmt: skip
        self._ring = self._published(RingWriter.create(path, shape, dtype, self._slots), path)

    def _published(self, ring: RingWriter, path: Path) -> RingWriter:
        """A ring that nobody can find (disk full) could not even say why the run ends: it is none."""
        try:
            self._folder.publish_ring(path)
        except RunFolderError:
            ring.close()
            remove_memory(path)
            raise
        return ring

    def _ring_slots(self) -> int:
        config, roi = self._ring_config, self._source.roi
        fps = getattr(self._source, "nominal_fps", None) or ASSUMED_FPS
        slots = slots_for(config.seconds, fps, roi.shape, self._source.dtype, config.max_mb, at_least=4 * KEPT_SLOTS)
        return min(slots, REPLAY_SLOTS) if self._can_wait else slots

    @property
    def _can_wait(self) -> bool:
        return bool(getattr(self._source, "can_wait", False))

    def _start(self) -> bool:
        """Frames may come only when those who must see each of them are there."""
        if self._stop is not None:
            self._finish(Outcome.stopped(self._stop.reason))
            return True
        if self._ring is None or not self._needed <= set(self._ring.readers):
            return False
        self._source.start()
        self._started = True
        self._event("started")
        return True

    def _read(self, ring: RingWriter) -> bool:
        if self._can_wait and round(ring.fill * (self._slots - 1)) + KEPT_SLOTS >= self._slots:
            return False
        info = self._source.read(ring.slot())
        if info is None:
            return False
        ring.publish(info)
        self._hold_limit(ring, info)
        return True

    def _hold_limit(self, ring: RingWriter, info: FrameInfo) -> None:
        """`limits.frames` is held here, to the frame; what the camera made beyond it is not part of the run."""
        if self._limits.frames is not None and ring.received >= self._limits.frames:
            complete = self._asked == ring.received == info.index + 1
            limit = Outcome.stopped(f"limits.frames: {self._limits.frames} frames received")
            self._finish(Outcome.completed() if complete else limit, expected=info.index + 1)

    def order(self, action: Action) -> None:
        """Carry out what the session ordered; a Stop lets the frames already made still come."""
        if isinstance(action, Stop):
            self._stop = self._stop or action
            if not self._started:
                return  # `_start` sees it
        if self._ring is not None and self.outcome is None:
            try:
                self._source.apply(action)
                if isinstance(action, Stop) and (getattr(self._source, "has_hardware", True) or not self._can_wait):
                    self._event("camera_stopped")
            except RtdecodeError as error:
                self._event("error", reason=str(error), action=str(action))

    def abandon(self, reason: str) -> None:
        """Nobody watches any more: camera idle and light off at once, the run ends as failed."""
        if self.outcome is None:
            self._finish(Outcome.failed(reason))

    def status(self) -> dict[str, Any]:
        """What the session shows: counts by the camera's own count."""
        state = "opening" if self._ring is None else "running" if self._started else "waiting for readers"
        received = {"received": self._ring.received, "last_index": self._ring.last_index} if self._ring else {}
        said: dict[str, Any] = getattr(self._source, "status", dict)()
        told = {"why": said["why"]} if said.get("why") else {}  # what it waits for, what it does not take
        return {"state": "finished" if self.outcome else state, "expected": self._asked, **received, **told}

    def close(self) -> None:
        """Camera idle, light off; the ring says failed when nothing better was said. Safe to call twice."""
        if self.outcome is None:
            self._finish(Outcome.failed("acquire ended before its source did"))

    def orphaned(self) -> None:
        """Localize removes the ring when it has drained it."""

    def _finish(self, outcome: Outcome, expected: int | None = None) -> None:
        self.outcome = outcome
        made = self._made()
        problem = self._close_source()
        if self._ring is None:
            return
        if problem and outcome.finish == "completed":
            self.outcome = outcome = Outcome.failed(problem)
        total = expected if expected is not None else self._total(outcome, made)
        counts = {"expected": total, "received": self._ring.received, "asked": self._asked}
        self._event("acquisition", **counts, finish=outcome.finish, reason=outcome.reason)
        self._ring.finish(total, outcome.as_text())
        self._ring.close()

    def _total(self, outcome: Outcome, made: int | None) -> int:
        """Frames of the run by the camera's own count: all asked for where it completed, else all made."""
        came = self._ring.last_index + 1 if self._ring is not None else 0
        asked = self._asked if outcome.finish == "completed" else None
        return max(came, made or 0, asked or 0)

    def _made(self) -> int | None:
        try:
            return self._source.made if self._started else 0
        except CLOSING_ERRORS:
            return None  # a camera that is gone cannot be asked

    def _close_source(self) -> str | None:
        try:
            self._source.close()
        except CLOSING_ERRORS as error:
            self._event("error", reason=f"closing the source: {error}")
            return f"closing the source: {error}"
        if self._opened:
            note_closed(self._folder)
        return None

    def _event(self, kind: str, **fields: Any) -> None:
        last = self._ring.last_index if self._ring is not None else -1
        note(self._folder, "acquire", kind, last if last >= 0 else None, **fields)
