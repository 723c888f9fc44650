"""A run in one process: the same stages, stepped round robin; for replays, scripts and tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rtdecode.core.actions import Action, Stop
from rtdecode.core.errors import RtdecodeError
from rtdecode.core.interrupt import Interrupt
from rtdecode.session.status import RunStatus, Watch
from rtdecode.stages.arbiter import Arbiter
from rtdecode.stages.build import WorkerStage, build_stage, worker_names
from rtdecode.stages.notes import note
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.memory import remove_memory
from rtdecode.streams.run_folder import RunFolder

_NAP_S = 0.0005
_STATUS_EVERY_S = 0.25


class InlineSession:
    """Steps each stage in turn. User code (policies) runs in this process, too: that is the price of inline."""

    def __init__(
        self, folder: RunFolder, record: RunRecord, interrupt: Interrupt, on_status: Callable[[RunStatus], None]
    ) -> None:
        self._folder, self._record, self._interrupt, self._on_status = folder, record, interrupt, on_status
        self._arbiter = Arbiter(record.control, self._note, self._carry_out)
        self._stages: dict[str, WorkerStage] = {}
        self._open: dict[str, WorkerStage] = {}
        self._watch = Watch()
        self._shown_at = 0.0

    def run(self) -> Outcome:
        """The whole run; the camera is closed whatever happens."""
        try:
            for name in worker_names(self._record):
                if name == "check":
                    continue  # a look would hold up frames here; the report has its own doubts
                self._stages[name] = build_stage(name, self._folder, self._record, self._wish)
            self._open = dict(self._stages)
            while self._open:
                self._round()
            return self._outcome()
        except RtdecodeError as error:
            self._note("session", "error", None, {"reason": str(error)})
            return Outcome.failed(str(error))
        finally:
            self._clean_up()

    def _round(self) -> None:
        worked = False
        for name, stage in list(self._open.items()):
            did = stage.step()
            worked = worked or bool(did)
            if did is None:
                del self._open[name]
                stage.close()
        if "decide" in self._open and len(self._open) == 1:
            self._open["decide"].order(Stop("the log is complete"))
        self._hold_limits()
        self._show()
        if not worked:
            time.sleep(_NAP_S)

    def _wish(self, action: Action) -> None:
        self._arbiter.wish(action, worker="decide")

    def _carry_out(self, action: Action) -> None:
        self._stages["acquire"].order(action)

    def _hold_limits(self) -> None:
        minutes = self._record.limits.minutes
        if self._arbiter.stop_reason is not None:
            return
        if self._interrupt.reason is not None:
            self._arbiter.command(Stop(self._interrupt.reason), worker="session")
        elif minutes is not None and self._watch.camera_s(self._stages["acquire"].status()) > 60 * minutes:
            self._arbiter.command(Stop(f"limits.minutes: {minutes:g} minutes"), worker="session")

    def _outcome(self) -> Outcome:
        outcome = getattr(self._stages["acquire"], "outcome", None)
        return outcome if isinstance(outcome, Outcome) else Outcome.failed("acquire ended without a word")

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown_at < _STATUS_EVERY_S:
            return
        self._shown_at = now
        acquire, localize = self._stages["acquire"].status(), self._stages["localize"].status()
        running = acquire["state"] == "running" and self._arbiter.stop_reason is None
        self._on_status(self._watch.status("running" if running else "draining", acquire, localize))

    def _clean_up(self) -> None:
        for stage in self._stages.values():
            stage.close()
        if self._folder.ring_path is not None:
            remove_memory(self._folder.ring_path)

    def _note(self, worker: str, kind: str, frame_index: int | None, fields: dict[str, Any]) -> None:
        note(self._folder, worker, kind, frame_index, **fields)
