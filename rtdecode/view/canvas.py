"""An image that grows: localizations added one by one as normalised Gaussians of their own sigma, coloured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations
from rtdecode.view.colours import LIGHTNESS, hue_ramp, srgb_table

REACH_SIGMAS = 3.0  # a Gaussian is cut there and normalised over what is left: the lost 0.5 % is given back
SIGMA_FLOOR_PX = 0.5  # a narrower one would vanish between sample points and flicker when it moves
PERCENTILE = 98.5  # of the density where there is any: shown at full lightness
GAMMA = 0.5  # lightness = (density / white) ** gamma: one localization is seen beside a thousand
RAMP = hue_ramp()
SRGB = srgb_table()


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
class ColourScale:
    """Which column the colour shows and over which range; values outside take the colour of the nearest end."""

    low: float = -500.0
    high: float = 500.0
    column: str = "z_nm"

    @classmethod
    def fitted(cls, values: NDArray[np.floating], column: str = "z_nm", step: float = 50.0) -> ColourScale:
        """Over the 1st to 99th percentile of finite `values`, rounded outwards to `step`; default when empty."""
        finite = values[np.isfinite(values)]
        if not len(finite):
            return cls(column=column)
        low, high = np.percentile(finite, [1, 99])
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        return cls(low, max(high, low + step), column)


class Canvas:
    """Sums of weight and weight * colour over a region at a free pixel size; adding costs only what is added.

    `sums` is (3, H, W) float32: localizations per pixel, times OKLab a, times OKLab b. Each localization adds
    1 in all (less what falls outside). The same localizations in the same order give the same bytes,
    in whatever portions they come.
    """

    def __init__(
        self, region: Region, px_nm: float, scale: ColourScale | None = None, sigma_ceiling_nm: float = 100.0
    ) -> None:
        self.px_nm = px_nm
        self.scale = scale or ColourScale()
        self.sigma_ceiling_nm = sigma_ceiling_nm
        width, height = math.ceil(region.width_nm / px_nm - 1e-9), math.ceil(region.height_nm / px_nm - 1e-9)
        self.region = Region(region.x0_nm, region.y0_nm, width * px_nm, height * px_nm)
        self.sums = np.zeros((3, height, width), np.float32)  # weight, weight * a, weight * b
        self.unusable = 0  # localizations with a position or sigma that is not finite, or sigma <= 0

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return (self.sums.shape[1], self.sums.shape[2])

    @property
    def weight(self) -> NDArray[np.float32]:
        """(H, W) localizations per pixel, a view."""
        plane: NDArray[np.float32] = self.sums[0]
        return plane

    def add(self, localizations: Localizations) -> None:
        """Draw all of `localizations`, coloured by the scale's column; those out of the region cost next to nothing."""
        self.add_columns(
            localizations.x_nm,
            localizations.y_nm,
            localizations.sigma_x_nm,
            localizations.sigma_y_nm,
            getattr(localizations, self.scale.column),
        )

    def add_columns(
        self,
        x_nm: NDArray[np.float32],
        y_nm: NDArray[np.float32],
        sigma_x_nm: NDArray[np.float32],
        sigma_y_nm: NDArray[np.float32],
        colour_values: NDArray[np.generic],
    ) -> None:
        """As `add` for bare columns of length N; `colour_values` in the units of the scale."""
        span = self.scale.high - self.scale.low
        steps = (np.asarray(colour_values, np.float32) - np.float32(self.scale.low)) * np.float32(len(RAMP) / span)
        limits = (SIGMA_FLOOR_PX, max(self.sigma_ceiling_nm / self.px_nm, SIGMA_FLOOR_PX))
        origin = (self.region.x0_nm, self.region.y0_nm, 1.0 / self.px_nm)
        self.unusable += _draw(self.sums, x_nm, y_nm, sigma_x_nm, sigma_y_nm, steps, RAMP, origin, limits)

    def clear(self) -> None:
        """Back to empty."""
        self.sums[:] = 0
        self.unusable = 0

    def density_percentile(self, percentile: float, most_samples: int = 400_000) -> float:
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
        _colour(self.sums, rows[0], columns[0], block, scale, gamma, LIGHTNESS, SRGB, out)
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


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _profile(weights: NDArray[np.float32], centre: np.float32, sigma: np.float32, first: int, count: int) -> None:
    """Gaussian samples at first..first+count, sum 1, into `weights`."""
    total = np.float32(0.0)
    scale = np.float32(-0.5) / (sigma * sigma)
    for k in range(count):
        offset = np.float32(first + k) - centre
        value = np.exp(scale * offset * offset)
        weights[k] = value
        total += value
    for k in range(count):
        weights[k] /= total


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _add_scaled(out: NDArray[np.float32], profile: NDArray[np.float32], factor: np.float32) -> None:
    """A loop of its own over one plane is vectorised; the three planes in one loop took 1.7 times as long."""
    for k in range(len(profile)):
        out[k] += factor * profile[k]


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _draw(
    sums: NDArray[np.float32],  # (3, H, W)
    x_nm: NDArray[np.float32],  # (N,)
    y_nm: NDArray[np.float32],
    sigma_x_nm: NDArray[np.float32],
    sigma_y_nm: NDArray[np.float32],
    steps: NDArray[np.float32],  # (N,) place on the ramp, in entries
    ramp: NDArray[np.float32],  # (S, 2) OKLab a, b
    origin: tuple[float, float, float],  # x0_nm, y0_nm, pixels per nm
    limits: tuple[float, float],  # smallest and largest sigma in pixels
) -> int:
    """Add N Gaussians; returns how many were unusable. A position on a pixel's centre is a whole number there."""
    _, height, width = sums.shape
    x0, y0, per_nm = np.float32(origin[0]), np.float32(origin[1]), np.float32(origin[2])
    floor, ceiling = np.float32(limits[0]), np.float32(limits[1])
    longest = 2 * int(np.ceil(ceiling * REACH_SIGMAS)) + 1
    across, down = np.empty(longest, np.float32), np.empty(longest, np.float32)
    unusable = 0
    for n in range(len(x_nm)):
        if not (np.isfinite(x_nm[n] + y_nm[n] + steps[n]) and sigma_x_nm[n] > 0 and sigma_y_nm[n] > 0):
            unusable += 1
            continue
        x = (x_nm[n] - x0) * per_nm - np.float32(0.5)
        y = (y_nm[n] - y0) * per_nm - np.float32(0.5)
        sigma_x = min(max(sigma_x_nm[n] * per_nm, floor), ceiling)
        sigma_y = min(max(sigma_y_nm[n] * per_nm, floor), ceiling)
        reach_x, reach_y = int(np.ceil(sigma_x * REACH_SIGMAS)), int(np.ceil(sigma_y * REACH_SIGMAS))
        if x < -reach_x - 1 or y < -reach_y - 1 or x > width + reach_x or y > height + reach_y:
            continue
        left, top = int(np.rint(x)) - reach_x, int(np.rint(y)) - reach_y
        _profile(across, x, sigma_x, left, 2 * reach_x + 1)
        _profile(down, y, sigma_y, top, 2 * reach_y + 1)
        entry = int(min(max(steps[n], np.float32(0)), np.float32(len(ramp) - 1)))
        a, b = ramp[entry, 0], ramp[entry, 1]
        for row in range(max(top, 0), min(top + 2 * reach_y + 1, height)):
            of_row = down[row - top]
            first, last = max(left, 0), min(left + 2 * reach_x + 1, width)
            if first < last:
                profile = across[first - left : last - left]
                _add_scaled(sums[0, row, first:last], profile, of_row)
                _add_scaled(sums[1, row, first:last], profile, of_row * a)
                _add_scaled(sums[2, row, first:last], profile, of_row * b)
    return unusable


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _colour(
    sums: NDArray[np.float32],  # (3, H, W)
    row0: int,
    column0: int,
    block: int,
    scale: float,
    gamma: float,
    lightness: float,
    srgb: NDArray[np.uint8],
    out: NDArray[np.uint8],  # (h, w, 3)
) -> None:
    """Mean over blocks of pixels, mean colour, lightness by density, to bytes.

    OKLab is a cube root, so a colour dimmed to lightness v has v ** 3 of its linear light.
    """
    _, height, width = sums.shape
    top_entry = len(srgb) - 1
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            weight, sum_a, sum_b = 0.0, 0.0, 0.0
            for row in range(row0 + i * block, min(row0 + (i + 1) * block, height)):
                for column in range(column0 + j * block, min(column0 + (j + 1) * block, width)):
                    weight += sums[0, row, column]
                    sum_a += sums[1, row, column]
                    sum_b += sums[2, row, column]
            if weight <= 0.0:
                continue
            v = min(weight * scale, 1.0) ** gamma
            a, b = sum_a / weight, sum_b / weight
            long = (lightness + 0.3963377774 * a + 0.2158037573 * b) * v
            middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) * v
            short = (lightness - 0.0894841775 * a - 1.2914855480 * b) * v
            long, middle, short = long * long * long, middle * middle * middle, short * short * short
            red = 4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short
            green = -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short
            blue = -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short
            out[i, j, 0] = srgb[int(math.sqrt(min(max(red, 0.0), 1.0)) * top_entry + 0.5)]
            out[i, j, 1] = srgb[int(math.sqrt(min(max(green, 0.0), 1.0)) * top_entry + 0.5)]
            out[i, j, 2] = srgb[int(math.sqrt(min(max(blue, 0.0), 1.0)) * top_entry + 0.5)]
