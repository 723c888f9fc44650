"""Whether estimates mean what they say: sigmas, probabilities, bias, and positions that know nothing of the pixels."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from rtdecode.analysis.evaluate import Judged
from rtdecode.core.localizations import Localizations

F8 = NDArray[np.float64]
Figures = dict[str, Any]
QUANTITIES = ("x", "y", "z", "photons")
INSIDE = {"within_1_sigma": 1.0, "within_2_sigma": 2.0}
EXPECTED_INSIDE = {name: float(2 * ndtr(n) - 1) for name, n in INSIDE.items()}
"""Coverage of an honest normal sigma: 0.683 and 0.954."""


def quantities(judged: Judged) -> tuple[str, ...]:
    """Those that were asked for: without z in 2D."""
    return QUANTITIES if judged.dims == 3 else tuple(name for name in QUANTITIES if name != "z")


def errors(judged: Judged) -> F8:
    """(K, 4) estimate minus truth of each pair: x, y, z in nm (NaN in 2D), photons."""
    rows, columns = judged.pairs.T
    photons = judged.localizations.photons[columns].astype(np.float64) - judged.emitters["photons"][rows]
    return np.column_stack([judged.errors_nm(), photons])


def z_scores(judged: Judged) -> F8:
    """(K, 4) errors over the estimate's own sigma; NaN where it states none."""
    found = judged.localizations
    sigmas = (found.sigma_x_nm, found.sigma_y_nm, found.sigma_z_nm, found.sigma_photons)
    sigma = np.column_stack(sigmas)[judged.pairs[:, 1]].astype(np.float64)
    return errors(judged) / np.where(sigma > 0, sigma, np.nan)


def sigma_calibration(judged: Judged) -> dict[str, Figures]:
    """For x, y, z (not in 2D), photons: z-scores' variance (honest: 1), shares within 1 and 2 sigma (0.683, 0.954).

    Of pairs only: an error beyond the matching tolerance is a miss and a false positive, not a large error.
    """
    scores = z_scores(judged)
    return {name: _calibration(scores[:, i]) for i, name in enumerate(QUANTITIES) if name in quantities(judged)}


def _calibration(scores: F8) -> Figures:
    known = scores[np.isfinite(scores)]
    if not len(known):
        return {"variance": None, **dict.fromkeys(INSIDE)}
    inside = {name: float(np.mean(np.abs(known) < n)) for name, n in INSIDE.items()}
    return {"variance": float(np.var(known)), **inside}


def truths(judged: Judged) -> NDArray[np.bool_]:
    """(N,) for each localization that counts whether an emitter belongs to it."""
    true = np.zeros(len(judged.localizations), bool)
    true[judged.pairs[:, 1]] = True
    return true


def reliability(probability: ArrayLike, true: NDArray[np.bool_], n_bins: int = 10) -> list[Figures]:
    """For each bin of the stated probability: mean stated, fraction true, how many. Empty bins are left out."""
    stated = np.asarray(probability, np.float64)
    which = np.clip((stated * n_bins).astype(int), 0, n_bins - 1)
    bins = [which == k for k in range(n_bins)]
    return [
        {"stated": float(stated[b].mean()), "true": float(true[b].mean()), "n": int(b.sum())} for b in bins if b.any()
    ]


def calibration_error(curve: list[Figures]) -> float | None:
    """Expected calibration error: |stated - true| of a reliability curve, weighted by how many; None of nothing."""
    total = sum(b["n"] for b in curve)
    return sum(b["n"] * abs(b["stated"] - b["true"]) for b in curve) / total if total else None


def bias(error: F8, where: F8, edges: ArrayLike, weight: F8 | None = None) -> list[Figures]:
    """Mean error and its standard error in each bin of `where` (all (K,)); bins with fewer than 5 are left out.

    `weight` (1 / variance, such as of the bound) makes the mean as precise as can be; None: all alike.
    """
    edges = np.asarray(edges, np.float64)
    weight = np.ones(len(error)) if weight is None else weight
    found = []
    for low, high in pairwise(edges):
        here = (where >= low) & (where < high)
        if here.sum() >= 5:
            w = weight[here] / weight[here].sum()
            mean = float(w @ error[here])
            spread = math.sqrt(float((w**2) @ (error[here] - mean) ** 2))
            found.append({"from": float(low), "to": float(high), "mean": mean, "se": spread, "n": int(here.sum())})
    return found


