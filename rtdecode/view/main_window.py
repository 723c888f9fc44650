"""The viewer's window: a timer that asks the follower, feeds the images and the panel."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from rtdecode.core.errors import RtdecodeError
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.view.canvas import ColourScale, Region
from rtdecode.view.data_tab import frame_medians
from rtdecode.view.follow import Follower, Update
from rtdecode.view.image_box import pan, zoom
from rtdecode.view.image_pane import ImagePane
from rtdecode.view.memory import Memory
from rtdecode.view.panel import STYLE, Panel
from rtdecode.view.scene import Scene
from rtdecode.view.stopping import StopRequest
from rtdecode.view.time_bar import BINS, TimeBar
from rtdecode.view.window_images import Images
from rtdecode.view.window_keys import KeyCard, pan_step
from rtdecode.view.window_region import Measure, RegionWork
from rtdecode.view.window_saving import ExportDialog, Order, Saving

REFRESH_MS, CATCHING_UP_MS, AT_REST_MS = 40, 1, 250  # from one refresh's begin to the next one's
FIGURES_S, HIDDEN_FIGURES_S = 1.0, 3.0  # between two looks at histograms and the strip of time
SAMPLE = 40_000  # localizations in the histograms
BRIGHTER, CLOSER = 1.25, 0.8
TOLD_EVENTS = ("error", "gap", "restart", "warning", "stop", "lapped", "died", "failed")


class RunWindow(QtWidgets.QMainWindow):
    """One run. Reads the run folder only; closing it touches nothing but itself.

    `quality` None: the filter that the run's model recommends.
    """

    def __init__(
        self,
        run_dir: Path,
        quality: QualityFilter | None = None,
        scale: ColourScale | None = None,
        measure: Measure | None = None,
    ) -> None:
        super().__init__()
        self.follower = Follower(run_dir)
        self.update_seen: Update | None = None
        self._quality_is_given = quality is not None
        self._stop, self.memory = StopRequest(run_dir), Memory()
        self._raw_due, self._broken, self._closed = True, "", False
        self._figures_at, self._card_is_shown = 0.0, False
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.refresh)
        self.images = Images(quality or QualityFilter(), scale, self._hurry)
        self._build(run_dir, quality or QualityFilter(), measure)
        self._connect()
        self._recall()
        self._timer.start(0)

    @property
    def scene(self) -> Scene | None:
        """Of the first image; None before the size of a frame is known."""
        return self.images.scene

    @property
    def pane(self) -> ImagePane:
        """Of the first image."""
        return self.images.first.pane

    def refresh(self) -> None:
        """One round: read, draw for a moment, show, and come back."""
        if self._closed:
            return  # a resize on the way out asks for one more
        begun, pause = time.perf_counter(), AT_REST_MS
        try:
            self._stop.tick()
            self.saving.tick()
            more = self._read()
            drawing = self._draw()
            self._show_panel()
            at_rest = self.update_seen is not None and self.update_seen.numbers.state == "finished"
            pause = CATCHING_UP_MS if more or drawing else AT_REST_MS if at_rest else REFRESH_MS
        finally:  # whatever went wrong in one refresh, the window lives on
            self._timer.start(max(round(pause - (time.perf_counter() - begun) * 1e3), CATCHING_UP_MS))

    @property
    def is_up_to_date(self) -> bool:
        """Whether everything in the log is drawn."""
        return (
            self.scene is not None
            and all(scene.is_complete for scene in self.images.scenes)
            and self.update_seen is not None
            and not self.update_seen.more
        )

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop reading, let go of ring and door, remember where the window was."""
        self._closed = True
        self._timer.stop()
        self.memory.keep(
            geometry=self.saveGeometry(), mode=self.times.mode, window_frames=self.times.window_frames,
            page=self.panel.tabs.currentIndex(), panel=int(not self.panel.widget.isHidden()),
        )  # fmt: skip
        self.follower.close()
        self._stop.close()
        self.regions.close()
        self.saving.close()
        super().closeEvent(event)

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:  # noqa: N802 (Qt's name)
        """Arrows pan, unless a box for a number wants them."""
        step = pan_step(event.key())
        if step is None:
            super().keyPressEvent(event)
        else:
            pan(self.pane.box, *step)

    def _build(self, run_dir: Path, quality: QualityFilter, measure: Measure | None) -> None:
        self.panel = Panel(run_dir.resolve().name, quality)
        self.times = TimeBar()
        self.regions = RegionWork(self.panel.region, self.pane.box, run_dir.resolve().name, measure)
        self.saving = Saving(run_dir, self.panel.message.setText)
        images = self._left = QtWidgets.QWidget()
        left, side_by_side = QtWidgets.QVBoxLayout(images), QtWidgets.QHBoxLayout()
        for layout in (left, side_by_side):
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(2)
        side_by_side.addWidget(self.pane.widget, 1)
        side_by_side.addWidget(self.images.second.pane.widget, 1)
        left.addLayout(side_by_side, 1)
        left.addWidget(self.times)
        central = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(central)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(images, 1)
        row.addWidget(self.panel.widget)
        self.setCentralWidget(central)
        self.keys = KeyCard(images)
        self.setStyleSheet(STYLE)
        self.setWindowTitle(f"{run_dir.resolve().name} - rtdecode")
        self.resize(1240, 900)

    def _connect(self) -> None:
        page = self.panel.image
        page.percentile.valueChanged.connect(self._set_percentile)
        page.pin.toggled.connect(self.images.pin)
        page.filter_changed.connect(lambda: self.images.set_quality(page.quality))
        page.colour.currentIndexChanged.connect(lambda _: self._colour_by(page.colour.currentData()))
        page.kind.currentIndexChanged.connect(lambda _: self.images.set_style(page.drawing))
        page.width_nm.valueChanged.connect(lambda _: self.images.set_style(page.drawing))
        page.drift.toggled.connect(lambda _: self._take_off_drift())
        self.times.changed.connect(lambda: self.images.set_spans(*self.times.spans))
        self.panel.tabs.currentChanged.connect(lambda _: self._figures_now())
        self.panel.raw.toggled.connect(lambda on: self._show_frames(self.panel.widefield, on))
        self.panel.widefield.toggled.connect(lambda on: self._show_frames(self.panel.raw, on))
        self.panel.snapshot.clicked.connect(lambda: self.ask_snapshot())
        self.panel.export.clicked.connect(lambda: self.ask_export())
        self.panel.stop.clicked.connect(self._stop_clicked)
        self.panel.region.measure.clicked.connect(self._measure_region)
        self._connect_keys()

    def _connect_keys(self) -> None:
        actions: dict[str, Callable[[], Any]] = {
            "R": self.panel.raw.toggle, "W": self.panel.widefield.toggle, "P": self.panel.pin.toggle,
            "F": self.panel.filter.toggle, "Home": self.images.show_all,
            "Ctrl+0": self.images.show_all, "C": self._fit_colours,
            "+": partial(self._brighten, 1 / BRIGHTER), "=": partial(self._brighten, 1 / BRIGHTER),
            "-": partial(self._brighten, BRIGHTER), "Ctrl++": partial(zoom, self.pane.box, CLOSER),
            "Ctrl+=": partial(zoom, self.pane.box, CLOSER), "Ctrl+-": partial(zoom, self.pane.box, 1 / CLOSER),
            "1": partial(self.times.set_mode, "whole"), "2": partial(self.times.set_mode, "window"),
            "3": partial(self.times.set_mode, "both"), "Space": self.times.play.toggle,
            "L": partial(self.times.go_to, None), "B": partial(self.regions.take, "rectangle"),
            "G": partial(self.regions.take, "polygon"), "Esc": self.regions.leave, "S": self.ask_snapshot,
            "E": self.ask_export, "D": self._toggle_drift, "H": self.keys.toggle,
            "Tab": lambda: self.panel.widget.setVisible(self.panel.widget.isHidden()),
        }  # fmt: skip
        for key, do in actions.items():
            QtGui.QShortcut(QtGui.QKeySequence(key), self).activated.connect(do)

    def _recall(self) -> None:
        """As the last window was left."""
        geometry = self.memory.get("geometry")
        if isinstance(geometry, QtCore.QByteArray):
            self.restoreGeometry(geometry)
        self.times.length.setValue(self.memory.number("window_frames", 500))
        mode = self.memory.get("mode")
        self.times.set_mode(mode if mode in self.times.buttons else "whole")
        self.panel.tabs.setCurrentIndex(int(self.memory.number("page", 0)))
        self.panel.widget.setVisible(self.memory.number("panel", 1) > 0)

    def _read(self) -> bool:
        """Take what is new; True when the log has more. A damaged log is told and read no further."""
        if self._broken:
            return False
        try:
            update = self.follower.poll()
        except (RtdecodeError, OSError) as error:
            self._broken = str(error)
            return False
        before = None if self.update_seen is None else self.update_seen.numbers.frame_index
        self._raw_due |= update.numbers.frame_index != before
        self.update_seen = update
        for event in update.events:
            self._tell(event)
        self._take_card()
        self.images.take(update.localizations, self.follower.field)
        return update.more

    def _take_card(self) -> None:
        """What the model was trained for and recommends, once run.yaml is there."""
        if self._card_is_shown or not self.follower.has_config:
            return
        self._card_is_shown = True
        card = self.follower.card
        self.panel.data.set_card(card)
        self.panel.trained_density = card.ranges.get("density_per_um2")
        if card.recommended is not None and not self._quality_is_given:
            self.panel.image.set_quality(card.recommended, card.recommended != SHOW_ALL)
            self.images.set_quality(card.recommended)

    def _draw(self) -> bool:
        """Advance the images and the region; True when there is more to do."""
        drawing = self.images.draw(self.follower.px_is_known)
        scene = self.scene
        if scene is None:
            return drawing
        if self.pane.is_raw and self._raw_due:
            self._raw_due = False
            is_sum = self.panel.widefield.isChecked()
            self.images.draw_frames(self.follower.widefield() if is_sum else self.follower.raw())
        counting = self.regions.tick(scene)
        are_seen = self.panel.tabs.currentWidget() is self.panel.data
        if time.perf_counter() - self._figures_at >= (FIGURES_S if are_seen else HIDDEN_FIGURES_S):
            self._show_figures(scene)
        return drawing or counting

    def _show_figures(self, scene: Scene) -> None:
        """What costs more than a refresh may: histograms, curves, the strip of time."""
        self._figures_at = time.perf_counter()
        points, numbers = scene.points, self.update_seen.numbers if self.update_seen is not None else None
        self._take_off_drift()
        self.panel.image.show_z(points.tells_z or not len(points))
        self.times.set_run(points.first_frame, points.last_frame, numbers.fps if numbers is not None else None)
        edges = np.linspace(points.first_frame, points.last_frame + 1, BINS + 1)
        self.times.strip.set_profile(np.diff([points.row_of(int(edge)) for edge in edges]).astype(float))
        sample = points.sample(scene.span.rows(points), SHOW_ALL, SAMPLE)
        of_region = self.regions.tally.sample() if self.regions.tally is not None else None
        data = self.panel.data
        data.show_values(sample | {"background": frame_medians(sample)}, of_region, scene.shown_quality, points.tells_z)
        data.show_findings(self.follower.findings)
        self.panel.mark_data(data.off)

    def _take_off_drift(self) -> None:
        """As the box says, with what drift.csv says now."""
        drift, box = self.follower.findings.measured_drift, self.panel.image.drift
        box.setVisible(drift is not None)
        self.images.take_off(drift if box.isChecked() else None)

    def _show_panel(self) -> None:
        if self.update_seen is not None:
            self.panel.show_numbers(self.update_seen.numbers, 0 if self.scene is None else self.scene.shown)
        words = self._broken or self._stop.words
        if words and self.panel.message.text() != words:
            self.panel.message.setText(words)

    def _tell(self, event: dict[str, Any]) -> None:
        """Show an event that a person should know of."""
        kind = str(event.get("kind", ""))
        if any(word in kind for word in TOLD_EVENTS):
            text = str(event.get("message") or event.get("reason") or "")
            at = "" if event.get("frame_index") is None else f" at frame {event['frame_index']:,}"
            self.panel.message.setText(f"{event.get('worker', '')}: {kind}{at}. {text}".strip())

    def _hurry(self) -> None:
        """The next refresh at once."""
        if not self._closed:
            self._timer.start(0)

    def _figures_now(self) -> None:
        self._figures_at = 0.0
        self._hurry()

    def _set_percentile(self, percentile: float) -> None:
        self.panel.pin.setChecked(False)
        self.images.set_percentile(percentile)

    def _brighten(self, factor: float) -> None:
        """White at a higher or lower density; that is the user's choice, so it is pinned."""
        self.images.brighten(factor)
        self.panel.pin.setChecked(True)

    def _colour_by(self, column: str) -> None:
        self._raw_due = True
        self.images.colour_by(column)

    def _fit_colours(self) -> None:
        self._raw_due = True
        self.images.fit_colours()

    def _show_frames(self, other: QtWidgets.QPushButton, on: bool) -> None:
        """Camera frame or wide field instead of the image; never both."""
        if on:
            other.setChecked(False)
        self.pane.show_raw(on or other.isChecked())
        self.images.show_sum(on and other is self.panel.raw)
        self._raw_due = True
        self.images.redraw()

    def _stop_clicked(self) -> None:
        if self.panel.armed():
            self._stop.ask()
            self._hurry()

    def ask_snapshot(self, path: Path | None = None) -> None:
        """The images as they are seen, as PNG; asks for a place where none is given."""
        picture = self._left.grab(self._images_only())
        chosen = path or self._ask_path("Snapshot", ".png")
        if chosen is not None:
            said = f"Written: {chosen}" if picture.save(str(chosen), "PNG") else f"Could not write {chosen}"
            self.panel.message.setText(said)

    def ask_export(self) -> None:
        """Image, picture or localizations; asks what and where."""
        scene = self.scene
        if scene is None:
            return
        areas: dict[str, Region | None] = {"whole field": None, "what is seen": self.pane.visible.overlap(scene.field)}
        outline = self.pane.box.outline
        if outline is not None:
            x0, x1, y0, y1 = outline.bounds_nm
            areas["the region"] = Region(x0, y0, x1 - x0, y1 - y0)
        words = f"With the filter: {scene.shown_quality.words}. Localizations: of the whole run."
        dialog = ExportDialog(self, areas, 10.0, words)
        if dialog.exec() == QtWidgets.QDialog.DialogCode.Accepted:
            path = self._ask_path("Export", dialog.ending)
            if path is not None:
                self.saving.save(Order(path, dialog.region, dialog.px_nm.value()), scene)

    def _images_only(self) -> QtCore.QRect:
        place: QtCore.QRect = self.pane.widget.geometry()
        if self.images.second.scene is not None:
            place = place.united(self.images.second.pane.widget.geometry())
        return place

    def _toggle_drift(self) -> None:
        if self.follower.findings.measured_drift is not None:
            self.panel.image.drift.toggle()

    def _measure_region(self) -> None:
        if self.scene is not None:
            self.regions.measure(self.scene)

    def _ask_path(self, title: str, ending: str) -> Path | None:
        suggested = str(Path.home() / f"{self.panel.name.text()}{ending}")
        chosen, _ = QtWidgets.QFileDialog.getSaveFileName(self, title, suggested, f"*{ending}")
        if not chosen:
            return None
        return Path(chosen if chosen.lower().endswith(ending) else chosen + ending)


def make_application() -> QtWidgets.QApplication:
    """The one QApplication of this process, made where there is none."""
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["rtdecode"])
    application.setApplicationName("rtdecode")
    pg.setConfigOptions(background=(0, 0, 0), imageAxisOrder="row-major", antialias=True)
    return application
