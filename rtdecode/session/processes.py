"""A run with each worker in a process of its own: started, watched, restarted, stopped, drained."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rtdecode.core.actions import Action, Stop
from rtdecode.core.errors import RingError
from rtdecode.core.interrupt import Interrupt
from rtdecode.session.children import Child, start
from rtdecode.session.safe_stop import SafeStopWatch
from rtdecode.session.status import RunStatus, Watch
from rtdecode.stages.arbiter import Arbiter
from rtdecode.stages.build import worker_names
from rtdecode.stages.notes import note
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.door import Door, DoorMessage
from rtdecode.streams.memory import remove_memory
from rtdecode.streams.ring import RingReader
from rtdecode.streams.run_folder import RunFolder

OnStatus = Callable[[RunStatus], None]

_POLL_MS = 50
_STATUS_EVERY_S = 0.25
_STOP_PATIENCE_S = 30.0  # after a Stop: a source that has not ended then is killed with its process
_CLOSE_PATIENCE_S = 5.0  # a terminated acquire closes camera and light
_CHECK_PATIENCE_S = 10.0  # after the log is complete: its last look
_READERS = ("decide", "check")  # they end when the log is complete
_DECIDE_PATIENCE_S = 60.0  # after the log is complete: policies that have not come to its end then are not awaited
_POLICIES_SLOW_S = 3.0  # then the terminal says so
_KILL_ALL_AT = 3  # the third Ctrl-C waits for nothing any more
_RESTARTED = ("localize", "decide", "record")


class ProcessSession:
    """Owns door, children and the ring's memory of one run; runs no user code, loads no torch, no Qt."""

    def __init__(self, folder: RunFolder, record: RunRecord, interrupt: Interrupt, on_status: OnStatus) -> None:
        self._folder, self._record, self._interrupt, self._on_status = folder, record, interrupt, on_status
        self._door = Door()
        folder.publish_door(self._door.endpoint)
        self._arbiter = Arbiter(record.control, self._note, self._carry_out)
        self._children: dict[str, Child] = {}
        self._wishes: dict[object, int] = {}  # heard so far of each decide process
        self._wishes_known = 0
        self._watch = Watch()
        self._safe_stop = SafeStopWatch(folder)
        self._shown_at = 0.0
        self._stopped_at: float | None = None
        self._given_up = False  # workers were killed: acquire did not stop, or the user would not wait
        self._fault: str | None = None

    def run(self) -> Outcome:
        """The whole run; whatever happens, no child and no memory is left behind."""
        try:
            if self._interrupt.reason is not None:
                return Outcome.stopped(self._interrupt.reason)  # before anything began
            self._start_all()
            while not self._is_drained():
                self._tick()
            self._end_decide()
            self._end_check()
            return self._safe_stop.judge(self._outcome())
        finally:
            self._clean_up()

    # from start to end

    def _start_all(self) -> None:
        """Policies first: user code that does not load must be known before a camera is touched."""
        names = worker_names(self._record)
        if "decide" in names:
            self._start("decide")
            while self._children["decide"].running and self._said("decide").get("state") != "running":
                self._tick()
            if not self._children["decide"].running:
                return
        for name in names:
            if name != "decide":
                self._start(name)

    def _start(self, name: str, restarts: int = 0) -> None:
        self._children[name] = start(name, self._folder, restarts)

    def _is_drained(self) -> bool:
        """Frames have come to their end, in the log or never to be, and the hardware to its rest."""
        working = any(child.running for name, child in self._children.items() if name not in _READERS)
        return not working and not self._safe_stop.running

    def _end_decide(self) -> None:
        """The log is complete; policies read to its end."""
        deadline = time.monotonic() + _DECIDE_PATIENCE_S
        told = None
        while (child := self._children.get("decide")) is not None and child.running:
            if child is not told:
                self._door.order("decide", Stop("the log is complete"))
                told = child
            if time.monotonic() > deadline:
                self._warn("policies were not done a minute after the last frame; their last decisions are missing")
                child.kill()
                child.restarts = self._record.limits.restarts
            self._tick()

    def _end_check(self) -> None:
        """Its last look is worth a few seconds, and no more."""
        deadline = time.monotonic() + _CHECK_PATIENCE_S
        child = self._children.get("check")
        if child is None or not child.running:
            return
        self._door.order("check", Stop("the log is complete"))
        while child.running and time.monotonic() < deadline:
            self._tick()
        child.kill()

    def _outcome(self) -> Outcome:
        """Our own fault first, then what acquire said through the ring."""
        if self._fault is not None:
            return Outcome.failed(self._fault)
        if self._given_up:
            return Outcome.stopped(self._arbiter.stop_reason or "asked to stop")
        said = self._said_by_ring()
        if said is None and self._arbiter.stop_reason is not None:
            return Outcome.stopped(self._arbiter.stop_reason)
        return said or Outcome.failed("acquire ended without a word")

    def _said_by_ring(self) -> Outcome | None:
        path = self._folder.ring_path
        if path is None:
            return None
        try:
            ring = RingReader.open(path)
        except RingError:
            return None
        ended = ring.finished
        ring.close()
        return Outcome.from_text(ended.reason) if ended is not None else None

    def _clean_up(self) -> None:
        """In good order no child is left by now; after a fault of ours acquire still closes its camera."""
        for child in self._children.values():
            child.end_gently(_CLOSE_PATIENCE_S if child.name == "acquire" else 0.0)
        self._safe_stop.finish()
        if self._folder.ring_path is not None and not remove_memory(self._folder.ring_path):
            self._warn(f"{self._folder.ring_path} could not be removed; delete it when no program uses it")
        self._door.close()

    # one round

    def _tick(self) -> None:
        for message in self._door.poll(_POLL_MS):
            self._hear(message)
        for child in list(self._children.values()):
            self._look_at(child)
        self._safe_stop.look()
        self._hold_limits()
        now = time.monotonic()
        if now - self._shown_at >= _STATUS_EVERY_S:
            self._shown_at = now
            self._on_status(self._status())

    def _hear(self, message: DoorMessage) -> None:
        child = self._children.get(message.worker)
        if child is not None:
            child.hear(message.status)
        for action in message.actions:
            if message.worker == "decide":
                self._hear_wish(action, message.status.get("pid"))
            elif child is None and isinstance(action, Stop):
                self._arbiter.command(action, worker=message.worker)  # `rtdecode stop`, a viewer's button
            else:
                self._arbiter.wish(action, worker=message.worker)

    def _hear_wish(self, action: Action, pid: object) -> None:
        """A restarted decide wishes for all again, in the same order: those already known do not count."""
        self._wishes[pid] = number = self._wishes.get(pid, 0) + 1
        if number > self._wishes_known:
            self._wishes_known = number
            self._arbiter.wish(action, worker="decide")

    def _look_at(self, child: Child) -> None:
        if child.running and child.hangs:
            child.hung = True
            self._note("session", "hangs", None, {"of": child.name})  # before the kill: a restarted decide reads it
            child.kill()
        if not child.look():
            return
        if child.end != "done":
            self._note("session", "died", None, {"of": child.name, "reason": child.how_it_ended()})
        if child.name == "acquire":
            self._acquire_ended(child)
        elif child.end == "crashed" and self._may_restart(child):
            self._restart(child)
        elif child.end != "done":
            self._lost(child)

    def _acquire_ended(self, child: Child) -> None:
        self._safe_stop.begin()  # light before bookkeeping
        if child.end != "done" and not self._given_up:
            self._fault = self._fault or f"acquire: {child.how_it_ended()}"
        if self._folder.ring_path is None:  # otherwise localize and record drain the ring and end
            for name in ("localize", "record"):
                self._door.order(name, Stop("there will be no frames"))

    def _may_restart(self, child: Child) -> bool:
        within = child.name != "check" and child.restarts < self._record.limits.restarts
        return within and self._fault is None and not self._given_up

    def _restart(self, child: Child) -> None:
        self._note("session", "restart", None, {"of": child.name, "reason": child.how_it_ended()})
        for message in self._door.poll(0):  # its last words, before its successor speaks
            self._hear(message)
        self._start(child.name, child.restarts + 1)

    def _lost(self, child: Child) -> None:
        """A worker that will not come back: without localize there is no run, without the others there is."""
        if self._given_up:
            return  # we killed it
        why = f"{child.name}: {child.how_it_ended()}"
        if child.name == "check":
            return self._warn(f"{why}; whether the model fits the data was not checked any more")
        started = self._said("acquire").get("state") not in (None, "opening", "waiting for readers")
        if child.name == "localize" or not started:  # at the start what was asked for must be there
            self._fault = self._fault or why
            self._stop_acquire(Stop(why))
            return
        self._warn(f"{why}; the run went on without it")
        if child.name == "record" and self._folder.ring_path is not None:
            with suppress(RingError):  # a replay would wait for it for ever
                RingReader.open(self._folder.ring_path, "record").close()

    def _hold_limits(self) -> None:
        minutes, running_s = self._record.limits.minutes, self._watch.camera_s(self._said("acquire"))
        if self._interrupt.reason is not None and self._stopped_at is None:
            self._arbiter.command(Stop(self._interrupt.reason), worker="session")
        elif minutes is not None and running_s > 60 * minutes and self._stopped_at is None:
            self._arbiter.command(Stop(f"limits.minutes: {minutes:g} minutes"), worker="session")
        if self._interrupt.times >= _KILL_ALL_AT:
            self._given_up = True
            for child in self._children.values():
                child.end_gently(_CLOSE_PATIENCE_S if child.name == "acquire" else 0.0)
        self._hold_patience()

    def _hold_patience(self) -> None:
        acquire = self._children.get("acquire")
        if acquire is None or not acquire.running or self._stopped_at is None:
            return
        if time.monotonic() - self._stopped_at > _STOP_PATIENCE_S:
            self._given_up = True
            self._warn(f"acquire did not stop within {_STOP_PATIENCE_S:.0f} s and was killed: check camera and light")
            acquire.end_gently(_CLOSE_PATIENCE_S)

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Stop):
            self._stop_acquire(action)
        else:
            self._door.order("acquire", action)

    def _stop_acquire(self, stop: Stop) -> None:
        self._stopped_at = self._stopped_at or time.monotonic()
        self._door.order("acquire", stop)

    # telling

    def _status(self) -> RunStatus:
        acquire, localize = (self._said(name) for name in ("acquire", "localize"))
        warnings = tuple(str(words) for words in self._said("check").get("warnings", ()))
        status = self._watch.status(self._state(acquire, localize), acquire, localize)
        return replace(status, warnings=status.warnings + warnings)

    def _said(self, name: str) -> dict[str, Any]:
        child = self._children.get(name)
        return child.status if child is not None else {}

    def _state(self, acquire: dict[str, Any], localize: dict[str, Any]) -> str:
        if self._safe_stop.alarm is not None:
            return self._safe_stop.alarm
        if self._stopped_at is not None:
            return "stopping"
        if acquire.get("state") == "finished":
            return "draining"
        if acquire.get("state") == "running" and localize.get("state") == "running":
            return f"running{self._about_policies()}"
        if acquire.get("state") == "opening" and acquire.get("why"):
            return f"waiting: {acquire['why']}"
        starting = [
            n
            for n, child in self._children.items()
            if n != "check" and child.status.get("state") not in ("running", "finished")
        ]
        return f"starting: {', '.join(starting)}"

    def _about_policies(self) -> str:
        """Words for the terminal where a policy has failed, or none answers; empty where all is well."""
        child = self._children.get("decide")
        if child is not None and child.running and child.silent_s > _POLICIES_SLOW_S:
            return f", policies say nothing for {child.silent_s:.0f} s"
        standing = self._said("decide").get("policies") or {}
        failed = [name for name, state in standing.items() if state == "failed"]
        return f", policy {', '.join(failed)} failed" if failed else ""

    def _warn(self, sentence: str) -> None:
        self._note("session", "warning", None, {"reason": sentence})

    def _note(self, worker: str, kind: str, frame_index: int | None, fields: dict[str, Any]) -> None:
        note(self._folder, worker, kind, frame_index, **fields)
