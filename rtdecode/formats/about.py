"""What a file of localizations says besides its rows: pixel size, field, frames, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations

CHUNK_ROWS = 1 << 15  # 1.5 MB of our records: bounded memory for any file
Z_COLUMNS = frozenset({"z_nm", "sigma_z_nm"})
"""What no localization of a 2D model has."""


@dataclass(frozen=True, slots=True)
class About:
    """Of a table of localizations. `provenance` is plain JSON: model, versions, configuration, filter, drift."""

    px_nm: tuple[float, float]  # (x, y)
    shape_px: tuple[int, int] | None = None  # (rows, columns) of the frames; None: not known
    n_frames: int | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    """Our columns of which no row knows anything: left out of what is written. Picasso drops every row with a NaN,
    ThunderSTORM cannot read one, and zeros would pass for measurements."""


@dataclass(frozen=True, slots=True)
class Table:
    """A foreign file, opened: what it says of itself, its rows in chunks (read once), and what it does not hold."""

    about: About
    parts: Iterator[Localizations]
    missing: tuple[str, ...] = ()  # our columns that the file has not: NaN, z 0


def localizations_of(columns: dict[str, NDArray[Any]]) -> Localizations:
    """From columns by our names, each (N,); what is missing is NaN, a missing z 0."""
    frame = np.asarray(columns["frame_index"], np.float64)
    whole = (np.abs(frame) < 2**53) & (frame == np.floor(frame))  # else -1, which `check_rows` refuses
    records = np.empty(len(frame), LOCALIZATION_DTYPE)
    known = columns | {"frame_index": np.where(whole, frame, -1)}
    for name in LOCALIZATION_DTYPE.names or ():
        records[name] = known.get(name, 0.0 if name == "z_nm" else np.nan)
    return Localizations.from_records(records)


def missing_of(names: set[str]) -> tuple[str, ...]:
    """Our columns that are not among `names`."""
    return tuple(name for name in LOCALIZATION_DTYPE.names or () if name not in names)


def check_rows(path: Path, found: Localizations, first_row: int, first_frame: int) -> Localizations:
    """The same rows; FileFormatError names the first whose frame or position cannot be one."""
    bad = (found.frame_index < 0) | ~np.isfinite(found.x_nm) | ~np.isfinite(found.y_nm) | ~np.isfinite(found.z_nm)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise FileFormatError(
            f"{path}, row {first_row + row}: frame {found.frame_index[row] + first_frame}, x {found.x_nm[row]:g}, "
            f"y {found.y_nm[row]:g}, z {found.z_nm[row]:g} nm; expected a whole frame from {first_frame} and finite "
            "positions"
        )
    return found
