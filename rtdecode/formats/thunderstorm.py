"""ThunderSTORM CSV, 3D and 2D: frames from 1, x and y in nm from the corner of the first pixel.

Written columns, as ThunderSTORM's development version names them for 3D astigmatism: id, frame, x [nm], y [nm],
z [nm], intensity [photon], offset [photon], bkgstd [photon], uncertainty_xy [nm], uncertainty_z [nm].
sigma1 and sigma2 (widths of a fitted elliptical Gaussian) are left out: the network does not fit widths, and an
invented number would pass for a measurement. So is every column of which no row knows anything, such as z [nm] and
uncertainty_z [nm] of a 2D model's. offset is the background per pixel, bkgstd its shot noise (square root),
uncertainty_xy the root mean square of sigma_x and sigma_y.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.formats.about import About, Table, missing_of
from rtdecode.streams.tables import CHUNK_ROWS, F8, column_number, read_table, require, write_table

HEADER = (
    '"id","frame","x [nm]","y [nm]","z [nm]","intensity [photon]","offset [photon]","bkgstd [photon]",'
    '"uncertainty_xy [nm]","uncertainty_z [nm]"'
)
_ROW = "%d,%d,%.3f,%.3f,%.3f,%.3f,%.4f,%.4f,%.4f,%.4f"
_SOURCES = (
    None,
    "frame_index",
    "x_nm",
    "y_nm",
    "z_nm",
    "photons",
    "background",
    "background",
    "sigma_x_nm",
    "sigma_z_nm",
)
"""Ours that each written column is made of."""
_NM_PER_UNIT = {"nm": 1.0, "um": 1000.0, "µm": 1000.0, "μm": 1000.0}
_PHOTON_UNITS = {"photon", "photons"}


def write_thunderstorm(path: Path, parts: Iterable[Localizations], about: About) -> int:
    """Write all parts in their order, return how many rows; memory stays bounded. Provenance has no place in it.

    Half a pixel is added, for ThunderSTORM counts from the pixel's corner and we from its centre.
    """
    kept = [k for k, ours in enumerate(_SOURCES) if ours not in about.absent]
    header, row = (",".join(text.split(",")[k] for k in kept) for text in (HEADER, _ROW))
    return write_table(path, header, row, (block[:, kept] for block in _rows(parts, about.px_nm)))


def open_thunderstorm(path: Path, px_nm: tuple[float, float] | None = None) -> Table:
    """Open a file; it does not state its pixel size, and positions count from a corner. Raises FileFormatError."""
    if px_nm is None:
        raise FileFormatError(f"{path}: a ThunderSTORM table counts from a pixel's corner and states no pixel size; "
                              "give --px-nm")  # fmt: skip
    held: set[str] = set()
    for _ in read_table(path, lambda names: _held(path, names, px_nm, held), rows=1):
        break
    return Table(About(px_nm), thunderstorm_chunks(path, px_nm), missing_of(held))


def _held(path: Path, names: list[str], px_nm: tuple[float, float], held: set[str]) -> list[int]:
    found = _columns(path, names, px_nm)
    held.update(ours for ours, _, _ in found)
    return [number for _, number, _ in found]


def read_thunderstorm(path: Path, px_nm: tuple[float, float]) -> Localizations:
    """All localizations of a file, see `thunderstorm_chunks`."""
    return Localizations.concatenate(thunderstorm_chunks(path, px_nm))


def thunderstorm_chunks(path: Path, px_nm: tuple[float, float]) -> Iterator[Localizations]:
    """Localizations in chunks: frames from 0, half a pixel of `px_nm` (x, y) taken off x and y.

    Needs frame, x and y; z is 0 where it is missing, all else NaN. Lengths may be in nm, um or px. Raises
    FileFormatError with file and line: a column missing, a unit unknown, not a number, a frame below 1.
    """
    columns: list[tuple[str, float]] = []

    def choose(names: list[str]) -> list[int]:
        found = _columns(path, names, px_nm)
        columns.extend((name, factor) for name, _, factor in found)
        return [number for _, number, _ in found]

    for line, numbers in read_table(path, choose):
        yield _localizations(path, line, numbers, columns, px_nm)


def _rows(parts: Iterable[Localizations], px_nm: tuple[float, float]) -> Iterator[F8]:
    """(n, 10) rows as written, at most CHUNK_ROWS at a time."""
    first_id = 1
    for part in parts:
        for start in range(0, len(part), CHUNK_ROWS):
            chunk = part[start : start + CHUNK_ROWS]
            yield _row_block(chunk, first_id, px_nm)
            first_id += len(chunk)


def _row_block(chunk: Localizations, first_id: int, px_nm: tuple[float, float]) -> F8:
    variance = chunk.sigma_x_nm.astype(np.float64) ** 2 + chunk.sigma_y_nm.astype(np.float64) ** 2
    return np.column_stack(
        [
            np.arange(first_id, first_id + len(chunk), dtype=np.float64),
            chunk.frame_index + 1.0,
            chunk.x_nm + px_nm[0] / 2.0,
            chunk.y_nm + px_nm[1] / 2.0,
            chunk.z_nm,
            chunk.photons,
            chunk.background,
            np.sqrt(np.maximum(chunk.background, 0.0)),
            np.sqrt(variance / 2.0),
            chunk.sigma_z_nm,
        ]
    ).astype(np.float64)


_READ: dict[str, tuple[str, ...]] = {
    "x_nm": ("x",),
    "y_nm": ("y",),
    "z_nm": ("z",),
    "photons": ("intensity",),
    "background": ("offset",),
    "sigma_x_nm": ("uncertainty_x", "uncertainty_xy", "uncertainty"),
    "sigma_y_nm": ("uncertainty_y", "uncertainty_xy", "uncertainty"),
    "sigma_z_nm": ("uncertainty_z",),
}
"""Our column: ThunderSTORM's names for it (version 1.3 writes one `uncertainty`), the first present is taken."""


