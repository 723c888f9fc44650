"""The drawn region of the window: tallied as localizations come, measured when asked, copied for a policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from PySide6 import QtWidgets

from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations
from rtdecode.view.image_box import ImageBox, Tool
from rtdecode.view.points import localizations_of
from rtdecode.view.region_tab import RegionTab, snippet
from rtdecode.view.regions import RegionTally, rows_inside
from rtdecode.view.scene import Scene

Measure = Callable[[Localizations], str]
"""Resolution of localizations in order of frames, in words: "31 nm (28 to 35)"."""

SHOW_AGAIN_S = 0.3
TALLY_S = 0.01  # of each refresh


class RegionWork:
    """What happens to the region of one image box."""

    def __init__(self, tab: RegionTab, box: ImageBox, run: str, measure: Measure | None) -> None:
        self._tab, self._box, self._run, self._measure = tab, box, run, measure
        self.tally: RegionTally | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._measuring: Future[str] | None = None
        self._shown_at = 0.0
        self._is_due = False
        self._drift: Drift | None = None  # that was taken off what is counted
        tab.rectangle.clicked.connect(lambda: self.take("rectangle"))
        tab.polygon.clicked.connect(lambda: self.take("polygon"))
        tab.remove.clicked.connect(self.leave)
        tab.to_policy.clicked.connect(self.copy)
        tab.measure.setVisible(measure is not None)
        box.outlined.connect(self._outlined)

    def take(self, tool: Tool) -> None:
        """Draw a region next; the same tool again puts it away."""
        self._box.take("" if self._box.tool == tool else tool)
        self.show_tool()

    def leave(self) -> None:
        """Put the tool away, or else the region."""
        if self._box.tool:
            self._box.take("")
        else:
            self._box.clear_outline()
        self.show_tool()

    def show_tool(self) -> None:
        """Which tool is in hand."""
        self._tab.rectangle.setChecked(self._box.tool == "rectangle")
        self._tab.polygon.setChecked(self._box.tool == "polygon")

    def tick(self, scene: Scene) -> bool:
        """Count what is new; True when there is more to count."""
        self._finish_measuring()
        outline = self._box.outline
        if outline is None:
            self.tally = None
            return False
        rows, quality = scene.span.rows(scene.points), scene.shown_quality
        old = self.tally
        if (
            old is None
            or (old.outline, old.quality, old.first) != (outline, quality, rows[0])
            or self._drift is not scene.points.drift
            or rows[1] < old.counted_to
        ):
            self.tally, self._is_due = RegionTally(outline, quality, rows), True
            self._drift = scene.points.drift
        assert self.tally is not None
        before = self.tally.counted_to
        done = self.tally.advance(scene.points, rows[1], TALLY_S)
        self._is_due |= self.tally.counted_to != before
        now = time.perf_counter()
        if self._is_due and (done or now - self._shown_at > SHOW_AGAIN_S):
            first, last = scene.span.ends(scene.points.first_frame, scene.points.last_frame)
            self._tab.show_tally(self.tally, last - first + 1, scene.points.tells_z)
            self._shown_at, self._is_due = now, False
        return not done

    def measure(self, scene: Scene) -> None:
        """Begin to measure the resolution of the region, beside the window."""
        outline = self._box.outline
        if self._measure is None or outline is None or self._measuring is not None:
            return
        rows, quality, points, measured = (
            scene.span.rows(scene.points),
            scene.shown_quality,
            scene.points,
            self._measure,
        )
        self._threads = self._threads or ThreadPoolExecutor(1, thread_name_prefix="measure")
        self._tab.show_resolution("...")
        self._measuring = self._threads.submit(
            lambda: measured(localizations_of(rows_inside(points, outline, quality, rows)))
        )

    def copy(self) -> None:
        """YAML of the region onto the clipboard."""
        outline = self._box.outline
        if outline is not None:
            QtWidgets.QApplication.clipboard().setText(snippet(outline, self._run))

    def close(self) -> None:
        """Wait for a measurement that runs."""
        if self._threads is not None:
            self._threads.shutdown(wait=True)

    def _outlined(self, *_: Any) -> None:
        self.show_tool()
        self._tab.show_resolution("")
        if self._box.outline is None:
            self._tab.show_tally(None, 0, False)

    def _finish_measuring(self) -> None:
        if self._measuring is None or not self._measuring.done():
            return
        done, self._measuring = self._measuring, None
        error = done.exception()
        if error is not None:
            self._tab.show_resolution("failed")
            return
        self._tab.show_resolution(done.result())
