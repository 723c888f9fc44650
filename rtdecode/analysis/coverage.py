"""How much of a structure has been seen: the share of its resolution cells with a blink, with an interval.

Input are counts of independent events (blinks) in all cells of the field. Model and limits: docs/stopping.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rtdecode.analysis.rates import RateFit, Strata, expected_rates, fit_rates, growth_to
from rtdecode.analysis.spill import first_spill, refined_spill, scatter_kernel, stratify

Floats = NDArray[np.float64]

ROUNDS = 3  # of spill and rates in turn; further ones change nothing that the interval would show
COARSEST = 0.35  # scatter of an event in cells, beyond which cells cannot be told apart
MIN_EVENTS = 1000
MIN_STRUCTURE_CELLS = 100.0
MAX_SPREAD = 1.2  # the widest that tools/benchmark_stopping.py covers; there it passed at 1.04 at most
MAX_JUMP = 1.5  # of the structure's cells between two looks; where it passed there (seeds 0 to 39) 0.78 to 1.05


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of the structure's cells seen so far; `trouble` says why it cannot be told, "" where it can."""

    estimate: float
    lower: float  # one-sided bounds at the confidence that was asked for
    upper: float
    structure_cells: float
    background: float  # events in a cell of the field that belong to no structure
    spread: float  # of the log rates
    growth: float  # factor on the number of blinks by which the lower bound should be at the target; 1: it is
    trouble: str = ""

    @classmethod
    def unknown(cls, trouble: str) -> Coverage:
        """Nothing can be said, and why."""
        return cls(math.nan, 0.0, 1.0, math.nan, math.nan, math.nan, math.nan, trouble)


def estimate_coverage(
    counts: NDArray[np.integer],
    *,
    field_cells: int,
    sigma_in_cells: float,
    dead_share: float = 0.0,
    wanted_events: int = 1,
    target: float = 0.95,
    confidence: float = 0.95,
) -> Coverage:
    """Coverage from (H, W) event counts, of which cells beyond the field are 0.

    `sigma_in_cells`: mean scatter of an event's position; `dead_share`: of the run, for which a cell is deaf
    after an event; a cell is seen with `wanted_events`. The interval holds the estimate's uncertainty (delta
    method, arcsine scale) and the luck of the draw (binomial).
    """
    if counts.sum() < MIN_EVENTS:
        return Coverage.unknown(f"{int(counts.sum())} blinks so far, {MIN_EVENTS} are needed to begin")
    if not 0 < sigma_in_cells <= COARSEST:
        return Coverage.unknown(f"blinks scatter by {sigma_in_cells:.2f} cells, at most {COARSEST} can be corrected")
    whole = np.ascontiguousarray(counts, np.int64)
    strata, fit = _fit(whole, field_cells, sigma_in_cells, dead_share, wanted_events)
    if fit.structure_cells < MIN_STRUCTURE_CELLS:
        return Coverage.unknown(f"no structure to be told from background ({fit.structure_cells:.0f} cells)")
    angle, half_width = _angle(fit, confidence)
    bounds = 1 - _share(angle + half_width), 1 - _share(angle - half_width)
    wanted = max(_share(math.asin(math.sqrt(1 - target)) - half_width), 1e-4)  # unseen, for the bound to be there
    growth = growth_to(strata, fit, wanted, wanted_events)
    trouble = "" if fit.converged else "the fit of the blink rates did not converge"
    cells, background = fit.structure_cells, fit.background
    return Coverage(1 - fit.unseen, *bounds, cells, background, fit.spread, growth, trouble)


def contradiction(now: Coverage, before: Coverage) -> str:
    """Why an estimate at the target is not to be believed after the look before it; "" where nothing is odd."""
    if now.spread > MAX_SPREAD:
        return f"the blink rates spread by {now.spread:.2f}; how often this is wrong is measured up to {MAX_SPREAD}"
    jump = now.structure_cells / before.structure_cells  # NaN before there were two looks
    if not before.trouble and not 1 / MAX_JUMP <= jump <= MAX_JUMP:
        return (
            f"the structure went from {before.structure_cells:.0f} to {now.structure_cells:.0f} cells since the last "
            "look: what is counted is not one structure that blinks"
        )
    return ""


def _fit(
    counts: NDArray[np.int64], field_cells: int, sigma_in_cells: float, dead_share: float, wanted_events: int
) -> tuple[Strata, RateFit]:
    kernel = scatter_kernel(sigma_in_cells)
    background = _first_background(counts, field_cells)
    spill, own = first_spill(counts, background, kernel)
    variance = 0.1 * spill
    strata, stratum = _strata(counts, spill, variance, field_cells, kernel, dead_share, background)
    fit = fit_rates(strata, wanted_events)
    for _ in range(ROUNDS - 1):
        rates, doubt = expected_rates(strata, fit)
        spill, variance, own = refined_spill(counts, spill, own, rates, doubt, stratum, kernel, fit.background)
        strata, stratum = _strata(counts, spill, variance, field_cells, kernel, dead_share, background)
        fit = fit_rates(strata, wanted_events, fit)
    return strata, fit


def _strata(
    counts: NDArray[np.int64], spill: Floats, variance: Floats, field_cells: int, kernel: Floats, dead_share: float,
    background: float,
) -> tuple[Strata, NDArray[np.int64]]:  # fmt: skip
    """Cells sorted by spill, those of the field beyond the grid with them, and the look-up of a spill's stratum."""
    histogram, mean, scale, stratum = stratify(counts, spill, variance, _highest_count(counts))
    histogram[0, 0] = max(histogram[0, 0] + field_cells - counts.size, 0.0)
    return Strata(histogram, mean, scale, float(kernel[1, 1]), dead_share, background), stratum


def _first_background(counts: NDArray[np.int64], field_cells: int) -> float:
    empty = max(field_cells - int(np.count_nonzero(counts)), 1)
    return max(0.8 * int(np.count_nonzero(counts == 1)) / empty, 1e-3)


def _highest_count(counts: NDArray[np.int64]) -> int:
    """Above 2.5 times the usual count all are one bin: fast cells say nothing about slow ones."""
    often = counts[counts >= 3]
    return int(np.clip(2.5 * (often.mean() if len(often) else 3.0), 12, 120))


def _angle(fit: RateFit, confidence: float) -> tuple[float, float]:
    """arcsin sqrt(unseen) and the half width of its interval, one-sided at this confidence.

    On this scale the luck of the draw (binomial) has the same variance, 1 / 4 M, everywhere; on the logit it would
    make a structure that is seen to the last cell look unknown.
    """
    unseen = min(max(fit.unseen, 1e-9), 1 - 1e-9)
    variance = fit.unseen_sd**2 / (4 * unseen * (1 - unseen)) + 1 / (4 * fit.structure_cells)
    return math.asin(math.sqrt(unseen)), NormalDist().inv_cdf(confidence) * math.sqrt(variance)


def _share(angle: float) -> float:
    return math.sin(min(max(angle, 0.0), math.pi / 2)) ** 2


@cache
def warm_up() -> None:
    """Compile everything, once in a process: up to a minute where nothing is cached yet, so before frames come."""
    counts = np.random.default_rng(0).poisson(np.where(np.arange(4096).reshape(64, 64) % 5 < 1, 4.0, 0.05))
    estimate_coverage(counts, field_cells=4096, sigma_in_cells=0.2)
