"""Drift of simulated tubes against the truth, with a step; what cannot be placed is not made up; files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtdecode.analysis.drift import DriftEstimator, estimate_drift
from rtdecode.core.drift import Drift
from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.physics.localization_scenes import drifting_tubes
from rtdecode.streams.drift_file import read_drift, write_drift

N_FRAMES = 3000


def rms_nm(drift: Drift, truth: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    frames = np.arange(N_FRAMES)
    error = drift.at(frames) - truth(frames)
    return np.asarray(np.sqrt(((error - error.mean(axis=0)) ** 2).mean(axis=0)))


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(("per_frame", "seed"), [(6, 1), (6, 2), (6, 3), (15, 1)])
def test_a_nanometre_a_second_and_a_step_are_followed(per_frame: int, seed: int, live: bool) -> None:
    found, truth = drifting_tubes(N_FRAMES, per_frame, seed)
    drift = estimate_drift(found, looks=0) if live else estimate_drift(found)
    lateral_x, lateral_y, axial = rms_nm(drift, truth)
    assert np.hypot(lateral_x, lateral_y) < 4.0 and axial < 8.0
    assert rms_nm(Drift.none(), truth).min() > 8.0  # there was something to find
    undone = drift.undone(found)
    assert np.std(undone.x_nm - found.x_nm) > 8.0 and undone.frame_index.tolist() == found.frame_index.tolist()


def test_the_stated_errors_are_of_the_right_size() -> None:
    found, truth = drifting_tubes(N_FRAMES, 5, seed=2)
    drift = estimate_drift(found)
    error = drift.shift_nm - truth(drift.frame)
    score = (error - error.mean(axis=0))[1:] / drift.sigma_nm[1:]
    assert np.isfinite(drift.sigma_nm).all() and (score.std(axis=0) > 0.4).all() and (score.std(axis=0) < 2.5).all()


def test_a_second_look_places_sparse_blocks_better_and_leaves_the_origin() -> None:
    found, truth = drifting_tubes(6000, 3, seed=1)
    live, again = estimate_drift(found, looks=0), estimate_drift(found)
    np.testing.assert_array_equal(live.frame, again.frame)
    assert not again.shift_nm[0].any()
    error = [d.shift_nm - truth(d.frame) for d in (live, again)]
    before, after = (np.hypot(*(e - e.mean(axis=0)).std(axis=0)[:2]) for e in error)
    assert after < 0.9 * before


def test_however_it_comes_the_same_drift(tmp_path: Path) -> None:
    found, _ = drifting_tubes(1200, 10, seed=3)
    whole = estimate_drift(found, looks=0)
    parts = DriftEstimator()
    cuts = np.flatnonzero(np.diff(found.frame_index)) + 1  # whole frames
    for rows in np.split(np.arange(len(found)), cuts[::7]):
        parts.add(found[rows])
    np.testing.assert_array_equal(parts.finish().shift_nm, whole.shift_nm)
    write_drift(tmp_path / "drift.csv", whole)
    back = read_drift(tmp_path / "drift.csv")
    np.testing.assert_allclose(back.shift_nm, whole.shift_nm, atol=1e-3)
    np.testing.assert_allclose(back.at([0, 555, 9999]), whole.at([0, 555, 9999]), atol=2e-3)


def test_2d_localizations_have_no_drift_in_z() -> None:
    found, truth = drifting_tubes(N_FRAMES, 8, seed=4)
    records = found.records()
    records["z_nm"] = records["sigma_z_nm"] = 0
    flat = Localizations.from_records(records)
    drift = estimate_drift(flat)
    assert np.hypot(*rms_nm(drift, truth)[:2]) < 4.0
    assert not drift.shift_nm[:, 2].any() and drift.undone(flat).is_2d


def test_scattered_points_have_no_mode_and_nothing_is_made_up() -> None:
    rng = np.random.default_rng(5)
    records = np.zeros(20_000, LOCALIZATION_DTYPE)
    records["frame_index"] = np.sort(rng.integers(0, 2000, len(records)))
    for name in ("x_nm", "y_nm"):
        records[name] = rng.uniform(0, 6400, len(records))
    records["z_nm"] = rng.uniform(-500, 500, len(records))
    drift = estimate_drift(Localizations.from_records(records))
    assert np.isinf(drift.sigma_nm[1:]).mean() > 0.8  # said to be unknown
    assert np.abs(drift.shift_nm).max() < 60


def test_nothing_and_too_little() -> None:
    assert len(estimate_drift(Localizations.empty())) == 0
    assert Drift.none().range_nm == (0, 0, 0) and not Drift.none().at([3]).any()
    found, _ = drifting_tubes(100, 1, seed=6)
    assert len(estimate_drift(found)) == 0 and len(Drift.none().undone(found)) == len(found)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "drift.csv"
    path.write_text("frame,dx_nm\n1,2\n")
    with pytest.raises(FileFormatError, match=r"drift\.csv.*dy_nm"):
        read_drift(path)
    path.write_text("frame,dx_nm,dy_nm,dz_nm,sigma_x_nm,sigma_y_nm,sigma_z_nm\n5,1,1,1,1,1,1\n4,1,1,1,1,1,1\n")
    with pytest.raises(FileFormatError, match="must ascend"):
        read_drift(path)
