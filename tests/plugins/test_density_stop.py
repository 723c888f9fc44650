"""The coverage policy: stops when the truth is there, not before, says why not, the same however it is asked."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_kit import found, frame_by_frame, in_chunks, policy

from rtdecode.core.actions import Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from stopping_scenes import Movie, Scene, film

FRAMES, FIELD_UM2 = 5000, (80 * 0.04) ** 2
SCENE = {"field_cells": 80, "structure_cells": 1000, "rate": 2e-3}


@cache
def movie(spread: float = 0.35, background: float = 0.2, seed: int = 3, **more: Any) -> Movie:
    return film(Scene(spread, background, **(SCENE | more)), FRAMES, seed)


def density_stop(**fields: Any) -> Any:
    return policy("density_stop.py:DensityStop", first_look=500, event_frames=20, **fields)


def test_stops_once_when_the_structure_has_been_seen() -> None:
    watched = density_stop()
    ((frame, stop),) = frame_by_frame(watched, movie().localizations, FRAMES, FIELD_UM2)
    assert isinstance(stop, Stop) and f"by frame {frame}" in stop.reason and "95% asked for" in stop.reason
    assert movie().coverage(frame) >= 0.95
    assert movie().oracle(0.95) < frame < 2.5 * movie().oracle(0.95)


def test_the_estimate_is_told_with_its_interval() -> None:
    watched = density_stop()
    assert "still to come" in watched.state()["verdict"]
    in_chunks(watched, movie().localizations, [1500, 3000], FIELD_UM2)
    state = watched.state()
    assert state["lower"] < state["coverage"] < state["upper"]
    assert state["lower"] - 0.02 < movie().coverage(state["frames"]) < state["upper"] + 0.02
    assert 800 < state["structure_cells"] < 1300
    assert state["target_at_frame"] >= state["frames"]


def test_a_higher_target_takes_longer() -> None:
    stops = {}
    for target in (0.8, 0.95):
        ((stops[target], _),) = frame_by_frame(density_stop(target=target), movie().localizations, FRAMES, FIELD_UM2)
    assert stops[0.8] < stops[0.95]


def test_a_structure_that_bleached_half_seen_is_never_called_complete() -> None:
    half = movie(bleach_frames=400.0)
    assert half.coverage(FRAMES) < 0.9
    watched = density_stop()
    assert in_chunks(watched, half.localizations, range(250, FRAMES + 1, 250), FIELD_UM2) == []
    assert watched.state()["verdict"] != "enough"


@pytest.mark.parametrize(
    ("seed_of", "words"),
    [("nothing", "0 blinks so far"), ("background", ""), ("coarse", "scatter by")],
)
def test_where_it_cannot_tell_it_does_not_stop(seed_of: str, words: str) -> None:
    rng = np.random.default_rng(0)
    table = movie().localizations
    if seed_of == "nothing":
        table = found([])
    elif seed_of == "background":
        frames = np.sort(rng.integers(0, FRAMES, 8000))
        table = found(frames.tolist(), *rng.uniform(0, 3200, (2, 8000)))
    watched = density_stop(resolution_nm=14.0, max_sigma_nm=50.0) if seed_of == "coarse" else density_stop()
    assert in_chunks(watched, table, range(500, FRAMES + 1, 500), FIELD_UM2) == []
    assert words in watched.state()["verdict"] and watched.state()["verdict"] != "enough"


@pytest.mark.parametrize(
    ("period", "words"),
    [
        (1.0, "% of all frames: this does not blink"),
        (25.0, "it does not blink, or event_frames"),
        (150.0, "by a clock"),
    ],
)
def test_a_pattern_that_does_not_blink_is_never_a_structure_that_was_seen(period: float, words: str) -> None:
    """A static one, found in nine frames of ten; one that is lit again and again; one that is lit slowly."""
    pattern = movie(background=0.05, period=period, structure_cells=200, on_frames=1.0, sites=1)
    watched, said = density_stop(), set()
    for end in range(250, FRAMES + 1, 250):
        rows = pattern.localizations
        rows = rows[int(np.searchsorted(rows.frame_index, end - 250)) : int(np.searchsorted(rows.frame_index, end))]
        assert watched.update(rows, Progress(end, 0, 0, end - 1, FIELD_UM2)) == []
        said.add(watched.state()["verdict"])
    assert "enough" not in said and any(words in verdict for verdict in said)


def test_a_run_that_loses_many_frames_is_not_judged() -> None:
    table = movie().localizations
    lost = frozenset(range(0, FRAMES, 4))
    kept = Localizations.from_records(table.records()[table.frame_index % 4 != 0])
    watched = density_stop()
    assert frame_by_frame(watched, kept, FRAMES, FIELD_UM2, lost) == []
    assert watched.state()["verdict"] == "cannot tell: 25% of the frames are missing"


def test_a_word_that_no_longer_holds_is_taken_back() -> None:
    """After the stop, another structure begins to blink beside the first."""
    first, second = movie().localizations, movie(seed=4).localizations.records().copy()
    watched = density_stop()
    (stop,) = in_chunks(watched, first, range(250, 3001, 250), FIELD_UM2)
    assert isinstance(stop, Stop) and watched.state()["verdict"] == "enough"
    second["x_nm"] += 3200
    late = np.concatenate([first.records()[first.frame_index >= 3000], second[second["frame_index"] >= 3400]])
    late = late[np.argsort(late["frame_index"], kind="stable")]
    progress = Progress(FRAMES, 0, 0, FRAMES - 1, 2 * FIELD_UM2)
    assert watched.update(Localizations.from_records(late), progress) == []
    assert watched.state()["lower"] < 0.95
    assert watched.state()["verdict"] == "not yet (enough was said at frame 2570, and no longer holds)"


@settings(max_examples=4, deadline=None)
@given(cuts=st.lists(st.integers(1, FRAMES - 1), max_size=12))
def test_the_same_localizations_the_same_decision_however_they_come(cuts: list[int]) -> None:
    whole, cut = density_stop(), density_stop()
    expected = in_chunks(whole, movie().localizations, [FRAMES], FIELD_UM2)
    assert in_chunks(cut, movie().localizations, [*sorted(cuts), FRAMES], FIELD_UM2) == expected
    assert cut.state() == whole.state() and len(expected) == 1
