"""Scores by density and by z: hand-made cases, sums that must hold, the rim of the field."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rtdecode.analysis.evaluate import Rules, judge, score_of
from rtdecode.analysis.score_parts import by_density, by_z, local_density_um2
from rtdecode.core.localizations import EMITTER_DTYPE, LOCALIZATION_DTYPE, Emitters, Localizations
from rtdecode.physics.structures import Field

FIELD = Field.of_shape(64, 64, (100.0, 100.0))


def scatter(per_frame: int, n_frames: int, seed: int) -> Emitters:
    rng = np.random.default_rng(seed)
    out = np.zeros(per_frame * n_frames, EMITTER_DTYPE)
    out["frame_index"] = np.repeat(np.arange(n_frames), per_frame)
    for name in ("x_nm", "y_nm"):
        out[name] = rng.uniform(-50, 6350, len(out))
    out["z_nm"], out["photons"] = rng.uniform(-700, 700, len(out)), 5000
    return out


def found_of(emitters: Emitters, sigma_nm: float | np.ndarray, seed: int) -> Localizations:
    rng = np.random.default_rng(seed)
    records = np.zeros(len(emitters), LOCALIZATION_DTYPE)
    records["frame_index"], records["photons"] = emitters["frame_index"], emitters["photons"]
    for name in ("x_nm", "y_nm", "z_nm"):
        records[name] = emitters[name] + rng.normal(0, sigma_nm, len(emitters))
    return Localizations.from_records(records)


def test_a_poisson_field_has_its_density_to_the_rim() -> None:
    emitters = scatter(41, 200, seed=1)  # 1 per um^2
    places = np.column_stack([emitters["x_nm"], emitters["y_nm"], emitters["frame_index"] + 1])  # of the next frame
    density = local_density_um2(places[places[:, 2] < 200], emitters, FIELD)
    assert density.mean() == pytest.approx(1.0, rel=0.03)
    rim = ~FIELD.holds(places[places[:, 2] < 200], -300.0)
    assert density[rim].mean() == pytest.approx(1.0, rel=0.06)
    assert local_density_um2(places[:5], emitters[:0], FIELD).tolist() == [0.0] * 5


def test_parts_add_up_and_crowding_is_seen() -> None:
    emitters = np.concatenate([scatter(4, 100, 2), scatter(80, 60, 3)])
    emitters["frame_index"][400:] += 100
    crowded = emitters["frame_index"] >= 100
    rng = np.random.default_rng(4)
    kept = ~crowded | (rng.random(len(emitters)) < 0.5)  # half of the crowded ones are missed
    answers = found_of(emitters[kept], np.where(crowded[kept], 40.0, 10.0), 5)
    judged = judge(emitters, answers, rules=Rules(field=FIELD))
    rows = by_density(judged, emitters, FIELD)
    assert sum(part.n_emitters for part in rows) == len(emitters)
    assert sum(part.n_matched for part in rows) == len(judged.pairs)
    assert sum(part.n_false for part in rows) == len(judged.localizations) - len(judged.pairs)
    assert rows[0].recall > 0.9 and rows[4].recall < 0.7
    assert rows[0].rmse_lateral_nm < 25 and rows[4].rmse_lateral_nm > 40  # in corners a crowd may look like none
    assert rows[-1].as_dict()["high"] is None


def test_by_z_names_where_it_is_bad() -> None:
    emitters = scatter(5, 400, 6)
    deep = emitters["z_nm"] < -400
    answers = found_of(emitters, np.where(deep, 60.0, 10.0), 7)
    records = answers.records()
    records["z_nm"][deep] += 100
    judged = judge(emitters, Localizations.from_records(records))
    rows = by_z(judged)
    assert [part.low for part in rows] == [-800, -600, -400, -200, 0, 200, 400, 600]
    assert rows[0].mean_error_z_nm == pytest.approx(100, abs=15) and abs(rows[4].mean_error_z_nm) < 2
    assert rows[4].rmse_axial_nm == pytest.approx(10, rel=0.15) and rows[0].rmse_axial_nm > 100
    whole = score_of(judged)
    assert sum(part.n_matched for part in rows) == whole.n_matched


def test_a_false_one_counts_where_it_lies_and_an_empty_part_has_no_number() -> None:
    emitters = scatter(1, 1, 8)
    emitters["x_nm"], emitters["y_nm"], emitters["z_nm"] = 3000, 3000, 50
    records = np.zeros(2, LOCALIZATION_DTYPE)
    records["x_nm"], records["y_nm"], records["z_nm"] = [3010, 3600], 3000, [40, 60]
    judged = judge(emitters, Localizations.from_records(records))
    rows = by_density(judged, emitters)
    assert (rows[0].n_emitters, rows[0].n_false, rows[1].n_false) == (1, 0, 1)
    assert rows[1].precision == 0 and math.isnan(rows[1].recall)
    assert by_z(judge(emitters, Localizations.from_records(records), rules=Rules(dims=2))) == []
