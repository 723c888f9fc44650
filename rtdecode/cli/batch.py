"""`rtdecode batch`: many recordings, or one very large one, over many processes or machines."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rtdecode.batch.run import Progress, Result


def batch(
    plan: Annotated[Path, typer.Argument(help="YAML of the recordings; see configs/batch.yaml.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results. Default: the plan's `out`.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="A Dask scheduler, e.g. tcp://login01:8786.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Without --scheduler: processes on this machine.")] = 1,
) -> None:
    """Fit many recordings in blocks of frames; each becomes a run folder with the bytes of a replay's log.

    What was fitted before is not fitted again; a block that cannot be read is reported with its frames, the rest goes
    on, and the exit status is 1.

    Example: [bold]rtdecode batch configs/batch.yaml --workers 2[/bold]
    """
    from rtdecode.batch.cluster import client_of, resources_of
    from rtdecode.batch.plan import load_plan
    from rtdecode.batch.run import prepare, run_batch
    from rtdecode.cli.aftermath import make_files
    from rtdecode.streams.run_folder import RunFolder

    batch_plan = load_plan(plan)
    place = out or batch_plan.out
    if place is None:
        raise ConfigError(f"{plan}: where to? Give --out, or `out` in the plan")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(place)):
        raise ConfigError(f"--out {place}: results are always files; name a folder that all workers see")
    place = place.resolve() if out else (plan.parent / place).resolve()
    jobs = prepare(batch_plan, plan, place, typer.echo)
    place.mkdir(parents=True, exist_ok=True)
    need = {name: most for job in jobs.values() for name, most in resources_of(job.record.engine.use).items()}
    with client_of(scheduler, workers, need) as client:
        if scheduler is not None:
            typer.echo(f"scheduler {scheduler}; its page: {client.dashboard_link}")
        with _Bar() as bar:
            again = _reconnect(scheduler, bar.tell) if scheduler else None
            try:
                result = run_batch(
                    batch_plan, jobs, place, client, tell=bar.tell, on_progress=bar.show, reconnect=again
                )
            except KeyboardInterrupt:
                bar.tell("interrupted; what is done is kept, and the same command goes on")
                raise typer.Exit(130) from None
    for run in result.runs:
        make_files(RunFolder.open(run), csv=False)
    _print(result, place)
    if not result.good:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(batch)


class _Bar:
    """Progress in place on a terminal, a line now and then elsewhere."""

    def __enter__(self) -> _Bar:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns)
        self._task = self._progress.add_task("blocks", total=None)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, progress: Progress) -> None:
        """One moment."""
        failed = f", {progress.failed} failed" if progress.failed else ""
        words = f"{progress.localizations} localizations{failed}"
        done = progress.done + progress.failed
        self._progress.update(self._task, total=progress.blocks, completed=done, description=words)

    def tell(self, sentence: str) -> None:
        """A line above the bar."""
        self._progress.console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _reconnect(scheduler: str, tell: Callable[[str], None]) -> Callable[[], Any]:
    """Waits for a scheduler that was started anew, and for a worker of it."""
    from rtdecode.batch.cluster import reconnected

    return lambda: reconnected(scheduler, tell)


def _print(result: Result, place: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from rtdecode.batch.run import REPORT

    report = result.report
    table = Table(title=f"{len(report['recordings'])} recordings in {place}", title_justify="left")
    for column in ("recording", "finish", "frames fitted", "lost", "localizations", "missing blocks"):
        table.add_column(column, justify="left" if column in ("recording", "finish") else "right")
    for name, one in report["recordings"].items():
        frames = one["frames"] or {}
        lost = frames.get("lost_before", 0) + frames.get("lost_in_ring", 0)
        cells = (one["finish"], frames.get("fitted", "-"), lost, one["localizations"], one["missing_blocks"])
        table.add_row(name, *map(str, cells))
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)
    for name, one in report["recordings"].items():
        for line in [*one["missing"], *([one["error"]] if one["error"] else [])]:
            typer.echo(f"{name}: {line}", err=True)
    for who, figures in report["workers"].items():
        typer.echo(f"{who}: {figures['blocks']} blocks, {figures['frames_per_s']} frames/s")
    typer.echo(
        f"{report['frames_fitted']} frames in {report['seconds']} s ({report['frames_per_s']} frames/s), "
        f"{report['retries']} retries, {report['reused']} blocks compared and kept; {place / REPORT}"
    )
    for warning in report["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
