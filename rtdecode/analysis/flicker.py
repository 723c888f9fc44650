"""On-time and brightness of emitters from how long the light of a pixel remembers itself: no spot need be found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
LAGS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)
_FAR = 15  # lags from here on are what does not flicker: drift, bleaching
_STRIP_ROWS = 16
_SURE = 4.0  # standard errors of what counts as seen


@dataclass(frozen=True, slots=True)
class Flicker:
    """Autocovariance of the light over time (mean of all pixels), and the exponentials that make it up.

    The light of emitters with mean on-time t, summed over frames, has an autocovariance that falls by exp(-1/t) from
    lag 1 on, whatever their density and however partial their first and last frames are; the camera's noise is in lag 0
    only. Emitters that come back after a short dark time add a second, slower exponential.
    """

    lags: NDArray[np.int64]  # (K,) frames, from 1
    covariance: F8  # (K,) photons squared, less what remains at long lags
    error: float  # standard error of each, from how long lags scatter
    times: F8  # (E,) of the exponentials, frames; empty where the light does not remember itself
    shares: F8  # (E,) of the light's variance, without the blur by the frames' length

    @property
    def on_time_frames(self) -> float:
        """Mean time of shining without a break: minus the inverse slope of the correlation at 0; NaN where unknown."""
        return float(1 / (self.shares / self.times).sum()) if len(self.times) else math.nan

    @property
    def memory_frames(self) -> float:
        """From the first two lags alone: the on-time, or somewhat more where emitters return; NaN where unknown.

        With it, one exponential stands for the light that frames share, returns included.
        """
        if not len(self.times):
            return math.nan
        return -1 / math.log(min(max(float(self.covariance[1] / self.covariance[0]), 1e-3), 0.999))

    @property
    def returns(self) -> bool:
        """Whether emitters come back after a dark time of a few frames."""
        return len(self.times) > 1

    def photons(self, excess: float, sharpness: float) -> float:
        """Photons of a full frame, mean of N² over mean of N, from the mean light of the emitters (photons per pixel).

        The covariance at lag 1 over the mean light is N * sharpness * t² (1 - exp(-1/t))², with sharpness = sum of
        PSF² over sum of PSF: independent of density and structure.
        """
        if not excess > 0 or not len(self.times):
            return math.nan
        return float(self.covariance[0] / (excess * sharpness * (self.shares * _blur(self.times)).sum()))

    def modelled(self, lags: F8) -> F8:
        """Covariance (N,) at any lags from 1 on, by the exponentials."""
        if not len(self.times):
            return np.zeros(len(lags))
        curve = (self.shares * _blur(self.times) * np.exp(-(lags[:, None] - 1) / self.times)).sum(axis=1)
        first = (self.shares * _blur(self.times)).sum()
        return np.asarray(curve * self.covariance[0] / first)


def flicker(blocks: list[F4]) -> Flicker:
    """Of photons, blocks (T, H, W) of consecutive frames; lags up to a third of the shortest block."""
    shortest = min(len(block) for block in blocks)
    lags = np.array([lag for lag in LAGS if lag <= max(shortest // 3, 2)])
    strips = np.concatenate([_covariances(block, lags) for block in blocks])  # (strips, K)
    far = lags >= _FAR
    covariance = strips.mean(axis=0)
    error = float(covariance[far].std(ddof=1)) if far.sum() > 2 else float(strips[:, 0].std() / math.sqrt(len(strips)))
    covariance = covariance - (covariance[far].mean() if far.any() else 0.0)
    times, shares = _exponentials(lags[~far], covariance[~far], error)
    return Flicker(lags, covariance, error, times, shares)


def _covariances(photons: F4, lags: NDArray[np.int64]) -> F8:
    """(strips, K) of strips of rows."""
    found = []
    for first in range(0, photons.shape[1], _STRIP_ROWS):
        strip = photons[:, first : first + _STRIP_ROWS].astype(np.float64)
        apart = strip - strip.mean(axis=0)
        found.append([float((apart[:-lag] * apart[lag:]).mean()) for lag in lags])
    return np.array(found)


def _exponentials(lags: NDArray[np.int64], covariance: F8, error: float) -> tuple[F8, F8]:
    """Times and shares: none, one, or two where later lags are surely far above what the first two say."""
    first, second = covariance[:2]
    if first <= 3 * error or first <= 0:
        return np.zeros(0), np.zeros(0)
    single = -1 / math.log(min(max(second / first, 1e-3), 0.999))
    if len(lags) < 6:
        return np.array([single]), np.ones(1)
    beyond = covariance[2:5] - first * np.exp(-(lags[2:5] - 1) / single)
    if beyond.mean() < _SURE * error or beyond.mean() < 0.2 * covariance[2:5].mean():
        return np.array([single]), np.ones(1)
    return _two_exponentials(lags, covariance)


def _two_exponentials(lags: NDArray[np.int64], covariance: F8) -> tuple[F8, F8]:
    """Least squares over a grid of two times, the slower at least thrice the faster."""
    best, least = (np.array([1.0]), np.ones(1)), math.inf
    for fast in np.geomspace(0.25, 10, 38):
        for slow in fast * np.array([3.0, 4.0, 5.5, 7.5, 10.0, 15.0]):
            times = np.array([fast, slow])
            design = _blur(times) * np.exp(-(lags[:, None] - 1) / times)
            heights, rest = nnls(design, covariance)
            if rest < least and (heights > 0).all():
                best, least = (times, heights / heights.sum()), rest
    return best


def _blur(times: F8) -> F8:
    """Covariance of neighbouring frames over the variance of the light itself."""
    return np.asarray(times**2 * (1 - np.exp(-1 / times)) ** 2)
