"""Parquet for data frames: our own columns, units in their names; pixel size and provenance in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.core.errors import FileFormatError
from rtdecode.core.extras import install
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.formats.about import CHUNK_ROWS, About, Table, check_rows, localizations_of, missing_of

_KEY = b"rtdecode"


def write_parquet(path: Path, parts: Iterable[Localizations], about: About) -> int:
    """Rows written, each part a row group. Raises FileFormatError."""
    arrow, parquet = _arrow()
    names = LOCALIZATION_DTYPE.names or ()
    kinds = [(name, arrow.from_numpy_dtype(LOCALIZATION_DTYPE[name])) for name in names]
    said = {
        "px_nm": about.px_nm,
        "shape_px": about.shape_px,
        "n_frames": about.n_frames,
        "provenance": about.provenance,
    }
    schema = arrow.schema(kinds, metadata={_KEY: json.dumps(said, default=str).encode()})
    draft, rows = path.with_name(path.name + ".part"), 0
    try:
        with parquet.ParquetWriter(draft, schema) as writer:
            for part in parts:
                writer.write_table(arrow.table(dict(part.columns()), schema=schema))
                rows += len(part)
        draft.replace(path)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return rows


def open_parquet(path: Path, px_nm: tuple[float, float] | None = None) -> Table:
    """Open a file with columns by our names; `px_nm` where its metadata states none. Raises FileFormatError."""
    arrow, parquet = _arrow()
    try:
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)  # else whole column chunks
    except (OSError, arrow.ArrowInvalid) as error:
        raise FileFormatError(f"{path}: cannot be read as Parquet: {error}") from error
    names = set(file.schema_arrow.names)
    for needed in ("frame_index", "x_nm", "y_nm"):
        if needed not in names:
            raise FileFormatError(f"{path}: has no column '{needed}'; it has {', '.join(sorted(names))}")
    held = names & set(LOCALIZATION_DTYPE.names or ())
    for name in sorted(held):
        kind = file.schema_arrow.field(name).type
        if not (arrow.types.is_integer(kind) or arrow.types.is_floating(kind)):
            raise FileFormatError(f"{path}: column '{name}' is of type {kind}; expected numbers")
    return Table(
        _about(path, file.schema_arrow.metadata or {}, px_nm), _parts(path, file, sorted(held)), missing_of(held)
    )


def _about(path: Path, metadata: dict[bytes, bytes], px_nm: tuple[float, float] | None) -> About:
    try:
        said = dict(json.loads(metadata.get(_KEY, b"{}")))
    except ValueError:
        said = {}
    size = px_nm or said.get("px_nm")
    if size is None:
        raise FileFormatError(f"{path}: states no pixel size; give --px-nm")
    shape = said.get("shape_px")
    return About((size[0], size[1]), (shape[0], shape[1]) if shape else None, said.get("n_frames"),
                 dict(said.get("provenance") or {}))  # fmt: skip


def _parts(path: Path, file: Any, names: list[str]) -> Iterator[Localizations]:
    row = 0
    with file:
        for group in range(file.num_row_groups):  # one after the other: read as one they stay in memory
            batches = file.iter_batches(CHUNK_ROWS, row_groups=[group], columns=names)
            while (batch := _next(path, batches)) is not None:
                values = ((name, batch.column(name).to_numpy(zero_copy_only=False)) for name in names)
                columns = {name: np.asarray(column, np.float64) for name, column in values}
                yield check_rows(path, localizations_of(columns), row, 0)
                row += batch.num_rows


def _next(path: Path, batches: Iterator[Any]) -> Any:
    """None at the end; FileFormatError where a part is damaged."""
    arrow, _ = _arrow()
    try:
        return next(batches, None)
    except (OSError, arrow.ArrowException) as error:
        raise FileFormatError(f"{path}: is damaged: {error}") from error


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise FileFormatError(f"Parquet needs pyarrow, which is not installed; {install('tables')}") from error
    return pyarrow, parquet
