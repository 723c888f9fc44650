"""FRC of filaments against two independent acquisitions of them; its interval, its trend; the density's limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rtdecode.analysis.frc import ring_correlation
from rtdecode.analysis.resolution import resolution
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.physics.judge_scenes import filaments
from rtdecode.physics.localization_scenes import blinking_molecules
from rtdecode.physics.structures import Field

FIELD = Field(4000.0, 4000.0)
N_FRAMES = 20_000


def acquisition(molecules: np.ndarray, blinks: int, seed: int) -> Localizations:
    return blinking_molecules(molecules, blinks, N_FRAMES, seed)


def image(found: Localizations, px_nm: float) -> np.ndarray:
    out = np.zeros((round(4400 / px_nm),) * 2)
    rows, columns = (((v + 200) / px_nm).astype(int) for v in (found.y_nm, found.x_nm))
    inside = (rows >= 0) & (columns >= 0) & (rows < len(out)) & (columns < len(out))
    np.add.at(out, (rows[inside], columns[inside]), 1)
    return out


@pytest.fixture(scope="module")
def molecules() -> np.ndarray:
    return np.asarray(filaments(FIELD, (-300.0, 300.0), seed=3))[::4]  # sparse labels


@pytest.mark.parametrize("seed", [1, 2])
def test_filaments_within_ten_percent_of_two_independent_acquisitions(molecules: np.ndarray, seed: int) -> None:
    blinks = 3 * len(molecules)
    found = resolution(acquisition(molecules, blinks, seed))
    halves = [image(acquisition(molecules, blinks // 2, 100 * seed + k), 5.0) for k in (1, 2)]  # as many as in a half
    truth = ring_correlation(halves[0], halves[1], 5.0).resolution_nm
    assert found.frc_nm is not None and truth is not None
    assert found.frc_nm == pytest.approx(truth, rel=0.1)
    assert found.interval_nm is not None and found.interval_nm[0] < found.frc_nm < found.interval_nm[1]
    assert found.interval_nm[1] / found.interval_nm[0] < 1.4


def test_it_gets_finer_as_blinks_come(molecules: np.ndarray) -> None:
    found = resolution(acquisition(molecules, 3 * len(molecules), 5))
    values = [nm for _, nm in found.trend if nm is not None]
    assert len(found.trend) == 4 and len(values) >= 3 and values[-1] == found.frc_nm < 0.9 * values[0]


def test_the_densitys_limit() -> None:
    rng = np.random.default_rng(1)
    records = np.zeros(40_000, LOCALIZATION_DTYPE)
    records["frame_index"] = np.sort(rng.integers(0, 5000, len(records)))
    records["x_nm"], records["y_nm"] = rng.uniform(0, 4000, (2, len(records)))
    found = resolution(Localizations.from_records(records), px_nm=10.0)
    assert found.nyquist_nm == pytest.approx(2 / math.sqrt(40_000 / 4000**2), rel=0.05)


def test_the_densitys_limit_counts_a_blink_once_and_knows_its_error(molecules: np.ndarray) -> None:
    limits = [resolution(blinking_molecules(molecules, 6000, N_FRAMES, 7, on_frames=n)) for n in (1, 4)]
    one, four = (found.nyquist_nm for found in limits)
    assert one is not None and four == pytest.approx(one, rel=0.05)  # 2 times finer if each frame counted
    interval = limits[0].nyquist_interval_nm
    assert interval is not None and interval[0] < one < interval[1] < 1.3 * interval[0]


def test_short_and_empty_runs_say_what_they_do_not_know(molecules: np.ndarray) -> None:
    assert resolution(Localizations.empty()).frc_nm is None and resolution(Localizations.empty()).nyquist_nm is None
    found = acquisition(molecules, 3000, 1)
    early = found[found.frame_index < 500]
    short = resolution(early)
    assert resolution(early[np.arange(len(early))[::-1]]).as_json() == short.as_json()  # in any order
    assert short.interval_nm is None and short.as_json()["block_frames"] == 100
