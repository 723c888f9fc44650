"""The arbiter: advice by default, limits held, each wish judged once, a run stopped once."""

from __future__ import annotations

from typing import Any

import pytest

from rtdecode.core.actions import Action, SetProperty, Stop
from rtdecode.core.config import AllowedProperty, ControlConfig
from rtdecode.stages.arbiter import Arbiter, Verdict

LASER = AllowedProperty(device="Laser", property="Power", minimum=0, maximum=50)


class Bench:
    """An arbiter whose events and deeds can be looked at."""

    def __init__(self, control: ControlConfig) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.done: list[Action] = []
        self.arbiter = Arbiter(control, self._record, self.done.append)

    def _record(self, worker: str, kind: str, frame_index: int | None, fields: dict[str, Any]) -> None:
        self.events.append((worker, kind, fields))


def test_without_act_every_wish_is_advice_and_is_written_down() -> None:
    bench = Bench(ControlConfig(allowed=(LASER,)))
    assert bench.arbiter.wish(Stop("dense"), worker="decide") is Verdict.ADVICE
    assert bench.arbiter.wish(SetProperty("Laser", "Power", 10), worker="decide") is Verdict.ADVICE
    assert bench.done == [] and len(bench.events) == 2
    assert bench.events[0][2]["action"] == {"kind": "stop", "reason": "dense"}


@pytest.mark.parametrize(
    ("action", "verdict"),
    [
        (SetProperty("Laser", "Power", 50), Verdict.DONE),
        (SetProperty("Laser", "Power", 50.1), Verdict.REFUSED),
        (SetProperty("Laser", "Power", float("nan")), Verdict.REFUSED),
        (SetProperty("Laser", "Mode", 1), Verdict.REFUSED),
        (SetProperty("Shutter", "Power", 1), Verdict.REFUSED),
        (Stop("enough"), Verdict.DONE),
    ],
)
def test_with_act_only_stop_and_listed_properties_within_limits(action: Action, verdict: Verdict) -> None:
    bench = Bench(ControlConfig(mode="act", allowed=(LASER,)))
    assert bench.arbiter.wish(action, worker="decide") is verdict
    assert bench.done == ([action] if verdict is Verdict.DONE else [])


def test_a_run_is_stopped_once_and_by_its_first_reason() -> None:
    bench = Bench(ControlConfig(mode="act"))
    bench.arbiter.command(Stop("Ctrl-C"), worker="session")
    bench.arbiter.wish(Stop("late"), worker="decide")
    assert bench.done == [Stop("Ctrl-C")] and bench.arbiter.stop_reason == "Ctrl-C"
    assert len(bench.events) == 2


def test_a_person_stops_a_run_that_only_advises() -> None:
    bench = Bench(ControlConfig(mode="advise"))
    bench.arbiter.command(Stop("rtdecode stop"), worker="stop")
    assert bench.done == [Stop("rtdecode stop")]
