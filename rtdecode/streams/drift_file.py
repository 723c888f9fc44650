"""drift.csv of a run folder: where the sample stood, block by block; read by whoever takes it off."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtdecode.core.drift import Drift
from rtdecode.core.errors import FileFormatError
from rtdecode.streams.tables import column_number, read_table, require, write_table

NAME = "drift.csv"
COLUMNS = ("frame", "dx_nm", "dy_nm", "dz_nm", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm")
_ROW = "%.9g,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f"


def write_drift(path: Path, drift: Drift) -> int:
    """Rows written. A block that could not be placed has an infinite sigma. Raises FileFormatError."""
    rows = np.column_stack([drift.frame[:, None], drift.shift_nm, drift.sigma_nm])
    return write_table(path, ",".join(COLUMNS), _ROW, [rows])


def read_drift(path: Path) -> Drift:
    """Raises FileFormatError with file and line: a column missing, no number, frames that do not ascend."""
    parts = []
    for line, numbers in read_table(path, lambda names: [column_number(path, names, n) for n in COLUMNS]):
        require(path, np.asarray(np.isfinite(numbers[:, :4]).all(axis=1)), line, "expected finite frame and shifts")
        parts.append(numbers)
    rows = np.concatenate([np.empty((0, len(COLUMNS))), *parts])
    if (np.diff(rows[:, 0]) <= 0).any():
        raise FileFormatError(f"{path}: frames must ascend")
    return Drift(rows[:, 0], rows[:, 1:4], rows[:, 4:7])
