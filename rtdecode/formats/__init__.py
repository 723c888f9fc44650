"""Foreign localization files, one file for each format; FORMATS names those that `rtdecode export` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from rtdecode.core.localizations import Localizations
from rtdecode.formats.thunderstorm import read_thunderstorm, write_thunderstorm

PxNm = tuple[float, float]


class Format(NamedTuple):
    """How one foreign format is named on disk, written and read; `px_nm` is the pixel size (x, y)."""

    extension: str
    write: Callable[[Path, Localizations | Iterable[Localizations], PxNm], int]
    read: Callable[[Path, PxNm], Localizations]


FORMATS: dict[str, Format] = {"thunderstorm": Format(".csv", write_thunderstorm, read_thunderstorm)}
