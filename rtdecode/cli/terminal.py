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
from rtdecode.session.status import RunStatus
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
    for name, value in _rows(report | ({} if reason else {"reason": ""})):
        table.add_row(name, Text(value))
    console.print(table)
    console.print(f"files in {folder.path}:", soft_wrap=True, highlight=False, markup=False)
    console.print("  " + "  ".join(path.name for path in files), highlight=False, markup=False)


def _rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    frames, latency = report["frames"], report["latency_ms"]
    rows = [("finish", ": ".join(part for part in (report["finish"], report["reason"]) if part))]
    rows += [
        (
            "frames expected",
            f"{frames['expected']} = received {frames['received']} + lost before us {frames['lost_before']}",
        )
    ]
    rows += [
        (
            "frames received",
            f"{frames['received']} = fitted {frames['fitted']} + rejected {frames['rejected']}"
            f" + lost in ring {frames['lost_in_ring']}",
        )
    ]
    rows += [("frames late", f"{frames['late']} of the fitted")] if frames.get("late") else []
    rows += [
        (f"  {lost['reason'].replace('_', ' ')}", f"{lost['first']} to {lost['last']}: {lost['why']}")
        for lost in report["lost"][:8]
    ]
    rows += [("localizations", f"{report['localizations']}")]
    rows += [("rate", f"{_number(report['rate_fps'], 1)} frames/s")]
    waits = report.get("source", {}).get("can_wait")  # a recording: most of it is time in the ring
    rows += [("latency, arrival to log" + (", with the time in the ring" if waits else ""), _latency(latency))]
    rows += [("  without the wait for the next frame", _latency(latency["without_context"]))]
    if "stop" in report:
        rows += [("camera stopped", f"{report['stop']['decision_to_camera_ms']:.0f} ms after the decision")]
    if "score" in report:
        rows += _score_rows(report["score"])
    rows += [(f"policy, at frame {said['frame_index']}", _decision(said)) for said in report.get("decisions", [])]
    taken = report.get("source", {}).get("camera_from")
    rows += [("camera", f"of the recorded run: {taken}")] if taken else []
    rows += [(f"policy {name}", _standing(said)) for name, said in report.get("policies", {}).items()]
    model, engine = report["model"], report["engine"]
    rows += [("model", f"{model['name']} ({model['sha256'][:12]}), {engine['use']} {engine['precision']}")]
    return rows + [("warning", warning) for warning in report["warnings"]]


def _decision(said: dict[str, Any]) -> str:
    """`name: stop: reason` or `name: device.property = value`."""
    action = said["action"]
    what = f"stop: {action['reason']}" if action["kind"] == "stop" else f"{action['device']}.{action['property']}"
    return f"{said['policy']}: {what}" + (f" = {action['value']:g}" if "value" in action else "")


def _standing(said: dict[str, Any]) -> str:
    """A policy's own figures at the end: `coverage 0.97, lower 0.95, ...`."""
    figures = {name: value for name, value in said.items() if name != "frame_index"}
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )


def _score_rows(score: dict[str, Any]) -> list[tuple[str, str]]:
    if "error" in score:
        return [("score", str(score["error"]))]
    found = ", ".join(f"{name} {_number(score[name], 3)}" for name in ("jaccard", "precision", "recall"))
    errors = f"lateral {_number(score['rmse_lateral_nm'], 1)} nm"
    if score["rmse_axial_nm"] is not None:  # a 2D model has none
        errors += f", axial {_number(score['rmse_axial_nm'], 1)} nm"
    return [("score against truth", found), ("  RMSE", errors)]


def _latency(figures: dict[str, Any]) -> str:
    return "  ".join(f"{name} {_number(figures[name], 1)} ms" for name in ("p50", "p99", "max"))


def _number(value: float | None, digits: int) -> str:
    return "--" if value is None else f"{value:.{digits}f}"
