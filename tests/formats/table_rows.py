"""Localizations and surroundings for the tests of tables."""

from __future__ import annotations

import numpy as np
import pytest

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import About

PX = (100.0, 120.0)
ABOUT = About(PX, (40, 60), 1000, {"model": {"sha256": "ab" * 32}, "filter": {"sigma_xy_nm": 40.0}})
NAMES = sorted(FORMATS)


def needs(name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")


def some(n: int, seed: int = 0) -> Localizations:
    rng = np.random.default_rng(seed)
    records = np.zeros(n, LOCALIZATION_DTYPE)
    for name in LOCALIZATION_DTYPE.names or ():
        records[name] = rng.uniform(1, 4000, n)
    records["frame_index"] = np.sort(rng.integers(0, 1000, n))
    records["z_nm"] -= 2000
    records["probability"] /= 4000
    return Localizations.from_records(records)


def flat(found: Localizations) -> Localizations:
    records = found.records()
    records["z_nm"] = records["sigma_z_nm"] = 0
    return Localizations.from_records(records)


def off_diagonal() -> Localizations:
    """Centre of the pixel in column 12, row 3 of the fifth frame, 250 nm up."""
    records = np.zeros(1, LOCALIZATION_DTYPE)
    names = ["frame_index", "x_nm", "y_nm", "z_nm", "photons", "background", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm"]
    records[names] = (4, 12 * PX[0], 3 * PX[1], 250, 5000, 81, 6, 9, 20)
    return Localizations.from_records(records)
