"""The simple policies: each stops once, for what it is named after, and not for what it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_kit import found, frame_by_frame, in_chunks, policy

from rtdecode.core.actions import Stop
from rtdecode.core.errors import ConfigError


def test_frame_count_counts_fitted_frames() -> None:
    counting = policy("frame_count.py:FrameCount", frames=10)
    ((frame, stop),) = frame_by_frame(counting, found([]), 30, lost=frozenset({2, 3}))
    assert frame == 11 and stop == Stop("10 frames fitted")


def test_structure_density_looks_where_the_structure_is() -> None:
    """A square of 100 nm gets one localization a frame; 1,200 others, spread over the field, do not count."""
    rng = np.random.default_rng(0)
    frames = np.sort(np.concatenate([np.repeat(np.arange(200), 2), rng.integers(0, 200, 1000)]))
    x = rng.uniform(0, 20_000, len(frames))
    inside = np.flatnonzero(np.diff(frames, prepend=-1) > 0)  # the first of each frame
    x[inside] = 1050.0
    y = rng.uniform(0, 20_000, len(frames))
    y[inside] = 1050.0
    watched = policy("structure_density.py:StructureDensity", per_um2=11_900, every_frames=10)
    ((frame, stop),) = frame_by_frame(watched, found(frames.tolist(), x, y), 200, field_um2=400.0)
    assert frame == 120 and "localizations per um² of structure" in stop.reason  # 120 in 0.01 um²
    assert watched.state()["per_um2"] > 11_900


def test_rate_floor_waits_for_a_poor_window_and_judges_none_with_losses() -> None:
    fading = [f for f in range(1000) if f < 500 or f % 10 == 0]
    fields = {"per_um2_frame": 0.2, "frames": 100, "not_before": 300}
    ((frame, stop),) = frame_by_frame(policy("rate_floor.py:RateFloor", **fields), found(fading), 1000)
    assert frame == 600 and "0.1 localizations per um² and frame by frame 600" in stop.reason
    lossy = frozenset(range(520, 580))
    ((later, _),) = frame_by_frame(policy("rate_floor.py:RateFloor", **fields), found(fading), 1000, lost=lossy)
    assert later == 700
    early = policy("rate_floor.py:RateFloor", **(fields | {"not_before": 900}))
    assert frame_by_frame(early, found(fading), 1000)[0][0] == 900


def test_resolution_stops_when_the_halves_agree() -> None:
    rng = np.random.default_rng(1)
    molecules = rng.uniform(0, 2000, (400, 2))
    frames = np.sort(rng.integers(0, 6000, 24_000))
    places = molecules[rng.integers(0, 400, len(frames))] + rng.normal(0, 8, (len(frames), 2))
    table = found(frames.tolist(), places[:, 0], places[:, 1])
    watched = policy("resolution.py:Resolution", nm=40, first_look=400)
    ends = range(200, 6001, 200)
    (stop,) = in_chunks(watched, table, ends)
    assert isinstance(stop, Stop) and "nm asked for" in stop.reason
    assert in_chunks(policy("resolution.py:Resolution", nm=40, first_look=400), table, [6000]) == [stop]
    assert in_chunks(policy("resolution.py:Resolution", nm=15, first_look=400), table, ends) == []
    assert 15 < watched.state()["resolution_nm"] < 40


def test_resolution_says_when_there_is_none() -> None:
    watched = policy("resolution.py:Resolution", nm=40, first_look=200)
    assert in_chunks(watched, found([]), [1000]) == []
    assert "no resolution yet" in watched.state()["verdict"]


def test_short_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match="block_frames"):
        policy("resolution.py:Resolution", nm=40, block_frames=10)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 399), max_size=6), seed=st.integers(0, 99))
def test_structure_density_does_not_depend_on_chunks(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = np.sort(rng.integers(0, 400, 500))
    table = found(frames.tolist(), rng.choice([50.0, 250.0], 500), 30.0)
    fields = {"per_um2": 10_000.0, "every_frames": 30}
    whole, cut = (policy("structure_density.py:StructureDensity", **fields) for _ in range(2))
    assert in_chunks(whole, table, [400]) == in_chunks(cut, table, [*sorted(cuts), 400])
    assert whole.state() == cut.state()
