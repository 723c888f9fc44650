"""The shift between two planes that see one structure, its stated error, and clouds that have nothing in common."""

from __future__ import annotations

import numpy as np
import pytest

from rtdecode.analysis.registration import LEAST_POINTS, shift_between
from rtdecode.physics.structures import tubes

REACH_NM = (250.0, 150.0)
Cloud = np.ndarray


def seen(sample: Cloud, n: int, within_nm: tuple[float, float], random: np.random.Generator) -> Cloud:
    """(M, 3) float32: n blinks of the sample with errors of 15 nm, in z 33; those in a slab of z."""
    place = sample[random.integers(0, len(sample), n)] + random.normal(0, 1, (n, 3)) * (15, 15, 33)
    return np.asarray(place[(place[:, 2] > within_nm[0]) & (place[:, 2] < within_nm[1])], np.float32)


def two_planes(seed: int, *, same: bool) -> tuple[Cloud, Cloud, Cloud]:
    """Points of the upper plane, displaced; those of the lower; the displacement."""
    random = np.random.default_rng(seed)
    below = np.asarray(tubes(seed=seed, z_range_nm=(-400, 900)), float)
    above = below if same else np.asarray(tubes(seed=seed + 100, z_range_nm=(-400, 900)), float)
    shift = random.uniform(-100, 100, 3) * (1, 1, 0.3)
    upper = seen(above, 16_000, (175, 325), random) + shift
    return upper.astype(np.float32), seen(below, 16_000, (25, 400), random), shift


def test_the_shift_is_found_within_its_stated_error() -> None:
    errors, stated = [], []
    for seed in range(8):
        upper, lower, shift = two_planes(seed, same=True)
        found = shift_between(upper, lower, REACH_NM)
        assert found is not None, seed
        errors.append(found.nm - shift)
        stated.append(found.sigma_nm)
    error, sigma = np.array(errors), np.array(stated)
    assert np.abs(error[:, :2]).max() < 5 and np.abs(error[:, 2]).max() < 8
    assert 0.4 < np.sqrt(((error / sigma)[:, :2] ** 2).mean()) < 1.7  # neither boasting nor hiding


@pytest.mark.parametrize("seed", range(4))
def test_other_structures_have_no_shift(seed: int) -> None:
    upper, lower, _ = two_planes(seed, same=False)
    assert shift_between(upper, lower, REACH_NM) is None


def test_too_few_points_have_no_shift() -> None:
    upper, lower, _ = two_planes(0, same=True)
    assert shift_between(upper[: LEAST_POINTS - 1], lower, REACH_NM) is None
    assert shift_between(upper, lower[:0], REACH_NM) is None
