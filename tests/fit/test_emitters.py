"""Detection on hand-made maps: golden numbers, both thresholds, axes, and a slow reference on random maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import convolve, maximum_filter

from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds
from rtdecode.fit.emitters import find_emitters

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.float32)
PX = (100.0, 110.0)


def maps_of(p: np.ndarray) -> np.ndarray:
    """(10, H, W) with this p and everything else zero."""
    maps = np.zeros((10, *p.shape), np.float32)
    maps[0] = p
    return maps


def golden_map() -> np.ndarray:
    p = np.full((6, 6), 0.001, np.float32)
    for (row, column), value in {
        (1, 1): 0.55, (1, 2): 0.30, (2, 1): 0.10, (4, 4): 0.70, (4, 5): 0.65, (3, 0): 0.20
    }.items():  # fmt: skip
        p[row, column] = value
    return p


def pixels(found: Localizations) -> list[tuple[int, int]]:
    """(row, column) of localizations without sub-pixel offsets."""
    rows, columns = np.round(found.y_nm / PX[1]).astype(int), np.round(found.x_nm / PX[0]).astype(int)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (0.1, {(1, 1): 0.952, (3, 0): 0.203, (4, 4): 1.0, (4, 5): 1.0}),
        (0.7, {(1, 1): 0.952, (4, 4): 1.0, (4, 5): 1.0}),
    ],
)
def test_golden_numbers_of_the_method(accept: float, expected: dict[tuple[int, int], float]) -> None:
    found = find_emitters(maps_of(golden_map()), 7, PX, DetectionThresholds(peak=0.1, accept=accept, split=0.6))
    assert pixels(found) == list(expected)  # rows first: the order is part of the bytes
    np.testing.assert_allclose(found.probability, list(expected.values()), atol=1e-6)
    assert found.frame_index.tolist() == [7] * len(expected)


def test_peak_threshold_is_not_the_accept_threshold() -> None:
    spread = np.full((5, 5), 0.001, np.float32)
    spread[2, 2], spread[1, 2], spread[3, 2], spread[2, 1], spread[2, 3] = 0.25, 0.2, 0.2, 0.2, 0.1
    assert pixels(find_emitters(maps_of(spread), 0, PX, DetectionThresholds(peak=0.1, accept=0.9))) == [(2, 2)]
    assert pixels(find_emitters(maps_of(spread), 0, PX, DetectionThresholds(peak=0.3, accept=0.9))) == []
    assert pixels(find_emitters(maps_of(spread), 0, PX, DetectionThresholds(peak=0.1, accept=0.96))) == []


def test_split_threshold_decides_whether_neighbours_are_two() -> None:
    p = golden_map()
    one = find_emitters(maps_of(p), 0, PX, DetectionThresholds(peak=0.1, accept=0.5, split=0.66))
    assert pixels(one) == [(1, 1), (4, 4)]


def test_every_map_lands_in_its_column_with_its_unit() -> None:
    maps = np.full((10, 5, 7), -99.0, np.float32)
    maps[0] = 0.001
    maps[:, 1, 4] = [0.9, 5000.0, 0.25, -0.5, -321.0, 70.0, 0.1, 0.2, 33.0, 91.0]
    found = find_emitters(maps, 12, PX, DetectionThresholds())
    record = {name: float(column[0]) for name, column in found.columns()}
    assert record == pytest.approx(
        {
            "frame_index": 12, "x_nm": 425.0, "y_nm": 55.0, "z_nm": -321.0, "photons": 5000.0, "background": 91.0,
            "sigma_x_nm": 10.0, "sigma_y_nm": 22.0, "sigma_z_nm": 33.0, "sigma_photons": 70.0, "probability": 0.904,
        },
        rel=1e-6,
    )  # fmt: skip


def test_equal_neighbours_are_both_kept_and_the_frame_edge_counts_as_zero() -> None:
    p = np.full((3, 4), 0.001, np.float32)
    p[0, 0] = p[0, 1] = 0.4
    found = find_emitters(maps_of(p), 0, PX, DetectionThresholds(peak=0.1, accept=0.5))
    assert pixels(found) == [(0, 0), (0, 1)]
    np.testing.assert_allclose(found.probability, [0.801, 0.802], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 1), (33, 20)])
def test_agrees_with_a_plain_reference_on_random_maps(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        p = random.random(shape).astype(np.float32) ** 4
        q = np.where(p > np.float32(0.15), p, 0)
        peaks = (maximum_filter(q, 3, mode="constant") == q) & (q > 0)
        candidates = peaks | (p > np.float32(0.6))
        cross = np.minimum(convolve(p, CROSS, mode="constant"), 1)
        rows, columns = np.nonzero(candidates & (cross >= 0.4))
        found = find_emitters(maps_of(p), 0, PX, DetectionThresholds(peak=0.15, accept=0.4, split=0.6))
        assert pixels(found) == list(zip(rows.tolist(), columns.tolist(), strict=True))
        np.testing.assert_allclose(found.probability, cross[rows, columns], atol=1e-6)


def test_an_empty_frame_has_no_localizations() -> None:
    assert len(find_emitters(maps_of(np.full((9, 9), 0.001, np.float32)), 0, PX, DetectionThresholds())) == 0
