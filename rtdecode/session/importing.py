"""A foreign table of localizations as a finished run folder, so that view, report, export and analysis read it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.config import RunConfig
from rtdecode.core.errors import FileFormatError, RtdecodeError
from rtdecode.core.frames import Roi
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import About
from rtdecode.session.report import close_run
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import IMPORTED, RunRecord, versions
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.run_folder import RunFolder

FRAMES_AT_ONCE = 4096
MOST_FRAMES = 1 << 28


def import_table(path: Path, name: str, out: Path, px_nm: tuple[float, float] | None) -> tuple[RunFolder, str]:
    """Read `path` in format `name` into the new run folder `out`; what it held and what it did not, in words.

    Rows may come in any order; they are put in order of frames on disk, so that memory stays bounded (16 bytes a
    row). Raises FileFormatError, RunFolderError; nothing is left then.
    """
    table = FORMATS[name].open(path, px_nm)
    RunFolder.refuse_taken(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".import-") as scratch:
        rows = _spooled(Path(scratch) / "rows.bin", table.parts)
        if not len(rows):
            raise FileFormatError(f"{path}: holds no localization")
        n_frames = _n_frames(path, rows, table.about)
        folder = RunFolder.create(out, _record(path, name, table.about, out).as_yaml())
        try:
            _write_log(folder, rows, n_frames)
            _note_source(folder, path, table.about, rows, n_frames)
            close_run(folder, Outcome.completed())
        except (OSError, RtdecodeError):
            _remove(folder)
            raise
        finally:
            folder.release_reserve()
        words = f"{len(rows)} localizations in {n_frames} frames of {path.name} ({FORMATS[name].words})"
        del rows  # a memory map of the scratch file: Windows removes none that is open
    lacking = f"; it has no {', '.join(table.missing)}" if table.missing else ""
    return folder, words + lacking


def _spooled(path: Path, parts: Iterator[Localizations]) -> NDArray[np.void]:
    """All rows on disk, as they come, and mapped."""
    with path.open("wb") as file:
        for part in parts:
            file.write(part.records().tobytes())
    if not path.stat().st_size:
        return np.empty(0, LOCALIZATION_DTYPE)
    return np.memmap(path, LOCALIZATION_DTYPE, "r")


def _n_frames(path: Path, rows: NDArray[np.void], about: About) -> int:
    needed = int(rows["frame_index"].max()) + 1
    if needed > MOST_FRAMES:
        raise FileFormatError(f"{path}: frame {needed - 1}; expected fewer than {MOST_FRAMES} frames")
    return max(needed, about.n_frames or 0)


def _record(path: Path, name: str, about: About, out: Path) -> RunRecord:
    camera = Camera(px_nm=about.px_nm, baseline_adu=0, e_per_adu=1, read_noise_e=0)
    config = RunConfig.model_validate(
        {"source": {"use": IMPORTED, "path": str(path.resolve()), "format": name, "provenance": about.provenance},
         "model": IMPORTED, "camera": camera.model_dump(), "check": False, "out": out}
    )  # fmt: skip
    return RunRecord(
        **config.model_dump(), origin=f"rtdecode import {path.name}", model_name=IMPORTED, model_sha256="0" * 64,
        versions=versions(),
    )  # fmt: skip


def _write_log(folder: RunFolder, rows: NDArray[np.void], n_frames: int) -> None:
    """Frames in order, each with its rows in the order of the file."""
    frame = np.asarray(rows["frame_index"])
    order = np.argsort(frame, kind="stable")
    ends = np.searchsorted(frame[order], np.arange(n_frames + 1))
    log = LogWriter.open(folder.path)
    try:
        for first in range(0, n_frames, FRAMES_AT_ONCE):
            last = min(first + FRAMES_AT_ONCE, n_frames)
            part = Localizations.from_records(rows[np.sort(order[ends[first] : ends[last]])])
            part = part[np.argsort(part.frame_index, kind="stable")]
            counts = np.diff(ends[first : last + 1])
            log.append(make_commits(np.arange(first, last), n_localizations=counts), part)
    finally:
        log.close()


def _note_source(folder: RunFolder, path: Path, about: About, rows: NDArray[np.void], n_frames: int) -> None:
    shape = about.shape_px or _shape(rows, about.px_nm)
    roi = Roi(0, 0, shape[1], shape[0])
    place = {"x0_px": 0, "y0_px": 0, "width_px": roi.width_px, "height_px": roi.height_px, "binning": 1}
    folder.append_event("session", "source", None, **place, dtype="none", expected=n_frames, can_wait=True)
    folder.append_event(
        "session", "warning", None,
        reason=f"imported from {path.name}: photons, sigmas and frames are that program's; no frame was fitted here",
    )  # fmt: skip


def _shape(rows: NDArray[np.void], px_nm: tuple[float, float]) -> tuple[int, int]:
    """Smallest field of whole pixels that begins at the origin and holds all."""
    reach = [float(rows[name].max()) / px + 0.5 for name, px in (("y_nm", px_nm[1]), ("x_nm", px_nm[0]))]
    return max(1, int(np.ceil(reach[0]))), max(1, int(np.ceil(reach[1])))


def _remove(folder: RunFolder) -> None:
    """A run that is not whole is none."""
    for path in folder.path.iterdir():
        if path.is_file():
            path.unlink()
    folder.discard()
