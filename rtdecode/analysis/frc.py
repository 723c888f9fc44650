"""Fourier ring correlation of two halves of the localizations: the resolution that the data themselves support.

Halves are made of blocks of frames, not of odd and even frames: a blink lasts some frames, and a blink that stands
in both halves makes them agree where nothing is resolved. Molecules that blink again much later still do: the figure
says how finely the labels are seen, not how finely the structure is (Nieuwenhuizen 2013, Banterle 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations

Floats = NDArray[np.float64]

THRESHOLD = 1 / 7
MIN_BLOCK_FRAMES = 100
MAX_SIDE_PX = 2048  # of the images that are correlated: 0.6 s of FFT; a larger field is judged by its fullest part
_SMOOTH_RINGS = 5
_RIM = 0.125  # of the side, that the window falls over


@dataclass(frozen=True, slots=True)
class Correlation:
    """FRC over spatial frequency, and the resolution where it falls below the threshold."""

    frequency_per_nm: Floats  # (R,) ring centres
    correlation: Floats  # (R,) smoothed over five rings
    resolution_nm: float | None  # None: it never falls (two equal images) or was never above (nothing in common)


class HalfImages:
    """Two images that grow with the localizations: even blocks of frames in one, odd blocks in the other."""

    def __init__(self, px_nm: float, block_frames: int = MIN_BLOCK_FRAMES) -> None:
        if block_frames < MIN_BLOCK_FRAMES:
            raise ValueError(
                f"block_frames {block_frames}: at least {MIN_BLOCK_FRAMES}, or blinks stand in both halves"
            )
        self.px_nm, self.block_frames = px_nm, block_frames
        self._images = np.zeros((2, 0, 0), np.uint16)
        self._origin_px = 16  # left of and above (0, 0) nm

    def add(self, localizations: Localizations) -> None:
        """Take the next localizations; positions left of the field or not finite are left out."""
        x, y = localizations.x_nm / self.px_nm + self._origin_px, localizations.y_nm / self.px_nm + self._origin_px
        good = (x >= 0) & (y >= 0) & (x < 2**15) & (y < 2**15)
        if not good.any():
            return
        column, row = x[good].astype(np.int64), y[good].astype(np.int64)
        half = localizations.frame_index[good] // self.block_frames % 2
        self._make_room(int(row.max()) + 1, int(column.max()) + 1)
        np.add.at(self._images, (half, row, column), 1)

    def _make_room(self, rows: int, columns: int) -> None:
        _, height, width = self._images.shape
        if rows > height or columns > width:
            more = (max(-(-rows // 256) * 256 - height, 0), max(-(-columns // 256) * 256 - width, 0))
            self._images = np.pad(self._images, ((0, 0), (0, more[0]), (0, more[1])))

    @property
    def images(self) -> NDArray[np.uint16]:
        """(2, H, W) localizations in each pixel."""
        return self._images

    def correlation(self) -> Correlation | None:
        """Of the fullest square; None while one of the halves is empty there."""
        square = _fullest_square(self._images)
        return ring_correlation(square[0], square[1], self.px_nm) if square.any(axis=(1, 2)).all() else None


def ring_correlation(first: NDArray[np.number], second: NDArray[np.number], px_nm: float) -> Correlation:
    """FRC of two square images (N, N): sum of F1 F2* over sqrt(sum |F1|^2 sum |F2|^2) in each ring one sample wide.

    The mean is taken off and rims are faded out, or the field's own edge would correlate. The resolution is where
    the smoothed curve first falls below 1/7, linear between rings.
    """
    side = first.shape[0]
    window = _window(side)
    one, two = (np.fft.rfft2((image - image.mean()) * window) for image in (first, second))
    ring = np.rint(np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]) * side).astype(np.int64)
    n_rings = side // 2
    twice = np.full(one.shape, 2.0)  # rfft keeps one of two mirror images
    twice[:, 0] = 1.0
    if side % 2 == 0:
        twice[:, -1] = 1.0
    cross, power_one, power_two = (
        np.bincount(ring.ravel(), (values * twice).ravel())[:n_rings]
        for values in ((one * two.conj()).real, np.abs(one) ** 2, np.abs(two) ** 2)
    )
    frequency = np.arange(n_rings) / (side * px_nm)
    smooth = np.ones(_SMOOTH_RINGS)
    curve = np.convolve(cross, smooth, "same") / np.sqrt(
        np.maximum(np.convolve(power_one, smooth, "same") * np.convolve(power_two, smooth, "same"), 1e-300)
    )
    return Correlation(frequency, curve, _crossing(frequency, curve))


def frc_resolution(
    localizations: Localizations, px_nm: float, block_frames: int = MIN_BLOCK_FRAMES
) -> Correlation | None:
    """The correlation of a whole table, its halves made of alternate blocks of frames."""
    halves = HalfImages(px_nm, block_frames)
    halves.add(localizations)
    return halves.correlation()


def _crossing(frequency: Floats, curve: Floats) -> float | None:
    inside = slice(_SMOOTH_RINGS, len(curve) - _SMOOTH_RINGS)  # the mean frequency is no detail, the ends are half sums
    f, c = frequency[inside], curve[inside]
    below = np.flatnonzero(c < THRESHOLD)
    if not len(below) or below[0] == 0:
        return None
    k = int(below[0])
    share = (c[k - 1] - THRESHOLD) / (c[k - 1] - c[k])
    return float(1 / (f[k - 1] + share * (f[k] - f[k - 1])))


def _window(side: int) -> Floats:
    """(side, side) 1 in the middle, falling to 0 at the rims as a cosine."""
    distance = np.minimum(np.arange(side) + 0.5, np.arange(side)[::-1] + 0.5) / (side * _RIM)
    line = 0.5 - 0.5 * np.cos(math.pi * np.minimum(distance, 1.0))
    return np.outer(line, line)


def _fullest_square(images: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(2, N, N): all of it, made square with zeros, or the MAX_SIDE_PX square with the most localizations."""
    _, height, width = images.shape
    side = min(max(height, width), MAX_SIDE_PX)
    top, left = _best_start(images.sum(axis=(0, 2)), side), _best_start(images.sum(axis=(0, 1)), side)
    part = images[:, top : top + side, left : left + side]
    return np.pad(part, ((0, 0), (0, side - part.shape[1]), (0, side - part.shape[2])))


def _best_start(profile: NDArray[np.integer], length: int) -> int:
    """Where the fullest stretch of this length begins."""
    if len(profile) <= length:
        return 0
    total = np.concatenate([[0], np.cumsum(profile, dtype=np.int64)])
    return int(np.argmax(total[length:] - total[:-length]))
