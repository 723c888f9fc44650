"""From what a bundle found and what was true to its calibration: monotone map of p, factors on sigmas, `accept`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import lsq_linear
from scipy.sparse import csr_array, diags_array

from rtdecode.analysis.evaluate import Score, judge, score_of
from rtdecode.analysis.honesty import z_scores
from rtdecode.fit.calibration import SIGMAS, ProbabilityMap, SigmaTable, signal
from rtdecode.train.held_out import CORE_PX, WINDOW_PX, Seen

F8 = NDArray[np.float64]

STATED = tuple(round(0.1 * k, 1) for k in range(11))
N_SIGNAL = 5
SIGNAL_QUANTILES = (0.04, 0.96)
CROWDING_STEPS = (0.0, 0.2, 1.0, 3.0)
"""Knots above what the map of p holds around an emitter that is alone over a quiet background: it is nowhere zero."""
SMOOTHNESS = 1e-4
"""Weight of the squared difference of neighbouring log factors; some localizations' worth: it fills empty cells."""
ALONE_WEIGHT = 3
LARGEST = 10.0  # factor, or its inverse: where there is no error at all, as in z of a 2D model, none would be too small
ACCEPT_GRID = tuple(round(0.02 * k, 2) for k in range(5, 49))  # 0.1 to 0.96
MIN_PRECISION = {0.2: 0.95, 1.0: 0.92, 2.0: 0.92}
"""By density, per um²."""
EMPTY_FRAMES_PER_FALSE = 200
"""Of so many frames without an emitter one may hold a localization."""


def probability_map(seen: Sequence[Seen]) -> ProbabilityMap:
    """The monotone line through (stated, true) with the least squared error, each of `seen` weighing alike.

    Isotonic regression in the form that the card holds: every step between two knots is a number that is not
    negative. Identity where nothing was found.
    """
    stated, true, weight = _pooled([(s.judged.localizations.probability, s.true) for s in seen])
    if not len(stated):
        return ProbabilityMap(stated=(0.0, 1.0), true=(0.0, 1.0))
    low, width = np.array(STATED[:-1]), np.diff(STATED)
    steps = np.clip((stated[:, None] - low) / width, 0, 1)  # (N, 10): how far up each step
    root = np.sqrt(weight)
    fitted = lsq_linear(steps * root[:, None], true * root, (0.0, 1.0)).x
    return ProbabilityMap(stated=STATED, true=(0.0, *np.minimum(np.cumsum(fitted), 1.0).round(4).tolist()))


