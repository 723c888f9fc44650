"""One run from configuration to end: run folder, workers, door, report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rtdecode.core.config import RunConfig
from rtdecode.core.errors import RtdecodeError, RunFolderError
from rtdecode.core.interrupt import Interrupt
from rtdecode.session.children import start_viewer
from rtdecode.session.inline import InlineSession
from rtdecode.session.processes import OnStatus, ProcessSession
from rtdecode.session.report import close_run, judge
from rtdecode.session.resolve import resolve
from rtdecode.session.status import RunStatus
from rtdecode.stages.notes import note
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.memory import remove_abandoned
from rtdecode.streams.run_folder import RunFolder

__all__ = ["Interrupt", "Outcome", "RunResult", "RunStatus", "run", "run_inline"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that is over: its folder, how it ended, its report.json."""

    folder: RunFolder
    outcome: Outcome
    report: dict[str, Any]


def run(
    config: RunConfig, *, origin: str = "configuration", interrupt: Interrupt | None = None,
    on_status: OnStatus | None = None, inline: bool = False,
) -> RunResult:  # fmt: skip
    """Run `config` to its end, with workers as processes or `inline` in this one; writes the report.

    Raises RtdecodeError only where no run began (bundle, camera, configuration, folder); what goes wrong
    later is the run's outcome.
    """
    record = resolve(config, origin)
    folder = _begin(record)
    kind = InlineSession if inline else ProcessSession
    for caution in record.cautions:
        note(folder, "session", "warning", None, reason=caution)
    remove_abandoned()
    if record.view:
        start_viewer(folder)
    try:
        outcome = judge(folder, kind(folder, record, interrupt or Interrupt(), on_status or _silent).run())
    except RtdecodeError as error:
        outcome = Outcome.failed(str(error))
    finally:
        folder.release_reserve()
    note(folder, "session", "finish", None, finish=outcome.finish, reason=outcome.reason)
    return RunResult(folder, outcome, close_run(folder, outcome))


def run_inline(config: RunConfig, *, interrupt: Interrupt | None = None) -> RunResult:
    """As `run` in this one process: the same stages, round robin."""
    return run(config, interrupt=interrupt, inline=True)


def _begin(record: RunRecord) -> RunFolder:
    """The run's folder with its reserve; where the disk has no room for it, no folder is left."""
    folder = RunFolder.create(record.out, record.as_yaml())
    try:
        folder.take_reserve()
    except RunFolderError:
        folder.discard()
        raise
    return folder


def _silent(status: RunStatus) -> None:
    """Nobody watches."""
