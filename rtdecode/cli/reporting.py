"""What `rtdecode report` does: one run's report, made where it is missing, or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtdecode.core.errors import ConfigError, RunFolderError
from rtdecode.session.compare import comparison
from rtdecode.session.report import close_run
from rtdecode.stages.outcome import Outcome
from rtdecode.streams.run_folder import RunFolder

_WIDTH = 160


def closed_report(folder: RunFolder) -> dict[str, Any]:
    """report.json of a run that is over, made where the session died before it could. Raises RunFolderError."""
    if folder.is_running:
        raise RunFolderError(
            f"{folder.path}: still running; end it with `rtdecode stop`, or watch it with `rtdecode view`"
        )
    return folder.read_report() or close_run(folder, Outcome.failed("the session died before the end of the run"))


def compare(paths: Sequence[Path], out: Path | None) -> None:
    """Print the runs' figures side by side, and write them as a page where `out` says so."""
    if out is not None and (out.is_dir() or out.suffix.lower() not in (".html", ".htm")):
        raise ConfigError(f"--out {out}: name an .html file")
    runs = [(folder, closed_report(folder)) for folder in map(RunFolder.open, paths)]
    rows, names = comparison(runs), _names([folder.path for folder, _ in runs])
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = Table(title="runs side by side", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold")
    for what, figures in rows:
        table.add_row(what, *map(Text, figures))
    console.print(table)
    if out is not None:
        _write_page(out, [folder for folder, _ in runs], names, rows)
        console.print(f"page: {out}", markup=False, highlight=False, soft_wrap=True)


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names, or whole paths where two folders are called alike."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _write_page(out: Path, folders: Sequence[RunFolder], names: Sequence[str], rows: Sequence[Any]) -> None:
    from rtdecode.view.report_page import Figure, write_comparison

    pictures = [Figure(f.picture.read_bytes(), name) if f.picture.exists() else None
                for f, name in zip(folders, names, strict=True)]  # fmt: skip
    write_comparison(out, names, rows, pictures)
