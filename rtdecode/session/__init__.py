"""One run from configuration to end: run folder, workers, door, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rtdecode.core.config import RunConfig
from rtdecode.core.errors import ConfigError, RtdecodeError, RunFolderError, SourceError
from rtdecode.core.interrupt import Interrupt
from rtdecode.session.admit import admitted
from rtdecode.session.children import start_viewer
from rtdecode.session.inline import InlineSession
from rtdecode.session.listening import Listening
from rtdecode.session.processes import OnStatus, ProcessSession
from rtdecode.session.report import close_run, judge
from rtdecode.session.resolve import resolve
from rtdecode.session.status import RunStatus
from rtdecode.stages.notes import note
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.memory import remove_abandoned
from rtdecode.streams.run_folder import RunFolder

__all__ = ["Interrupt", "Listening", "Outcome", "RunResult", "RunStatus", "listen", "run", "run_inline"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that is over: its folder, how it ended, its report.json."""

    folder: RunFolder
    outcome: Outcome
    report: dict[str, Any]


def run(
    config: RunConfig, *, origin: str = "configuration", interrupt: Interrupt | None = None,
    on_status: OnStatus | None = None, inline: bool = False, tell: Callable[[str], None] | None = None,
) -> RunResult:  # fmt: skip
    """Run `config` to its end, with workers as processes or `inline` in this one; writes the report.

    `tell` hears what is done before the run begins: which engine serves, and that it is checked if that takes seconds.
    Raises RtdecodeError only where no run began (bundle, camera, configuration, engine, folder); what goes wrong
    later is the run's outcome.
    """
    record = resolve(config, origin)
    if not inline:
        _refuse_another_process(record)
    RunFolder.refuse_taken(record.out)  # before the gate, which takes seconds
    record = admitted(record, tell or _unheard)
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


def listen(config: RunConfig) -> Listening[RunResult]:
    """Begin `config` in a thread of this process and return when its source listens: for `use: mda`.

    Start the MDA after that. Raises RtdecodeError where the run did not get so far.
    """
    listening = Listening(lambda interrupt, hear: run(config, interrupt=interrupt, on_status=hear, inline=True))
    listening.begin()
    if listening.is_over:
        raise SourceError(f"the run ended before it could listen: {listening.result().outcome.reason}")
    return listening


def _refuse_another_process(record: RunRecord) -> None:
    """Workers are processes of their own, and an MDA can only be heard in the one that runs it."""
    if record.source.use != "mda":
        return
    line = record.lines_below("source").get(("use",))
    place = f"{record.origin}, line {line}" if line else record.origin
    raise ConfigError(
        f"{place}: the source mda listens to an MDA that a program runs in its own process, and `rtdecode live` works "
        "in processes of its own, where there is none. Call rtdecode.session.listen in that program "
        "(docs/micromanager.md, 'Listening to an MDA'), or let rtdecode run the camera: use: micromanager or mmcore"
    )


def _unheard(sentence: str) -> None:
    """Nobody listens."""


def _silent(status: RunStatus) -> None:
    """Nobody watches."""
