"""FRC of filaments against two independent acquisitions of them; its interval, its trend; the density's limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rtdecode.analysis.frc import ring_correlation
from rtdecode.analysis.resolution import resolution
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.physics.judge_scenes import filaments
from rtdecode.physics.structures import Field

FIELD = Field(4000.0, 4000.0)
N_FRAMES = 20_000


def acquisition(
    molecules: np.ndarray, blinks: int, seed: int, on_frames: int = 3, sigma_nm: float = 10.0
) -> Localizations:
    """Blinks of some frames in a row at random molecules and times; every frame is localized anew."""
    rng = np.random.default_rng(seed)
    who, start = rng.integers(0, len(molecules), blinks), rng.integers(0, N_FRAMES, blinks)
    frame = (start[:, None] + np.arange(on_frames)).ravel()
    place = np.repeat(molecules[who, :2], on_frames, axis=0) + rng.normal(0, sigma_nm, (len(frame), 2))
    records = np.zeros(len(frame), LOCALIZATION_DTYPE)
    records["frame_index"], records["x_nm"], records["y_nm"] = frame, place[:, 0], place[:, 1]
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma_nm
    return Localizations.from_records(np.sort(records, order="frame_index"))


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


def test_short_and_empty_runs_say_what_they_do_not_know(molecules: np.ndarray) -> None:
    assert resolution(Localizations.empty()).frc_nm is None
    found = acquisition(molecules, 3000, 1)
    short = resolution(found[found.frame_index < 500])
    assert short.interval_nm is None and short.as_json()["block_frames"] == 100
