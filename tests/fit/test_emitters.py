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


def split_emitter(p: tuple[float, float] = (0.6, 0.3), z_nm: tuple[float, float] = (100.0, 160.0)) -> np.ndarray:
    """An emitter between pixels (2, 2) and (2, 3) of a 5x6 frame, each pixel with its own idea of it."""
    maps = np.zeros((10, 5, 6), np.float32)
    maps[5:9] = np.array([50.0, 0.1, 0.1, 20.0], np.float32)[:, None, None]
    maps[:, 2, 2] = [p[0], 4000.0, 0.45, 0.1, z_nm[0], 300.0, 0.10, 0.12, 20.0, 90.0]
    maps[:, 2, 3] = [p[1], 4600.0, -0.49, 0.1, z_nm[1], 300.0, 0.20, 0.12, 40.0, 95.0]
    return maps


def test_fused_readout_is_the_mixture_of_the_pixels_around() -> None:
    maps = split_emitter()
    (found,) = find_emitters(maps, 0, PX, DetectionThresholds(split=0.9, readout="fused")).records()
    # distance² = (0.06 px)² / (0.1² + 0.2²) + 0 + 60² / (20² + 40²) = 0.072 + 1.8
    agreement = np.exp(-0.5 * (0.06**2 / 0.05 + 60**2 / 2000) / 1.5**2)
    w = np.array([0.6, 0.3 * agreement])
    by_x, by_z = w / [0.10, 0.20], w / [20.0, 40.0]
    x_px = np.average([2.45, 2.51], weights=by_x)
    z_nm = np.average([100.0, 160.0], weights=by_z)
    assert found["x_nm"] == pytest.approx(100 * x_px, rel=1e-5)
    assert found["y_nm"] == pytest.approx(110 * 2.1, rel=1e-5)
    assert found["z_nm"] == pytest.approx(z_nm, rel=1e-5)
    assert found["photons"] == pytest.approx(np.average([4000, 4600], weights=w), rel=1e-5)
    variance = np.average([20**2 + (100 - z_nm) ** 2, 40**2 + (160 - z_nm) ** 2], weights=w)
    assert found["sigma_z_nm"] == pytest.approx(np.sqrt(variance), rel=1e-5)
    assert found["background"] == 90.0


def test_fused_readout_leaves_out_who_disagrees_and_who_is_detected_itself() -> None:
    far = find_emitters(split_emitter(z_nm=(100.0, 700.0)), 0, PX, DetectionThresholds(split=0.9, readout="fused"))
    assert far.z_nm.tolist() == pytest.approx([100.0], abs=0.01)
    both = find_emitters(split_emitter(p=(0.7, 0.65)), 0, PX, DetectionThresholds(split=0.6, readout="fused"))
    assert both.z_nm.tolist() == pytest.approx([100.0, 160.0], abs=1e-4)
    np.testing.assert_allclose(both.x_nm, [245.0, 251.0], rtol=1e-5)


def test_peak_readout_is_the_detected_pixel_alone_as_published() -> None:
    (found,) = find_emitters(split_emitter(), 0, PX, DetectionThresholds(split=0.9)).records()
    assert [float(found[name]) for name in ("x_nm", "z_nm", "photons", "sigma_z_nm")] == [245.0, 100.0, 4000.0, 20.0]


def test_fused_probability_counts_the_corner_too_and_only_who_agrees() -> None:
    maps = split_emitter(p=(0.3, 0.2), z_nm=(100.0, 100.0))
    maps[:, 3, 3] = [0.15, 4000.0, -0.55, -0.9, 100.0, 300.0, 0.1, 0.12, 20.0, 90.0]  # diagonal, the same place
    maps[:, 1, 1] = [0.15, 4000.0, 0.0, 0.0, 100.0, 300.0, 0.1, 0.12, 20.0, 90.0]  # diagonal, another emitter's
    cross = find_emitters(maps, 0, PX, DetectionThresholds(accept=0.45, split=0.9))
    np.testing.assert_allclose(cross.probability, [0.5], rtol=1e-5)
    (found,) = find_emitters(maps, 0, PX, DetectionThresholds(accept=0.6, split=0.9, readout="fused")).records()
    assert found["probability"] == pytest.approx(0.3 + 0.2 * np.exp(-0.5 * 0.06**2 / 0.05 / 1.5**2) + 0.15, rel=1e-4)
    assert len(find_emitters(maps, 0, PX, DetectionThresholds(accept=0.66, split=0.9, readout="fused"))) == 0
