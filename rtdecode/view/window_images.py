"""The images of the window: the cumulative one and the one beside it, each a scene in a pane, drawn as they change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import ColourScale, Region, Style
from rtdecode.view.follow import RawImage
from rtdecode.view.image_pane import ImagePane
from rtdecode.view.scene import Scene
from rtdecode.view.spans import WHOLE, Span

SHOW_AGAIN_S = 0.15  # while much is still to be drawn: showing costs as much as drawing
DRAWING_S = 0.03  # of each refresh; what is not drawn then comes with the next


@dataclass(slots=True)
class Shown:
    """One pane, the scene in it and what of it is on the screen."""

    pane: ImagePane
    scene: Scene | None = None
    redraw: bool = True
    at: float = 0.0
    drawn: tuple[int, ...] = ()


class Images:
    """`changed` is called when the user zooms or pans, so that the next refresh comes at once."""

    def __init__(self, quality: QualityFilter, scale: ColourScale | None, changed: Callable[[], None]) -> None:
        self.first, self.second = Shown(ImagePane()), Shown(ImagePane())
        self._quality, self._scale, self._changed = quality, scale, changed
        self._spans: tuple[Span, Span | None] = (WHOLE, None)
        self._early: list[Localizations] = []  # came before the size of a frame was known
        self._is_linking = self._is_sum = False
        for one, other in ((self.first, self.second), (self.second, self.first)):
            one.pane.box.sigRangeChanged.connect(lambda *_, a=one, b=other: self._moved(a, b))
            one.pane.box.sigResized.connect(lambda *_, a=one: self._resized(a))
        self.second.pane.widget.hide()

    @property
    def scene(self) -> Scene | None:
        """The first image's; None before the size of a frame is known."""
        return self.first.scene

    @property
    def scenes(self) -> list[Scene]:
        """Those that are shown."""
        return [shown.scene for shown in (self.first, self.second) if shown.scene is not None]

    def take(self, localizations: Localizations, field: Region | None) -> None:
        """More localizations of a run whose frames cover `field`."""
        if self.scene is None and field is not None:
            scene = self.first.scene = Scene(field, self._quality, self._scale)
            self.first.pane.show_all(field)
            for part in self._early:
                scene.add(part)
            self._early = []
            self.set_spans(*self._spans)
        if self.scene is None:
            self._early.append(localizations)
        else:
            self.scene.add(localizations)

    def set_spans(self, first: Span, second: Span | None) -> None:
        """Which part of the run each image shows; without a second one it is hidden."""
        self._spans = (first, second)
        self.second.pane.widget.setVisible(second is not None)
        if self.scene is None:
            return
        self.scene.set_span(first)
        if second is None:
            self.second.scene = None
        elif self.second.scene is None:
            self._open_second(self.scene)
        if self.second.scene is not None and second is not None:
            self.second.scene.set_span(second)
        self.redraw()

    def draw(self, told_px: bool) -> bool:
        """Advance the images and show what changed; True when there is more to draw."""
        if self.scene is None:
            self.first.pane.place_overlay("Waiting for the first frame", with_bar=False)
            return False
        for shown in (self.first, self.second):
            if shown.scene is not None:
                self._follow_scale(shown.scene)
                shown.scene.look_at(shown.pane.visible, shown.pane.most_px)
                shown.scene.advance(DRAWING_S / len(self.scenes))
                self._show(shown, shown.scene, told_px)
        return not all(scene.is_complete for scene in self.scenes)

    def draw_frames(self, raw: RawImage | None) -> None:
        """Put a camera frame or the wide-field image into the first pane."""
        if raw is None or self.scene is None:
            self.first.pane.overlay.title = "No frame yet"
        else:
            self.first.pane.draw_raw(raw, self.scene.field, self.scene.scale)

    def show_sum(self, is_sum: bool) -> None:
        """Whether a wide-field image is shown, which has no colours."""
        self._is_sum = is_sum

    def redraw(self) -> None:
        """Show again although nothing was drawn."""
        self.first.redraw = self.second.redraw = True
        self._changed()

    def set_quality(self, quality: QualityFilter) -> None:
        """Another filter."""
        self._quality = quality
        self._each(lambda scene: scene.set_quality(quality))

    def set_style(self, style: Style) -> None:
        """Another way of drawing."""
        self._each(lambda scene: scene.set_style(style))

    def take_off(self, drift: Drift | None) -> None:
        """Draw positions less the drift, or as they were found."""
        if self.scene is not None and self.scene.points.drift is not drift:
            self.scene.points.drift = drift
            self._each(lambda scene: scene.draw_anew())

    def colour_by(self, column: str) -> None:
        """Another colouring, over what the first image spans."""
        if self.scene is not None:
            self.scene.colour_by(column)
        elif self._scale is None:
            self._scale = ColourScale.of(column)
        self.redraw()

    def fit_colours(self) -> None:
        """The colouring over what the first image spans now."""
        if self.scene is not None:
            self.scene.fit_colours()
        self.redraw()

    def set_percentile(self, percentile: float) -> None:
        """White at another percentile."""
        self._each(lambda scene: scene.set_percentile(percentile))

    def pin(self, pinned: bool) -> None:
        """Hold the contrast."""
        self._each(lambda scene: setattr(scene.contrast, "pinned", pinned))

    def brighten(self, factor: float) -> None:
        """White at `factor` times the density."""
        for scene in self.scenes:
            scene.contrast.white_density *= factor
        self.redraw()

    def show_all(self) -> None:
        """Zoom so that the whole field is seen."""
        if self.scene is not None:
            self.first.pane.show_all(self.scene.field)

    def _each(self, do: Callable[[Scene], None]) -> None:
        for scene in self.scenes:
            do(scene)
        self.redraw()

    def _open_second(self, first: Scene) -> None:
        scene = self.second.scene = Scene(first.field, first.quality, first.scale, points=first.points)
        scene.set_style(first.style)
        scene.contrast.percentile, scene.contrast.pinned = first.contrast.percentile, False
        self.second.pane.show_all(first.field)
        self._moved(self.first, self.second)

    def _follow_scale(self, scene: Scene) -> None:
        """The second image in the colours of the first, which may have been fitted since."""
        if self.scene is not None and scene.scale != self.scene.scale:
            scene.set_scale(self.scene.scale)

    def _show(self, shown: Shown, scene: Scene, told_px: bool) -> None:
        pane, now = shown.pane, time.perf_counter()
        if not pane.is_raw and (shown.redraw or scene.is_complete or now - shown.at >= SHOW_AGAIN_S):
            moved = scene.follow_contrast()
            if moved or scene.drawn != shown.drawn or shown.redraw:
                shown.redraw, shown.at, shown.drawn = False, now, scene.drawn
                pane.draw(scene.view(pane.visible, pane.most_px), scene.scale)
        column, has_z = scene.scale.column, scene.points.tells_z or len(scene.points) == 0
        pane.overlay.has_colours = column != "none" and (has_z or column != "z_nm") and shown is self.first
        pane.overlay.has_colours &= not self._is_sum
        pane.place_overlay("\n".join(self._title(shown, scene, told_px)))

    def _title(self, shown: Shown, scene: Scene, told_px: bool) -> list[str]:
        words = scene.span.words(scene.points.first_frame, scene.points.last_frame)
        if self.second.scene is not None and shown is self.first and not words:
            words = "cumulative"
        return [words] * bool(words) + ([] if told_px else ["Pixel size unknown, 100 nm assumed"])

    def _moved(self, one: Shown, other: Shown) -> None:
        """Both panes look at the same place."""
        one.redraw = True
        if self.second.scene is not None and not self._is_linking:
            self._is_linking = True
            other.pane.box.setRange(one.pane.box.viewRect(), padding=0)
            other.redraw = True
            self._is_linking = False
        self._changed()

    def _resized(self, one: Shown) -> None:
        one.redraw = True
        if one is self.first and one.pane.is_whole and one.scene is not None:
            one.pane.show_all(one.scene.field)
        self._moved(self.first, self.second)  # one of them had the old size when the other moved it
