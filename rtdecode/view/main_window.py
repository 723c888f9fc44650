"""The viewer's window: a timer that asks the follower, feeds the scene and draws what changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyqtgraph as pg
from PySide6 import QtCore, QtGui, QtWidgets

from rtdecode.core.errors import RtdecodeError
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.view.canvas import ColourScale
from rtdecode.view.follow import Follower, Update
from rtdecode.view.image_pane import ImagePane
from rtdecode.view.panel import STYLE, Panel
from rtdecode.view.scene import Scene
from rtdecode.view.stopping import StopRequest

REFRESH_MS, CATCHING_UP_MS, AT_REST_MS = 50, 1, 250
SHOW_AGAIN_S = 0.15
DRAWING_S = 0.03  # of each refresh; what is not drawn then comes with the next
BRIGHTER = 1.25
TOLD_EVENTS = ("error", "gap", "restart", "warning", "stop", "lapped", "died", "failed")


class RunWindow(QtWidgets.QMainWindow):
    """One run. Reads the run folder only; closing it touches nothing but itself."""

    def __init__(
        self, run_dir: Path, quality: QualityFilter = QualityFilter(), scale: ColourScale | None = None
    ) -> None:
        super().__init__()
        self.follower = Follower(run_dir)
        self.scene: Scene | None = None
        self.update_seen: Update | None = None
        self._quality, self._scale = quality, scale
        self._early: list[Localizations] = []  # came before the size of a frame was known
        self._stop = StopRequest(run_dir)
        self._redraw, self._raw_due, self._broken, self._closed = True, True, "", False
        self._shown_at, self._shown_drawn = 0.0, (-1, -1)
        self._build(run_dir)
        self._connect()
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.refresh)
        self._timer.start(0)

    def refresh(self) -> None:
        """One round: read, draw for a moment, show, and come back."""
        if self._closed:
            return  # a resize on the way out asks for one more
        self._stop.tick()
        more = self._read()
        drawing = self._draw()
        self._show_panel()
        at_rest = self.update_seen is not None and self.update_seen.numbers.state == "finished"
        self._timer.start(CATCHING_UP_MS if more or drawing else AT_REST_MS if at_rest else REFRESH_MS)

    @property
    def is_up_to_date(self) -> bool:
        """Whether everything in the log is drawn."""
        return (
            self.scene is not None
            and self.scene.is_complete
            and self.update_seen is not None
            and not self.update_seen.more
        )

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802 (Qt's name)
        """Stop reading, let go of ring and door."""
        self._closed = True
        self._timer.stop()
        self.follower.close()
        self._stop.close()
        super().closeEvent(event)

    def _build(self, run_dir: Path) -> None:
        self.pane, self.panel = ImagePane(), Panel(run_dir.resolve().name)
        self.panel.show_filter(self._quality)
        self.panel.filter.setChecked(self._quality != SHOW_ALL)
        self.panel.filter.setEnabled(self._quality != SHOW_ALL)
        central = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(central)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.pane.widget, 1)
        row.addWidget(self.panel.widget)
        self.setCentralWidget(central)
        self.setStyleSheet(STYLE)
        self.setWindowTitle(f"{run_dir.resolve().name} - rtdecode")
        self.resize(1180, 880)

    def _connect(self) -> None:
        self.pane.box.sigRangeChanged.connect(self._view_changed)
        self.pane.box.sigResized.connect(self._view_changed)
        self.panel.percentile.valueChanged.connect(self._set_percentile)
        self.panel.pin.toggled.connect(self._pin)
        self.panel.filter.toggled.connect(self._set_filter)
        self.panel.raw.toggled.connect(self._show_raw)
        self.panel.stop.clicked.connect(self._stop_clicked)
        self._key("R", self.panel.raw.toggle)
        self._key("P", self.panel.pin.toggle)
        self._key("F", self.panel.filter.toggle)
        self._key("Home", self._show_all)
        self._key("C", self._fit_colours)
        for key, factor in (("+", 1 / BRIGHTER), ("=", 1 / BRIGHTER), ("-", BRIGHTER)):
            self._key(key, partial(self._brighten, factor))

    def _key(self, key: str, do: Callable[[], Any]) -> None:
        QtGui.QShortcut(QtGui.QKeySequence(key), self).activated.connect(do)

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
        self._take(update.localizations)
        return update.more

    def _take(self, localizations: Localizations) -> None:
        field = self.follower.field
        if self.scene is None and field is not None:
            self.scene = Scene(field, self._quality, self._scale)
            self.pane.show_all(field)
            for part in self._early:
                self.scene.add(part)
            self._early = []
        if self.scene is None:
            self._early.append(localizations)
        else:
            self.scene.add(localizations)

    def _draw(self) -> bool:
        """Advance the images and show what changed; True when there is more to draw."""
        if self.scene is None:
            self.pane.place_overlay("Waiting for the first frame", with_bar=False)
            return False
        self.scene.look_at(self.pane.visible, self.pane.most_px)
        self.scene.advance(DRAWING_S)
        if self.pane.is_raw:
            self._draw_raw(self.scene)
        else:
            self._draw_image(self.scene)
        self.pane.overlay.tells_z = self.scene.points.tells_z or len(self.scene.points) == 0
        self.pane.place_overlay("" if self.follower.px_is_known else "Pixel size unknown, 100 nm assumed")
        return not self.scene.is_complete

    def _draw_image(self, scene: Scene) -> None:
        """Show what changed; while much is still to be drawn seldom, for showing costs as much as drawing."""
        now = time.perf_counter()
        if not self._redraw and not scene.is_complete and now - self._shown_at < SHOW_AGAIN_S:
            return
        if scene.follow_contrast() or scene.drawn != self._shown_drawn or self._redraw:
            self._redraw, self._shown_at, self._shown_drawn = False, now, scene.drawn
            self.pane.draw(scene.view(self.pane.visible, self.pane.most_px), scene.scale)

    def _draw_raw(self, scene: Scene) -> None:
        if not self._raw_due:
            return
        self._raw_due = False
        raw = self.follower.raw()
        if raw is None:
            self.pane.overlay.title = "No raw frame yet"
        else:
            self.pane.draw_raw(raw, scene.field, scene.scale)

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

    def _view_changed(self, *_: object) -> None:
        """Zoom or pan by the user: show at once what is there; the finer image follows."""
        self._redraw = True
        self._timer.start(0)

    def _show_all(self) -> None:
        if self.scene is not None:
            self.pane.show_all(self.scene.field)

    def _set_percentile(self, percentile: float) -> None:
        if self.scene is not None:
            self.panel.pin.setChecked(False)
            self.scene.set_percentile(percentile)
            self._redraw = True

    def _pin(self, pinned: bool) -> None:
        if self.scene is not None:
            self.scene.contrast.pinned = pinned

    def _brighten(self, factor: float) -> None:
        """White at a higher or lower density; that is the user's choice, so it is pinned."""
        if self.scene is not None:
            self.scene.contrast.white_density *= factor
            self.panel.pin.setChecked(True)
            self._redraw = True

    def _set_filter(self, on: bool) -> None:
        if self.scene is not None:
            self.scene.set_quality(self._quality if on else SHOW_ALL)
            self._redraw = True

    def _fit_colours(self) -> None:
        if self.scene is not None:
            self.scene.fit_colours()
            self._redraw = self._raw_due = True

    def _show_raw(self, raw: bool) -> None:
        self.pane.show_raw(raw)
        self._redraw = self._raw_due = True
        self._timer.start(0)

    def _stop_clicked(self) -> None:
        if self.panel.armed():
            self._stop.ask()
            self._timer.start(0)


def make_application() -> QtWidgets.QApplication:
    """The one QApplication of this process, made where there is none."""
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["rtdecode"])
    application.setApplicationName("rtdecode")
    pg.setConfigOptions(background=(0, 0, 0), imageAxisOrder="row-major", antialias=True)
    return application
