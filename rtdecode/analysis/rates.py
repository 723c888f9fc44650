"""The distribution of blink rates over cells, fitted to how many cells were hit how often: structure and background.

Counts of one cell: Poisson background, plus spill from neighbouring cells, plus, in cells of the structure, events
at a rate of its own. Rates follow a generalised gamma law (Prentice 1974): log-normal at shape 0, gamma at shape
= spread, Weibull at 1. Its shape is fitted, because the slowest cells decide what is still unseen, and is not let
below 0: there the law has fewer slow cells than the log-normal, which counts alone can hardly support, and which
made 1 of 3 stops false at a spread of 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit, logit

Floats = NDArray[np.float64]

NODES = np.linspace(-7.0, 4.5, 58)  # of the standardised log rate; the left tail is the long one
N_SHARED = 7
LOG_BACKGROUND, LOG_RATE, LOG_SPREAD, SHAPE, LOG_SPILL, LOG_SPILL_SCALE, TILT = range(N_SHARED)

# Penalties (mean, standard deviation; 0 = none): weak where the counts speak, tight where they cannot tell spill
# from slow structure. The background's mean is set from the counts.
_MEAN = np.array([0.0, 0.0, math.log(0.5), 0.0, 0.0, 0.0, 0.0])
_SD = np.array([3.0, 0.0, 1.0, 0.8, 0.05, 0.2, 0.5])
_LOWEST = np.array([math.log(1e-3), -2.0, math.log(0.05), 0.0, -1.5, -5.0, -1.0])
_HIGHEST = np.array([3.0, 5.0, math.log(3.0), 3.0, 1.5, 1.0, 2.0])
_SHARE_MEAN, _SHARE_SD = -2.0, 3.0  # of the logit of the structure's share in a stratum
_STEP = 1e-4
_ROUNDS = 40
_ENOUGH = 0.01  # in log-likelihood: a hundredth of what one standard error is worth
_STRAY = 1e-5  # of cells whose count has some other cause; without it one stray event outweighs a thousand cells
_SPILL_FLOOR = 0.065  # scale on which the tilt grows with the neighbours' counts: the spill of one event


@dataclass(frozen=True, slots=True)
class Strata:
    """Cells sorted by the spill expected in them. L strata, counts 0 .. n_max - 1 and one bin for more."""

    histogram: Floats  # (L, n_max + 1) cells
    spill: Floats  # (L,) mean number of events that neighbours spill into a cell
    spill_scale: Floats  # (L,) variance over mean, minus 1, of that number
    stays: float  # share of a cell's events that are found in it
    dead_share: float  # of the run, in which a cell that was hit does not count
    background: float  # first guess, events in a cell

    @property
    def cells(self) -> Floats:
        """(L,)"""
        return np.asarray(self.histogram.sum(axis=1))


@dataclass(frozen=True, slots=True)
class RateFit:
    """Penalised maximum likelihood: parameters, the structure's share in each stratum, and what is unseen."""

    shared: Floats  # (7,)
    logit_share: Floats  # (L,)
    unseen: float  # share of the structure's cells with fewer than the wanted events
    unseen_sd: float  # of that estimate, without the luck of the draw
    structure_cells: float
    converged: bool

    @property
    def background(self) -> float:
        """Events in a cell that belong to no structure."""
        return math.exp(self.shared[LOG_BACKGROUND])

    @property
    def spread(self) -> float:
        """Standard deviation of the log rate at shape 0."""
        return math.exp(self.shared[LOG_SPREAD])


def fit_rates(strata: Strata, wanted_events: int = 1, start: RateFit | None = None) -> RateFit:
    """Fit by Fisher scoring with Levenberg damping; the standard error is that of the delta method.

    `start`: an earlier fit of nearly the same counts, or none.
    """
    model = _Model(strata, wanted_events)
    shared = _start(strata) if start is None else start.shared
    at = np.concatenate([shared, _first_shares(strata)])
    here, damping, converged = model.look(at), 1e-3, False
    for _ in range(_ROUNDS):
        slope, information = model.slope(here)
        step = _damped_step(model, here, slope, information, damping)
        if step is None:
            break
        there, damping = step
        converged = there.value - here.value < _ENOUGH and damping < 1e-2
        here = there
        if converged:
            break
    return model.result(here, converged)


