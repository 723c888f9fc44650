"""SMAP's `*_sml.mat` (MATLAB v7.3, which is HDF5): struct `saveloc`, in its `loc` a column for each field.

Frames count from 1; xnm runs along columns and ynm along rows, as ours; (0, 0) nm is the centre of the first pixel,
where SMAP's own import of DECODE's files puts it. Read, too, are files that SMAP wrote itself, whose fitter counts
pixels as MATLAB does; their positions are taken as they stand. Our provenance stands in `saveloc/rtdecode`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import Localizations
from rtdecode.formats.about import CHUNK_ROWS, About, Table, check_rows, localizations_of, missing_of
from rtdecode.formats.hdf5_tables import Column, check_columns, opened, written

_USERBLOCK = 512
_CLASS = {"f4": "single", "f8": "double"}
_OURS = {  # SMAP's field -> ours
    "xnm": "x_nm", "ynm": "y_nm", "znm": "z_nm", "phot": "photons", "bg": "background", "xnmerr": "sigma_x_nm",
    "ynmerr": "sigma_y_nm", "locprecznm": "sigma_z_nm", "photerr": "sigma_photons", "prob": "probability",
}  # fmt: skip
_ERROR_OF_BOTH = "locprecnm"  # SMAP's one lateral error: the mean of both, as it makes it of DECODE's files


def write_smap(path: Path, parts: Iterable[Localizations], about: About) -> int:
    """Rows written. Raises FileFormatError."""
    rows = 0
    fields = [theirs for theirs, ours in _OURS.items() if ours not in about.absent]
    fields += [_ERROR_OF_BOTH] if {"xnmerr", "ynmerr"} <= set(fields) else []
    with written(path, userblock_size=_USERBLOCK) as file:
        saveloc = _struct(file, "saveloc")
        _write_file(_struct(saveloc, "file"), path, about)
        _text(saveloc, "rtdecode", json.dumps(about.provenance, ensure_ascii=True, default=str))
        place = _struct(saveloc, "loc")
        columns = {name: Column(place, name, "<f4", (1, 0)) for name in [*fields, "channel", "filenumber"]}
        columns["frame"] = Column(place, "frame", "<f8", (1, 0))
        for column in columns.values():
            _mark(column.data, _CLASS[column.data.dtype.str[1:]])
        for part in parts:
            for name, values in _values(part, fields).items():
                columns[name].add(values)
            rows += len(part)
        for struct in (saveloc, saveloc["file"], saveloc["file/info"], place):
            _name_fields(struct)
        _stamp(file)
    return rows


def _values(part: Localizations, fields: list[str]) -> dict[str, NDArray[Any]]:
    columns = {name: getattr(part, _OURS[name]) for name in fields if name in _OURS}
    if _ERROR_OF_BOTH in fields:
        columns[_ERROR_OF_BOTH] = (part.sigma_x_nm + part.sigma_y_nm) / 2
    constant = {"channel": np.zeros(len(part)), "filenumber": np.ones(len(part))}
    return {**columns, "frame": part.frame_index + 1.0, **constant}


def _write_file(place: h5py.Group, path: Path, about: About) -> None:
    """The recording that the localizations came from, as far as SMAP asks for it."""
    _text(place, "name", path.name)
    _number(place, "number", 1.0)
    _number(place, "numberOfTif", 0.0)
    info = _struct(place, "info")
    size_um = info.create_dataset("cam_pixelsize_um", data=np.array([[about.px_nm[0]], [about.px_nm[1]]]) / 1000.0)
    _mark(size_um, "double")
    _number(info, "numberOfFrames", float(about.n_frames or 0))
    rows, columns = about.shape_px or (0, 0)
    _mark(info.create_dataset("roi", data=np.array([[0.0], [0.0], [columns], [rows]])), "double")


def _struct(place: h5py.Group, name: str) -> h5py.Group:
    made = place.create_group(name)
    _mark(made, "struct")
    return made


def _text(place: h5py.Group, name: str, words: str) -> None:
    codes = np.array([[ord(c)] for c in words if ord(c) < 0xD800], np.uint16).reshape(-1, 1)
    made = place.create_dataset(name, data=codes)
    _mark(made, "char")
    made.attrs["MATLAB_int_decode"] = np.int32(2)


def _number(place: h5py.Group, name: str, value: float) -> None:
    _mark(place.create_dataset(name, data=np.array([[value]])), "double")


def _mark(what: h5py.Group | h5py.Dataset, kind: str) -> None:
    what.attrs["MATLAB_class"] = np.bytes_(kind)


def _name_fields(struct: h5py.Group) -> None:
    """MATLAB's own list of a struct's fields, in their order."""
    names = np.empty(len(struct), object)
    for k, name in enumerate(struct):
        names[k] = np.frombuffer(name.encode("ascii"), "S1")
    struct.attrs.create("MATLAB_fields", names, dtype=h5py.vlen_dtype(np.dtype("S1")))


def _stamp(file: h5py.File) -> None:
    """MATLAB knows its files by their first 128 bytes, which HDF5 leaves to others."""
    made = datetime.now(UTC).strftime("%a %b %d %H:%M:%S %Y")
    words = f"MATLAB 7.3 MAT-file, Platform: rtdecode, Created on: {made} HDF5 schema 1.00 ."
    file.flush()
    with Path(file.filename).open("r+b") as raw:
        raw.write(words.encode("ascii").ljust(116) + bytes(8) + b"\x00\x02IM")


def open_smap(path: Path, px_nm: tuple[float, float] | None = None) -> Table:
    """Open a file; `px_nm` None: its own. Raises FileFormatError, also while its rows are read."""
    if _is_older_matlab(path):
        raise FileFormatError(f"{path}: is of MATLAB before 7.3; expected 7.3: load it there and save it with '-v7.3'")
    with opened(path, "saveloc/loc") as file:
        place = file["saveloc/loc"]
        fields = set(place) if isinstance(place, h5py.Group) else set()
        for needed in ("frame", "xnm", "ynm"):
            if needed not in fields:
                held = ", ".join(sorted(fields)) or "none"
                raise FileFormatError(f"{path}: saveloc.loc has no field '{needed}'; it has {held}")
        both = _ERROR_OF_BOTH in fields
        columns = {ours: theirs for theirs, ours in _OURS.items() if theirs in fields}
        columns |= {ours: _ERROR_OF_BOTH for ours in ("sigma_x_nm", "sigma_y_nm") if both and ours not in columns}
        check_columns(path, place, ["frame", *columns.values()], flat=True)
        about = _about(path, file["saveloc"], px_nm)
    return Table(about, _parts(path, columns), missing_of({*columns, "frame_index"}))


def _is_older_matlab(path: Path) -> bool:
    """Whether its first words name MATLAB's own container instead of HDF5."""
    with path.open("rb") as file:
        return file.read(16).startswith(b"MATLAB 5.0 MAT")