def bias_summary(bins: list[Figures]) -> Figures:
    """Root mean square of the bias beyond what its standard errors explain, and the largest bin with its error.

    The largest of several noisy bins is biased upward; `rms` is not, and is what a limit should be held against.
    """
    if not bins:
        return {"rms": None, "largest": None, "largest_se": None}
    beyond = float(np.mean([b["mean"] ** 2 - b["se"] ** 2 for b in bins]))
    worst = max(bins, key=lambda b: abs(b["mean"]))
    return {"rms": math.sqrt(max(beyond, 0.0)), "largest": worst["mean"], "largest_se": worst["se"]}


def in_pixel(position_nm: ArrayLike, px_nm: float) -> F8:
    """Place within the pixel, [-0.5, 0.5): 0 is its centre, as positions count from a pixel's centre."""
    return np.asarray((np.asarray(position_nm, np.float64) / px_nm + 0.5) % 1.0 - 0.5)


def kuiper(fraction: ArrayLike) -> tuple[float, float]:
    """Kuiper's V of numbers in [0, 1) against the uniform distribution, and its p-value; (0, 1) of nothing.

    V = max(F - x) + max(x - F): unlike Kolmogorov-Smirnov's it sees every place of a circle alike, and where a pixel
    begins is arbitrary. p from Stephens' form: Q(l) = 2 sum (4 j^2 l^2 - 1) exp(-2 j^2 l^2), l = V (sqrt n + 0.155 +
    0.24 / sqrt n) (Numerical Recipes, 14.3).
    """
    x = np.sort(np.asarray(fraction, np.float64))
    n = len(x)
    if n == 0:
        return 0.0, 1.0
    steps = np.arange(n)
    v = float(np.max((steps + 1) / n - x) + np.max(x - steps / n))
    scaled = v * (math.sqrt(n) + 0.155 + 0.24 / math.sqrt(n))
    if scaled < 0.4:  # the series does not converge there; p is 1 to seven digits
        return v, 1.0
    j2l2 = (np.arange(1, 101) * scaled) ** 2
    return v, float(np.clip(2 * np.sum((4 * j2l2 - 1) * np.exp(-2 * j2l2)), 0.0, 1.0))


def modulation(fraction: ArrayLike) -> float:
    """Depth m of a density 1 + m cos(2 pi (x - x0)) of numbers in [0, 1): 0 uniform, about 1.8 / sqrt n by chance."""
    x = np.asarray(fraction, np.float64)
    return float(2 * np.abs(np.exp(2j * np.pi * x).mean())) if len(x) else 0.0


def grid_artefact(localizations: Localizations, px_nm: tuple[float, float], n_bins: int = 20) -> dict[str, Figures]:
    """For x and y: whether positions prefer a place within the pixel. Needs emitters that do not, and independent ones.

    `uniform` is p > 0.01 of Kuiper's test; `histogram` the density in bins from one rim of the pixel to the other.
    """
    out = {}
    for name, size in zip("xy", px_nm, strict=True):
        place = in_pixel(getattr(localizations, f"{name}_nm"), size) + 0.5
        v, p = kuiper(place)
        counts = np.histogram(place, n_bins, (0.0, 1.0))[0]
        density = (counts / max(1, len(place)) * n_bins).tolist()
        out[name] = {"kuiper_v": v, "p": p, "uniform": p > 0.01, "modulation": modulation(place), "n": len(place),
                     "histogram": density}  # fmt: skip
    return out


def copies(judged: Judged, near_nm: float = 600.0) -> Figures:
    """Of emitters that are alone in their frame: share found; share of those with two or more answers near them."""
    found = judged.localizations
    order = np.argsort(judged.emitters["frame_index"])
    frames = judged.emitters["frame_index"][order]
    place = np.minimum(np.searchsorted(frames, found.frame_index), max(0, len(frames) - 1))
    row = order[place] if len(frames) else place  # (M,) the emitter of each localization's frame
    answers = np.zeros(len(frames), int)
    if len(frames):
        away = np.hypot(found.x_nm - judged.emitters["x_nm"][row], found.y_nm - judged.emitters["y_nm"][row])
        np.add.at(answers, row[(frames[place] == found.frame_index) & (away < near_nm)], 1)
    hit = judged.found
    return {
        "recall": float(hit.mean()) if len(hit) else None,
        "split": float((answers[hit] > 1).mean()) if hit.any() else None,
    }