def expected_rates(strata: Strata, fit: RateFit) -> tuple[Floats, Floats]:
    """(L, n_max) mean and variance of a cell's own events in expectation, given its stratum and its count."""
    n_max = strata.histogram.shape[1] - 1
    first, second, whole = _moments(fit.shared, *_shape(strata), n_max)
    alone = _tables(fit.shared, *_shape(strata), n_max, 1)[1][:, :n_max]
    share = expit(fit.logit_share)[:, None]
    total = np.maximum(share * whole + (1 - share) * alone, 1e-300)
    mean = share * first / total
    return mean, np.maximum(share * second / total - mean**2, 0.0)


@dataclass(frozen=True, slots=True)
class _Look:
    """The model at one place of its parameters."""

    at: Floats
    value: float  # penalised log-likelihood
    structure: Floats  # (L, n + 1) probability of each count in a cell of the structure
    alone: Floats  # (L, n + 1) elsewhere
    unseen: Floats  # (L,)
    probability: Floats  # (L, n + 1) of the mixture


class _Model:
    def __init__(self, strata: Strata, wanted_events: int) -> None:
        self._strata, self._wanted = strata, wanted_events
        self._n_max = strata.histogram.shape[1] - 1
        self._mean = np.concatenate([_MEAN, np.full(len(strata.spill), _SHARE_MEAN)])
        self._mean[LOG_BACKGROUND] = math.log(strata.background)
        shared = np.divide(1.0, _SD**2, out=np.zeros(N_SHARED), where=_SD > 0)
        self._weight = np.concatenate([shared, np.full(len(strata.spill), 1 / _SHARE_SD**2)])

    def look(self, at: Floats) -> _Look:
        structure, alone, unseen = self._tables(at[:N_SHARED])
        share = expit(at[N_SHARED:])[:, None]
        probability = (1 - _STRAY) * (share * structure + (1 - share) * alone) + _STRAY / (self._n_max + 1)
        value = float((self._strata.histogram * np.log(probability)).sum())
        value -= 0.5 * float(self._weight @ (at - self._mean) ** 2)
        return _Look(at, value, structure, alone, unseen, probability)

    def _tables(self, shared: Floats) -> tuple[Floats, Floats, Floats]:
        structure, alone, unseen = _tables(shared, *_shape(self._strata), self._n_max, self._wanted)
        return structure, alone, unseen

    def slope(self, here: _Look) -> tuple[Floats, Floats]:
        """Gradient (P,) and expected information (P, P)."""
        changes = self._changes(here)[0]  # (P, L, n + 1), zero where a share belongs to another stratum
        cells = self._strata.cells[:, None]
        flat = changes.reshape(len(changes), -1)
        gradient = flat @ (self._strata.histogram / here.probability).ravel()
        information = (flat * (cells / here.probability).ravel()) @ flat.T
        return gradient - self._weight * (here.at - self._mean), information + np.diag(self._weight)

    def _changes(self, here: _Look) -> tuple[Floats, Floats]:
        """Derivatives of the probabilities (P, L, n + 1) and of the unseen share (P,)."""
        share = expit(here.at[N_SHARED:])
        of_structure = share * self._strata.cells
        total = of_structure.sum()
        n_strata = len(share)
        changes = np.zeros((N_SHARED + n_strata, *here.probability.shape))
        unseen = np.zeros(N_SHARED + n_strata)
        for i in range(N_SHARED):
            moved = here.at[:N_SHARED].copy()
            moved[i] += _STEP
            structure, alone, gone = self._tables(moved)
            changes[i] = share[:, None] * (structure - here.structure) + (1 - share[:, None]) * (alone - here.alone)
            unseen[i] = of_structure @ (gone - here.unseen) / total
        changes[:N_SHARED] /= _STEP
        unseen[:N_SHARED] /= _STEP
        own = np.arange(n_strata)
        odds = share * (1 - share)
        changes[N_SHARED + own, own] = odds[:, None] * (here.structure - here.alone)
        mean = of_structure @ here.unseen / total
        unseen[N_SHARED:] = self._strata.cells * odds * (here.unseen - mean) / total
        return changes, unseen

    def result(self, here: _Look, converged: bool) -> RateFit:
        information = self.slope(here)[1]
        unseen_slope = self._changes(here)[1]
        of_structure = expit(here.at[N_SHARED:]) * self._strata.cells
        unseen = float(of_structure @ here.unseen / of_structure.sum())
        variance = float(unseen_slope @ _solve(information, unseen_slope, 1e-9))
        at, cells = here.at, float(of_structure.sum())
        return RateFit(at[:N_SHARED], at[N_SHARED:], unseen, math.sqrt(max(variance, 0.0)), cells, converged)