def _about(path: Path, saveloc: h5py.Group, px_nm: tuple[float, float] | None) -> About:
    """Of the first file that the localizations came from."""
    _, _, columns, rows = (*_numbers(saveloc, "file/info/roi"), 0, 0, 0, 0)[:4]
    frames = (*_numbers(saveloc, "file/info/numberOfFrames"), 0)[0]
    said = "".join(map(chr, map(int, _numbers(saveloc, "rtdecode"))))
    try:
        provenance = dict(json.loads(said)) if said else {}
    except (TypeError, ValueError):
        provenance = {"rtdecode": said}
    shape = (int(rows), int(columns)) if rows > 0 and columns > 0 else None
    return About(px_nm or _pixel_size(path, saveloc), shape, int(frames) if frames > 0 else None, provenance)


def _numbers(place: h5py.Group, name: str) -> list[float]:
    """All numbers of a data set; none where it is missing, or not of numbers."""
    held = place.get(name)
    if not isinstance(held, h5py.Dataset) or held.dtype.kind not in "biuf" or held.attrs.get("MATLAB_empty", 0):
        return []
    return [float(value) for value in np.ravel(held[()]) if np.isfinite(value)]


def _pixel_size(path: Path, saveloc: h5py.Group) -> tuple[float, float]:
    values = [value * 1000.0 for value in _numbers(saveloc, "file/info/cam_pixelsize_um")]
    if not 1 <= len(values) <= 2 or min(values) <= 0:
        raise FileFormatError(f"{path}: saveloc.file.info.cam_pixelsize_um is not to be read; give --px-nm")
    return values[0], values[-1]


def _parts(path: Path, fields: dict[str, str]) -> Iterator[Localizations]:
    with opened(path, "saveloc/loc") as file:
        place = file["saveloc/loc"]
        count = place["frame"].size
        for start in range(0, count, CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            columns = {ours: _row(place[theirs], rows) for ours, theirs in fields.items()}
            columns["frame_index"] = _row(place["frame"], rows) - 1
            yield check_rows(path, localizations_of(columns), start, 1)


def _row(data: h5py.Dataset, rows: slice) -> NDArray[np.float64]:
    """Part of a column, (1, N) on disk, or (N, 1)."""
    values = data[0, rows] if data.shape[0] == 1 else data[rows, 0]
    return np.asarray(values, np.float64)
