"""Decide: single frames in order, wishes that no crash and no reading pattern can change, one bad policy alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.core.actions import Action, SetProperty, Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.stages.decide import DecideStage
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.run_folder import RunFolder


class Counting:
    """Wishes for a laser power whenever ten more localizations have come, and to stop after thirty."""

    def __init__(self) -> None:
        self.count = 0

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        before, self.count = self.count, self.count + len(localizations)
        if self.count >= 30 > before:
            return [Stop("thirty"), SetProperty("Laser", "Power", 0.0)]
        return [SetProperty("Laser", "Power", float(self.count))] if self.count // 10 > before // 10 else []


class Failing:
    """Falls over at frame 3."""

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        if progress.last_frame_index == 3:
            raise ZeroDivisionError("a user's mistake")
        return []


class Watching:
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[int], Progress]] = []

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        self.seen.append((localizations.frame_index.tolist(), progress))
        return []


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run", "model: none\n")
    folder.append_event("acquire", "source", x0_px=0, y0_px=0, width_px=20, height_px=10, binning=1)
    return folder


def write(log: LogWriter, first: int, counts: Sequence[int], fate: Fate = Fate.FITTED) -> None:
    """Commit frames from `first` with so many localizations each."""
    indices = np.arange(first, first + len(counts))
    records = np.zeros(sum(counts), LOCALIZATION_DTYPE)
    records["frame_index"] = np.repeat(indices, counts)
    log.append(make_commits(indices, fate=fate, n_localizations=list(counts)), Localizations.from_records(records))


def run(stage: DecideStage) -> None:
    stage.order(Stop("the log is complete"))
    while stage.step() is not None:
        pass


def test_each_frame_comes_alone_with_the_counts_up_to_it(folder: RunFolder) -> None:
    log, policy = LogWriter.open(folder.path), Watching()
    stage = DecideStage(folder, [("w", policy)], (100.0, 200.0), lambda action: None)
    assert stage.step() is False
    write(log, 0, [2, 0])
    write(log, 2, [0], Fate.LOST_IN_RING)
    write(log, 3, [1])
    run(stage)
    assert [indices for indices, _ in policy.seen] == [[0, 0], [], [], [3]]
    last = policy.seen[-1][1]
    assert (last.frames_fitted, last.frames_lost, last.last_frame_index) == (3, 1, 3)
    assert last.field_um2 == pytest.approx(2.0 * 2.0)  # 20 px of 100 nm by 10 px of 200 nm


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=5),
    crash=st.integers(0, 5),
)
def test_wishes_do_not_depend_on_how_the_log_came_nor_on_a_crash(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], cuts: list[int], crash: int
) -> None:
    folder = RunFolder.create(tmp_path_factory.mktemp("d") / "run", "model: none\n")
    folder.append_event("acquire", "source", x0_px=0, y0_px=0, width_px=20, height_px=10, binning=1)
    log, wishes = LogWriter.open(folder.path), list[Action]()
    stage = DecideStage(folder, [("c", Counting())], (100.0, 100.0), wishes.append)
    bounds = [0, *sorted(min(cut, len(counts)) for cut in cuts), len(counts)]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        write(log, start, counts[start:stop])
        stage.step()
        if number == crash:
            wishes.clear()  # the session counts: a new decide begins at the first wish again
            stage = DecideStage(folder, [("c", Counting())], (100.0, 100.0), wishes.append)
    run(stage)
    whole = list[Action]()
    run(DecideStage(folder, [("c", Counting())], (100.0, 100.0), whole.append))
    assert wishes == whole
    told = [event for event in folder.read_events() if event["kind"] == "decision"]
    assert len(told) == len(whole)  # each decision stands in the events once


def test_a_policy_that_raises_is_told_of_once_and_the_others_go_on(folder: RunFolder) -> None:
    log, wishes = LogWriter.open(folder.path), list[Action]()
    policies = [("f", Failing()), ("c", Counting())]
    stage = DecideStage(folder, policies, (100.0, 100.0), wishes.append)
    write(log, 0, [10] * 6)
    run(stage)
    run(DecideStage(folder, [("f", Failing()), ("c", Counting())], (100.0, 100.0), lambda action: None))
    errors = [event for event in folder.read_events() if event["kind"] == "policy_error"]
    assert len(errors) == 1 and errors[0]["frame_index"] == 3 and "a user's mistake" in errors[0]["reason"]
    assert stage.status()["policies"] == {"f": "failed", "c": "running"}
    assert Stop("thirty (c, frame 2)") in wishes and len(wishes) > 3


def test_what_is_no_action_ends_that_policy(folder: RunFolder) -> None:
    class Shouting:
        def update(self, localizations: Localizations, progress: Progress) -> Sequence[str]:
            return ["stop!"]

    log = LogWriter.open(folder.path)
    stage = DecideStage(folder, [("s", Shouting())], (100.0, 100.0), lambda action: None)  # type: ignore[list-item]
    write(log, 0, [1])
    run(stage)
    assert "not 'stop!'" in str(folder.read_events()[-1]["reason"])


class Speaking:
    """Counts frames and says so; falls over its own words at `bad`."""

    def __init__(self, bad: int | None = None) -> None:
        self.frames, self.bad = 0, bad

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        self.frames = progress.frames_fitted
        return [Stop("both")] if self.frames == 150 else []

    def state(self) -> dict[str, float | str]:
        if self.bad is not None and self.frames > self.bad:
            raise ValueError("no words")
        return {"hundreds": np.float64(self.frames // 100), "half": float("nan"), "word": "x" * 1000}


def of_kind(folder: RunFolder, kind: str) -> list[tuple[int, object]]:
    field = {"state": "state", "decision": "action", "policy_error": "reason"}[kind]
    return [(event["frame_index"], event[field]) for event in folder.read_events() if event["kind"] == kind]


def test_how_a_policy_stands_is_written_when_it_changes_and_not_often(folder: RunFolder) -> None:
    write(LogWriter.open(folder.path), 0, [0] * 450)
    for _ in range(2):  # a restarted stage says nothing twice
        run(DecideStage(folder, [("s", Speaking())], (100.0, 100.0), lambda action: None))
    said = of_kind(folder, "state")
    assert [(frame, state["hundreds"]) for frame, state in said] == [(0, 0), (100, 1), (249, 2), (349, 3), (449, 4)]  # type: ignore[index]
    assert said[0][1]["half"] == "nan" and len(said[0][1]["word"]) == 200  # type: ignore[index]


def test_the_last_state_is_written_when_the_log_ends(folder: RunFolder) -> None:
    write(LogWriter.open(folder.path), 0, [0] * 101)
    council_end = DecideStage(folder, [("s", Speaking())], (100.0, 100.0), lambda action: None)
    run(council_end)
    assert [frame for frame, _ in of_kind(folder, "state")] == [0, 100]


def test_a_state_that_fails_ends_the_policy_but_not_what_it_decided(folder: RunFolder) -> None:
    write(LogWriter.open(folder.path), 0, [0] * 300)
    wishes = list[Action]()
    run(DecideStage(folder, [("s", Speaking(bad=140)), ("c", Counting())], (100.0, 100.0), wishes.append))
    assert wishes == [Stop("both (s, frame 149)")]
    ((frame, reason),) = of_kind(folder, "policy_error")
    assert frame == 149 and "no words" in str(reason)
    assert [frame for frame, _ in of_kind(folder, "decision")] == [149]


@pytest.mark.parametrize("state", [["a list"], {str(n): n for n in range(33)}, "words"])
def test_a_state_of_another_shape_ends_the_policy(folder: RunFolder, state: object) -> None:
    class Odd(Watching):
        def state(self) -> object:
            return state

    write(LogWriter.open(folder.path), 0, [0])
    run(DecideStage(folder, [("o", Odd())], (100.0, 100.0), lambda action: None))
    assert "at most 32 numbers and words" in str(of_kind(folder, "policy_error")[0][1])