def _damped_step(
    model: _Model, here: _Look, slope: Floats, information: Floats, damping: float
) -> tuple[_Look, float] | None:
    """The next place and damping; None where no step goes up."""
    held = np.zeros(len(slope), bool)  # at a bound and pushed against it
    held[:N_SHARED] = (here.at[:N_SHARED] <= _LOWEST) & (slope[:N_SHARED] < 0)
    held[:N_SHARED] |= (here.at[:N_SHARED] >= _HIGHEST) & (slope[:N_SHARED] > 0)
    free = np.flatnonzero(~held)
    while damping < 1e8:
        step = np.zeros(len(slope))
        step[free] = _solve(information[np.ix_(free, free)], slope[free], damping)
        at = here.at + step * min(1.0, 1.0 / float(np.abs(step).max()))
        at[:N_SHARED] = np.clip(at[:N_SHARED], _LOWEST, _HIGHEST)
        there = model.look(at)
        if there.value >= here.value - 1e-9:
            return there, max(damping / 10, 1e-6)
        damping *= 10
    return None


def _solve(information: Floats, vector: Floats, damping: float) -> Floats:
    diagonal = np.diag(information)
    return np.asarray(np.linalg.solve(information + np.diag(damping * (diagonal + 1e-9)), vector))


def _start(strata: Strata) -> Floats:
    """Rates from the cells that were hit three times or more."""
    counts = np.arange(strata.histogram.shape[1])
    often = strata.histogram[:, 3:].sum(axis=0)
    mean = float(often @ counts[3:]) / max(float(often.sum()), 1.0)
    first = _MEAN.copy()
    first[LOG_BACKGROUND], first[LOG_RATE] = math.log(strata.background), math.log(0.8 * max(mean, 3.0))
    return first


def _first_shares(strata: Strata) -> Floats:
    """(L,) logit of the share of cells that were hit more often than background and spill explain."""
    expected = strata.background + strata.spill
    often = np.arange(strata.histogram.shape[1]) > (expected + 2 * np.sqrt(expected) + 1)[:, None]  # (L, n + 1)
    share = (strata.histogram * often).sum(axis=1) / np.maximum(strata.cells, 1.0)
    return np.asarray(logit(np.clip(1.2 * share, 0.003, 0.9)))


def growth_to(strata: Strata, fit: RateFit, unseen: float, wanted_events: int = 1) -> float:
    """By what factor every cell's events must grow until only the share `unseen` is unseen; 1 to 64."""
    of_structure = expit(fit.logit_share) * strata.cells

    def left(growth: float) -> float:
        grown = fit.shared.copy()
        grown[LOG_RATE] += math.log(growth)
        return float(of_structure @ _tables(grown, *_shape(strata), 1, wanted_events)[2]) / float(of_structure.sum())

    low, high = 1.0, 64.0
    for _ in range(20):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if left(middle) > unseen else (low, middle)
    return high


