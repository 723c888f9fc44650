"""Snapshot and export of the window: asks where, works beside the window, tells what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtWidgets

from rtdecode.core.errors import RtdecodeError
from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import Canvas, Region
from rtdecode.view.image_tab import number
from rtdecode.view.points import BLOCK_ROWS, draw
from rtdecode.view.saving import check_size, write_png, write_tiff
from rtdecode.view.scene import Scene

KINDS = {  # words: ends of file names; the first two are images
    "Image, 32-bit TIFF": ".tif",
    "Picture with scale bar, PNG": ".png",
    "Localizations for Picasso": ".hdf5",
    "Localizations for ThunderSTORM": ".csv",
    "Localizations for SMAP": "_sml.mat",
    "Localizations for DECODE": ".h5",
    "Localizations as Parquet": ".parquet",
}
IMAGES = (".tif", ".png")


@dataclass(frozen=True, slots=True)
class Order:
    """One file to write."""

    path: Path
    region: Region | None = None  # of an image; None: the whole field
    px_nm: float = 10.0


class ExportDialog(QtWidgets.QDialog):
    """What is written, of which part, in which pixels."""

    def __init__(self, parent: QtWidgets.QWidget, areas: dict[str, Region | None], px_nm: float, words: str) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self._areas = areas
        form = QtWidgets.QFormLayout(self)
        self.kind, self.area, self.px_nm = QtWidgets.QComboBox(), QtWidgets.QComboBox(), number(1, 1000, 1, " nm", 1)
        self.kind.addItems(list(KINDS))
        self.area.addItems(list(areas))
        self.px_nm.setValue(px_nm)
        note = QtWidgets.QLabel(words)
        note.setObjectName("quiet")
        note.setWordWrap(True)
        form.addRow("Write", self.kind)
        form.addRow("Part", self.area)
        form.addRow("Pixel", self.px_nm)
        form.addRow(note)
        kinds = QtWidgets.QDialogButtonBox.StandardButton
        buttons = QtWidgets.QDialogButtonBox(kinds.Save | kinds.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form.addRow(buttons)
        self.kind.currentIndexChanged.connect(self._kind_changed)

    @property
    def ending(self) -> str:
        """Of the file's name."""
        return KINDS[self.kind.currentText()]

    @property
    def region(self) -> Region | None:
        """The part of the field that was chosen."""
        return self._areas[self.area.currentText()]

    def _kind_changed(self) -> None:
        is_image = self.ending in IMAGES
        self.area.setEnabled(is_image)
        self.px_nm.setEnabled(is_image)


class Saving(QtCore.QObject):
    """Writes files one after the other; `tell` is called with what came of each."""

    def __init__(self, run_dir: Path, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._run_dir, self._tell = run_dir, tell
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._waiting: list[tuple[Path, Future[None]]] = []
        self._process: QtCore.QProcess | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is being written."""
        return bool(self._waiting) or self._process is not None

    def save(self, order: Order, scene: Scene) -> None:
        """Begin to write an image or the localizations; the scene's filter goes with it. Returns at once."""
        if order.path.suffix.lower() in (*IMAGES, ".tiff"):
            self._save_image(order, scene)
        else:
            self._export(order.path, scene)

    def tick(self) -> None:
        """Tell what is finished."""
        for path, future in [one for one in self._waiting if one[1].done()]:
            self._waiting.remove((path, future))
            error = future.exception()
            self._tell(f"Could not write {path}: {error}" if error else f"Written: {path}")

    def close(self) -> None:
        """Wait for what is being written."""
        self._threads.shutdown(wait=True)
        if self._process is not None:
            self._process.waitForFinished(-1)

    def _save_image(self, order: Order, scene: Scene) -> None:
        region = order.region or scene.field
        try:
            check_size(region, order.px_nm)
        except RtdecodeError as error:
            self._tell(str(error))
            return
        rows, quality, white = scene.span.rows(scene.points), scene.shown_quality, scene.contrast.white_density
        scale, style, points, notes = scene.scale, scene.style, scene.points, notes_of(self._run_dir.name, scene)

        def work() -> None:
            canvas = Canvas(region, order.px_nm, scale, style=style)
            at = rows[0]
            while at < rows[1]:
                columns = points.rows(at, min(rows[1] - at, BLOCK_ROWS))
                draw(canvas, columns, quality)
                at += len(columns["x_nm"])
            partial = order.path.with_name(f".{order.path.name}.part")
            if order.path.suffix.lower() == ".png":
                write_png(partial, canvas, white, notes)
            else:
                write_tiff(partial, canvas, notes)
            partial.replace(order.path)

        self._tell(f"Writing {order.path} ...")
        self._waiting.append((order.path, self._threads.submit(work)))

    def _export(self, path: Path, scene: Scene) -> None:
        """By the command, in a process of its own: the viewer knows no foreign format."""
        if self._process is not None:
            self._tell("The export before this one is not finished yet.")
            return
        words = export_words(self._run_dir, path, scene.shown_quality, scene.points.drift is not None)
        process = self._process = QtCore.QProcess(self)
        process.setProcessChannelMode(QtCore.QProcess.ProcessChannelMode.MergedChannels)
        process.finished.connect(self._exported)
        process.errorOccurred.connect(lambda _: self._exported())
        process.start(sys.executable, ["-m", "rtdecode", *words])
        self._tell(f"Writing {path} ...")

    def _exported(self) -> None:
        if self._process is None:
            return
        said = bytes(self._process.readAll().data()).decode("utf-8", "replace").strip() or self._process.errorString()
        self._process.deleteLater()
        self._process = None
        self._tell(said.splitlines()[-1] if said else "")


def notes_of(run: str, scene: Scene) -> dict[str, Any]:
    """What made an image, for the file that holds it."""
    first, last = scene.span.ends(scene.points.first_frame, scene.points.last_frame)
    return {
        "run": run,
        "filter": scene.shown_quality.as_json(),
        "frames": [first, last],
        "drift": "taken off" if scene.points.drift is not None else "as found",
        "drawn_by": scene.style.kind,
        "fixed_sigma_nm": scene.style.sigma_nm if scene.style.kind == "fixed" else None,
        "colour": {"by": scene.scale.column, "low": scene.scale.low, "high": scene.scale.high},
    }


def export_words(run_dir: Path, path: Path, quality: QualityFilter, without_drift: bool = False) -> list[str]:
    """Words of `rtdecode export` for a filter."""
    words = ["export", os.fspath(run_dir), "--out", os.fspath(path), "--overwrite"]
    words += ["--drift"] * without_drift
    singles = {"sigma_xy_nm": "--max-sigma-xy-nm", "sigma_z_nm": "--max-sigma-z-nm", "probability": "--min-probability"}
    for name, option in singles.items():
        if (limit := getattr(quality, name)) is not None:
            words += [option, repr(float(limit))]
    for name, option in (("photons", "--photons"), ("z_nm", "--z-nm")):
        if (span := getattr(quality, name)) is not None:
            words.append(f"{option}={span[0]!r},{span[1]!r}")  # with =, for z may begin with a minus
    return words
