"""A run on the terminal: one line that changes in place, or a line now and then; a summary at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rtdecode.core.config import RunConfig
from rtdecode.session.measuring import measured_rows
from rtdecode.session.status import RunStatus
from rtdecode.session.summary import summary_rows
from rtdecode.streams.run_folder import RunFolder

_LINE_EVERY_S = 5.0  # where there is no terminal to change a line on
_WIDTH = 110
_TOLD_FILL = 0.25


class _Console(Console):
    """Rich's, which would end the program where the pipe is closed; a run goes on."""

    def on_broken_pipe(self) -> None:
        """Leave it to `outliving`."""
        raise BrokenPipeError("nobody reads our output any more")


@contextmanager
def outliving(stream: TextIO) -> Iterator[None]:
    """A window that was closed or a pipe that broke silences us; it must not take a run's report and files with it."""
    try:
        yield
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # or the next word, and Python's own last flush, would fail again
        os.close(nowhere)


class Display:
    """Shows RunStatus as it comes; `notice` is told once, when the run has begun."""

    def __init__(self, config: RunConfig, notice: str | None = None) -> None:
        self._console = _Console()
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._in_place = self._console.is_terminal
        self._printed_at: float | None = None
        self._folder, self._notice = config.out, notice
        self._warned: set[str] = set()

    def __enter__(self) -> Display:
        if self._in_place:
            with outliving(sys.stdout):
                self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._in_place:
            with outliving(sys.stdout):
                self._live.stop()

    def tell(self, sentence: str) -> None:
        """Something that is done before the run begins."""
        with outliving(sys.stdout):
            self._console.print(sentence, highlight=False, soft_wrap=True, markup=False)

    def show(self, status: RunStatus) -> None:
        """One moment of the run."""
        with outliving(sys.stdout):
            self._show(status)

    def _show(self, status: RunStatus) -> None:
        line, now = status_line(status), time.monotonic()
        if self._printed_at is None:
            self._console.print(f"run folder: {self._folder}", highlight=False, soft_wrap=True, markup=False)
            if self._notice:
                self._console.print(self._notice, highlight=False, soft_wrap=True, markup=False)
        for warning in status.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._console.print(f"warning: {warning}", highlight=False, soft_wrap=True, markup=False)
        if self._in_place:
            self._live.update(Text(line), refresh=True)
        elif self._printed_at is None or now - self._printed_at >= _LINE_EVERY_S:
            print(line, flush=True)
            self._printed_at = now
        self._printed_at = self._printed_at or now


def status_line(status: RunStatus) -> str:
    """One moment in one line."""
    if status.received == 0:
        return f"{status.elapsed_s:5.1f} s  {status.state}"
    frames = f"{status.fitted}/{status.expected}" if status.expected else str(status.fitted)
    rate = f"{status.fps:6.1f} fps" if status.fps else "    -- fps"
    latency = f"{status.latency_ms:.1f} ms" if status.latency_ms is not None else "--"
    full = f" ({status.fill:.0%} of the queue)" if status.fill is not None and status.fill >= _TOLD_FILL else ""
    return (
        f"{status.elapsed_s:5.1f} s  {status.state}  frames {frames}  {rate}  lag {status.behind}{full}  "
        f"lost {status.lost}  "
        f"localizations {status.localizations}  latency {latency}"
    )


def print_summary(folder: RunFolder, report: dict[str, Any], files: list[Path], *, reason: bool = True) -> None:
    """Ledger, rates, latency, score, warnings, files: what a person reads at the end; `reason`: and why it ended."""
    console = _Console()
    if not console.is_terminal:
        console = _Console(width=_WIDTH)
    table = Table(title=f"{folder.name}: {report['finish']}", show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in [*summary_rows(report | ({} if reason else {"reason": ""})), *measured_rows(folder)]:
        table.add_row(name, Text(value))
    console.print(table)
    console.print(f"files in {folder.path}:", soft_wrap=True, highlight=False, markup=False)
    console.print("  " + "  ".join(path.name for path in files), highlight=False, markup=False)
