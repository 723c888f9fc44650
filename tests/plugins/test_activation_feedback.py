"""Activation feedback: holds a simulated sample in the band; limits and steps hold whatever comes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_kit import found, policy

from rtdecode.core.actions import Action, SetProperty
from rtdecode.core.contracts import Progress
from rtdecode.core.errors import ConfigError

FIELDS: dict[str, Any] = {
    "device": "Laser405", "property": "Power", "start": 1.0, "minimum": 0.1, "maximum": 50.0, "band": [0.4, 0.6],
    "every_frames": 50, "dry_run": False,
}  # fmt: skip


def feedback(**fields: Any) -> Any:
    return policy("activation_feedback.py:ActivationFeedback", **(FIELDS | fields))


class Sample:
    """Density = gain * power ** answer * what is not bleached; power bleaches."""

    def __init__(self, gain: float, answer: float = 1.0, bleaching: float = 0.0, seed: int = 0) -> None:
        self.power, self.alive, self.gain, self.answer, self.bleaching = 1.0, 1.0, gain, answer, bleaching
        self.rng = np.random.default_rng(seed)

    def density(self) -> float:
        return self.gain * self.power**self.answer * self.alive

    def frame(self, index: int, field_um2: float) -> Any:
        self.alive *= math.exp(-self.bleaching * self.power)
        n = int(self.rng.poisson(self.density() * field_um2))
        places = self.rng.uniform(0, 3000, (2, n))
        return found([index] * n, *places)


def run(control: Any, sample: Sample, frames: int, field_um2: float = 40.0) -> tuple[list[float], list[Action]]:
    """(density of each frame, actions)."""
    seen, said = [], list[Action]()
    for index in range(frames):
        seen.append(sample.density())
        actions = control.update(sample.frame(index, field_um2), Progress(index + 1, 0, 0, index, field_um2))
        for action in actions:
            sample.power = action.value
        said += actions
    return seen, said


@pytest.mark.parametrize("gain", [0.15, 0.5, 4.0])
@pytest.mark.parametrize("answer", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("self_tuning", [True, False])
def test_a_sample_is_brought_into_the_band_and_held_there(gain: float, answer: float, self_tuning: bool) -> None:
    sample = Sample(gain, answer, bleaching=2e-5)
    control = feedback(self_tuning=self_tuning, minimum=0.01, maximum=500.0)
    seen, _ = run(control, sample, 3000)
    late = np.array(seen[1500:])
    assert 0.38 < np.median(late) < 0.62
    assert np.mean((late > 0.3) & (late < 0.8)) > 0.95


def test_a_bleached_sample_ends_at_the_limit_and_says_so() -> None:
    control = feedback(maximum=5.0)
    seen, said = run(control, Sample(0.3, bleaching=2e-3), 3000)
    assert max(action.value for action in said if isinstance(action, SetProperty)) == 5.0
    assert seen[-1] < 0.05 and "below the band, at the property's limit" in control.state()["verdict"]


def test_in_the_band_nothing_is_touched() -> None:
    assert run(feedback(), Sample(0.5), 1000)[1] == []


def test_a_dry_run_sets_nothing_and_tells_what_it_would_have() -> None:
    control = feedback(dry_run=True)
    _, said = run(control, Sample(0.05), 200)
    state = control.state()
    assert said == [] and state["verdict"].startswith("dry run: below the band: set to") and state["property_value"] > 1
    unsaid = {key: value for key, value in FIELDS.items() if key != "dry_run"}
    assert policy("activation_feedback.py:ActivationFeedback", **unsaid).dry_run


def test_the_occupied_area_is_smaller_than_the_field() -> None:
    """All localizations in 0.5 um squares of a quarter of the field: the density counts there."""
    densities = []
    for area in ("field", "occupied"):
        control = feedback(area=area, dry_run=True)
        run(control, Sample(0.5), 200, field_um2=36.0)  # places reach over 9 of the 36 um²
        densities.append(control.state()["density_um2_frame"])
    assert densities[1] == pytest.approx(4 * densities[0], rel=0.4)


def test_lost_windows_change_nothing() -> None:
    control = feedback()
    for index in range(400):
        assert control.update(found([]), Progress(0, 0, index + 1, index, 10.0)) == []
    assert "no frame was fitted" in control.state()["verdict"]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 3000)), min_size=1, max_size=30),
    odd=st.sampled_from([0.0, math.nan, math.inf, -1e30]),
    fields=st.fixed_dictionaries(
        {
            "max_factor": st.floats(1.01, 10), "integral": st.floats(0, 2), "proportional": st.floats(0, 2),
            "self_tuning": st.booleans(), "area": st.sampled_from(["field", "occupied"]),
        }
    ),
)  # fmt: skip
def test_steps_and_limits_hold_whatever_comes(counts: list[int], odd: float, fields: dict[str, Any]) -> None:
    control, value = feedback(every_frames=10, **fields), 1.0
    for window, count in enumerate(counts):
        index = 10 * (window + 1)
        inside = found([index - 10] * count, odd, odd, odd)
        control.update(inside, Progress(index, 0, 0, index - 1, 4.0))
        for action in control.update(found([]), Progress(index + 1, 0, 0, index, 4.0)):
            assert isinstance(action, SetProperty) and (action.device, action.property) == ("Laser405", "Power")
            assert 0.1 <= action.value <= 50.0
            assert 1 / fields["max_factor"] - 1e-9 <= action.value / value <= fields["max_factor"] + 1e-9
            value = action.value


@pytest.mark.parametrize(
    "fields",
    [
        {"start": 0.01},
        {"start": 100.0},
        {"band": [0.5, 0.5]},
        {"band": [0.0, 1.0]},
        {"minimum": 0.0},
        {"max_factor": 1.0},
    ],
)
def test_what_could_not_hold_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        feedback(**fields)
