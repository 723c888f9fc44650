"""Localize: from the ring through the fitter into the log; the log's only writer."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.actions import Action
from rtdecode.core.errors import RingLapped
from rtdecode.core.frames import Fate, Frame
from rtdecode.core.localizations import Localizations
from rtdecode.fit.fitter import FittedFrame, Fitter
from rtdecode.stages.ledger import Tally, fitted_after
from rtdecode.stages.notes import note, read_can_wait
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.widefield import Widefield
from rtdecode.streams.log import CommitFlag, LogWriter, make_commits
from rtdecode.streams.memory import remove_memory
from rtdecode.streams.ring import RingReader
from rtdecode.streams.run_folder import RunFolder

READER = "localize"
_ALIVE_EVERY_S = 0.5  # asking the system for the writer's process costs 50 us
_ABANDONED_WAIT_S = 6.0  # after the session died: acquire notices within 5 s and ends the ring
_RECENT = 500  # frames whose latency the status tells

MakeFitter = Callable[[tuple[int, int], str], Fitter]
"""From shape (H, W) and element type of the frames; engine started and warm."""


class LocalizeStage:
    """Registers as reader once the engine is warm (that lets acquire start), then fits and commits each frame.

    After a crash it is simply built anew: the log says which frame was last, the ring still has it, and the
    answer goes on as if nothing had been. Frames that are gone are committed as lost, each one.
    """

    def __init__(self, folder: RunFolder, make_fitter: MakeFitter, late_ms: float = math.inf) -> None:
        self._folder, self._make_fitter, self._late_ns = folder, make_fitter, late_ms * 1e6
        self._ring: RingReader | None = None
        self._done = False
        self._source_waits = False
        self._newest = -1  # index of the newest frame that was given to the fitter or committed as lost
        self._tally = Tally()
        self._recent_ms: deque[float] = deque(maxlen=_RECENT)
        self._abandoned_at: float | None = None
        self._alive_checked_at = 0.0
        self.outcome: Outcome | None = None

    def step(self) -> bool | None:
        """Open when the ring is there, then one frame for each call; None when all is committed."""
        if self._done:
            return None
        if self._ring is None:
            return self._open()
        try:
            frame = self._ring.read()
        except RingLapped:
            return True  # the gap shows in the index of the next frame
        if frame is None:
            return self._idle(self._ring)
        self._take(self._ring, frame)
        return True

    def _open(self) -> bool:
        path = self._folder.ring_path
        if path is None:
            return False
        look = RingReader.open(path)
        shape, dtype = look.shape, look.dtype
        look.close()
        self._source_waits = read_can_wait(self._folder)
        if self._source_waits:
            self._late_ns = math.inf  # a recording's frames are late by nature
        self._fitter = self._make_fitter(shape, dtype)
        self._log = LogWriter.open(self._folder.path)
        self._widefield = Widefield.open(self._folder.path, shape)
        self._ring = RingReader.open(path, READER)
        if self._log.frames:
            self._resume(self._ring)
        elif self._ring.received:
            self._ring.seek(self._ring.first_index)
        note(self._folder, READER, "ready", resumed_after=self._log.last_index)
        return True

    def _resume(self, ring: RingReader) -> None:
        """Go on behind the last commit, with its frame as left neighbour where the ring still has it."""
        if self._log.recovered:
            note(self._folder, READER, "recovered", self._log.last_index, what=str(self._log.recovered))
        self._tally = Tally.of_log(self._folder.path)
        self._newest = self._log.last_index
        self._catch_up_widefield(ring)
        last = self._log.last_commit[0]
        neighbour = last["fate"] == Fate.FITTED and not last["flags"] & CommitFlag.RIGHT_IS_COPY
        if neighbour and (frame := _read_at(ring, self._newest)) is not None:
            self._fitter.resume(frame)
            return
        if not neighbour:
            behind = ring.published_indices(self._newest, np.iinfo(np.int64).max)
            ring.seek(int(behind[0]) if behind is not None and len(behind) else self._newest)

    def _catch_up_widefield(self, ring: RingReader) -> None:
        """Frames that were committed after the picture's last save, as far as the ring still has them."""
        for index in fitted_after(self._folder.path, self._widefield.last_index):
            if (frame := _read_at(ring, index)) is not None:
                self._widefield.add(index, frame.pixels_adu)

    def _take(self, ring: RingReader, frame: Frame) -> None:
        if frame.index <= self._newest:
            return  # after a restart the cursor may stand before what is committed
        self._widefield.expect(frame.index, frame.pixels_adu)
        fitted = self._fitter.push(frame, more=ring.waiting > 0)  # a device takes what has come as one block
        before = [one for one in fitted if one.info.index < frame.index]
        self._commit(before)
        if frame.index > self._newest + 1:
            self._commit_lost(ring, frame.index)
        self._newest = frame.index
        self._commit(fitted[len(before) :])

    def _commit(self, fitted: Sequence[FittedFrame]) -> None:
        if not fitted:
            return
        now = time.monotonic_ns()
        commits = make_commits(
            [one.info.index for one in fitted],
            fate=[one.fate for one in fitted],
            n_localizations=[len(one.localizations) for one in fitted],
            flags=[one.flags | self._late(one, now) for one in fitted],
            t_camera_ns=[one.info.t_camera_ns for one in fitted],
            t_arrival_ns=[one.info.t_arrival_ns for one in fitted],
            background=[frame_background(one.localizations) for one in fitted],
        )
        self._log.append(commits, Localizations.concatenate(one.localizations for one in fitted))
        self._tally.add(commits)
        for one in fitted:
            self._recent_ms.append((now - one.info.t_arrival_ns) / 1e6)
            self._widefield.settle(one.info.index, one.fate == Fate.FITTED)

    def _late(self, one: FittedFrame, now_ns: int) -> CommitFlag:
        late = one.fate == Fate.FITTED and now_ns - one.info.t_arrival_ns > self._late_ns
        return CommitFlag.LATE if late else CommitFlag.NONE

    def _commit_lost(self, ring: RingReader, before_index: int) -> None:
        """Every frame after the newest and below `before_index` is lost: in the ring if it ever reached it."""
        indices = np.arange(self._newest + 1, before_index)
        if not len(indices):
            return
        in_ring = ring.published_indices(self._newest, before_index)
        commits = make_commits(indices, fate=_fates(indices, in_ring))
        self._log.append(commits, Localizations.empty())
        self._tally.add(commits)
        lost = {"first": int(indices[0]), "last": int(indices[-1]), "frames": len(indices)}
        in_ring_count = len(indices) if in_ring is None else len(in_ring)
        note(self._folder, READER, "gap", int(indices[0]), **lost, lost_in_ring=in_ring_count)
        self._newest = before_index - 1

    def _idle(self, ring: RingReader) -> bool:
        if ring.drained or self._writer_is_gone(ring):
            self._end(ring)
            return True
        return False

    def _writer_is_gone(self, ring: RingReader) -> bool:
        """Acquire was killed, or the session died and acquire did not end the ring in time."""
        now = time.monotonic()
        if self._abandoned_at is not None and now - self._abandoned_at > _ABANDONED_WAIT_S:
            return True
        if now - self._alive_checked_at < _ALIVE_EVERY_S:
            return False
        self._alive_checked_at = now
        return not ring.writer_is_alive() and not ring.waiting

    def _end(self, ring: RingReader) -> None:
        self._commit(self._fitter.finish())
        ended = ring.finished
        self.outcome = Outcome.from_text(ended.reason) if ended else Outcome.failed("acquire died")
        expected = ended.expected if ended and ended.expected is not None else ring.last_index + 1
        self._commit_lost(ring, expected)
        self._widefield.finish()
        counts = self._tally.as_json() | {"widefield_frames": self._widefield.frames}
        self._tell_lost_candidates()
        note(self._folder, READER, "drained", self._newest, **counts)
        self._done = True

    def _tell_lost_candidates(self) -> None:
        """A device has room for so many emitters of a frame; what found none must not pass unsaid."""
        if count := self._fitter.lost_candidates:
            reason = f"{count} candidates for emitters found no room on the GPU: frames are fuller than it was made for"
            note(self._folder, READER, "warning", self._newest, reason=reason)

    def order(self, action: Action) -> None:
        """A Stop before there is a ring ends this stage; otherwise the end comes through the ring."""
        if self._ring is None:
            self._done = True

    def abandon(self, reason: str) -> None:
        """The session is gone: drain what comes until acquire ends the ring, then end."""
        if self._abandoned_at is None:
            self._abandoned_at = time.monotonic()
            note(self._folder, READER, "abandoned", self._newest, reason=reason)
        self._done = self._done or self._ring is None

    def status(self) -> dict[str, Any]:
        """Counts, how far behind, and the median latency of the last frames."""
        if self._ring is None:
            return {"state": "starting"}
        latency = float(np.median(self._recent_ms)) if self._recent_ms else None
        queue = {"behind": self._ring.waiting, "fill": self._ring.fill, "source_waits": self._source_waits}
        behind = {} if self._done else queue
        state = "finished" if self._done else "running"
        return {"state": state, "latency_ms": latency, **self._tally.as_json(), **behind}

    def close(self) -> None:
        """Let go of log and ring; safe to call twice."""
        if self._ring is not None:
            self._log.close()
            self._ring.close(unregister=self._done)

    def orphaned(self) -> None:
        """This stage is the last to need the ring: remove its memory and the reserve, since nobody else will."""
        self._folder.release_reserve()
        if self._folder.ring_path is not None:
            remove_memory(self._folder.ring_path)


def frame_background(localizations: Localizations) -> float:
    """Photons per pixel beneath the frame's emitters, their median; NaN without any: the map is read only there."""
    return float(np.median(localizations.background)) if len(localizations) else math.nan


def _fates(indices: NDArray[np.int64], in_ring: NDArray[np.int64] | None) -> NDArray[np.uint8]:
    """LOST_IN_RING where the frame reached the ring (or where the ring has forgotten: it holds 64k indices)."""
    if in_ring is None:
        return np.full(len(indices), Fate.LOST_IN_RING, np.uint8)
    return np.where(np.isin(indices, in_ring), Fate.LOST_IN_RING, Fate.LOST_BEFORE).astype(np.uint8)


def _read_at(ring: RingReader, index: int) -> Frame | None:
    """The frame of this index, cursor behind it; None when the ring no longer has it."""
    if not ring.seek(index):
        return None
    try:
        return ring.read()
    except RingLapped:
        return None
