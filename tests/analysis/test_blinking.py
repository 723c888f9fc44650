"""Blinks or a pattern: independent events pass whatever their rates, regular and permanent ones do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rtdecode.analysis.blinking import dispersion, not_blinking
from rtdecode.analysis.coverage import Coverage, contradiction

FRAMES, EVENT_FRAMES = 10_000, 100


@pytest.mark.parametrize("spread", [0.0, 1.2])
def test_independent_events_have_a_dispersion_of_one_whatever_their_rates(spread: float) -> None:
    rng = np.random.default_rng(0)
    rates = 6 * np.exp(spread * rng.standard_normal((64, 64)))
    early, late = rng.poisson(0.6 * rates), rng.poisson(0.4 * rates)
    whole = np.pad(early + late, ((0, 8), (0, 0)))  # the grid has grown since
    found = dispersion(whole, early)
    assert found is not None and 0.8 < found < 1.2  # a few hundred busy cells: 0.07 of chance
    assert not_blinking(whole, early, 3 * whole, frames=FRAMES, event_frames=EVENT_FRAMES) == ""
    with_beads = 3 * whole
    with_beads[:4, :4] = FRAMES  # lit for ever
    assert not_blinking(whole, early, with_beads, frames=FRAMES, event_frames=EVENT_FRAMES) == ""


def test_regular_frequent_and_permanent_ones_are_told_apart() -> None:
    used = {"frames": FRAMES, "event_frames": EVENT_FRAMES}
    clock = np.full((20, 20), 10)
    assert dispersion(clock, clock // 2) == 0.0
    assert "as by a clock" in not_blinking(clock, clock // 2, 3 * clock, **used)
    assert "hit 50% of the times" in not_blinking(5 * clock, 3 * clock, 15 * clock, **used)
    assert "lit in 25% of all frames" in not_blinking(clock, clock // 2, 250 * clock, **used)
    assert "50 are needed" in not_blinking(clock[:2], clock[:2] // 2, 3 * clock[:2], **used)
    assert dispersion(clock, np.zeros((20, 20), int)) is None


def test_two_looks_that_contradict_each_other() -> None:
    before = Coverage(0.96, 0.95, 0.97, 1700.0, 0.01, 0.4, 1.0)
    assert contradiction(replace(before, structure_cells=1900.0), before) == ""
    assert contradiction(replace(before, structure_cells=1330.0), before) == ""  # as random cells of seed 37, rightly
    assert "from 1700 to 4895 cells" in contradiction(replace(before, structure_cells=4895.0), before)
    assert "from 1700 to 900 cells" in contradiction(replace(before, structure_cells=900.0), before)
    assert "spread by 2.10" in contradiction(replace(before, spread=2.1), before)
    assert contradiction(before, Coverage.unknown("the first look is still to come")) == ""
