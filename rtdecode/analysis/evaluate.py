"""How good localizations are where the truth is known: Jaccard, errors, efficiency, honesty of the sigmas."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.analysis.match import Method, Pairs, match
from rtdecode.core.localizations import Emitters, Localizations
from rtdecode.physics.structures import Field

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts and what pairs. The defaults are the SMLM 2016 challenge's tolerances and DECODE's photon filter.

    Emitters below `min_photons`, outside `field` or within `border_nm` of its rim (the challenge: 450 nm) are not
    asked for: they are never missed, and the localizations that belong to them are not false. Therefore two
    rounds: emitters that count choose first; what is left is matched to emitters that do not count and then set
    aside with them, as are the remaining localizations in the border. DECODE has no second round: there a
    correctly found dim emitter is a false positive, which punishes the more sensitive method.
    """

    lateral_nm: float = 250.0
    axial_nm: float = 500.0
    method: Method = "optimal"
    dims: Literal[2, 3] = 3
    min_photons: float = 100.0
    field: Field | None = None  # None: no emitter is outside
    border_nm: float = 0.0


@dataclass(frozen=True, slots=True)
class Judged:
    """The emitters and localizations that count, and which belong together (rows into these two)."""

    emitters: Emitters
    localizations: Localizations
    pairs: Pairs  # (K, 2)
    n_frames: int
    dims: Literal[2, 3] = 3

    @property
    def found(self) -> NDArray[np.bool_]:
        """(N,) for each emitter whether a localization belongs to it."""
        found = np.zeros(len(self.emitters), bool)
        found[self.pairs[:, 0]] = True
        return found

    def errors_nm(self) -> F8:
        """(K, 3) estimate minus truth in x, y, z of each pair; z NaN where it was not asked for (2D)."""
        rows, columns = self.pairs.T
        names = ("x_nm", "y_nm", "z_nm")
        found = np.column_stack([getattr(self.localizations, n)[columns] for n in names]).astype(np.float64)
        error = found - np.column_stack([self.emitters[n][rows] for n in names]).astype(np.float64)
        if self.dims == 2:
            error[:, 2] = np.nan
        return error


