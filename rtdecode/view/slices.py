"""Slices of a volume: how much of each localization lies in one, and the maximum over all of them, coloured by z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from rtdecode.core.localizations import Localizations
from rtdecode.view.canvas import RAMP, Canvas, ColourScale, Region

REACH_SIGMAS = 4.0  # beyond it a localization is in no slice: 3e-5 of it are left out
F4 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Slab:
    """z from `low_nm` to `high_nm`."""

    low_nm: float
    high_nm: float

    @property
    def middle_nm(self) -> float:
        """Between both."""
        return (self.low_nm + self.high_nm) / 2


def slabs_of(low_nm: float, high_nm: float, step_nm: float) -> list[Slab]:
    """Slabs of `step_nm` from `low_nm` up, the last one reaching `high_nm` at least."""
    count = max(1, int(np.ceil((high_nm - low_nm) / step_nm - 1e-9)))
    return [Slab(low_nm + k * step_nm, low_nm + (k + 1) * step_nm) for k in range(count)]


def share_within(z_nm: F4, sigma_z_nm: F4, slab: Slab) -> F4:
    """(N,) the part of each localization's Gaussian in z that lies in the slab; neighbouring slabs add up to one.

    One that states no sigma lies in it or does not.
    """
    sigma = np.where(sigma_z_nm > 0, sigma_z_nm, 1e-3).astype(np.float64)
    inside = ndtr((slab.high_nm - z_nm) / sigma) - ndtr((slab.low_nm - z_nm) / sigma)
    return np.asarray(inside, np.float32)


def draw_slab(canvas: Canvas, found: Localizations, slab: Slab) -> None:
    """Add to `canvas` what lies in the slab, each localization with its share."""
    reach = REACH_SIGMAS * np.nan_to_num(np.maximum(found.sigma_z_nm, 0))
    near = found[(found.z_nm + reach >= slab.low_nm) & (found.z_nm - reach <= slab.high_nm)]
    shares = share_within(near.z_nm, near.sigma_z_nm, slab)
    canvas.add_columns(dict(near.columns()), shares=shares)


class Maximum:
    """In each pixel the slice that is densest there: its density and its number. Eight bytes a pixel."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.weight = np.zeros(shape, np.float32)
        self.slice = np.zeros(shape, np.int32)

    def take(self, weight: F4, number: int) -> None:
        """Hold slice `number` against those before; of equals the first stays."""
        denser = weight > self.weight
        self.weight[denser] = weight[denser]
        self.slice[denser] = number

    def canvas(self, region: Region, px_nm: float, slabs: Sequence[Slab]) -> Canvas:
        """Lightness says how dense the densest slice is, hue at which z it lies."""
        scale = ColourScale(slabs[0].low_nm, slabs[-1].high_nm)
        canvas = Canvas(region, px_nm, scale)
        middles = np.array([slab.middle_nm for slab in slabs])
        steps = (middles - scale.low) / (scale.high - scale.low) * len(RAMP)
        colours = RAMP[np.clip(steps.astype(int), 0, len(RAMP) - 1)]  # (slices, 2) OKLab a, b
        canvas.sums[..., 0] = self.weight
        for k in (0, 1):
            np.multiply(self.weight, colours[self.slice, k], out=canvas.sums[..., 1 + k])
        return canvas
