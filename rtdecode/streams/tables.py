"""Text tables with a header line, read and written in chunks, with errors that name file and line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import FileFormatError

F8 = NDArray[np.float64]
CHUNK_ROWS = 100_000  # about 10 MB of text: bounded memory for any file
Choose = Callable[[list[str]], Sequence[int]]


def write_table(path: Path, header: str, row_format: str, parts: Iterable[F8]) -> int:
    """Write `header` and the rows of all `parts` ((n, k) float64), return how many rows.

    The file appears under its name only when complete. Raises FileFormatError where it cannot be written.
    """
    draft = path.with_name(path.name + ".part")
    n = 0
    try:
        try:
            with draft.open("w", encoding="utf-8", newline="\n") as file:
                file.write(header + "\n")
                for part in parts:
                    rows = (row_format + "\n") * len(part) % tuple(part.ravel().tolist())
                    file.write(rows if np.isfinite(part).all() else rows.replace("nan", "NaN"))  # as Java reads it
                    n += len(part)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)  # Ctrl-C and a full disk leave nothing half written
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be written: {error}") from error
    return n


def read_table(path: Path, choose: Choose, rows: int = CHUNK_ROWS) -> Iterator[tuple[int, F8]]:
    """Chunks (line number of the first row, (n, k) float64) of the columns that `choose` picks from the header.

    `choose` gets the column names and returns k column numbers, or raises FileFormatError. Comma, semicolon or
    tab; quotes around names and numbers are taken off. Raises FileFormatError with file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline=None) as file:
            names, separator = _header(path, file.readline())
            chosen = list(choose(names))
            line = 2
            while lines := list(islice(file, rows)):
                yield line, _numbers(path, lines, line, separator, chosen)
                line += len(lines)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error}") from error


def column_number(path: Path, names: list[str], name: str) -> int:
    """Where `name` stands in the header; raises FileFormatError when it is missing."""
    if name not in names:
        raise FileFormatError(f"{path}, line 1: column '{name}' is missing; found {_shown(names)}")
    return names.index(name)


def require(path: Path, good: NDArray[np.bool_], first_line: int, what: str) -> None:
    """Raise FileFormatError naming the line of the first row that is not `good`."""
    if not good.all():
        raise FileFormatError(f"{path}, line {first_line + int(np.argmin(good))}: {what}")


def _header(path: Path, line: str) -> tuple[list[str], str]:
    if not line.strip():
        raise FileFormatError(f"{path}: is empty; expected a header line with the names of the columns")
    separator = next((s for s in (",", ";", "\t") if s in line), ",")
    names = next(csv.reader([line.strip()], delimiter=separator))
    if len(names) == 1 and separator in names[0]:  # some tools quote the whole header line
        names = next(csv.reader(names, delimiter=separator))
    return [name.strip() for name in names], separator


def _numbers(path: Path, lines: list[str], first_line: int, separator: str, chosen: list[int]) -> F8:
    """(n, k) numbers of the chosen columns; every line is a row, blank ones only at the end of the file."""
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        return np.empty((0, len(chosen)))
    try:
        found = np.loadtxt(
            lines, delimiter=separator, usecols=chosen, quotechar='"', comments=None, ndmin=2, dtype=np.float64
        )
    except ValueError as error:
        raise _first_fault(path, lines, first_line, separator, chosen) from error
    if len(found) != len(lines):
        raise _first_fault(path, lines, first_line, separator, chosen)
    return np.asarray(found)


def _first_fault(path: Path, lines: list[str], first_line: int, separator: str, chosen: list[int]) -> FileFormatError:
    for number, line in enumerate(lines, first_line):
        cells = line.rstrip("\n").split(separator)
        if len(cells) <= max(chosen):
            return FileFormatError(
                f"{path}, line {number}: found {len(cells)} values, expected at least {max(chosen) + 1}; "
                "the file may be cut short"
            )
        for k in chosen:
            if not _is_number(cells[k]):
                return FileFormatError(f"{path}, line {number}: {cells[k][:40]!r} is not a number")
    return FileFormatError(f"{path}, line {first_line}: cannot be read as numbers")


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().strip('"'))
    except ValueError:
        return False
    return True


def _shown(names: list[str]) -> str:
    text = ", ".join(repr(name) for name in names)
    return text if len(text) <= 200 else text[:200] + " ..."
