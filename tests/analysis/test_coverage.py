"""The coverage of a structure from event counts: right on average, honest where it cannot tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from rtdecode.analysis.coverage import Coverage, estimate_coverage
from rtdecode.analysis.rates import SHAPE, Strata, _rates, _tables, fit_rates
from rtdecode.analysis.spill import scatter_kernel

SIDE, CELLS = 100, 1500


def counts(
    seed: int, mean: float, spread: float = 0.5, background: float = 0.1, sigma_in_cells: float = 0.0
) -> tuple[NDArray[np.int64], float]:
    """(100, 100) events of a structure of 1,500 cells in bands, and the true coverage."""
    rng = np.random.default_rng(seed)
    structure = np.zeros((SIDE, SIDE), bool)
    structure[5:95:6] = True
    structure &= np.cumsum(structure).reshape(SIDE, SIDE) <= CELLS
    rates = mean * np.exp(spread * rng.standard_normal(CELLS) - spread**2 / 2)
    events = rng.poisson(rates)
    cells = np.repeat(np.argwhere(structure), events, axis=0)
    places = cells + rng.uniform(0, 1, cells.shape) + sigma_in_cells * rng.standard_normal(cells.shape)
    found = np.clip(places.astype(np.int64), 0, SIDE - 1)
    out = rng.poisson(background, (SIDE, SIDE))
    np.add.at(out, (found[:, 0], found[:, 1]), 1)
    return out, float((events > 0).mean())


def estimate(table: NDArray[np.int64], sigma_in_cells: float = 0.001, **more: float) -> Coverage:
    return estimate_coverage(table, field_cells=table.size, sigma_in_cells=sigma_in_cells, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("spread", "background"), [(0.0, 0.0), (0.35, 0.1), (0.7, 0.3), (0.7, 0.0)])
@pytest.mark.parametrize("sigma_in_cells", [0.001, 0.2])
def test_the_estimate_is_near_the_truth_and_its_bound_below(
    spread: float, background: float, sigma_in_cells: float
) -> None:
    mean = 7.0 if spread == 0.7 else 4.0
    misses, over = [], 0
    for seed in range(3):
        table, truth = counts(seed, mean, spread, background, sigma_in_cells)
        seen = estimate(table, sigma_in_cells)
        misses.append(seen.estimate - truth)
        over += seen.lower > truth
    assert over <= 1, misses  # a bound at 95 % may be passed now and then
    assert abs(float(np.mean(misses))) < 0.025
    assert seen.background == pytest.approx(max(background, 1e-3), abs=0.05)


@pytest.mark.parametrize(("mean", "spread"), [(12.0, 0.0), (30.0, 0.5), (60.0, 0.0)])
def test_a_structure_seen_to_the_last_cell_is_known_to_be(mean: float, spread: float) -> None:
    seen = estimate(counts(1, mean, spread)[0])
    assert seen.lower > 0.99 and not seen.trouble and seen.growth == pytest.approx(1.0, abs=1e-3)


def test_without_the_correction_for_scatter_a_structure_looks_less_complete() -> None:
    table, truth = counts(0, 7.0, 0.5, 0.1, 0.2)
    assert estimate(table, 0.001).estimate < truth - 0.03


def test_more_blinks_narrow_the_interval_and_shorten_the_way() -> None:
    early, late = (estimate(counts(1, mean)[0]) for mean in (3.0, 6.0))
    assert early.upper - early.lower > late.upper - late.lower
    assert early.growth > late.growth >= 1.0


def test_more_blinks_in_a_cell_are_harder_to_have() -> None:
    table, _ = counts(2, 6.0)
    shares = [estimate(table, wanted_events=k).estimate for k in (1, 2, 3)]
    assert shares[0] > shares[1] > shares[2]


def test_cells_beyond_the_grid_are_empty_cells_of_the_field() -> None:
    table, _ = counts(3, 5.0)
    padded = np.pad(table, ((0, 0), (0, 50)))
    whole = estimate_coverage(padded, field_cells=table.size + 5000, sigma_in_cells=0.001)
    part = estimate_coverage(table, field_cells=table.size + 5000, sigma_in_cells=0.001)
    assert part.estimate == pytest.approx(whole.estimate, abs=1e-4)
    assert part.background == pytest.approx(whole.background, rel=1e-2)


@pytest.mark.parametrize(
    ("table", "sigma_in_cells", "words"),
    [
        (np.zeros((50, 50), np.int64), 0.2, "0 blinks so far"),
        (np.random.default_rng(0).poisson(0.5, (100, 100)), 0.2, ""),
        (counts(0, 5.0)[0], 0.5, "at most 0.35"),
        (counts(0, 5.0)[0], math.nan, "scatter"),
    ],
)
def test_what_cannot_be_told_is_said_and_never_promises(
    table: NDArray[np.int64], sigma_in_cells: float, words: str
) -> None:
    seen = estimate(table, sigma_in_cells)
    assert words in seen.trouble and seen.lower < 0.9
    if words:
        assert seen.trouble and seen.lower == 0.0 and math.isnan(seen.estimate)


def test_probabilities_are_probabilities() -> None:
    shared = np.array([math.log(0.2), 1.0, math.log(0.7), 0.0, 0.0, 0.0, 0.3])
    spill, scale = np.array([1e-5, 0.3, 2.0]), np.array([0.05, 0.1, 0.2])
    for table in _tables(shared, spill, scale, 0.8, 0.0, 60, 1)[:2]:
        assert table.shape == (3, 61) and (table >= 0).all()
        assert table.sum(axis=1) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("shape", [0.0, 5e-4, 0.7, 1.0])
def test_the_rate_law_is_the_generalised_gamma(shape: float) -> None:
    """At shape 0 the log-normal; at shape = spread the gamma law, whose mean unseen share has a closed form."""
    shared = np.zeros(7)
    shared[1], shared[2], shared[SHAPE] = math.log(4.0), math.log(0.7), shape
    weights, means = _rates(shared)
    unseen = float(weights @ np.exp(-means))
    if shape == 0.7:  # w = log(gamma(1 / Q^2) Q^2) / Q, so the rate is 4 Q^2 gamma(1 / Q^2)
        assert unseen == pytest.approx((1 + 4.0 * 0.49) ** (-1 / 0.49), rel=2e-3)
    if shape < 1e-3:
        z = np.linspace(-8, 8, 4001)
        normal = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
        assert unseen == pytest.approx(float(normal @ np.exp(-4.0 * np.exp(0.7 * z))), rel=2e-3)


def test_the_spill_kernel_is_what_a_gaussian_does() -> None:
    sigma = 0.2
    u = (np.arange(2000) + 0.5) / 2000
    over = float(np.mean(0.5 * (1 - erf((1 - u) / (sigma * math.sqrt(2))))))
    line = np.array([over, 1 - 2 * over, over])
    assert scatter_kernel(sigma) == pytest.approx(np.outer(line, line), abs=2e-5)


def test_a_fit_says_when_it_did_not_arrive() -> None:
    histogram = np.zeros((1, 13))
    histogram[0, [0, 1, 2, 3, 5, 8]] = 5000, 100, 60, 80, 90, 60
    fit = fit_rates(Strata(histogram, np.array([1e-5]), np.array([0.05]), 1.0, 0.0, 0.02))
    assert fit.converged and 300 < fit.structure_cells < 1000 and 0 < fit.unseen < 0.5
