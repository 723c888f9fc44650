"""Blinks put together again, against the truth: how many, which, where, how bright, how sure."""

from __future__ import annotations

import numpy as np
import pytest

from rtdecode.analysis.grouping import grouped
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.physics.localization_scenes import blinking_field


def blinks(
    n: int, n_frames: int, side_nm: float, seed: int, dark_share: float = 0.0
) -> tuple[Localizations, np.ndarray]:
    """Localizations by frame, and the blink (0..n-1) of each; `dark_share` of those inside a blink are missed."""
    rng = np.random.default_rng(seed)
    start, length = rng.integers(0, n_frames, n), rng.geometric(0.4, n)
    place = np.column_stack([rng.uniform(0, side_nm, (n, 2)), rng.uniform(-400, 400, n)])
    who = np.repeat(np.arange(n), length)
    into = np.arange(len(who)) - np.repeat(np.cumsum(length) - length, length)
    inside = (into > 0) & (into < length[who] - 1)
    seen = ~(inside & (rng.random(len(who)) < dark_share)) | (np.roll(inside, 1) & ~inside)
    who, frame = who[seen], (start[who] + into)[seen]
    order = np.argsort(frame, kind="stable")
    who, frame = who[order], frame[order]
    sigma = rng.uniform(8, 25, len(who))
    records = np.zeros(len(who), LOCALIZATION_DTYPE)
    records["frame_index"] = frame
    for axis, name in enumerate(("x_nm", "y_nm", "z_nm")):
        records[name] = place[who, axis] + rng.normal(0, sigma) * (2 if axis == 2 else 1)
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma
    records["sigma_z_nm"], records["photons"], records["background"] = 2 * sigma, 1000, 50
    records["sigma_photons"], records["probability"] = 30, 0.9
    return Localizations.from_records(records), who


def pure_share(group: np.ndarray, who: np.ndarray) -> float:
    """Share of the groups whose members are one blink's."""
    order = np.argsort(group, kind="stable")
    parts = np.split(who[order], np.cumsum(np.bincount(group))[:-1])
    return float(np.mean([len(np.unique(part)) == 1 for part in parts]))


@pytest.mark.parametrize(("dark", "share"), [(0, 0.0), (1, 0.0), (1, 0.1)])
def test_the_count_of_blinks_is_right_within_three_percent(dark: int, share: float) -> None:
    found, who = blinks(5000, 4000, 15_000, seed=1, dark_share=share)
    groups = grouped(found, dark_frames=dark)
    assert len(groups) == pytest.approx(5000, rel=0.03)
    assert pure_share(groups.group, who) > 0.995
    assert groups.n_localizations.sum() == len(found)


@pytest.mark.parametrize(("density_um2", "pure"), [(0.2, 0.995), (1.0, 0.985), (4.0, 0.95)])
def test_emitters_of_the_simulator_with_dim_first_and_last_frames(density_um2: float, pure: float) -> None:
    found, blink = blinking_field(400, density_um2, seed=1)
    groups = grouped(found)
    assert len(groups) == pytest.approx(blink.max() + 1, rel=0.025)
    assert pure_share(groups.group, blink) > pure
    assert pure_share(blink, groups.group) > 0.97  # blinks that are in one piece


def test_where_how_bright_and_how_sure() -> None:
    found, _ = blinks(2000, 1500, 15_000, seed=2)
    groups = grouped(found)
    for number in (0, 7, 100, len(groups) - 1):
        mine = found[groups.group == number]
        weight = 1 / mine.sigma_x_nm.astype(float) ** 2
        one = groups.localizations[slice(number, number + 1)]
        assert float(one.x_nm[0]) == pytest.approx((weight * mine.x_nm).sum() / weight.sum(), abs=0.01)
        assert float(one.sigma_x_nm[0]) == pytest.approx(weight.sum() ** -0.5, rel=1e-5)
        assert float(one.photons[0]) == 1000 * len(mine) and float(one.background[0]) == pytest.approx(50)
        assert float(one.sigma_photons[0]) == pytest.approx(30 * len(mine) ** 0.5, rel=1e-5)
        assert (one.frame_index[0], groups.last_frame[number]) == (mine.frame_index.min(), mine.frame_index.max())
        assert groups.on_frames[number] == np.ptp(mine.frame_index) + 1


def test_grouped_errors_are_as_stated() -> None:
    rng = np.random.default_rng(3)
    records = np.zeros(4 * 3000, LOCALIZATION_DTYPE)
    records["frame_index"] = np.repeat(np.arange(4), 3000)
    home = np.tile(np.arange(3000) * 500.0, 4)
    sigma = rng.uniform(5, 20, len(records))
    records["x_nm"], records["y_nm"] = home + rng.normal(0, sigma), rng.normal(0, sigma)
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma
    groups = grouped(Localizations.from_records(records), radius_nm=150)
    assert len(groups) == 3000
    error = np.sort(groups.localizations.x_nm.astype(float)) - np.arange(3000) * 500.0
    order = np.argsort(groups.localizations.x_nm)
    assert np.var(error / groups.localizations.sigma_x_nm[order]) == pytest.approx(1, abs=0.08)


def test_the_closest_pair_goes_first_and_two_of_a_frame_never_become_one() -> None:
    records = np.zeros(4, LOCALIZATION_DTYPE)
    records["frame_index"], records["x_nm"] = [0, 0, 1, 1], [0.0, 30.0, 25.0, 40.0]
    records["sigma_x_nm"] = records["sigma_y_nm"] = 10
    groups = grouped(Localizations.from_records(records), radius_nm=50)
    assert len(groups) == 2 and groups.group[1] == groups.group[2] and groups.group[0] == groups.group[3]


@pytest.mark.parametrize(("dark", "count"), [(0, 3), (1, 2), (2, 1)])
def test_dark_frames_are_counted(dark: int, count: int) -> None:
    records = np.zeros(3, LOCALIZATION_DTYPE)
    records["frame_index"] = [0, 2, 5]
    records["sigma_x_nm"] = records["sigma_y_nm"] = 10
    assert len(grouped(Localizations.from_records(records), dark_frames=dark)) == count


def test_one_above_the_other_are_two() -> None:
    records = np.zeros(2, LOCALIZATION_DTYPE)
    records["frame_index"], records["z_nm"] = [0, 1], [-200, 200]
    records["sigma_x_nm"] = records["sigma_y_nm"] = 10
    records["sigma_z_nm"] = 20
    assert len(grouped(Localizations.from_records(records))) == 2
    records["sigma_z_nm"] = 0  # a 2D model's
    assert len(grouped(Localizations.from_records(records))) == 1


def test_nothing_and_disorder() -> None:
    assert len(grouped(Localizations.empty())) == 0
    records = np.zeros(2, LOCALIZATION_DTYPE)
    records["frame_index"] = [5, 4]
    with pytest.raises(ValueError, match="ascend"):
        grouped(Localizations.from_records(records))
