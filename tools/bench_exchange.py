"""Peak memory and time of `rtdecode export` and `import` for each format, on a table of many rows.

    python tools/bench_exchange.py --rows 10000000 --folder /tmp/exchange

The table has 100 localizations in a frame, in no order of frames. Needs about 200 bytes of disk a row.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import About

PX_NM = (100.0, 120.0)
SHAPE_PX = (512, 512)
PER_FRAME = 100
BLOCK_ROWS = 100_000


def table(rows: int) -> Iterator[Localizations]:
    """Localizations all over a field of 512 x 512 pixels, their frames drawn at random."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, BLOCK_ROWS):
        records = np.empty(min(BLOCK_ROWS, rows - start), LOCALIZATION_DTYPE)
        for name in LOCALIZATION_DTYPE.names or ():
            records[name] = rng.uniform(1, 40, len(records))
        records["x_nm"] = rng.uniform(0, (SHAPE_PX[1] - 1) * PX_NM[0], len(records))
        records["y_nm"] = rng.uniform(0, (SHAPE_PX[0] - 1) * PX_NM[1], len(records))
        records["frame_index"] = rng.integers(0, max(1, rows // PER_FRAME), len(records))
        yield Localizations.from_records(records)


def measured(*arguments: str) -> tuple[float, float]:
    """(peak resident memory in MB, seconds) of one command of rtdecode."""
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "rtdecode", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"rtdecode {' '.join(arguments)} failed")
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3), time.perf_counter() - begun


def main() -> None:
    """Print a table: format, MB and seconds of import and of export, size of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, required=True, help="For the files; must not exist, is removed.")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True)
    try:
        print(f"{chosen.rows} rows\n{'':14}import MB      s   export MB      s   file MB")
        for name, form in FORMATS.items():
            first, again = (chosen.folder / f"{which}{form.extension}" for which in ("first", "again"))
            form.write(first, table(chosen.rows), About(PX_NM, SHAPE_PX))
            run = chosen.folder / name
            size = ["--px-nm", "100,120"] if name == "thunderstorm" else []
            into = measured("import", str(first), "--out", str(run), *size)
            out = measured("export", str(run), "--out", str(again))
            print(f"{name:14}{into[0]:9.0f}{into[1]:7.1f}{out[0]:12.0f}{out[1]:7.1f}{again.stat().st_size / 1e6:10.0f}")
            shutil.rmtree(run)
            for path in (first, again):
                path.unlink()
    finally:
        shutil.rmtree(chosen.folder)


if __name__ == "__main__":
    main()