@dataclass(frozen=True, slots=True)
class Score:
    """The numbers of one evaluation; NaN where nothing was there to take them from, in 2D all that is about z.

    RMSE and mean errors are over pairs; rmse_lateral_nm is radial, sqrt(mean(dx^2 + dy^2)). Efficiencies are
    1 - sqrt((1 - J)^2 + (alpha RMSE / 100)^2), alpha 1 per nm lateral and 0.5 axial (decode-method §8), and
    negative for bad ones. z-score variances are of error / sigma: 1 when the sigmas are honest.
    """

    n_frames: int
    n_emitters: int
    n_localizations: int
    n_matched: int
    jaccard: float
    precision: float
    recall: float
    rmse_lateral_nm: float
    rmse_axial_nm: float
    efficiency_lateral: float
    efficiency_axial: float
    efficiency_3d: float
    mean_error_x_nm: float
    mean_error_y_nm: float
    mean_error_z_nm: float
    z_score_variance_x: float
    z_score_variance_y: float
    z_score_variance_z: float
    z_score_variance_photons: float
    photon_ratio: float  # median of estimate / truth

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON: None where there is no number."""
        return {name: _finite(value) for name, value in asdict(self).items()}


def efficiency(jaccard: float, rmse_nm: float, alpha_per_nm: float) -> float:
    """Efficiency of the SMLM challenge, 1 at best. Golden: (0.8, 30, 1) -> 0.63944; (0.8, 50, 0.5) -> 0.67984."""
    return 1.0 - math.hypot(1.0 - jaccard, alpha_per_nm * rmse_nm / 100.0)


def score(
    emitters: Emitters,
    localizations: Localizations,
    *,
    frames: range | NDArray[np.int64] | None = None,
    rules: Rules = Rules(),
) -> Score:
    """Judge localizations (N) against the truth (M) over `frames`, see `judge`."""
    return score_of(judge(emitters, localizations, frames=frames, rules=rules))


def judge(
    emitters: Emitters,
    localizations: Localizations,
    *,
    frames: range | NDArray[np.int64] | None = None,
    rules: Rules = Rules(),
) -> Judged:
    """Match and leave out what `rules` leave out.

    `frames` are the frames that were evaluated (the fitted ones): a frame without truth still has false
    positives, one without localizations still has misses. None: from the first to the last frame of both.
    """
    emitters, localizations = _within(emitters, localizations, frames)
    counts = _counts(emitters, rules)
    wanted, others = emitters[counts], emitters[~counts]
    pairs = _match(wanted, localizations, rules)
    free = np.ones(len(localizations), bool)
    free[pairs[:, 1]] = False
    aside = free & _in_border(localizations, rules)
    rest = np.flatnonzero(free)
    aside[rest[_match(others, localizations[rest], rules)[:, 1]]] = True
    new_row = np.cumsum(~aside) - 1  # (N,) row among those that count
    pairs = np.column_stack([pairs[:, 0], new_row[pairs[:, 1]]])
    return Judged(wanted, localizations[~aside], pairs, _n_frames(emitters, localizations, frames), rules.dims)


def score_of(judged: Judged) -> Score:
    """The numbers of what was judged."""
    n_true, n_found, n_pairs = len(judged.emitters), len(judged.localizations), len(judged.pairs)
    jaccard = _ratio(n_pairs, n_true + n_found - n_pairs)
    error = judged.errors_nm()
    lateral = _root_mean(error[:, 0] ** 2 + error[:, 1] ** 2)
    axial = _root_mean(error[:, 2] ** 2)
    good_lateral, good_axial = efficiency(jaccard, lateral, 1.0), efficiency(jaccard, axial, 0.5)
    bias = [_mean(error[:, i]) for i in range(3)]
    honesty = _z_score_variances(judged, error)
    return Score(
        n_frames=judged.n_frames,
        n_emitters=n_true,
        n_localizations=n_found,
        n_matched=n_pairs,
        jaccard=jaccard,
        precision=_ratio(n_pairs, n_found),
        recall=_ratio(n_pairs, n_true),
        rmse_lateral_nm=lateral,
        rmse_axial_nm=axial,
        efficiency_lateral=good_lateral,
        efficiency_axial=good_axial,
        efficiency_3d=(good_lateral + good_axial) / 2,
        mean_error_x_nm=bias[0],
        mean_error_y_nm=bias[1],
        mean_error_z_nm=bias[2],
        z_score_variance_x=honesty[0],
        z_score_variance_y=honesty[1],
        z_score_variance_z=honesty[2],
        z_score_variance_photons=honesty[3],
        photon_ratio=_photon_ratio(judged),
    )


def _match(emitters: Emitters, localizations: Localizations, rules: Rules) -> Pairs:
    return match(
        emitters,
        localizations,
        lateral_nm=rules.lateral_nm,
        axial_nm=rules.axial_nm,
        method=rules.method,
        dims=rules.dims,
    )


def _within(
    emitters: Emitters, localizations: Localizations, frames: range | NDArray[np.int64] | None
) -> tuple[Emitters, Localizations]:
    """Only what lies in `frames`."""
    if frames is None:
        return emitters, localizations
    wanted = np.asarray(frames, np.int64)
    return (
        emitters[np.isin(emitters["frame_index"], wanted)],
        localizations[np.isin(localizations.frame_index, wanted)],
    )


def _n_frames(emitters: Emitters, localizations: Localizations, frames: range | NDArray[np.int64] | None) -> int:
    if frames is not None:
        return len(frames)
    both = np.concatenate([emitters["frame_index"], localizations.frame_index])
    return int(both.max() - both.min()) + 1 if len(both) else 0


def _counts(emitters: Emitters, rules: Rules) -> NDArray[np.bool_]:
    """(M,) which emitters are asked for."""
    bright: NDArray[np.bool_] = emitters["photons"] >= rules.min_photons
    if rules.field is None:
        return bright
    xy = np.column_stack([emitters["x_nm"], emitters["y_nm"]])
    return bright & rules.field.holds(xy, -rules.border_nm)


def _in_border(localizations: Localizations, rules: Rules) -> NDArray[np.bool_]:
    """(N,) which localizations lie in the border that is left out; none where there is no border."""
    if rules.field is None or rules.border_nm <= 0:
        return np.zeros(len(localizations), bool)
    xy = np.column_stack([localizations.x_nm, localizations.y_nm])
    return ~rules.field.holds(xy, -rules.border_nm)


def _z_score_variances(judged: Judged, error: F8) -> list[float]:
    """Variance of error / sigma for x, y, z, photons; NaN where no sigma is known."""
    rows, columns = judged.pairs.T
    found = judged.localizations
    photons = found.photons[columns].astype(np.float64) - judged.emitters["photons"][rows]
    sigmas = (found.sigma_x_nm, found.sigma_y_nm, found.sigma_z_nm, found.sigma_photons)
    out = []
    for wrong, sigma in zip((*error.T, photons), sigmas, strict=True):
        known = (sigma[columns] > 0) & np.isfinite(wrong)
        z_score = wrong[known] / sigma[columns][known]
        out.append(float(np.var(z_score)) if len(z_score) else math.nan)
    return out


def _photon_ratio(judged: Judged) -> float:
    rows, columns = judged.pairs.T
    true = judged.emitters["photons"][rows]
    ratio = judged.localizations.photons[columns][true > 0] / true[true > 0]
    return float(np.median(ratio)) if len(ratio) else math.nan


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(values: F8) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _root_mean(squares: F8) -> float:
    return math.sqrt(_mean(squares)) if len(squares) else math.nan


def _finite(value: float | int) -> float | int | None:
    return value if math.isfinite(value) else None
