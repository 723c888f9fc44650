"""A foreign table of localizations as a finished run folder, so that view, report, export and analysis read it."""

from __future__ import annotations

import hashlib
import math
import tempfile
from pathlib import Path

import numpy as np

from rtdecode.core.camera import Camera
from rtdecode.core.config import RunConfig
from rtdecode.core.errors import FileFormatError
from rtdecode.core.frames import Roi
from rtdecode.formats import FORMATS
from rtdecode.formats.about import About, Table
from rtdecode.session.import_order import Spooled, in_order, spool
from rtdecode.session.report import close_run
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import IMPORTED, RunRecord, versions
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.run_folder import RunFolder

FRAMES_AT_ONCE = 4096
MOST_FRAMES = 1 << 28


def import_table(path: Path, name: str, out: Path, px_nm: tuple[float, float] | None) -> tuple[RunFolder, str]:
    """Read `path` in format `name` into the new run folder `out`; what it held and what it did not, in words.

    Rows may come in any order; memory stays bounded. Raises FileFormatError, RunFolderError; nothing is left then.
    """
    table = FORMATS[name].open(path, px_nm)
    RunFolder.refuse_taken(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".import-") as scratch:
        found = spool(Path(scratch) / "rows", table.parts)
        if not found.rows:
            raise FileFormatError(f"{path}: holds no localization")
        n_frames = _n_frames(path, found, table.about)
        folder = RunFolder.create(out, _record(path, name, table, out).as_yaml())
        try:
            _write_log(folder, found, n_frames)
            _note_source(folder, path, table, found, n_frames)
            close_run(folder, Outcome.completed())
        except BaseException:  # Ctrl-C, too: a run that is not whole is none
            remove_unfinished(folder)
            raise
        finally:
            folder.release_reserve()
    return folder, f"{found.rows} localizations in {n_frames} frames of {path.name} ({FORMATS[name].words})" + (
        f"; it has {_lacks(table)}" if table.missing else ""
    )


def _lacks(table: Table) -> str:
    """What the file does not say, and what stands for it here."""
    unknown = [name for name in table.missing if name != "z_nm"]
    words = [f"no {', '.join(unknown)} (NaN here)"] if unknown else []
    return " and ".join(words + (["no z (0 here)"] if "z_nm" in table.missing else []))


def _n_frames(path: Path, found: Spooled, about: About) -> int:
    needed = found.last_frame + 1
    if needed > MOST_FRAMES:
        raise FileFormatError(f"{path}: frame {needed - 1}; expected fewer than {MOST_FRAMES} frames")
    return max(needed, min(about.n_frames or 0, MOST_FRAMES))


def _record(path: Path, name: str, table: Table, out: Path) -> RunRecord:
    camera = Camera(px_nm=table.about.px_nm, baseline_adu=0, e_per_adu=1, read_noise_e=0)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    source = {
        "use": IMPORTED, "path": str(path.resolve()), "format": name, "sha256": digest,
        "missing": list(table.missing), "provenance": table.about.provenance,
    }  # fmt: skip
    config = RunConfig.model_validate(
        {"source": source, "model": IMPORTED, "camera": camera.model_dump(), "check": False, "out": out}
    )
    return RunRecord(
        **config.model_dump(), origin=f"rtdecode import {path.name}", model_name=IMPORTED, model_sha256="0" * 64,
        versions=versions(),
    )  # fmt: skip


def _write_log(folder: RunFolder, found: Spooled, n_frames: int) -> None:
    """Frames in order, each with its rows in the order of the file."""
    log = LogWriter.open(folder.path)
    try:
        for begin, end, rows in in_order(found, n_frames):
            for first in range(begin, end, FRAMES_AT_ONCE):
                frames = np.arange(first, min(first + FRAMES_AT_ONCE, end) + 1)
                ends = np.searchsorted(rows.frame_index, frames)
                log.append(make_commits(frames[:-1], n_localizations=np.diff(ends)), rows[slice(ends[0], ends[-1])])
    finally:
        log.close()


def _note_source(folder: RunFolder, path: Path, table: Table, found: Spooled, n_frames: int) -> None:
    shape = table.about.shape_px or _shape(found, table.about.px_nm)
    roi = Roi(0, 0, shape[1], shape[0])
    place = {"x0_px": 0, "y0_px": 0, "width_px": roi.width_px, "height_px": roi.height_px, "binning": 1}
    folder.append_event("session", "source", None, **place, dtype="none", expected=n_frames, can_wait=True)
    lacking = f"; it has {_lacks(table)}" if table.missing else ""
    folder.append_event(
        "session", "warning", None,
        reason=f"imported from {path.name}: photons, sigmas and frames are that program's{lacking}",
    )  # fmt: skip


def _shape(found: Spooled, px_nm: tuple[float, float]) -> tuple[int, int]:
    """Smallest field of whole pixels that begins at the origin and holds all."""
    columns, rows = (max(1, math.ceil(reach / px + 0.5)) for reach, px in zip(found.reach_nm, px_nm, strict=True))
    return rows, columns


def remove_unfinished(folder: RunFolder) -> None:
    """A run that is not whole is none."""
    for path in folder.path.iterdir():
        if path.is_file():
            path.unlink()
    folder.discard()
