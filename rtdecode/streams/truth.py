"""Truth of a simulation as CSV: header frame_index,x_nm,y_nm,z_nm,photons; (0, 0) nm is the first pixel's centre."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtdecode.core.localizations import EMITTER_DTYPE, Emitters
from rtdecode.streams.tables import CHUNK_ROWS, column_number, read_table, require, write_table

COLUMNS = ("frame_index", "x_nm", "y_nm", "z_nm", "photons")
_ROW = "%d,%.9g,%.9g,%.9g,%.9g"  # nine digits give every float32 back exactly


def write_truth(path: Path, emitters: Emitters) -> int:
    """Write (N,) EMITTER_DTYPE, return N; raises FileFormatError where the file cannot be written."""
    starts = range(0, len(emitters), CHUNK_ROWS)
    chunks = (emitters[start : start + CHUNK_ROWS] for start in starts)
    parts = (np.column_stack([chunk[name].astype(np.float64) for name in COLUMNS]) for chunk in chunks)
    return write_table(path, ",".join(COLUMNS), _ROW, parts)


def read_truth(path: Path) -> Emitters:
    """(N,) EMITTER_DTYPE in the file's order; columns may come in any order, further ones are ignored.

    Raises FileFormatError with file and line: a column missing, not a number, not finite, a frame below 0
    or with a fraction.
    """
    chunks = []
    for line, numbers in read_table(path, lambda names: [column_number(path, names, n) for n in COLUMNS]):
        require(path, np.asarray(np.isfinite(numbers).all(axis=1)), line, "expected finite numbers")
        frame = numbers[:, 0]
        require(path, (frame >= 0) & (frame % 1 == 0), line, "frame_index must be a whole number from 0")
        chunk = np.empty(len(numbers), EMITTER_DTYPE)
        for k, name in enumerate(COLUMNS):
            chunk[name] = numbers[:, k]
        chunks.append(chunk)
    return np.concatenate([np.empty(0, EMITTER_DTYPE), *chunks])
