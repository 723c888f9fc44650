"""What the window shows, without Qt: one image of the whole field, a finer one of the part that is looked at.

Both are drawn from the same points by the same cursor: new localizations, another filter, other colours, another
part of the run and a zoom are all "draw the rows that do not stand yet", a little at a time, so that the window
never stalls.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import Canvas, ColourScale, Contrast, Region, Style
from rtdecode.view.layer import ROWS_AT_ONCE, Layer, Rows
from rtdecode.view.points import Points
from rtdecode.view.spans import WHOLE, Span

OVERVIEW_NM = 10.0
OVERVIEW_MOST_PX = 3_000_000  # 36 MB; larger fields get larger pixels: the finer image shows what they lack
FINEST_NM = 2.0  # finer pixels show no more: sigmas are larger
TOO_FINE = 1.4  # an overview with pixels so much smaller than the screen's costs more than an image of its own
FITTED_AFTER = 2_000  # localizations, then the colour scale is set to what they span, once


@dataclass(frozen=True, slots=True)
class View:
    """An image and where it lies."""

    rgb: NDArray[np.uint8]  # (h, w, 3)
    region: Region


class Scene:
    """The localizations of a run as an image at any zoom. Deterministic but for how far drawing has come."""

    def __init__(
        self,
        field: Region,
        quality: QualityFilter = QualityFilter(),
        scale: ColourScale | None = None,
        overview_nm: float | None = None,
        points: Points | None = None,  # shared with another scene, which adds to them
    ) -> None:
        self.field = field
        self.points = Points() if points is None else points
        self.contrast = Contrast()
        self.quality = quality  # as set; of a 2D model's localizations only what limits x, y and photons counts
        self.scale = scale or ColourScale()
        self.style, self.span = Style(), WHOLE
        self._scale_is_set = scale is not None
        coarse = math.sqrt(field.width_nm * field.height_nm / OVERVIEW_MOST_PX)
        self._overview_nm = overview_nm or max(OVERVIEW_NM, coarse)
        self.overview = self._layer(field, self._overview_nm)
        self.detail: Layer | None = None
        self._contrast_is_due = True  # the image changed, or the last step has not arrived
        self._is_anew = False  # a change of the user's is being drawn: the contrast waits
        self._target: Rows = (0, 0)
        self._told_z = False

    def add(self, localizations: Localizations) -> None:
        """Take localizations; they appear with the next `advance`."""
        self.points.append(localizations)
        if not self._scale_is_set and len(self.points) >= FITTED_AFTER:
            self.fit_colours()

    @property
    def shown_quality(self) -> QualityFilter:
        """The filter without the limits that would hide all of a 2D model's localizations."""
        told = self.points.tells_z or not len(self.points)
        return self.quality if told else replace(self.quality, sigma_z_nm=None, z_nm=None)

    def advance(self, budget_s: float) -> bool:
        """Draw what is not drawn yet for about `budget_s`, what is seen first; True when an image changed."""
        deadline = time.perf_counter() + budget_s
        if self.points.tells_z and not self._told_z and self.overview.stop:
            self._start_over()  # the first ones had no z, so they were not asked for it
        self._told_z, quality = self.points.tells_z, self.shown_quality
        self._target = target = self.span.rows(self.points)
        changed = False
        if self.detail is not None:
            changed = self.detail.advance(self.points, quality, target, deadline)
        if self.detail is None or self.detail.left(target) < 4 * ROWS_AT_ONCE:
            changed |= self.overview.advance(self.points, quality, target, deadline)
        self._contrast_is_due |= changed
        self._is_anew &= not self.is_complete
        return changed

    def follow_contrast(self) -> bool:
        """A step of the contrast towards the image, once for each time it is shown; True when it moved."""
        white = self.contrast.white_density
        if not self._contrast_is_due or (self._is_anew and white > 0):
            return False
        self._contrast_is_due = self.contrast.follow(self.overview.canvas) != white
        return self._contrast_is_due

    def set_percentile(self, percentile: float) -> None:
        """White at another percentile of the density, at once; a pin is taken off."""
        self.contrast = Contrast(percentile)
        self._contrast_is_due = True

    @property
    def is_complete(self) -> bool:
        """Whether every row of the span stands on every layer."""
        target = self.span.rows(self.points)
        return not any(layer.left(target) for layer in (self.overview, self.detail) if layer is not None)

    @property
    def drawn(self) -> tuple[int, ...]:
        """Rows of the points on the overview and on the finer image: what is to be seen changes with them."""
        layers = [layer for layer in (self.overview, self.detail) if layer is not None]
        return tuple(row for layer in layers for row in (layer.first, layer.stop))

    @property
    def shown(self) -> int:
        """Localizations on the image that is seen, or on the overview once it is complete."""
        layer = self.overview if self.overview.left(self._target) == 0 else self._best()
        return layer.shown

    def look_at(self, visible: Region, most_px: int) -> None:
        """Say which part is seen, `most_px` screen pixels on its longer side: makes or drops the finer image."""
        wanted_nm = max(max(visible.width_nm, visible.height_nm) / max(most_px, 1), FINEST_NM)
        inside = visible.overlap(self.field)
        if inside is None or 0.75 * self._overview_nm < wanted_nm < TOO_FINE * self._overview_nm:
            self.detail = None
        elif not self._detail_serves(inside, wanted_nm):
            part = inside.grown(0.2).overlap(self.field)
            self.detail = self._layer(part or inside, wanted_nm)

    def view(self, visible: Region, most_px: int) -> View:
        """The visible part as it is drawn so far, as bright as it will be when all is drawn."""
        layer = self._best()
        white = self.contrast.white_density * max(layer.share(self._target), 0.01)
        rgb, region = layer.canvas.to_rgb(white, visible=visible, most_px=most_px)
        return View(rgb, region)

    def set_quality(self, quality: QualityFilter) -> None:
        """Show other localizations; drawn anew."""
        self.quality = quality
        self._start_over()

    def set_scale(self, scale: ColourScale) -> None:
        """Colour by another column or range; drawn anew."""
        self.scale, self._scale_is_set = scale, True
        self._start_over()

    def set_style(self, style: Style) -> None:
        """Draw each localization in another way; drawn anew."""
        self.style = style
        self._start_over()

    def set_span(self, span: Span) -> None:
        """Show another part of the run, by the shortest way from what stands."""
        self.span, self._contrast_is_due = span, True

    def draw_anew(self) -> None:
        """The points themselves changed."""
        self._start_over()

    def colour_by(self, column: str) -> None:
        """Colour by a column of `COLOURINGS`, over what the shown points span now."""
        values = self.points.shown_column(column, self.shown_quality)
        self.set_scale(ColourScale.of(column) if column == "none" else ColourScale.fitted(values, column))

    def fit_colours(self) -> None:
        """Set the colour scale to what the shown points span now."""
        if self.scale.column == "none":
            return
        values = self.points.shown_column(self.scale.column, self.shown_quality)
        scale = ColourScale.fitted(values, self.scale.column)
        self._scale_is_set = True
        if scale != self.scale:
            self.set_scale(scale)

    def _best(self) -> Layer:
        """The finer image when it is complete, else what is drawn furthest."""
        if self.detail is None:
            return self.overview
        return self.detail if self.detail.share(self._target) >= self.overview.share(self._target) else self.overview

    def _detail_serves(self, inside: Region, wanted_nm: float) -> bool:
        if self.detail is None:
            return False
        canvas = self.detail.canvas
        return canvas.region.covers(inside) and 1 / 1.5 < canvas.px_nm / wanted_nm < 1.5

    def _layer(self, region: Region, px_nm: float) -> Layer:
        return Layer(Canvas(region, px_nm, self.scale, style=self.style))

    def _start_over(self) -> None:
        self._is_anew = True
        self.overview = self._layer(self.field, self._overview_nm)
        if self.detail is not None:
            self.detail = self._layer(self.detail.canvas.region, self.detail.canvas.px_nm)
