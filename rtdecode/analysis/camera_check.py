"""What the noise of a recording says of its camera: gain and baseline by photon transfer, without model and PSF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, uniform_filter

from rtdecode.core.camera import Camera

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
PLAIN = np.array([1.0, -2.0, 1.0]) / np.sqrt(6.0)
"""High-pass along rows and columns: beyond what a lens draws on pixels of this size nothing but noise passes."""
STRICT = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70.0)
"""For sharp spots: of one of 1.1 px PLAIN lets 8 % of the peak pass, which put the gain of an sCMOS 16 % too high and
its right baseline 10 ADU too high; this lets 1.7 % pass. Its standard errors are 1.5 times as large."""
SHARP = 1.03
"""Noise is alike to both filters: where the gain comes out so much higher with PLAIN, the rest is spots."""
RING_PX, CORE_PX = 9, 5  # sides of the square by whose mean pixels are sorted, and of what is left out inside it
LEVEL_BINS = 6
DARK_SD, BRIGHT_SD = 3.0, 20.0  # noise widths above the dark level at which light of emitters begins, and too much ends
BLOCKS = 20  # parts of the recording, for the jackknife
MIN_READINGS = 200  # in a level


@dataclass(frozen=True, slots=True)
class CameraEvidence:
    """Gain and baseline as the noise has them, with standard errors; NaN where the recording tells too little."""

    dark_adu: float  # mean of pixels without an emitter
    adu_per_electron: float  # detected electrons, before multiplication
    adu_per_electron_se: float
    baseline_adu: float
    baseline_adu_se: float
    noise_ratio: float  # variance of the dark pixels over what the stated camera predicts: 1 where all is right


def electron_gain(camera: Camera) -> float:
    """ADU for each electron that `camera` states, multiplication included."""
    return (camera.em_gain or 1.0) / camera.e_per_adu


def camera_evidence(frames_adu: NDArray[np.generic], camera: Camera) -> CameraEvidence:
    """Hold the noise of `frames_adu` (T, H, W) against `camera`, of which only kind and read noise [e] are believed.

    Noise is what passes a high-pass beyond the optics (after Heintzmann et al. 2016, "Calibrating photon counts from a
    single image", arXiv:1611.05654): its variance against the level is a line whose slope is the gain (twice the gain
    with multiplication), and which meets zero at the baseline, less the read noise. The level rises where emitters
    are; dim and unseen ones obey the same line.
    """
    parts = [part for part in np.array_split(np.asarray(frames_adu), BLOCKS) if len(part)]
    dark, sums = _sums(parts, PLAIN)  # (blocks, bins, 3)
    strict = _sums(parts, STRICT)
    if _line(sums.sum(0), camera)[0] > SHARP * _line(strict[1].sum(0), camera)[0]:
        dark, sums = strict
    whole = _line(sums.sum(0), camera)
    ratio = _variance(sums.sum(0)[0]) / _predicted(camera, _mean(sums.sum(0)[0]))
    lines = np.array([_line(sums.sum(0) - one, camera) for one in sums])
    se = np.sqrt((len(lines) - 1) / len(lines) * np.sum((lines - lines.mean(0)) ** 2, axis=0))
    return CameraEvidence(dark, whole[0], float(se[0]), whole[1], float(se[1]), float(ratio))


def _sums(parts: list[NDArray[np.generic]], high_pass: F8) -> tuple[float, F8]:
    """The dark level, and number, sum of levels and sum of squares by level of each part, (parts, bins, 3)."""
    levels = [_levels(part, high_pass) for part in parts]
    dark, edges = _edges(levels)
    return dark, np.array([_binned(*level, edges) for level in levels])


def _levels(frames: NDArray[np.generic], high_pass: F8) -> tuple[F4, F4, F4]:
    """Ring, level and squared noise of each pixel, rims left out, all (N,).

    Sorted by its own level a pixel of skewed noise would seem noisier the brighter it is by chance; the ring's noise
    is not its own.
    """
    values, rim = frames.astype(np.float32), RING_PX // 2
    squares = high_pass**2  # as the pixels' variances enter that of the noise
    level = convolve1d(convolve1d(values, squares, 1), squares, 2)
    noise = convolve1d(convolve1d(values, high_pass, 1), high_pass, 2)
    wide, core = (uniform_filter(values, (0, side, side)) for side in (RING_PX, CORE_PX))
    ring = (wide * RING_PX**2 - core * CORE_PX**2) / (RING_PX**2 - CORE_PX**2)
    inner = (slice(None), slice(rim, -rim), slice(rim, -rim))
    return ring[inner].ravel(), level[inner].ravel(), np.square(noise[inner]).ravel()


def _edges(levels: list[tuple[F4, F4, F4]]) -> tuple[float, F8]:
    """The dark level, and the bounds of the levels: all dark pixels are one, whichever way their noise goes."""
    every = np.concatenate([level[:: max(1, len(level) // 20000)] for level, _, _ in levels])
    squares = np.concatenate([square[:: max(1, len(square) // 20000)] for _, _, square in levels])
    low = np.percentile(every, 30)
    dark = float(np.median(every[every < low + 2 * (low - np.percentile(every, 3))]))
    sd = float(np.sqrt(np.mean(squares[every < dark + 1]))) if (every < dark + 1).any() else 0.0
    begin, end = dark + DARK_SD * sd / RING_PX, dark + BRIGHT_SD * sd
    return dark, np.concatenate([[-np.inf], np.geomspace(begin - dark, end - dark, LEVEL_BINS) + dark])


def _binned(ring: F4, level: F4, square: F4, edges: F8) -> F8:
    """(bins, 3): number, sum of levels, sum of squares in each."""
    where = np.digitize(ring, edges) - 1
    return np.stack(
        [np.bincount(where, weights, len(edges))[: len(edges) - 1] for weights in (None, level, square)], axis=1
    ).astype(np.float64)


def _mean(row: F8) -> float:
    return float(row[1] / row[0]) if row[0] else np.nan


def _variance(row: F8) -> float:
    return float(row[2] / row[0]) if row[0] else np.nan


def _line(sums: F8, camera: Camera) -> tuple[float, float]:
    """(ADU per electron, baseline in ADU) of variances against levels; weights of a chi-squared mean."""
    kept = sums[sums[:, 0] >= MIN_READINGS]
    if len(kept) < 3:
        return np.nan, np.nan
    level, variance = kept[:, 1] / kept[:, 0], kept[:, 2] / kept[:, 0]
    slope, intercept = np.polyfit(level, variance, 1, w=np.sqrt(kept[:, 0]) / variance)
    if slope <= 0:
        return np.nan, np.nan
    gain = slope / camera.excess_noise
    read2 = (gain * camera.read_noise_e / (camera.em_gain or 1.0)) ** 2
    return float(gain), float((read2 - intercept) / slope)


def _predicted(camera: Camera, mean_adu: float) -> float:
    """Variance of a reading in ADU² for this mean; at least that of rounding."""
    gain = electron_gain(camera)
    electrons = max((mean_adu - camera.baseline_adu) / gain, 0.0)
    variance = camera.excess_noise * electrons * gain**2 + (camera.read_noise_e / camera.e_per_adu) ** 2
    return float(max(variance, 1 / 12))
