"""DECODE's HDF5: groups data, decode, meta; its x runs along rows, ours along columns, so the axes are swapped here.

DECODE's xyz is in pixels or nm of its own axes, (0, 0) the centre of the first pixel, frames from 0. SMAP opens these
files and swaps the axes once more, so it shows what we show; it takes the groups and meta's attributes by position, so
nothing is added that would move them. Our provenance has no place in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import Localizations
from rtdecode.formats.about import CHUNK_ROWS, About, Table, check_rows, localizations_of, missing_of
from rtdecode.formats.hdf5_tables import Column, check_columns, opened, written

VERSION = "0.10.0"  # of DECODE, whose layout this is
_EMPTY = ("xyz_cr", "phot_cr", "bg_cr", "bg_sig")  # written as DECODE writes what it does not know
_SIGMAS = {"xyz_sig": ("sigma_x_nm", "sigma_y_nm"), "phot_sig": ("sigma_photons",)}
_PLAIN = {"phot": "photons", "prob": "probability", "bg": "background"}


def write_decode(path: Path, parts: Iterable[Localizations], about: About) -> int:
    """Write in pixels; rows written. Raises FileFormatError."""
    rows = 0
    with written(path, track_order=False) as file:
        data = file.create_group("data")
        unknown = {*_EMPTY} | {theirs for theirs, ours in _SIGMAS.items() if set(ours) <= about.absent}
        columns = {name: Column(data, name, "<f4") for name in (*_PLAIN, "phot_sig") if name not in unknown}
        columns |= {name: Column(data, name, "<f4", (0, 3)) for name in ("xyz", "xyz_sig") if name not in unknown}
        columns |= {name: Column(data, name, "<i8") for name in ("frame_ix", "id")}
        for name in unknown:
            data.create_dataset(name, data=h5py.Empty("<f4"))
        for part in parts:
            values = _values(part, about)
            for name, column in columns.items():
                column.add(values[name])
            rows += len(part)
        file.create_group("decode").attrs["version"] = VERSION
        meta = file.create_group("meta", track_order=True)
        meta.attrs["xy_unit"] = "px"
        meta.attrs["px_size"] = np.array(about.px_nm[::-1], np.float32)  # in the order of DECODE's axes
    return rows


def _values(part: Localizations, about: About) -> dict[str, np.ndarray[Any, Any]]:
    px_nm = about.px_nm
    sigma_z = part.sigma_z_nm if "z_nm" not in about.absent else np.zeros(len(part))  # 2D, as DECODE writes it
    return {
        "xyz": np.column_stack([part.y_nm / px_nm[1], part.x_nm / px_nm[0], part.z_nm]),
        "xyz_sig": np.column_stack([part.sigma_y_nm / px_nm[1], part.sigma_x_nm / px_nm[0], sigma_z]),
        "phot_sig": part.sigma_photons,
        "frame_ix": part.frame_index,
        "id": np.full(len(part), -1),
        **{theirs: getattr(part, ours) for theirs, ours in _PLAIN.items()},
    }


def open_decode(path: Path, px_nm: tuple[float, float] | None = None) -> Table:
    """Open a file; `px_nm` (x, y as ours) where it states none. Raises FileFormatError, also while it is read."""
    with opened(path, "data/xyz") as file:
        meta = dict(file["meta"].attrs) if "meta" in file else {}
        data = file["data"]
        missing = [name for name in ("frame_ix", "phot") if name not in data]
        if missing:
            raise FileFormatError(f"{path}: data set 'data/{missing[0]}' is missing")
        held = {name for name, values in data.items() if getattr(values, "shape", None) is not None}
        check_columns(path, data, ["frame_ix", *sorted(held & {*_PLAIN, *_SIGMAS, "xyz"})], flat=False)
        if data["xyz"].ndim != 2 or data["xyz"].shape[1] != 3:
            raise FileFormatError(f"{path}: data set 'data/xyz' is {data['xyz'].shape}; expected 3 columns")
    unit = meta.get("xy_unit", "")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    size = _pixel_size(path, meta, px_nm)
    if unit not in ("px", "nm"):
        raise FileFormatError(f"{path}: meta/xy_unit is {unit!r}; expected 'px' or 'nm'")
    about = About(size, provenance={"decode": {"version": _version(path), "xy_unit": unit}})
    return Table(about, _parts(path, (1.0, 1.0) if unit == "nm" else size, held), missing_of(_names(held)))


def _pixel_size(path: Path, meta: dict[str, Any], px_nm: tuple[float, float] | None) -> tuple[float, float]:
    if px_nm is not None:
        return px_nm
    size = np.asarray(meta.get("px_size", ()), np.float64).ravel()
    if size.shape != (2,) or not (size > 0).all():
        raise FileFormatError(f"{path}: meta/px_size is {size.tolist()}; expected two sizes in nm; give --px-nm")
    return float(size[1]), float(size[0])


def _version(path: Path) -> str:
    with opened(path, "data/xyz") as file:
        return str(file["decode"].attrs.get("version", "")) if "decode" in file else ""


def _names(held: set[str]) -> set[str]:
    """Our columns that the file has."""
    names = {"frame_index", "x_nm", "y_nm", "z_nm"} | {ours for theirs, ours in _PLAIN.items() if theirs in held}
    names |= {"sigma_x_nm", "sigma_y_nm", "sigma_z_nm"} if "xyz_sig" in held else set()
    return names | ({"sigma_photons"} if "phot_sig" in held else set())


def _parts(path: Path, nm: tuple[float, float], held: set[str]) -> Iterator[Localizations]:
    """`nm`: of our x and y, for one unit of the file."""
    with opened(path, "data/xyz") as file:
        data = file["data"]
        for start in range(0, len(data["xyz"]), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            xyz = data["xyz"][rows].astype(np.float64)
            columns = {"frame_index": data["frame_ix"][rows], "x_nm": xyz[:, 1] * nm[0], "y_nm": xyz[:, 0] * nm[1],
                       "z_nm": xyz[:, 2]}  # fmt: skip
            columns |= {ours: data[theirs][rows] for theirs, ours in _PLAIN.items() if theirs in held}
            if "xyz_sig" in held:
                sigma = data["xyz_sig"][rows].astype(np.float64)
                columns |= {
                    "sigma_x_nm": sigma[:, 1] * nm[0],
                    "sigma_y_nm": sigma[:, 0] * nm[1],
                    "sigma_z_nm": sigma[:, 2],
                }
            if "phot_sig" in held:
                columns["sigma_photons"] = data["phot_sig"][rows]
            yield check_rows(path, localizations_of(columns), start, 0)
