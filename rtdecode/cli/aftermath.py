"""What a run leaves for people: the picture, the table for other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtdecode.cli.terminal import outliving
from rtdecode.session.exporting import export_run
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.run_record import RunRecord
from rtdecode.stages.widefield import saved_total_adu
from rtdecode.streams.log import LogReader
from rtdecode.streams.run_folder import RunFolder
from rtdecode.view.picture import write_picture


def make_files(folder: RunFolder, *, csv: bool) -> list[Path]:
    """Picture and, if asked, ThunderSTORM table; gives all files of the run. What fails is told, never fatal."""
    _try("picture.png", lambda: make_picture(folder))
    _try("drift and resolution", lambda: measure(folder))
    _try("report.html", lambda: make_page(folder))
    if csv:
        _try("localizations.csv", lambda: export_run(folder, "thunderstorm", folder.localizations_csv))
    return files_of(folder)


def files_of(folder: RunFolder) -> list[Path]:
    """Files of a run that are there for people and programs."""
    return sorted(path for path in folder.path.iterdir() if path.is_file() and not path.name.startswith("."))


def make_picture(folder: RunFolder) -> None:
    """picture.png from the log and the summed frames; nothing where no frame was fitted."""
    total = saved_total_adu(folder.path)
    if total is None:
        return
    commits, localizations = LogReader.open(folder.path).all()
    n_frames = int(np.count_nonzero(commits["fate"] == 0))
    if n_frames:
        px_nm = camera_px_nm(RunRecord.of_run(folder))
        write_picture(folder.picture, localizations, total, px_nm, n_frames=n_frames, title=folder.name)


def measure(folder: RunFolder) -> None:
    """drift.csv and resolution.json of a run that is small enough; nothing where there is no report."""
    from rtdecode.session.measuring import measure_at_end

    report = folder.read_report()
    if report is not None:
        measure_at_end(folder, int(report["localizations"]))


def make_page(folder: RunFolder) -> None:
    """report.html from the folder and its report.json; nothing where there is no report."""
    from rtdecode.session.run_page import make_run_page

    report = folder.read_report()
    if report is not None:
        make_run_page(folder, report)


def _try(what: str, make: Callable[[], object]) -> None:
    try:
        make()
    except Exception as error:  # a run that went well is not failed by its picture
        with outliving(sys.stderr):
            print(f"rtdecode: {what} could not be written: {error!r}", file=sys.stderr)