def sigma_table(crowds: Sequence[Seen], alone: Seen, probability: ProbabilityMap, accept: float) -> SigmaTable:
    """Factors that make the mean square of errors over sigmas 1 around each knot.

    Of accepted localizations that are true. Each of `crowds` weighs alike, emitters alone ALONE_WEIGHT times as much:
    they have every signal, and set where crowding begins. The log factor is bilinear, log s = sum of a_k h_k(signal,
    crowding); the a_k that minimise the mean of log s + z² / (2 s²), a convex problem, make the h_k-weighted mean of
    z² / s² 1 for every k.
    """
    known = [of_sigma(one, probability, accept) for one in (*crowds, *[alone] * ALONE_WEIGHT)]
    at_signal, near, weight = _pooled([(k.signal, k.crowding) for k in known])
    z_score = np.concatenate([k.z_score for k in known])  # (N, 4)
    signals, crowdings = _signal_knots(at_signal), _crowding_knots(alone)
    size = (len(signals), len(crowdings))
    hats = _hats(np.log(at_signal), np.log(signals))[:, :, None] * _hats(near, crowdings)[:, None, :]
    logs = [
        _log_factors(z_score[:, q] ** 2, hats.reshape(len(near), size[0] * size[1]), weight, size)
        for q in range(len(SIGMAS))
    ]
    fields = {name: np.exp(log).reshape(size).round(4).tolist() for name, log in zip(SIGMAS, logs, strict=True)}
    fields |= {"signal": signals.round(1).tolist(), "crowding": crowdings.round(3).tolist()}
    return SigmaTable.model_validate(fields | {"window_px": WINDOW_PX, "core_px": CORE_PX})


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold on the calibrated probability, the scores with it by density, and why it was taken."""

    accept: float
    scores: dict[float, Score]
    reason: str


def choose_accept(by_density: dict[float, Seen], empty: Seen, probability: ProbabilityMap, otherwise: float) -> Choice:
    """The threshold with the largest mean Jaccard, of those precise enough and silent in empty frames (1 in 200).

    Wanted are the precisions of MIN_PRECISION, where the densities were seen. Where no threshold has them all, the
    one that comes nearest; `otherwise` where nothing was found at all.
    """
    densities = {d: s for d, s in by_density.items() if d in MIN_PRECISION} or by_density
    in_empty = np.sort(mapped(empty.judged.localizations.probability, probability))[::-1]
    allowed = len(empty.frames) // EMPTY_FRAMES_PER_FALSE
    lowest = float(in_empty[allowed]) if len(in_empty) > allowed else 0.0
    scored = {accept: _scores(densities, probability, accept) for accept in ACCEPT_GRID}
    scored = {accept: scores for accept, scores in scored.items() if all(s.n_matched for s in scores.values())}
    if not scored:
        return Choice(otherwise, {}, "nothing was found in the held-out clips: the threshold is as it was")
    silent = [accept for accept in scored if np.float32(accept) > lowest] or [max(scored)]
    least = min(_lacking(scored[accept]) for accept in silent)
    best = _best(scored, [accept for accept in silent if _lacking(scored[accept]) <= least])
    return Choice(best, scored[best], _reason(scored, best, lowest, least))


def corrections(table: SigmaTable, at_signal: F8, near: F8) -> F8:
    """(N, 4) factors of a table, as the fitter applies them."""
    hats = _hats(np.log(at_signal), np.log(table.signal))[:, :, None] * _hats(near, np.array(table.crowding))[:, None]
    logs = np.log(np.array([getattr(table, name) for name in SIGMAS]))  # (4, S, C)
    return np.asarray(np.exp(np.einsum("nsc,qsc->nq", hats, logs)))


@dataclass(frozen=True, slots=True)
class OfSigma:
    """Pairs of accepted localizations and emitters: where they lie in the table, and errors over stated sigmas."""

    signal: F8  # (K,)
    crowding: F8  # (K,)
    z_score: F8  # (K, 4)
    photons: F8  # (K,) of the emitter

    def __getitem__(self, rows: NDArray[np.bool_]) -> OfSigma:
        """The chosen ones."""
        return OfSigma(self.signal[rows], self.crowding[rows], self.z_score[rows], self.photons[rows])


def of_sigma(seen: Seen, probability: ProbabilityMap, accept: float) -> OfSigma:
    """Those whose calibrated probability is at least `accept` and whose sigmas are stated."""
    rows, columns = seen.judged.pairs.T
    found, z_score = seen.judged.localizations, z_scores(seen.judged)
    kept = mapped(found.probability[columns], probability) >= np.float32(accept)
    kept &= np.isfinite(z_score).all(axis=1)
    columns, photons = columns[kept], seen.judged.emitters["photons"][rows[kept]].astype(np.float64)
    at_signal = signal(found.photons[columns], found.background[columns])
    return OfSigma(at_signal, seen.crowding[columns], z_score[kept], photons)


def mapped(probability: NDArray[np.float32], by: ProbabilityMap) -> NDArray[np.float32]:
    """(N,) calibrated, in float32 as the fitter compares."""
    return np.interp(probability, by.stated, by.true).astype(np.float32)


def _pooled(columns: Sequence[tuple[ArrayLike, ArrayLike]]) -> tuple[F8, F8, F8]:
    """Both columns of all groups, and weights of mean 1 with the same sum in each group that holds something."""
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in columns]
    pairs = [pair for pair in pairs if len(pair[0])]
    if not pairs:
        return np.empty(0), np.empty(0), np.empty(0)
    sizes = [len(a) for a, _ in pairs]
    weight = np.concatenate([np.full(n, sum(sizes) / len(sizes) / n) for n in sizes])
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]), weight


def _signal_knots(values: F8) -> F8:
    low, high = np.quantile(values, SIGNAL_QUANTILES) if len(values) else (100.0, 1000.0)
    return np.geomspace(low, max(high, 1.5 * low), N_SIGNAL)


def _crowding_knots(alone: Seen) -> F8:
    found = alone.crowding[alone.true]
    floor = float(np.quantile(found, 0.1)) if len(found) else 0.0
    return floor + np.array(CROWDING_STEPS)


def _hats(values: F8, knots: F8) -> F8:
    """(N, K) weights of the knots in a line between them, held at the ends."""
    held = np.clip(values, knots[0], knots[-1])
    return np.column_stack([np.interp(held, knots, one) for one in np.eye(len(knots))])


def _log_factors(squares: F8, hats: F8, weight: F8, size: tuple[int, int]) -> F8:
    """(K,) log factors by Newton's method, within those of LARGEST; 0 where there is nothing."""
    logs = np.zeros(hats.shape[1])
    if not len(squares):
        return logs
    share, stiff = weight / weight.sum(), SMOOTHNESS * _differences(size)
    sparse = csr_array(hats)  # four of twenty are not 0; and BLAS, on busy cores, would wait for its own threads
    for _ in range(100):
        left = share * squares * np.exp(-2 * (sparse @ logs))  # of each square, after the correction
        slope = sparse.T @ (share - left) + stiff @ logs
        curve = (sparse.T @ diags_array(2 * left) @ sparse).toarray() + stiff + 1e-9 * np.eye(len(logs))
        step = np.clip(np.linalg.solve(curve, slope), -0.5, 0.5)
        before, logs = logs, np.clip(logs - step, -np.log(LARGEST), np.log(LARGEST))
        if np.abs(logs - before).max() < 1e-9:
            break
    return logs