def _columns(path: Path, names: list[str], px_nm: tuple[float, float]) -> list[tuple[str, int, float]]:
    """(our name, column number, factor to our unit) of every column that we can use; frame first."""
    plain = [re.sub(r"\s*\[.*\]\s*$", "", name).lower() for name in names]
    out = [("frame_index", column_number(path, plain, "frame"), 1.0)]
    for ours, theirs in _READ.items():
        known = [name for name in theirs if name in plain]
        if known:
            number = plain.index(known[0])
            out.append((ours, number, _factor(path, names[number], ours, px_nm)))
    for needed in ("x", "y"):
        column_number(path, plain, needed)
    return out


def _factor(path: Path, name: str, ours: str, px_nm: tuple[float, float]) -> float:
    """What a number in column `name` is multiplied by; raises FileFormatError for a unit that we cannot convert."""
    bracket = re.search(r"\[(.*)\]\s*$", name)
    unit = bracket.group(1).strip() if bracket else ""
    if ours in ("photons", "background"):
        if unit in _PHOTON_UNITS:
            return 1.0
        raise FileFormatError(f"{path}, line 1: column '{name}': expected photons; export again in photons")
    if unit in _NM_PER_UNIT:
        return _NM_PER_UNIT[unit]
    if unit == "px" and "z" not in ours:
        return px_nm[0] if ours in ("x_nm", "sigma_x_nm") else px_nm[1]
    raise FileFormatError(f"{path}, line 1: column '{name}': expected nm, um or px in brackets, found '{unit}'")


def _localizations(
    path: Path, line: int, numbers: F8, columns: list[tuple[str, float]], px_nm: tuple[float, float]
) -> Localizations:
    """One chunk of rows as ours."""
    by_name: dict[str, NDArray[np.float64]] = {}
    for k, (name, factor) in enumerate(columns):
        by_name[name] = numbers[:, k] * factor
    frame = by_name["frame_index"]
    good = (frame >= 1) & (frame == np.floor(frame))
    require(path, good, line, f"frame must be a whole number from 1, found {frame[np.argmin(good)]:g}")
    for axis, px in (("x_nm", px_nm[0]), ("y_nm", px_nm[1])):
        require(path, np.isfinite(by_name[axis]), line, f"{axis[0]} is not finite")
        by_name[axis] = by_name[axis] - px / 2.0
    by_name["frame_index"] = frame - 1
    by_name.setdefault("z_nm", np.zeros(len(numbers)))
    records = np.empty(len(numbers), LOCALIZATION_DTYPE)
    for name in LOCALIZATION_DTYPE.names or ():
        records[name] = by_name.get(name, np.nan)
    return Localizations.from_records(records)
