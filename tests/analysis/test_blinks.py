"""Localizations to blinks in cells: frames in a row are one, the same molecule again is not two, any chunking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.analysis.blinks import BlinkCounter
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations


def found(rows: list[tuple[int, float, float]], sigma_nm: float = 5.0) -> Localizations:
    """(frame, x, y) rows as localizations."""
    records = np.zeros(len(rows), LOCALIZATION_DTYPE)
    for k, (frame, x_nm, y_nm) in enumerate(rows):
        records[k]["frame_index"], records[k]["x_nm"], records[k]["y_nm"] = frame, x_nm, y_nm
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma_nm
    return Localizations.from_records(records)


def counted(rows: list[tuple[int, float, float]], sigma_nm: float = 5.0) -> BlinkCounter:
    blinks = BlinkCounter(40.0, event_frames=50)
    blinks.add(found(rows, sigma_nm))
    blinks.close_before(10_000)
    return blinks


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([5], 1),
        ([5, 6, 7], 1),
        ([5, 8], 1),  # two frames missing
        ([5, 6, 7, 20], 1),  # dark for a moment: the same molecule
        ([5, 6, 7, 60], 2),  # 50 frames after its beginning it counts again
        (list(range(5, 45)), 1),  # on for long
    ],
)
def test_one_molecule_at_one_place(frames: list[int], expected: int) -> None:
    assert counted([(frame, 100.0, 60.0) for frame in frames]).counts.sum() == expected


def test_two_places_in_the_same_frames_are_two_blinks() -> None:
    blinks = counted([(5, 100.0, 60.0), (5, 300.0, 60.0), (6, 101.0, 61.0), (6, 299.0, 60.0)])
    assert np.argwhere(blinks.counts).tolist() == [[5, 6], [5, 11]]  # cells of 40 nm, four of them left of 0


def test_a_blink_over_a_border_counts_once_where_its_mean_lies() -> None:
    blinks = counted([(5, 118.0, 60.0), (6, 123.0, 60.0), (7, 124.0, 60.0)])
    assert np.argwhere(blinks.counts).tolist() == [[5, 7]]
    assert blinks.scatter_nm == pytest.approx(5.0 / np.sqrt(3))


def test_nothing_of_an_open_blink_is_counted_yet() -> None:
    blinks = BlinkCounter(40.0)
    blinks.add(found([(5, 100.0, 60.0)]))
    assert blinks.counts.sum() == 0
    blinks.close_before(8)  # frame 8 could still belong to it
    assert blinks.counts.sum() == 0
    blinks.close_before(9)
    assert blinks.counts.sum() == 1


def test_what_has_no_place_is_left_out() -> None:
    rows = [(1, np.nan, 0.0), (2, 0.0, np.inf), (3, 1e12, 0.0), (4, -1e6, 0.0), (5, -20.0, -20.0)]
    assert counted(rows).counts.sum() == 1  # half a pixel left of 0 belongs to the field
    assert counted(rows, sigma_nm=np.nan).counts.sum() == 0
    assert counted([], sigma_nm=1.0).counts.sum() == 0


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 120), max_size=8),
    looks=st.lists(st.integers(0, 120), max_size=3),
)
def test_counts_do_not_depend_on_how_localizations_were_handed_over(
    seed: int, cuts: list[int], looks: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    frames = np.sort(rng.integers(0, 120, 300))
    places = rng.choice([50.0, 95.0, 130.0, 900.0], (300, 2)) + rng.normal(0, 6, (300, 2))
    whole = found([(int(f), float(x), float(y)) for f, (x, y) in zip(frames, places, strict=True)], 6.0)
    one, many = BlinkCounter(40.0, event_frames=20), BlinkCounter(40.0, event_frames=20)
    one.add(whole)
    start = 0
    for frame in sorted([*cuts, *looks, 121]):
        stop = int(np.searchsorted(frames, frame))
        many.add(whole[start:stop])
        if frame in looks:
            many.close_before(frame)
        start = stop
    one.close_before(1000)
    many.close_before(1000)
    rows, columns = (min(a, b) for a, b in zip(one.counts.shape, many.counts.shape, strict=True))
    assert np.array_equal(one.counts[:rows, :columns], many.counts[:rows, :columns])
    assert one.counts.sum() == many.counts.sum() > 0
    assert one.scatter_nm == many.scatter_nm