def _differences(size: tuple[int, int]) -> F8:
    """(K, K) quadratic form: sum of squared differences between neighbours of a grid."""
    number = np.arange(size[0] * size[1]).reshape(size)
    pairs = np.concatenate([
        np.column_stack([number[:-1].ravel(), number[1:].ravel()]),
        np.column_stack([number[:, :-1].ravel(), number[:, 1:].ravel()]),
    ])  # fmt: skip
    difference = np.zeros((len(pairs), number.size))
    difference[np.arange(len(pairs)), pairs[:, 0]], difference[np.arange(len(pairs)), pairs[:, 1]] = 1, -1
    return np.asarray(difference.T @ difference)


def _scores(densities: dict[float, Seen], probability: ProbabilityMap, accept: float) -> dict[float, Score]:
    out = {}
    for density, seen in densities.items():
        kept = seen.found[mapped(seen.found.probability, probability) >= np.float32(accept)]
        out[density] = score_of(judge(seen.emitters, kept, frames=seen.frames, rules=seen.rules))
    return out


def _lacking(scores: dict[float, Score]) -> float:
    """By how much precisions fall short, in all."""
    return sum(max(0.0, MIN_PRECISION.get(density, 0.0) - score.precision) for density, score in scores.items())


def _mean_jaccard(scores: dict[float, Score]) -> float:
    return float(np.mean([score.jaccard for score in scores.values()]))


def _best(scored: dict[float, dict[float, Score]], among: list[float]) -> float:
    return max(among, key=lambda accept: _mean_jaccard(scored[accept]))


def _reason(scored: dict[float, dict[float, Score]], best: float, lowest: float, lacking: float) -> str:
    """In words: what it reaches, and what each of the two conditions cost."""
    precision = ", ".join(f"{score.precision:.3f} at {density:g}" for density, score in scored[best].items())
    words = f"Jaccard {_mean_jaccard(scored[best]):.3f} on average with precision {precision} per um²"
    words += f"; empty frames are silent above {lowest:.2f}"
    if lacking > 0:
        return f"{words}; no threshold that is silent there is as precise as wanted, this comes nearest"
    precise = _best(scored, [accept for accept, scores in scored.items() if _lacking(scores) == 0])
    if precise != best:
        words += f"; but for empty frames {precise:g} would do, with Jaccard {_mean_jaccard(scored[precise]):.3f}"
    if (free := _best(scored, list(scored))) != precise:
        words += f"; {free:g} has {_mean_jaccard(scored[free]):.3f} and is less precise than wanted"
    return words
