"""Statistics of honesty on hand-made cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from rtdecode.analysis import honesty
from rtdecode.analysis.evaluate import Judged
from rtdecode.core.localizations import EMITTER_DTYPE, LOCALIZATION_DTYPE, Localizations


def judged_of(error: np.ndarray, sigma: np.ndarray) -> Judged:
    """K pairs with these errors and sigmas (K, 4) of x, y, z, photons; localizations in the reverse order."""
    n = len(error)
    emitters = np.zeros(n, EMITTER_DTYPE)
    emitters["frame_index"], emitters["photons"] = np.arange(n), 1000.0
    records = np.zeros(n, LOCALIZATION_DTYPE)
    for i, name in enumerate(("x_nm", "y_nm", "z_nm", "photons")):
        records[name] = (error[:, i] + (1000.0 if name == "photons" else 0.0))[::-1]
        records[f"sigma_{name}"] = sigma[:, i][::-1]
    records["frame_index"] = emitters["frame_index"][::-1]
    pairs = np.column_stack([np.arange(n), np.arange(n)[::-1]])
    return Judged(emitters, Localizations.from_records(records), pairs, n)


def test_honest_sigmas_and_sigmas_too_small_by_two() -> None:
    rng = np.random.default_rng(1)
    sigma = rng.uniform(5, 50, (4000, 4))
    error = rng.normal(0, sigma)
    error[:, 2] *= 2.0  # z lies
    got = honesty.sigma_calibration(judged_of(error, sigma))
    assert set(got) == {"x", "y", "z", "photons"}
    assert got["x"]["variance"] == pytest.approx(1.0, abs=0.1)
    assert got["photons"]["within_1_sigma"] == pytest.approx(0.683, abs=0.03)
    assert got["y"]["within_2_sigma"] == pytest.approx(0.954, abs=0.015)
    assert got["z"]["variance"] == pytest.approx(4.0, abs=0.4)
    assert got["z"]["within_2_sigma"] == pytest.approx(0.683, abs=0.03)
    assert pytest.approx({"within_1_sigma": 0.6827, "within_2_sigma": 0.9545}, abs=1e-4) == honesty.EXPECTED_INSIDE


def test_sigmas_that_are_not_stated_are_no_zero() -> None:
    got = honesty.sigma_calibration(judged_of(np.ones((3, 4)), np.array([[1.0, 1.0, 0.0, 2.0]] * 3)))
    assert got["z"] == {"variance": None, "within_1_sigma": None, "within_2_sigma": None}
    assert got["photons"]["within_1_sigma"] == 1.0
    assert got["x"]["within_1_sigma"] == 0.0  # |z| = 1 is not within


def test_reliability_by_hand() -> None:
    stated = np.array([0.15, 0.15, 0.95, 0.95, 1.0])
    true = np.array([True, False, True, True, False])
    curve = honesty.reliability(stated, true)
    assert [c["n"] for c in curve] == [2, 3]
    assert [c["true"] for c in curve] == pytest.approx([0.5, 2 / 3])
    assert curve[1]["stated"] == pytest.approx(2.9 / 3)
    assert honesty.calibration_error(curve) == pytest.approx((2 * 0.35 + 3 * 0.3) / 5)
    assert honesty.calibration_error([]) is None


def test_truths_are_those_in_pairs() -> None:
    judged = judged_of(np.zeros((3, 4)), np.ones((3, 4)))
    some = Judged(judged.emitters, judged.localizations, judged.pairs[:1], 3)
    assert honesty.truths(some).tolist() == [False, False, True]


def test_bias_is_found_and_noise_is_not_taken_for_it() -> None:
    rng = np.random.default_rng(2)
    where = rng.uniform(-0.5, 0.5, 20_000)
    edges = np.linspace(-0.5, 0.5, 11)
    noise = rng.normal(0, 10, len(where))
    assert honesty.bias_summary(honesty.bias(noise, where, edges))["rms"] < 0.2
    wave = 3.0 * np.sin(2 * np.pi * where)
    found = honesty.bias_summary(honesty.bias(noise + wave, where, edges))
    assert found["rms"] == pytest.approx(3 / np.sqrt(2), rel=0.1)
    assert abs(found["largest"]) == pytest.approx(2.9, abs=0.5)
    assert found["largest_se"] == pytest.approx(10 / np.sqrt(2000), rel=0.1)
    assert honesty.bias_summary([]) == {"rms": None, "largest": None, "largest_se": None}


def test_weights_make_a_bias_more_precise() -> None:
    rng = np.random.default_rng(3)
    sigma = np.where(np.arange(4000) % 2, 1.0, 100.0)
    error, where = rng.normal(2.0, sigma), np.zeros(4000)
    (plain,) = honesty.bias(error, where, [-1, 1])
    (weighted,) = honesty.bias(error, where, [-1, 1], 1 / sigma**2)
    assert plain["se"] > 1.0
    assert weighted["se"] == pytest.approx(1 / np.sqrt(2000), rel=0.1)
    assert weighted["mean"] == pytest.approx(2.0, abs=4 * weighted["se"])


def test_place_in_the_pixel() -> None:
    assert honesty.in_pixel([0.0, 100.0, 30.0, 160.0, -60.0], 100.0) == pytest.approx([0, 0, 0.3, -0.4, 0.4])
    assert honesty.in_pixel(50.0, 100.0) == pytest.approx(-0.5)


def test_kuiper_by_hand_and_by_its_own_distribution() -> None:
    v, _ = honesty.kuiper([0.1, 0.2])
    assert v == pytest.approx((1 - 0.2) + 0.1)  # D+ after the second point, D- before the first
    assert honesty.kuiper([]) == (0.0, 1.0)
    rng = np.random.default_rng(4)
    p = np.array([honesty.kuiper(rng.random(200))[1] for _ in range(400)])
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.08)
    assert np.mean(p < 0.1) == pytest.approx(0.1, abs=0.045)
    x = rng.random(500)
    assert honesty.kuiper(x)[0] == pytest.approx(honesty.kuiper((x + 0.37) % 1.0)[0], abs=1e-9)  # any origin


def test_a_grid_artefact_is_caught() -> None:
    rng = np.random.default_rng(5)
    records = np.zeros(6000, LOCALIZATION_DTYPE)
    records["x_nm"] = rng.uniform(0, 6400, 6000)
    y_px = rng.uniform(0, 50, 6000)
    records["y_nm"] = 110 * (y_px - 0.2 / (2 * np.pi) * np.sin(2 * np.pi * y_px))  # drawn to pixel centres: depth 0.2
    got = honesty.grid_artefact(Localizations.from_records(records), (100.0, 110.0))
    assert got["x"]["uniform"] and got["x"]["modulation"] < 0.06
    assert not got["y"]["uniform"] and got["y"]["p"] < 1e-4
    assert got["y"]["modulation"] == pytest.approx(0.2, abs=0.04)
    assert np.mean(got["y"]["histogram"]) == pytest.approx(1.0)
    assert np.argmax(got["y"]["histogram"]) in range(6, 14)  # the middle of the pixel


def test_split_emitters_are_counted() -> None:
    emitters = np.zeros(4, EMITTER_DTYPE)
    emitters["frame_index"] = [1, 3, 5, 7]
    records = np.zeros(6, LOCALIZATION_DTYPE)
    records["frame_index"] = [1, 3, 3, 5, 5, 8]
    records["x_nm"] = [10, 20, 90, 5, 3000, 0]  # split, not split but a stranger far away, none
    judged = Judged(emitters, Localizations.from_records(records), np.array([[0, 0], [1, 1], [2, 3]]), 4)
    assert honesty.copies(judged) == {"recall": 0.75, "split": pytest.approx(1 / 3)}
    nothing = Judged(emitters[:0], Localizations.empty(), np.empty((0, 2), np.intp), 0)
    assert honesty.copies(nothing) == {"recall": None, "split": None}
