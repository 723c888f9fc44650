"""How finely a run resolves: FRC with its interval and trend, and the density's limit with its interval beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import trim_mean

from rtdecode.analysis.frc import MIN_BLOCK_FRAMES, Correlation, frc_resolution
from rtdecode.analysis.grouping import grouped
from rtdecode.core.localizations import Localizations

FOLDS = 8  # of the jackknife
TREND = (0.25, 0.5, 0.75, 1.0)  # shares of the run
NEAR_NM = 100.0  # within which the density around a localization is counted
LEAST_BLOCKS = 4 * FOLDS  # fewer give no interval
SAMPLE = 20_000  # localizations whose surroundings are counted


@dataclass(frozen=True, slots=True)
class Resolution:
    """FRC resolution where the curve falls below 1/7, None where it does not; lengths in nm."""

    frc_nm: float | None
    interval_nm: tuple[float, float] | None  # 95 %, of a jackknife over pairs of blocks
    trend: tuple[tuple[int, float | None], ...]  # (last frame, FRC resolution up to it)
    nyquist_nm: float | None  # 2 / sqrt(density of blinks): what their number allows at best
    nyquist_interval_nm: tuple[float, float] | None  # 95 %, likewise
    curve: Correlation | None
    px_nm: float
    block_frames: int
    n_localizations: int

    def as_json(self) -> dict[str, Any]:
        """For a file: without the curve."""
        rounded = [(frame, None if nm is None else round(nm, 2)) for frame, nm in self.trend]
        return {
            "frc_nm": _round(self.frc_nm), "interval_nm": _rounded(self.interval_nm), "trend": rounded,
            "nyquist_nm": _round(self.nyquist_nm), "nyquist_interval_nm": _rounded(self.nyquist_interval_nm),
            "px_nm": self.px_nm,
            "block_frames": self.block_frames, "n_localizations": self.n_localizations,
        }  # fmt: skip


def resolution(localizations: Localizations, px_nm: float | None = None, block_frames: int = 0) -> Resolution:
    """Of localizations in any order of frames, drift taken off and filtered beforehand.

    `px_nm` None: half the median sigma, 2 to 20 nm. `block_frames` 0: as long as makes 64 blocks, at least 100 frames:
    the halves are alternate blocks, since a blink of some frames must not stand in both.
    """
    found = localizations[np.isfinite(localizations.x_nm) & np.isfinite(localizations.y_nm)]
    if not len(found):
        return Resolution(None, None, (), None, None, None, px_nm or 0.0, MIN_BLOCK_FRAMES, 0)
    if (np.diff(found.frame_index) < 0).any():
        found = found[np.argsort(found.frame_index, kind="stable")]
    px_nm = px_nm or _px_nm(found)
    first, last = int(found.frame_index[0]), int(found.frame_index[-1])
    block = max(block_frames or (last - first + 1) // (2 * LEAST_BLOCKS), MIN_BLOCK_FRAMES)
    curve = frc_resolution(found, px_nm, block)
    ends = [first + round(share * (last - first)) for share in TREND]
    trend = tuple((end, _frc_nm(found[found.frame_index <= end], px_nm, block)) for end in ends[:-1])
    whole = curve.resolution_nm if curve is not None else None
    folds = _folds(found, block)
    interval = _interval(whole, [_frc_nm(found[rows], px_nm, block) for rows in folds] if whole is not None else [])
    blinks = grouped(found).localizations
    nyquist = _nyquist_nm(blinks)
    # Of a run without one fold the density is lower by that share, which is no error.
    between = [_nyquist_nm(blinks[rows], share=1 - 1 / FOLDS) for rows in _folds(blinks, block)]
    return Resolution(
        whole, interval, (*trend, (last, whole)), nyquist, _interval(nyquist, between), curve, px_nm, block, len(found)
    )


def _folds(found: Localizations, block: int) -> list[NDArray[np.bool_]]:
    """Which localizations are left without each fold, of pairs of neighbouring blocks, so that both halves lose as
    much; none where the blocks are too few."""
    pair = found.frame_index // (2 * block)
    if int(pair[-1]) - int(pair[0]) < LEAST_BLOCKS // 2:
        return []
    return [pair % FOLDS != fold for fold in range(FOLDS)]


def _interval(whole: float | None, parts: list[float | None]) -> tuple[float, float] | None:
    """Delete-one-group jackknife of the logarithm (Efron and Stein 1981)."""
    known = [part for part in parts if part is not None]
    if whole is None or not known or len(known) < len(parts):
        return None
    logs = np.log(np.array(known, np.float64))
    error = math.sqrt((FOLDS - 1) / FOLDS * float(((logs - logs.mean()) ** 2).sum()))
    return whole * math.exp(-2.365 * error), whole * math.exp(2.365 * error)  # Student's t, 7 degrees of freedom


def _frc_nm(found: Localizations, px_nm: float, block: int) -> float | None:
    curve = frc_resolution(found, px_nm, block) if len(found) else None
    return curve.resolution_nm if curve is not None else None


def _nyquist_nm(blinks: Localizations, share: float = 1.0) -> float | None:
    """2 / sqrt(rho) (Shroff 2008), rho the density of blinks around the blinks themselves, itself not counted: the
    field between structures does not dilute it. The mean of the middle half: neither the lone ones nor a bead decide.
    `share` of all blinks are given."""
    if not len(blinks):
        return None
    points = np.column_stack([blinks.x_nm, blinks.y_nm]).astype(np.float64)
    some = points[:: max(1, len(points) // SAMPLE)]
    around: NDArray[np.intp] = cKDTree(points).query_ball_point(some, NEAR_NM, return_length=True)
    density = (float(trim_mean(around, 0.25)) - 1.0) / (math.pi * NEAR_NM**2) / share
    return 2.0 / math.sqrt(density) if density > 0 else None


def _px_nm(found: Localizations) -> float:
    sigma = (found.sigma_x_nm + found.sigma_y_nm) / 2
    known = sigma[np.isfinite(sigma) & (sigma > 0)]
    return float(np.clip(np.median(known) / 2, 2.0, 20.0)) if len(known) else 5.0


def _round(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 2)


def _rounded(values: tuple[float, float] | None) -> list[float | None] | None:
    return None if values is None else [_round(value) for value in values]
