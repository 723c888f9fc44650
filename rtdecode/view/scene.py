"""What the window shows, without Qt: one image of the whole field, a finer one of the part that is looked at.

Both are drawn from the same points by the same cursor: new localizations, another filter, another colour scale
and a zoom are all "draw the rows that are not drawn yet", a little at a time, so that the window never stalls.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import Canvas, ColourScale, Contrast, Region
from rtdecode.view.points import Points, draw

OVERVIEW_NM = 10.0
OVERVIEW_MOST_PX = 12_000_000  # 144 MB; larger fields get larger pixels
FINEST_NM = 2.0  # finer pixels show no more: sigmas are larger
ROWS_AT_ONCE = 32_768  # 10 to 40 ms
FITTED_AFTER = 2_000  # localizations, then the colour scale is set to what they span, once


class Layer:
    """A canvas and how many of the points stand on it."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.drawn = 0  # rows of the points, shown or not
        self.shown = 0  # of these, passed the filter

    def advance(self, points: Points, quality: QualityFilter, deadline: float) -> bool:
        """Draw until all stand or `time.perf_counter()` passes `deadline` (at least one portion); True if any."""
        before = self.drawn
        while self.drawn < len(points):
            columns = points.rows(self.drawn, ROWS_AT_ONCE)
            self.shown += draw(self.canvas, columns, quality)
            self.drawn += len(columns["x_nm"])
            if time.perf_counter() >= deadline:
                break
        return self.drawn > before


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
    ) -> None:
        self.field = field
        self.points = Points()
        self.contrast = Contrast()
        self.quality = quality
        self.scale = scale or ColourScale()
        self._scale_is_set = scale is not None
        coarse = math.sqrt(field.width_nm * field.height_nm / OVERVIEW_MOST_PX)
        self._overview_nm = overview_nm or max(OVERVIEW_NM, coarse)
        self.overview = Layer(Canvas(field, self._overview_nm, self.scale))
        self.detail: Layer | None = None
        self._contrast_is_due = True  # the image changed, or the last step has not arrived

    def add(self, localizations: Localizations) -> None:
        """Take localizations; they appear with the next `advance`."""
        self.points.append(localizations)
        if not self._scale_is_set and len(self.points) >= FITTED_AFTER:
            self.fit_colours()

    def advance(self, budget_s: float) -> bool:
        """Draw what is not drawn yet for about `budget_s`; True when an image changed."""
        deadline = time.perf_counter() + budget_s
        changed = self.overview.advance(self.points, self.quality, deadline)
        if self.detail is not None:
            changed |= self.detail.advance(self.points, self.quality, deadline)
        self._contrast_is_due |= changed
        return changed

    def follow_contrast(self) -> bool:
        """A step of the contrast towards the image, once for each time it is shown; True when it moved."""
        if not self._contrast_is_due:
            return False
        white = self.contrast.white_density
        self._contrast_is_due = self.contrast.follow(self.overview.canvas) != white
        return self._contrast_is_due

    def set_percentile(self, percentile: float) -> None:
        """White at another percentile of the density, at once; a pin is taken off."""
        self.contrast = Contrast(percentile)
        self._contrast_is_due = True

    @property
    def is_complete(self) -> bool:
        """Whether every point stands on every layer."""
        layers = [self.overview] if self.detail is None else [self.overview, self.detail]
        return all(layer.drawn == len(self.points) for layer in layers)

    @property
    def drawn(self) -> tuple[int, int]:
        """Rows of the points on the overview and on the finer image: what is to be seen changes with them."""
        return self.overview.drawn, -1 if self.detail is None else self.detail.drawn

    @property
    def shown(self) -> int:
        """Localizations on the overview."""
        return self.overview.shown

    def look_at(self, visible: Region, most_px: int) -> None:
        """Say which part is seen, `most_px` screen pixels on its longer side: makes or drops the finer image."""
        wanted_nm = max(max(visible.width_nm, visible.height_nm) / max(most_px, 1), FINEST_NM)
        inside = visible.overlap(self.field)
        if inside is None or wanted_nm > 0.75 * self._overview_nm:
            self.detail = None
        elif not self._detail_serves(inside, wanted_nm):
            part = inside.grown(0.2).overlap(self.field)
            self.detail = Layer(Canvas(part or inside, wanted_nm, self.scale))

    def view(self, visible: Region, most_px: int) -> View:
        """The visible part as it is drawn so far: from the finer image once that is complete."""
        layer = self.overview
        if self.detail is not None and self.detail.drawn == len(self.points):
            layer = self.detail
        rgb, region = layer.canvas.to_rgb(self.contrast.white_density, visible=visible, most_px=most_px)
        return View(rgb, region)

    def set_quality(self, quality: QualityFilter) -> None:
        """Show other localizations; drawn anew."""
        self.quality = quality
        self._start_over()

    def set_scale(self, scale: ColourScale) -> None:
        """Colour by another range; drawn anew."""
        self.scale, self._scale_is_set = scale, True
        self._start_over()

    def fit_colours(self) -> None:
        """Set the colour scale to what the shown points span now."""
        scale = ColourScale.fitted(self.points.shown_column(self.scale.column, self.quality), self.scale.column)
        self._scale_is_set = True
        if scale != self.scale:
            self.set_scale(scale)

    def _detail_serves(self, inside: Region, wanted_nm: float) -> bool:
        if self.detail is None:
            return False
        canvas = self.detail.canvas
        return canvas.region.covers(inside) and 1 / 1.5 < canvas.px_nm / wanted_nm < 1.5

    def _start_over(self) -> None:
        self.overview = Layer(Canvas(self.field, self._overview_nm, self.scale))
        if self.detail is not None:
            old = self.detail.canvas
            self.detail = Layer(Canvas(old.region, old.px_nm, self.scale))
