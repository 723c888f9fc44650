"""The session's side of a safe-stop: started once when acquire has died with its hardware open, bounded in time."""

from __future__ import annotations

import time

from rtdecode.session.children import Child, start
from rtdecode.stages.notes import note
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.safe_stop import NAME, SAFE_STOP_S, left_open, tell_failed, told
from rtdecode.streams.run_folder import RunFolder

START_S = 10.0  # a process and its imports, on a machine that is busy; beyond the source's own time
_NAP_S = 0.05


class SafeStopWatch:
    """Starts the worker, kills it when it hangs, sees to it that its outcome is told."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._begun = False
        self._child: Child | None = None
        self._deadline = 0.0
        self.alarm: str | None = None  # the light may be on: to be shown at once, and not at the run's end

    def begin(self) -> None:
        """When acquire's process is no more. Starts nothing where all is at rest; only the first call counts."""
        if self._begun:
            return
        self._begun = True
        opening = left_open(self._folder)
        if opening is None:
            return
        if opening.get("safe_stop_s") is None:
            self._fail("the source has no bring_to_rest, so nobody opened its hardware again")
        else:
            self._start(float(opening["safe_stop_s"] or SAFE_STOP_S))

    @property
    def running(self) -> bool:
        """Whether hardware is being brought to rest."""
        return self._child is not None

    def look(self) -> None:
        """Has it ended, or has it had its time?"""
        child = self._child
        if child is None:
            return
        if child.look():
            self._end(child.how_it_ended())
        elif time.monotonic() > self._deadline:
            child.kill()
            self._end("it hung and was killed")

    def finish(self) -> None:
        """Begin if need be, and wait for the end: for a session that ends by a fault of its own."""
        self.begin()
        while self.running:
            time.sleep(_NAP_S)
            self.look()

    def judge(self, outcome: Outcome) -> Outcome:
        """The run's outcome with the safe-stop's words; failed where hardware may not be at rest."""
        found = told(self._folder) if self._begun else None
        if found is None and self.alarm is None:
            return outcome
        words = self.alarm or str(found and found["reason"])
        if self.alarm is not None or outcome.finish == "failed":
            return Outcome.failed("; ".join(part for part in (outcome.reason, words) if part))
        note(self._folder, "session", "warning", None, reason=words)
        return outcome

    def _start(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds + START_S
        try:
            self._child = start(NAME, self._folder)
        except OSError as error:
            self._fail(f"it could not be started: {error}")

    def _end(self, how: str) -> None:
        self._child = None
        found = told(self._folder)
        if found is None:
            self._fail(how)
        elif not found["ok"]:
            self.alarm = str(found["reason"])

    def _fail(self, why: str) -> None:
        self.alarm = tell_failed(self._folder, why)
