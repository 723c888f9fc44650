"""The process around a stage: steps it, speaks with the session's door, ends safely when the session is gone."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any

from rtdecode.core.actions import Action
from rtdecode.core.errors import DoorError, RtdecodeError
from rtdecode.stages.build import WorkerStage, build_stage
from rtdecode.stages.notes import complain, note
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.door import DoorClient
from rtdecode.streams.run_folder import RunFolder

REFUSED = 3  # exit status of a fault that a restart would meet again; anything else but 0 is a crash
SILENCE_S = 5.0  # without an answer for so long the session is dead
_TELL_EVERY_S = 0.02  # a Stop takes two of these at most; 50 exchanges a second cost 1 % of a core
_NAP_S = 0.0005  # measured: polling at this pace costs 3 % of a core and 0.3 ms of latency
_LAST_WORD_MS = 1000
_LAST_WORDS = 3


def run_worker(name: str, run_dir: Path) -> int:
    """Run the worker `name` of this run to its end; the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the session decides
    if name == "check" and hasattr(os, "nice"):
        os.nice(15)  # what it computes must never be a frame's latency
    folder = RunFolder.open(run_dir)
    wishes: deque[Action] = deque()
    line = _Line(folder, name, wishes)
    stage: WorkerStage | None = None
    try:
        stage = build_stage(name, folder, RunRecord.of_run(folder), wishes.append)
        _loop(stage, line)
        return 0
    except RtdecodeError as error:
        complain(traceback.format_exc())
        line.fault = str(error)
        note(folder, name, "error", reason=str(error))
        return REFUSED
    finally:
        _end(stage, line)


def _loop(stage: WorkerStage, line: _Line) -> None:
    terminated = _on_terminate()
    while (did := stage.step()) is not None:
        if line.due():
            line.tell(stage)
        if line.session_is_gone:
            stage.abandon(f"no answer from the session for {SILENCE_S:.0f} s")
        elif terminated:
            stage.abandon("terminated")
        if not did:
            time.sleep(_NAP_S)


def _on_terminate() -> list[int]:
    """A list that is not empty once somebody terminated this process: camera first, then exit."""
    came: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        came.append(number)

    signal.signal(signal.SIGTERM, remember)
    return came


def _end(stage: WorkerStage | None, line: _Line) -> None:
    """Close first (camera, light), then say so; an orphan also removes what the session would have removed."""
    try:
        if stage is not None:
            stage.close()
    finally:
        if not line.last_word(stage) and stage is not None:
            stage.orphaned()


class _Line:
    """This worker's line to the session."""

    def __init__(self, folder: RunFolder, name: str, wishes: deque[Action]) -> None:
        endpoint = folder.door_endpoint
        self._client = DoorClient(endpoint, name) if endpoint else None
        self._wishes = wishes
        self._told_at = time.monotonic()
        self._silence_s = 0.0
        self.fault: str | None = None

    def due(self) -> bool:
        """Whether it is time to speak again: a wish does not wait."""
        return bool(self._wishes) or time.monotonic() - self._told_at >= _TELL_EVERY_S

    def tell(self, stage: WorkerStage) -> None:
        """Status and wishes out, orders in and carried out."""
        if self._client is None:
            return
        elapsed = time.monotonic() - self._told_at
        self._told_at += elapsed
        for _, action in self._exchange(self._client, self._status(stage)):
            stage.order(action)
        self._listen(self._client, elapsed)

    @property
    def session_is_gone(self) -> bool:
        """No answer for 5 s of our own running time: a long step of ours is not the session's silence."""
        return self._silence_s > SILENCE_S

    def last_word(self, stage: WorkerStage | None) -> bool:
        """The final status, with the fault if there was one; whether the session has heard it."""
        if self._client is None:
            return True
        status = self._status(stage) | {"state": "failed" if self.fault else "finished"}
        tries = 0 if self.session_is_gone else _LAST_WORDS
        while tries and (tries > 1 or self._client.unanswered):  # twice: the first may only hear an older answer
            self._exchange(self._client, status, _LAST_WORD_MS)
            tries -= 1 if self._client.silent_for_s < _LAST_WORD_MS / 1000 else tries
        heard = not self.session_is_gone and self._client.silent_for_s < _LAST_WORD_MS / 1000
        self._client.close()
        self._client = None
        return heard

    def _listen(self, client: DoorClient, elapsed_s: float) -> None:
        heard = client.silent_for_s < elapsed_s + _TELL_EVERY_S
        self._silence_s = 0.0 if heard else self._silence_s + min(elapsed_s, 2 * _TELL_EVERY_S)

    def _exchange(self, client: DoorClient, status: dict[str, Any], timeout_ms: int = 0) -> list[tuple[int, Action]]:
        orders: list[tuple[int, Action]] = []
        try:
            while self._wishes:
                orders += client.exchange(status, self._wishes.popleft())
            orders += client.exchange(status, timeout_ms=timeout_ms)
        except DoorError as error:
            complain(f"door: {error}")
        return orders

    def _status(self, stage: WorkerStage | None) -> dict[str, Any]:
        status = stage.status() if stage is not None else {}
        return {"pid": os.getpid(), **status, **({"error": self.fault[:4000]} if self.fault else {})}
