"""An image that grows: localizations added one by one as normalised Gaussians of their own sigma, coloured."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations
from rtdecode.view.colours import LIGHTNESS, hue_ramp, srgb_table
from rtdecode.view.gaussians import colour, draw
from rtdecode.view.labels import round_length_nm

SIGMA_FLOOR_PX = 0.5  # a narrower one would vanish between sample points and flicker when it moves
PERCENTILE = 98.5  # of the density where there is any: shown at full lightness
GAMMA = 0.5  # lightness = (density / white) ** gamma: one localization is seen beside a thousand
T = TypeVar("T")
DUST = 1e-4  # localizations in a pixel
ALONE_BELOW = 8_192  # localizations: fewer are drawn by one thread, for a fitter may need the other core
SMALL_IMAGE = 6_000_000  # bytes: coloured by one thread, which need not wait for a core that a fitter has
THREADS = min(os.cpu_count() or 1, 4)
RAMP = hue_ramp()
SRGB = srgb_table()
_WHOLE = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the sample in nm, by its edges; x right, y down, (0, 0) nm = centre of the first pixel."""

    x0_nm: float
    y0_nm: float
    width_nm: float
    height_nm: float

    @classmethod
    def of_frame(cls, shape: tuple[int, int], px_nm: tuple[float, float]) -> Region:
        """Region that a frame of (rows, columns) covers; `px_nm` is (x, y). Begins half a pixel before 0."""
        return cls(-px_nm[0] / 2, -px_nm[1] / 2, shape[1] * px_nm[0], shape[0] * px_nm[1])

    @property
    def x1_nm(self) -> float:
        """Right edge."""
        return self.x0_nm + self.width_nm

    @property
    def y1_nm(self) -> float:
        """Lower edge."""
        return self.y0_nm + self.height_nm

    def grown(self, share: float) -> Region:
        """With a margin of `share` of width and height at each side."""
        dx, dy = self.width_nm * share, self.height_nm * share
        return Region(self.x0_nm - dx, self.y0_nm - dy, self.width_nm + 2 * dx, self.height_nm + 2 * dy)

    def overlap(self, other: Region) -> Region | None:
        """What both cover, None where they do not meet."""
        x0, y0 = max(self.x0_nm, other.x0_nm), max(self.y0_nm, other.y0_nm)
        x1, y1 = min(self.x1_nm, other.x1_nm), min(self.y1_nm, other.y1_nm)
        return Region(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None

    def covers(self, other: Region) -> bool:
        """Whether `other` lies inside, to a thousandth of a nm."""
        return (
            self.x0_nm <= other.x0_nm + 1e-3
            and self.y0_nm <= other.y0_nm + 1e-3
            and self.x1_nm >= other.x1_nm - 1e-3
            and self.y1_nm >= other.y1_nm - 1e-3
        )


@dataclass(frozen=True, slots=True)
class Colouring:
    """What a colour can stand for: how it is called, its unit, and the range shown where nothing is known."""

    name: str
    unit: str
    low: float
    high: float


COLOURINGS = {
    "z_nm": Colouring("z", "nm", -500.0, 500.0),
    "photons": Colouring("photons", "", 0.0, 5000.0),
    "sigma_xy_nm": Colouring("σ x, y", "nm", 0.0, 40.0),  # the larger of both
    "frame_index": Colouring("frame", "", 0.0, 10_000.0),
    "none": Colouring("", "", -1.0, 1.0),  # one colour for all
}


def colour_values(columns: Mapping[str, NDArray[np.generic]], column: str) -> NDArray[np.generic]:
    """(N,) what the colour shows, of columns named as those of a Localizations."""
    if column == "sigma_xy_nm":
        larger: NDArray[np.generic] = np.maximum(columns["sigma_x_nm"], columns["sigma_y_nm"])
        return larger
    if column == "none":
        return np.zeros(len(columns["x_nm"]), np.float32)
    return columns[column]


@dataclass(frozen=True, slots=True)
class ColourScale:
    """Which column the colour shows and over which range; values outside take the colour of the nearest end."""

    low: float = -500.0
    high: float = 500.0
    column: str = "z_nm"

    @classmethod
    def of(cls, column: str) -> ColourScale:
        """Of one of `COLOURINGS`, before anything is known of its values."""
        return cls(COLOURINGS[column].low, COLOURINGS[column].high, column)

    @classmethod
    def fitted(cls, values: NDArray[np.floating], column: str = "z_nm", step: float | None = None) -> ColourScale:
        """Over the 1st to 99th percentile of finite `values`, rounded outwards to `step`; default when empty.

        Without `step`: 50 nm of z, else the round number next below a tenth of the span.
        """
        finite = values[np.isfinite(values)]
        if not len(finite):
            return cls.of(column)
        low, high = np.percentile(finite, [1, 99])
        step = step or (50.0 if column == "z_nm" else round_length_nm(max(high - low, 1.0), share=0.1))
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        return cls(low, max(high, low + step), column)

    @property
    def title(self) -> str:
        """Above the colour bar: "z (nm)"."""
        colouring = COLOURINGS[self.column]
        return colouring.name + (f" ({colouring.unit})" if colouring.unit else "")


@dataclass(frozen=True, slots=True)
class Style:
    """How a localization is drawn: by its own sigma, all with the same, or as a count in one pixel."""

    kind: Literal["own", "fixed", "histogram"] = "own"
    sigma_nm: float = 10.0  # of `fixed`


class Canvas:
    """Sums of weight and weight * colour over a region at a free pixel size; adding costs only what is added.

    `sums` is (H, W, 3) float32: localizations per pixel, times OKLab a, times OKLab b. Each localization adds
    1 in all (less what falls outside). The same localizations in the same order give the same bytes,
    in whatever portions they come and however many threads draw.
    """

    def __init__(
        self,
        region: Region,
        px_nm: float,
        scale: ColourScale | None = None,
        sigma_ceiling_nm: float = 100.0,
        style: Style = Style(),
    ) -> None:
        self.px_nm = px_nm
        self.scale = scale or ColourScale()
        self.sigma_ceiling_nm = sigma_ceiling_nm
        self.style = style
        width, height = math.ceil(region.width_nm / px_nm - 1e-9), math.ceil(region.height_nm / px_nm - 1e-9)
        self.region = Region(region.x0_nm, region.y0_nm, width * px_nm, height * px_nm)
        self.sums = np.zeros((height, width, 3), np.float32)  # weight, weight * a, weight * b
        self.unusable = 0  # localizations with a position or sigma that is not finite, or sigma <= 0
        self._dust = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (self.sums.shape[0], self.sums.shape[1])

    @property
    def weight(self) -> NDArray[np.float32]:
        """(H, W) localizations per pixel, a view."""
        plane: NDArray[np.float32] = self.sums[:, :, 0]
        return plane

    def add(self, localizations: Localizations) -> None:
        """Draw all of `localizations`, coloured by the scale's column; those out of the region cost next to nothing."""
        self.add_columns(dict(localizations.columns()))

    def add_columns(
        self,
        columns: Mapping[str, NDArray[Any]],
        shown: NDArray[np.bool_] | None = None,
        *,
        take_away: bool = False,
        shares: NDArray[np.float32] | None = None,
    ) -> None:
        """As `add` for bare columns by name, of the rows that are `shown`; `take_away` undoes an earlier call.

        `shares` (N,): how much of each is drawn (of one that a slice cuts, a part); None: all of it.
        What taking away leaves of a weight by rounding, 1e-6 of it, is black.
        """
        x_nm, y_nm = columns["x_nm"], columns["y_nm"]
        values = np.asarray(colour_values(columns, self.scale.column), np.float32)
        span = self.scale.high - self.scale.low
        steps = (values - np.float32(self.scale.low)) * np.float32(len(RAMP) / span)
        sigmas = columns["sigma_x_nm"], columns["sigma_y_nm"]
        if self.style.kind == "fixed":
            sigmas = (np.full(len(x_nm), self.style.sigma_nm, np.float32),) * 2
        shown = np.ones(len(x_nm), np.bool_) if shown is None else shown
        self._dust = DUST if take_away else self._dust
        origin = (self.region.x0_nm, self.region.y0_nm, 1.0 / self.px_nm)
        sign = -1.0 if take_away else 1.0
        parts = _WHOLE if shares is None else shares

        def band(rows: tuple[int, int]) -> int:
            return int(
                draw(self.sums, x_nm, y_nm, *sigmas, steps, shown, parts, RAMP, origin, self._limits, sign, rows)
            )

        bands = self._bands(y_nm)
        found = _beside(band, bands)
        self.unusable += 0 if take_away else found[0]

    @property
    def _limits(self) -> tuple[float, float]:
        """Smallest and largest sigma in pixels."""
        if self.style.kind == "histogram":
            return 0.0, 0.0
        return SIGMA_FLOOR_PX, max(self.sigma_ceiling_nm / self.px_nm, SIGMA_FLOOR_PX)

    def _bands(self, y_nm: NDArray[np.float32]) -> list[tuple[int, int]]:
        """Rows of the image for each thread, with about as many localizations each; one band for few."""
        height = self.shape[0]
        if len(y_nm) < ALONE_BELOW or height < 2 * THREADS:
            return [(0, height)]
        rows = (y_nm[:: len(y_nm) // 256] - self.region.y0_nm) / self.px_nm
        inner = np.nan_to_num(np.nanpercentile(np.clip(rows, 0, height), np.linspace(0, 100, THREADS + 1)[1:-1]))
        edges = [0, *(int(edge) for edge in inner), height]
        return list(pairwise(edges))

    def clear(self) -> None:
        """Back to empty."""
        self.sums[:] = 0
        self.unusable, self._dust = 0, 0.0

    def density_percentile(self, percentile: float, most_samples: int = 200_000) -> float:
        """Percentile of the density (localizations per um^2) over pixels that hold anything; 0 when empty.

        A density and not a count per pixel, so that the contrast stays when the pixel size changes.
        """
        stride = max(1, math.isqrt(self.weight.size // most_samples))
        sample = self.weight[::stride, ::stride]
        held = sample[sample > 0]
        return float(np.percentile(held, percentile)) / (self.px_nm * 1e-3) ** 2 if len(held) else 0.0

    def to_rgb(
        self,
        white_density: float | None = None,
        percentile: float = PERCENTILE,
        gamma: float = GAMMA,
        visible: Region | None = None,
        most_px: int | None = None,
    ) -> tuple[NDArray[np.uint8], Region]:
        """(h, w, 3) sRGB bytes of the visible part, and the region that they cover (whole pixels).

        White is `white_density` in localizations per um^2 (None: the given percentile). Lightness grows as
        (density / white) ** gamma. With `most_px`, blocks of pixels are averaged until neither side is longer.
        """
        white = self.density_percentile(percentile) if white_density is None else white_density
        rows, columns, block = self._crop(visible or self.region, most_px)
        out = np.zeros((rows[1], columns[1], 3), np.uint8)
        scale = 1.0 / max(white * (self.px_nm * 1e-3) ** 2 * block * block, 1e-12)
        dust = self._dust * block * block

        def part(band: tuple[int, int]) -> None:
            first = rows[0] + band[0] * block
            colour(self.sums, first, columns[0], block, scale, gamma, LIGHTNESS, SRGB, dust, out[band[0] : band[1]])

        if out.size < SMALL_IMAGE:
            part((0, len(out)))
        else:
            _beside(part, list(pairwise(np.linspace(0, len(out), THREADS + 1).astype(int).tolist())))
        side = self.px_nm * block
        x0, y0 = self.region.x0_nm + columns[0] * self.px_nm, self.region.y0_nm + rows[0] * self.px_nm
        return out, Region(x0, y0, columns[1] * side, rows[1] * side)

    def _crop(self, visible: Region, most_px: int | None) -> tuple[tuple[int, int], tuple[int, int], int]:
        """(first row, blocks), (first column, blocks), pixels per block; first ones on multiples of the block,
        so that panning does not make the image shimmer."""
        part = self.region.overlap(visible)
        if part is None:
            return (0, 0), (0, 0), 1
        longer = max(part.width_nm, part.height_nm) / self.px_nm
        block = max(1, math.ceil(longer / most_px)) if most_px else 1
        row = _blocks(part.y0_nm - self.region.y0_nm, part.y1_nm - self.region.y0_nm, self.px_nm, block)
        column = _blocks(part.x0_nm - self.region.x0_nm, part.x1_nm - self.region.x0_nm, self.px_nm, block)
        return row, column, block


def _beside(do: Callable[[tuple[int, int]], T], bands: list[tuple[int, int]]) -> list[T]:
    """The first band in this thread, the others in threads of their own meanwhile."""
    others = [_threads().submit(do, band) for band in bands[1:]]
    return [do(bands[0]), *(other.result() for other in others)]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="canvas")


def _blocks(start_nm: float, stop_nm: float, px_nm: float, block: int) -> tuple[int, int]:
    """First pixel and number of blocks that cover start..stop."""
    first = math.floor(start_nm / px_nm / block + 1e-6)
    last = math.ceil(stop_nm / px_nm / block - 1e-6)
    return first * block, max(last - first, 1)


@dataclass(slots=True)
class Contrast:
    """The density that is shown white: follows the image by small steps, never jumps, and can be pinned."""

    percentile: float = PERCENTILE
    most_step: float = 1.1  # largest factor between two refreshes
    pinned: bool = False
    white_density: float = 0.0  # localizations per um^2; 0: nothing seen yet

    def follow(self, canvas: Canvas) -> float:
        """The density to show white now, after a step towards the canvas's percentile."""
        if self.pinned and self.white_density > 0:
            return self.white_density
        target = canvas.density_percentile(self.percentile)
        if self.white_density <= 0 or target <= 0:
            self.white_density = target
        else:
            step = min(max(target / self.white_density, 1 / self.most_step), self.most_step)
            self.white_density *= step
        return self.white_density