def _shape(strata: Strata) -> tuple[Floats, Floats, float, float]:
    return strata.spill, strata.spill_scale, strata.stays, strata.dead_share


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rates(shared: Floats) -> tuple[Floats, Floats]:
    """Weights (K,) and mean counts (K,) of the rate law."""
    shape, n = shared[SHAPE], len(NODES)
    weights, means = np.empty(n), np.empty(n)
    for k in range(n):
        w = NODES[k]
        tail = min(shape * w, 60.0)
        log_density = -0.5 * w * w if shape < 1e-4 else (tail - math.expm1(tail)) / shape**2  # 0 at the mode
        weights[k] = math.exp(max(log_density, -700.0))
        means[k] = math.exp(shared[LOG_RATE] + math.exp(shared[LOG_SPREAD]) * w)
    return weights / weights.sum(), means


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tilted(weights: Floats, means: Floats, tilt: float, spill: Floats) -> Floats:
    """(L, K): where neighbours were hit, the cell itself is likelier to be a fast one, which spilled into them."""
    out = np.empty((len(spill), len(weights)))
    middle = math.log(means[len(means) // 2])
    for i in range(len(spill)):
        power = tilt * math.log((spill[i] + _SPILL_FLOOR) / (spill[0] + _SPILL_FLOOR))
        for k in range(len(weights)):
            exponent = min(max(power * (math.log(means[k]) - middle), -50.0), 50.0)
            out[i, k] = weights[k] * math.exp(exponent)
        out[i] /= out[i].sum()
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _counting(mean: float, dead_share: float, out: Floats) -> None:
    """Poisson counts 0 .. len - 1 with a dead time of `dead_share` of the run after each event."""
    log_mean, log_factorial = math.log(mean), 0.0
    for n in range(len(out)):
        if n > 0:
            log_factorial += math.log(n)
        live = max(1.0 - n * dead_share, 0.05)
        room = n * math.log(max(1.0 - (n - 1) * dead_share, 0.05))
        out[n] = math.exp(n * log_mean - mean * live + room - log_factorial)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _spilled(mean: float, scale: float, out: Floats) -> None:
    """Negative binomial counts: Poisson of a mean that is itself uncertain."""
    shape = mean / scale
    out[0] = math.exp(-shape * math.log1p(scale))
    for n in range(1, len(out)):
        out[n] = out[n - 1] * (shape + n - 1) / n * scale / (1.0 + scale)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _convolved(first: Floats, second: Floats, out: Floats) -> None:
    for n in range(len(out)):
        total = 0.0
        for m in range(n + 1):
            total += first[m] * second[n - m]
        out[n] = total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tables(
    shared: Floats, spill: Floats, spill_scale: Floats, stays: float, dead_share: float, n_max: int, wanted: int
) -> tuple[Floats, Floats, Floats]:
    """Probabilities (L, n_max + 1) with and without structure, and the share unseen (L,)."""
    n_strata, n_nodes = len(spill), len(NODES)
    weights, means = _rates(shared)
    tilted = _tilted(weights, means, shared[TILT], spill)
    background = math.exp(shared[LOG_BACKGROUND])
    own = np.empty((n_nodes, n_max))
    for k in range(n_nodes):
        _counting(background + means[k], dead_share, own[k])
    mixed = tilted @ own  # (L, n_max)
    plain, spilled = np.empty(n_max), np.empty(n_max)
    _counting(background, dead_share, plain)
    structure, alone = np.empty((n_strata, n_max + 1)), np.empty((n_strata, n_max + 1))
    for i in range(n_strata):
        mean = math.exp(shared[LOG_SPILL]) * spill[i]
        _spilled(mean, math.exp(shared[LOG_SPILL_SCALE]) * spill_scale[i], spilled)
        _convolved(spilled, mixed[i], structure[i, :n_max])
        _convolved(spilled, plain, alone[i, :n_max])
        structure[i, n_max] = max(1.0 - structure[i, :n_max].sum(), 1e-12)
        alone[i, n_max] = max(1.0 - alone[i, :n_max].sum(), 1e-12)
    return structure, alone, tilted @ _too_few(means / stays, wanted)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _too_few(means: Floats, wanted: int) -> Floats:
    """(K,) Poisson probability of fewer than `wanted` events."""
    out = np.zeros(len(means))
    for k in range(len(means)):
        term = math.exp(-means[k])
        for n in range(wanted):
            out[k] += term
            term *= means[k] / (n + 1)
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _moments(
    shared: Floats, spill: Floats, spill_scale: Floats, stays: float, dead_share: float, n_max: int
) -> tuple[Floats, Floats, Floats]:
    """(L, n_max) each: first and second moment of the own mean count times its probability, and that probability."""
    n_strata, n_nodes = len(spill), len(NODES)
    weights, means = _rates(shared)
    tilted = _tilted(weights, means, shared[TILT], spill)
    own = np.empty((n_nodes, n_max))
    for k in range(n_nodes):
        _counting(math.exp(shared[LOG_BACKGROUND]) + means[k], dead_share, own[k])
    spilled = np.empty(n_max)
    first, second, whole = np.empty((n_strata, n_max)), np.empty((n_strata, n_max)), np.empty((n_strata, n_max))
    one, two, none = (tilted * means) @ own, (tilted * means**2) @ own, tilted @ own
    for i in range(n_strata):
        mean = math.exp(shared[LOG_SPILL]) * spill[i]
        _spilled(mean, math.exp(shared[LOG_SPILL_SCALE]) * spill_scale[i], spilled)
        _convolved(spilled, one[i], first[i])
        _convolved(spilled, two[i], second[i])
        _convolved(spilled, none[i], whole[i])
    return first, second, whole
