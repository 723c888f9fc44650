"""The evaluator on hand-made cases and on properties that any evaluator must have."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from rtdecode.analysis.evaluate import Rules, efficiency, judge, score
from rtdecode.analysis.match import Method, match
from rtdecode.core.localizations import EMITTER_DTYPE, LOCALIZATION_DTYPE, Emitters, Localizations
from rtdecode.physics.structures import Field

BOTH: tuple[Method, Method] = ("optimal", "greedy")


def truth(*rows: tuple[float, ...]) -> Emitters:
    """(frame, x, y, z, photons) rows; photons may be left out."""
    return np.array([tuple(row) + (5000.0,) * (5 - len(row)) for row in rows], EMITTER_DTYPE)


def found(*rows: tuple[float, ...]) -> Localizations:
    """(frame, x, y, z, photons) rows with sigmas of 10 nm and 100 photons."""
    records = np.zeros(len(rows), LOCALIZATION_DTYPE)
    for record, row in zip(records, rows, strict=True):
        record["frame_index"], record["x_nm"], record["y_nm"], record["z_nm"] = row[:4]
        record["photons"] = row[4] if len(row) > 4 else 5000.0
    for name in ("sigma_x_nm", "sigma_y_nm", "sigma_z_nm"):
        records[name] = 10.0
    records["sigma_photons"] = 100.0
    return Localizations.from_records(records)


def as_found(emitters: Emitters, shift: tuple[float, float, float] = (0, 0, 0)) -> Localizations:
    return found(*[(e[0], e[1] + shift[0], e[2] + shift[1], e[3] + shift[2], e[4]) for e in emitters.tolist()])


def random_emitters(n: int, frames: int, seed: int) -> Emitters:
    rng = np.random.default_rng(seed)
    out = np.zeros(n, EMITTER_DTYPE)
    out["frame_index"] = np.sort(rng.integers(0, frames, n))
    for name, high in (("x_nm", 2000), ("y_nm", 2000), ("z_nm", 700)):
        out[name] = rng.uniform(-100 if name != "z_nm" else -700, high, n)
    out["photons"] = rng.uniform(150, 9000, n)
    return out


def test_golden_efficiencies() -> None:
    assert efficiency(0.8, 30, 1.0) == pytest.approx(0.63944, abs=5e-6)
    assert efficiency(0.8, 50, 0.5) == pytest.approx(0.67984, abs=5e-6)


@pytest.mark.parametrize("method", BOTH)
def test_hand_made_case(method: Method) -> None:
    emitters = truth((0, 100, 200, 0), (0, 900, 900, 100), (2, 500, 500, -100), (3, 0, 0, 0))
    localizations = found(
        (0, 130, 240, -30, 5500),  # 50 nm beside
        (0, 900, 900, 150, 5000),  # 50 nm too high
        (1, 500, 500, -100),  # right place, wrong frame
        (2, 500, 760, -100),  # 260 nm beside
    )
    result = score(emitters, localizations, frames=range(5), rules=Rules(method=method))
    assert (result.n_emitters, result.n_localizations, result.n_matched, result.n_frames) == (4, 4, 2, 5)
    assert result.jaccard == pytest.approx(2 / 6)
    assert result.precision == pytest.approx(0.5)
    assert result.recall == pytest.approx(0.5)
    assert result.rmse_lateral_nm == pytest.approx(np.sqrt(2500 / 2))
    assert result.rmse_axial_nm == pytest.approx(np.sqrt((900 + 2500) / 2))
    assert result.efficiency_lateral == pytest.approx(1 - np.hypot(4 / 6, result.rmse_lateral_nm / 100))
    assert result.efficiency_axial == pytest.approx(1 - np.hypot(4 / 6, result.rmse_axial_nm / 200))
    assert result.efficiency_3d == pytest.approx((result.efficiency_lateral + result.efficiency_axial) / 2)
    assert (result.mean_error_x_nm, result.mean_error_y_nm, result.mean_error_z_nm) == (15, 20, 10)
    assert result.z_score_variance_x == pytest.approx(1.5**2)
    assert result.z_score_variance_z == pytest.approx(4.0**2)
    assert result.z_score_variance_photons == pytest.approx(2.5**2)
    assert result.photon_ratio == pytest.approx(1.05)


@pytest.mark.parametrize("method", BOTH)
def test_tolerances_include_their_limits(method: Method) -> None:
    emitters = truth((0, 0, 0, 0))
    for shift, pairs in (((150, 200, 500), 1), ((150, 200.1, 0), 0), ((0, 0, -500.1), 0), ((0, -250, -500), 1)):
        assert len(match(emitters, as_found(emitters, shift), method=method)) == pairs, shift


def test_optimal_finds_two_pairs_where_greedy_takes_the_closest_and_loses_one() -> None:
    emitters, localizations = truth((0, 0, 0, 0), (0, 200, 0, 0)), found((0, 110, 0, 0), (0, 440, 0, 0))
    assert match(emitters, localizations, method="greedy").tolist() == [[1, 0]]
    assert match(emitters, localizations, method="optimal").tolist() == [[0, 0], [1, 1]]


def test_z_takes_part_in_the_distance_unless_told_otherwise() -> None:
    emitters = truth((0, 0, 0, 0))
    localizations = found((0, 50, 0, 300), (0, 100, 0, 0))
    assert match(emitters, localizations).tolist() == [[0, 1]]
    assert match(emitters, localizations, dims=2).tolist() == [[0, 0]]


def test_in_2d_z_is_neither_matched_nor_judged() -> None:
    emitters, answers = truth((0, 0, 0, -600), (1, 500, 0, 0)), found((0, 30, 40, 700), (1, 500, 0, np.nan))
    assert len(match(emitters, answers)) == 0
    result = score(emitters, answers, rules=Rules(dims=2))
    assert result.jaccard == 1 and result.rmse_lateral_nm == pytest.approx(50 / np.sqrt(2))
    assert result.efficiency_lateral == pytest.approx(1 - 0.5 / np.sqrt(2))
    plain = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    of_z = ("rmse_axial_nm", "efficiency_axial", "efficiency_3d", "mean_error_z_nm", "z_score_variance_z")
    assert {name for name, value in plain.items() if value is None} == set(of_z)


def test_dim_emitters_are_neither_missed_nor_make_their_localizations_false() -> None:
    emitters = truth((0, 100, 100, 0, 5000), (0, 1000, 1000, 0, 60), (1, 500, 500, 0, 60))
    localizations = found((0, 100, 100, 0), (0, 1010, 1000, 0), (0, 1500, 200, 0))
    result = score(emitters, localizations)
    assert (result.n_emitters, result.n_localizations, result.n_matched) == (1, 2, 1)
    assert result.precision == pytest.approx(0.5)  # the one at (1500, 200) is still false


def test_a_dim_emitter_does_not_take_the_localization_of_a_bright_one() -> None:
    emitters = truth((0, 100, 0, 0, 50), (0, 0, 0, 0, 5000))
    result = score(emitters, found((0, 90, 0, 0)))
    assert (result.n_emitters, result.n_localizations, result.n_matched) == (1, 1, 1)
    assert result.rmse_lateral_nm == pytest.approx(90)


def test_border_and_outside_do_not_count() -> None:
    field = Field.of_shape(20, 20, (100.0, 100.0))  # -50 to 1950 nm
    emitters = truth((0, 1000, 1000, 0), (0, 399, 1000, 0), (0, 1000, 1600, 0), (0, 2100, 1000, 0), (0, 401, 401, 0))
    localizations = found(
        (0, 1000, 1000, 0), (0, 420, 1000, 0), (0, 1500, 1700, 0), (0, 1000, 600, 0), (0, 390, 390, 0)
    )
    result = score(emitters, localizations, rules=Rules(field=field, border_nm=450))
    # left: (1000, 1000) and (401, 401), both found; the false one at (1000, 600) is the only one that counts
    assert (result.n_emitters, result.n_localizations, result.n_matched) == (2, 3, 2)
    inside = score(emitters, localizations, rules=Rules(field=field))
    assert inside.n_emitters == 4  # only the one at 2100 nm is outside


def test_frames_that_were_never_fitted_are_left_out() -> None:
    emitters = truth((0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0))
    result = score(emitters, found((0, 0, 0, 0), (2, 0, 0, 0)), frames=np.array([0, 2, 3]))
    assert (result.recall, result.precision, result.n_frames) == (1.0, 1.0, 3)


def test_nothing_at_all_is_no_number_and_valid_json() -> None:
    result = score(truth(), found())
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["jaccard"] is None
    assert result.n_frames == 0
    only_false = score(truth(), found((3, 0, 0, 0)), frames=range(200))
    assert (only_false.jaccard, only_false.precision, only_false.n_localizations) == (0.0, 0.0, 1)
    assert np.isnan(only_false.recall)
    only_missed = score(truth((3, 0, 0, 0)), found())
    assert (only_missed.jaccard, only_missed.recall) == (0.0, 0.0)


def test_positions_that_are_not_finite_pair_with_nothing() -> None:
    assert len(match(truth((0, 0, 0, 0)), found((0, np.nan, 0, 0), (0, 0, 0, np.inf)))) == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), method=st.sampled_from(BOTH))
def test_perfect_localizations_score_perfectly(seed: int, n: int, method: Method) -> None:
    emitters = random_emitters(n, 3, seed)
    result = score(emitters, as_found(emitters), rules=Rules(method=method))
    assert (result.jaccard, result.precision, result.recall) == (1, 1, 1)
    assert (result.rmse_lateral_nm, result.rmse_axial_nm, result.efficiency_3d) == (0, 0, 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), method=st.sampled_from(BOTH))
def test_order_of_rows_does_not_matter(seed: int, method: Method) -> None:
    rng = np.random.default_rng(seed)
    emitters = random_emitters(50, 2, seed)
    localizations = as_found(random_emitters(40, 2, seed + 1))
    again = score(
        rng.permutation(emitters), localizations[rng.permutation(len(localizations))], rules=Rules(method=method)
    )
    expected = score(emitters, localizations, rules=Rules(method=method)).as_dict()
    for name, value in again.as_dict().items():
        assert value == pytest.approx(expected[name], rel=1e-9), name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), angle=st.floats(0, 6.28), method=st.sampled_from(BOTH))
def test_moved_beyond_the_tolerance_nothing_matches(seed: int, angle: float, method: Method) -> None:
    emitters = truth(*[(k, 500, 500, 0) for k in range(20)])
    far = (260 * np.cos(angle), 260 * np.sin(angle), 0)
    assert score(emitters, as_found(emitters, far), rules=Rules(method=method)).jaccard == 0
    near = score(emitters, as_found(emitters, (far[0] / 2, far[1] / 2, 0)), rules=Rules(method=method))
    assert near.rmse_lateral_nm == pytest.approx(130, rel=1e-4)
    assert near.jaccard == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_optimal_is_the_assignment_of_the_whole_matrix(seed: int) -> None:
    emitters, localizations = random_emitters(30, 1, seed), as_found(random_emitters(30, 1, seed + 7))
    error = np.stack(
        [np.subtract.outer(emitters[n].astype(float), getattr(localizations, n)) for n in ("x_nm", "y_nm", "z_nm")]
    )
    allowed = (np.hypot(error[0], error[1]) <= 250) & (np.abs(error[2]) <= 500)
    distance = np.sqrt((error**2).sum(axis=0))
    rows, columns = linear_sum_assignment(np.where(allowed, distance, 1e6))
    kept = allowed[rows, columns]
    pairs = match(emitters, localizations)
    assert len(pairs) == kept.sum()
    assert distance[tuple(pairs.T)].sum() == pytest.approx(distance[rows, columns][kept].sum())


def test_judge_names_the_pairs_among_what_counts() -> None:
    emitters = truth((0, 0, 0, 0, 50), (0, 1000, 0, 0), (0, 2000, 0, 0))
    judged = judge(emitters, found((0, 5, 0, 0), (0, 2010, 0, 0), (0, 5000, 0, 0)))
    assert judged.found.tolist() == [False, True]
    assert judged.pairs.tolist() == [[1, 0]]
    np.testing.assert_allclose(judged.errors_nm(), [[10, 0, 0]])
