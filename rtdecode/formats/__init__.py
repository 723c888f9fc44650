"""Foreign localization files, one file for each format; FORMATS names those that rtdecode writes and reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from rtdecode.core.localizations import Localizations
from rtdecode.formats.about import About, Table

PxNm = tuple[float, float]


class Format(NamedTuple):
    """One foreign format: its extension, the program that reads it, and where it is written and read."""

    extension: str
    words: str
    module: str  # of this package, imported when it is needed
    writer: str
    opener: str
    beside: str = ""  # suffix of a second file that is written with it

    def files(self, path: Path) -> list[Path]:
        """All that `write` makes or replaces."""
        return [path, path.with_suffix(self.beside)] if self.beside else [path]

    def write(self, path: Path, parts: Iterable[Localizations], about: About) -> int:
        """Write all parts, in their order; rows written. The file appears when it is whole. Raises FileFormatError."""
        rows: int = self._of(self.writer)(path, parts, about)
        return rows

    def open(self, path: Path, px_nm: PxNm | None = None) -> Table:
        """Open a file; its rows come in chunks. Raises FileFormatError, also while they are read."""
        table: Table = self._of(self.opener)(path, px_nm)
        return table

    def _of(self, name: str) -> Callable[..., Any]:
        return getattr(import_module(f"rtdecode.formats.{self.module}"), name)  # type: ignore[no-any-return]


FORMATS: dict[str, Format] = {
    "picasso": Format(
        ".hdf5", "Picasso, napari-storm (HDF5 and YAML)", "picasso", "write_picasso", "open_picasso", ".yaml"
    ),
    "thunderstorm": Format(".csv", "ThunderSTORM (CSV)", "thunderstorm", "write_thunderstorm", "open_thunderstorm"),
    "smap": Format("_sml.mat", "SMAP (MATLAB v7.3)", "smap_localizations", "write_smap", "open_smap"),
    "decode": Format(".h5", "DECODE, and SMAP's import of it (HDF5)", "decode", "write_decode", "open_decode"),
    "parquet": Format(".parquet", "pandas, polars, R, DuckDB (Parquet)", "parquet", "write_parquet", "open_parquet"),
}
