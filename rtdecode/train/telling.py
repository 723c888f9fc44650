"""What a training says: a bar with the time left on a terminal, or else a line for each report."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rtdecode.train.page import time_left

_SHOWN = ("loss", "validation")  # more does not fit beside the times in 80 columns


class Telling:
    """A `with` block around a training; silent in processes that do not speak."""

    def __init__(self, name: str, iteration: int, iterations: int, speaks: bool = True) -> None:
        self._console = Console(highlight=False, quiet=not speaks)
        self._in_place = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(14), MofNCompleteColumn(), TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self._console,
        )  # fmt: skip
        self._iterations = iterations
        self._task = self._progress.add_task(name, total=iterations, completed=iteration, words="")

    def __enter__(self) -> Telling:
        if self._in_place:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._in_place:
            self._progress.stop()

    def step(self, iteration: int) -> None:
        """One more iteration is done."""
        if self._in_place:
            self._progress.update(self._task, completed=iteration)

    def report(self, row: dict[str, float]) -> None:
        """A row of the curve."""
        if self._in_place:
            words = " ".join(f"{name} {row[name]:.3g}" for name in _SHOWN)
            self._progress.update(self._task, words=words)
            return
        left = time_left(int(row["iteration"]), self._iterations, row["seconds"])
        words = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        self._console.print(f"{words}  left {left}", soft_wrap=True, markup=False)
