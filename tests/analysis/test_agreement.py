"""Two engines' localizations: golden distances, what each limit catches, and nothing to compare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rtdecode.analysis.agreement import Agreement, Limits, agreement
from rtdecode.core.localizations import EMITTER_DTYPE, Emitters, Localizations

N = 900
FRAMES = np.arange(100)


def reference() -> Localizations:
    """900 localizations on a grid of 9 a frame, 1 um apart, with sigmas from 5 to 50 nm."""
    rng = np.random.default_rng(1)
    place = np.arange(N) % 9
    sigma = rng.permutation(np.linspace(5, 50, N)).astype(np.float32)
    columns = {
        "frame_index": np.arange(N) // 9,
        "x_nm": 1000 * (place % 3), "y_nm": 1000 * (place // 3), "z_nm": np.zeros(N),
        "photons": np.full(N, 5000), "background": np.full(N, 90),
        "sigma_x_nm": sigma, "sigma_y_nm": sigma, "sigma_z_nm": 2 * sigma, "sigma_photons": np.full(N, 100),
        "probability": np.ones(N),
    }  # fmt: skip
    return Localizations(
        **{k: np.asarray(v, np.int64 if k == "frame_index" else np.float32) for k, v in columns.items()}
    )


def truth() -> Emitters:
    found = reference()
    out = np.empty(N, EMITTER_DTYPE)
    for name in EMITTER_DTYPE.names or ():
        out[name] = getattr(found, name)
    return out


def held(**changed: object) -> Agreement:
    return agreement(truth(), reference(), replace(reference(), **changed), FRAMES)


def test_the_same_localizations_agree() -> None:
    same = held()
    assert (same.n_pairs, same.jaccard_reference, same.jaccard_change_points) == (N, 1.0, 0.0)
    assert (same.added_lateral_nm, same.added_axial_nm, same.lateral_over_sigma, same.worst_sigma) == (0, 0, 0, 0)
    assert same.faults() == []


def test_golden_distances() -> None:
    """0.3 nm in x and 0.4 nm in y are 0.5 nm; a z that jitters by +-0.8 nm adds 0.8 nm."""
    one = reference()
    jitter = np.where(np.arange(N) % 2, 0.8, -0.8).astype(np.float32)
    moved = held(x_nm=one.x_nm + np.float32(0.3), y_nm=one.y_nm - np.float32(0.4), z_nm=jitter)
    assert moved.added_lateral_nm == pytest.approx(0.5, abs=1e-3)
    assert moved.added_axial_nm == pytest.approx(0.8, abs=1e-3)
    sigma = np.linspace(5, 50, N) * np.sqrt(2)
    assert moved.lateral_over_sigma == pytest.approx(np.sqrt(np.mean((0.5 / sigma) ** 2)), rel=1e-3)


def test_a_distance_counts_in_nm_where_sigmas_are_small_and_in_sigmas_everywhere() -> None:
    one = reference()
    sharp = one.sigma_x_nm < 15
    at_sharp = held(x_nm=one.x_nm + np.float32(1.0) * sharp)
    assert any("added lateral error" in fault for fault in at_sharp.faults())
    at_blurred = held(x_nm=one.x_nm + np.float32(1.0) * (one.sigma_x_nm > 25))
    assert at_blurred.faults() == []  # a fortieth of their sigma
    flipped = held(x_nm=one.x_nm + np.float32(40.0) * (one.sigma_x_nm > 45))
    assert any("lateral distance over sigma" in fault for fault in flipped.faults())
    assert flipped.added_lateral_nm == 0


@pytest.mark.parametrize(
    ("column", "factor", "words"),
    [
        ("sigma_y_nm", 1.03, "sigma off by 3"),
        ("sigma_z_nm", 0.97, "sigma off by 3"),
        ("sigma_photons", 1.03, "sigma off by 3"),
        ("photons", 1.03, "photons off by 3"),
        ("background", 0.97, "background off by -3"),
    ],
)
def test_each_estimate_has_its_limit(column: str, factor: float, words: str) -> None:
    changed = held(**{column: getattr(reference(), column) * np.float32(factor)})
    assert [fault.startswith(words) for fault in changed.faults()] == [True]


def test_sigmas_that_are_right_on_average_only_are_refused() -> None:
    wild = np.where(np.arange(N) % 2, 1.05, 0.95).astype(np.float32)
    spread = held(sigma_x_nm=reference().sigma_x_nm * wild)
    assert spread.sigma_spread[0] == pytest.approx(0.05, abs=1e-3)
    assert any("sigma off by 5" in fault for fault in spread.faults())


def test_a_hundredth_of_the_localizations_lost_is_refused() -> None:
    lost = agreement(truth(), reference(), reference()[np.arange(N) % 100 > 0], FRAMES)
    assert lost.jaccard_change_points == pytest.approx(-1.0)
    assert lost.faults(replace(Limits(), jaccard_points=1.1)) == []
    assert lost.faults() == ["Jaccard changed by -1 points (allowed 0.5 points)"]


def test_an_engine_that_finds_nothing_is_refused() -> None:
    blind = agreement(truth(), reference(), Localizations.empty(), FRAMES)
    assert blind.n_pairs == 0
    assert len(blind.faults()) == 8  # what is not a number is not within a limit
    assert blind.as_dict()["added_lateral_nm"] is None


def test_without_z_only_x_and_y_are_judged() -> None:
    """A 2D model says z 0 and sigma 0, wherever the emitters are."""
    zero = np.zeros(N, np.float32)
    flat, deep = replace(reference(), sigma_z_nm=zero), truth()
    deep["z_nm"] = np.linspace(-700, 700, N)
    same = agreement(deep, flat, flat, FRAMES)
    assert same.jaccard_reference == 1.0 and same.faults() == []
    moved = agreement(deep, flat, replace(flat, z_nm=zero + np.float32(2.0)), FRAMES)
    assert any("added axial error 2 nm" in fault for fault in moved.faults())
