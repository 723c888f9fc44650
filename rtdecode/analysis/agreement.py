"""Two engines on the same frames: how far the second's localizations are from the first's, and whether that matters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.analysis.evaluate import Rules, score
from rtdecode.analysis.match import match
from rtdecode.core.localizations import EMITTER_DTYPE, Emitters, Localizations

F8 = NDArray[np.float64]
SHARPEST = 1 / 3
"""Share of the localizations, those with the reference's smallest sigma, over which distances in nm are taken."""
ENOUGH = 500
"""Pairs without which the figures mean nothing: the rms over 170 has an error of 5 %."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an engine may be from the reference."""

    jaccard_points: float = 0.5
    lateral_nm: float = 0.5
    axial_nm: float = 1.0
    over_sigma: float = 0.1  # in quadrature half a percent of every error
    sigma: float = 0.02  # relative, of the median and of the spread
    estimates: float = 0.02  # relative, of the medians of photons and background


ROUNDING = Limits(jaccard_points=0.05, lateral_nm=0.01, axial_nm=0.02, over_sigma=0.005, sigma=0.0002, estimates=0.0002)
"""For another engine in fp32, whose sums are only ordered otherwise: ONNX Runtime and torch are 0.0002 nm from
OpenVINO. So a single wrong weight shows that would pass as a reduced precision; `over_sigma` leaves room for one
localization in thousands that a rounding moves across a threshold."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The figures; NaN where there are no pairs. `fault` says what is beyond `Limits`.

    Pairs are localizations of both engines in one frame within 250 nm laterally and 500 nm axially, one to one.
    The distance between a pair's two positions is an error that comes on top of the reference's own and is
    independent of it, so it adds in quadrature: its rms is the added error. `added_lateral_nm` (radial) and
    `added_axial_nm` are over the third of the pairs with the smallest lateral and axial sigma: half a nanometre
    counts there. Over all pairs the rms is ruled by the few that read a blurred heap as two emitters instead of
    one, tens of nanometres apart with sigmas of a hundred; these are held by `*_over_sigma`, the rms over all
    pairs of distance over the reference's sigma, and by the Jaccard index. A reference without z (2D, sigma_z 0)
    is matched and judged in x and y; any z of the engine then counts in nm.
    """

    n_frames: int
    n_reference: int
    n_found: int
    n_pairs: int
    jaccard_reference: float  # of the reference against the truth, 0..1
    jaccard_change_points: float  # engine minus reference, in hundredths
    added_lateral_nm: float
    added_axial_nm: float
    lateral_over_sigma: float
    axial_over_sigma: float
    sigma_ratio: tuple[float, float, float, float]  # x, y, z, photons: median of engine over reference
    sigma_spread: tuple[float, float, float, float]  # half the distance between the ratio's 16th and 84th percentile
    photon_ratio: float  # medians
    background_ratio: float

    @property
    def worst_sigma(self) -> float:
        """The largest relative deviation of a sigma: of a median, or a spread."""
        return float(np.max(np.abs([*(np.array(self.sigma_ratio) - 1), *self.sigma_spread])))

    def as_dict(self) -> dict[str, object]:
        """Plain numbers, rounded to what they are worth."""
        return {name: _rounded(value) for name, value in asdict(self).items()}

    def faults(self, limits: Limits = Limits()) -> list[str]:
        """What is beyond the limits, in words with both numbers; empty where the engine may serve."""
        return [f"{name} {value:.3g}{unit} (allowed {most:g}{unit})" for name, value, most, unit in self._rows(limits)
                if not abs(value) <= most]  # fmt: skip

    def _rows(self, limits: Limits) -> Iterator[tuple[str, float, float, str]]:
        yield "Jaccard changed by", self.jaccard_change_points, limits.jaccard_points, " points"
        yield "added lateral error", self.added_lateral_nm, limits.lateral_nm, " nm"
        yield "added axial error", self.added_axial_nm, limits.axial_nm, " nm"
        yield "lateral distance over sigma", self.lateral_over_sigma, limits.over_sigma, ""
        yield "axial distance over sigma", self.axial_over_sigma, limits.over_sigma, ""
        yield "sigma off by", 100 * self.worst_sigma, 100 * limits.sigma, " %"
        yield "photons off by", 100 * (self.photon_ratio - 1), 100 * limits.estimates, " %"
        yield "background off by", 100 * (self.background_ratio - 1), 100 * limits.estimates, " %"


def agreement(
    emitters: Emitters, reference: Localizations, found: Localizations, frames: NDArray[np.int64]
) -> Agreement:
    """Hold an engine's localizations `found` against the `reference` engine's, over `frames` with known truth."""
    tells_z = bool((reference.sigma_z_nm > 0).any()) or not len(reference)
    rules = Rules() if tells_z else Rules(axial_nm=math.inf, dims=2)
    truths = [score(emitters, one, frames=frames, rules=rules).jaccard for one in (reference, found)]
    rows, columns = match(_as_emitters(reference), found).T
    a, b = reference[rows], found[columns]
    x, y, z = (_column(b, name) - _column(a, name) for name in ("x_nm", "y_nm", "z_nm"))
    lateral, sigma = np.hypot(x, y), np.hypot(_column(a, "sigma_x_nm"), _column(a, "sigma_y_nm"))
    axial, sigma_z = np.abs(z), _column(a, "sigma_z_nm") if tells_z else np.ones(len(a))
    ratios = [_column(b, name) / _column(a, name) for name in ("sigma_x_nm", "sigma_y_nm")]
    ratios.append(_column(b, "sigma_z_nm") / sigma_z if tells_z else np.ones(len(a)))
    ratios.append(_column(b, "sigma_photons") / _column(a, "sigma_photons"))
    return Agreement(
        n_frames=len(frames),
        n_reference=len(reference),
        n_found=len(found),
        n_pairs=len(rows),
        jaccard_reference=truths[0],
        jaccard_change_points=100 * (truths[1] - truths[0]),
        added_lateral_nm=_rms(lateral[_sharpest(sigma)]),
        added_axial_nm=_rms(axial[_sharpest(sigma_z)]),
        lateral_over_sigma=_rms(lateral / sigma),
        axial_over_sigma=_rms(axial / sigma_z),
        sigma_ratio=_four(_median(ratio) for ratio in ratios),
        sigma_spread=_four(_spread(ratio) for ratio in ratios),
        photon_ratio=_median(_column(b, "photons") / _column(a, "photons")),
        background_ratio=_median(_column(b, "background") / _column(a, "background")),
    )


def _as_emitters(localizations: Localizations) -> Emitters:
    out = np.empty(len(localizations), EMITTER_DTYPE)
    for name in EMITTER_DTYPE.names or ():
        out[name] = getattr(localizations, name)
    return out


def _column(table: Localizations, name: str) -> F8:
    return np.asarray(getattr(table, name), np.float64)


def _sharpest(sigma: F8) -> NDArray[np.bool_]:
    """(N,) which have a sigma among the smallest third; all of none."""
    return sigma <= np.quantile(sigma, SHARPEST) if len(sigma) else np.zeros(0, bool)


def _rms(values: F8) -> float:
    return math.sqrt(float(np.mean(values**2))) if len(values) else math.nan


def _median(values: F8) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _spread(values: F8) -> float:
    return float(np.diff(np.percentile(values, [16, 84]))[0]) / 2 if len(values) else math.nan


def _four(values: Iterator[float]) -> tuple[float, float, float, float]:
    x, y, z, photons = values
    return x, y, z, photons


def _rounded(value: object) -> object:
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
