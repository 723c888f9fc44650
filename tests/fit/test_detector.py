"""Detection in static shapes, torch and ONNX, held against the numba scan that serves the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rtdecode.fit.bundle import DetectionThresholds  # noqa: E402
from rtdecode.fit.calibration import Calibration  # noqa: E402
from rtdecode.fit.detector import Detector  # noqa: E402
from rtdecode.fit.device import Block, columns_of, localizations_of  # noqa: E402
from rtdecode.fit.emitters import find_emitters, without_z  # noqa: E402

PX = (100.0, 110.0)
OPEN = {"peak": 0.15, "accept": 0.0, "split": 0.6}  # accept 0: what comes before it


def random_maps(n: int, height: int, width: int, seed: int, levels: int = 0) -> np.ndarray:
    """(n, 10, H, W) with some p at each; `levels`: p takes only so many values, so that neighbours tie."""
    random = np.random.default_rng(seed)
    maps = random.normal(0.0, 0.4, (n, 10, height, width))
    p = random.random((n, height, width)) ** 3
    maps[:, 0] = np.ceil(p * levels) / levels if levels else p
    maps[:, 1] = random.uniform(500, 20000, p.shape)
    maps[:, 4] = random.normal(0, 60, p.shape)
    maps[:, 5:9] = random.uniform(0.05, 0.6, (n, 4, height, width)) * np.array([2000, 1, 1, 100.0])[:, None, None]
    maps[:, 9] = random.uniform(80, 200, p.shape)
    return maps.astype(np.float32)


SIGMA = {name: [[1.0, 1.4], [0.8, 1.2]] for name in ("x", "y", "z", "photons")}
LOOKUP = Calibration.model_validate(
    {
        "probability": {"stated": [0.0, 0.5, 1.0], "true": [0.0, 0.7, 1.0]},
        "sigma": {"signal": [20.0, 2000.0], "crowding": [0.0, 30.0], "window_px": 7, "core_px": 2, **SIGMA},
    }
).lookup()


@pytest.mark.parametrize("readout", ["peak", "fused"])
@pytest.mark.parametrize("tells_z", [True, False])
def test_calibrated_localizations_of_the_rows_are_those_of_the_maps(readout: str, tells_z: bool) -> None:
    """Crowding is summed on the device around where the emitter lies, on the frame without its padding."""
    thresholds = DetectionThresholds.model_validate({**OPEN, "accept": 0.5, "readout": readout})
    maps = random_maps(2, 24, 32, seed=11)
    inside = np.zeros((1, 1, 24, 32), np.float32)
    inside[..., :21, :27] = 1.0
    with torch.inference_mode():
        detector = Detector(thresholds, 768, 1, (7, 2), tells_z)
        rows, counts = detector(torch.from_numpy(maps), torch.from_numpy(inside))
    in_graph = in_onnx(maps, thresholds, 768, 1, inside, windows=(7, 2), tells_z=tells_z)
    for block in (Block(rows.numpy(), counts.numpy()), in_graph):
        for b in range(2):
            frame = np.ascontiguousarray(maps[b, :, :21, :27])
            frame = frame if tells_z else without_z(frame)
            wanted = find_emitters(frame, 5, PX, thresholds, LOOKUP)
            got = localizations_of(block.frame(b), 5, 32, PX, thresholds, LOOKUP)
            assert len(wanted) > 50
            for (name, column), (_, expected) in zip(got.columns(), wanted.columns(), strict=True):
                np.testing.assert_allclose(column, expected, rtol=1e-4, atol=2e-3, err_msg=name)
            plain = localizations_of(block.frame(b), 5, 32, PX, thresholds)
            assert len(plain) == len(find_emitters(frame, 5, PX, thresholds))


def in_torch(maps: np.ndarray, thresholds: DetectionThresholds, slots: int, groups: int = 1) -> Block:
    inside = torch.ones(1, 1, *maps.shape[2:])
    with torch.inference_mode():
        rows, counts = Detector(thresholds, slots, groups)(torch.from_numpy(maps), inside)
    return Block(rows.numpy(), counts.numpy())


def check_equal(block: Block, maps: np.ndarray, thresholds: DetectionThresholds) -> int:
    """Same emitters in the same order; values to float32's rounding; how many there were."""
    total = 0
    for b in range(len(maps)):
        found = find_emitters(maps[b], 0, PX, thresholds)
        expected = np.stack([column for _, column in found.columns()][1:])
        got = columns_of(block.frame(b), maps.shape[3], PX)
        assert got.shape == expected.shape
        scale = np.maximum(np.abs(expected), np.array([100, 100, 100, 1, 1, 1, 1, 1, 1, 0.1])[:, None])
        assert not expected.size or (np.abs(got - expected) / scale).max() < 3e-5
        if thresholds.readout == "peak":
            np.testing.assert_array_equal(got, expected)
        total += len(found)
    return total


@pytest.mark.parametrize("readout", ["peak", "fused"])
@pytest.mark.parametrize("levels", [0, 8])
@pytest.mark.parametrize(("shape", "groups"), [((1, 1), 1), ((1, 9), 1), ((8, 3), 4), ((33, 20), 1), ((64, 48), 16)])
def test_torch_finds_what_numba_finds(readout: str, levels: int, shape: tuple[int, int], groups: int) -> None:
    thresholds = DetectionThresholds.model_validate({**OPEN, "readout": readout})
    maps = random_maps(3, *shape, seed=shape[0] + levels, levels=levels)
    block = in_torch(maps, thresholds, slots=shape[0] * shape[1], groups=groups)
    assert block.rows.shape == (3, groups, shape[0] * shape[1], 12)
    assert block.lost.tolist() == [0, 0, 0]
    assert check_equal(block, maps, thresholds) > (40 if shape[0] > 8 else 0)


def in_onnx(
    maps: np.ndarray, thresholds: DetectionThresholds, slots: int, groups: int, inside: np.ndarray, **more: Any
) -> Block:
    onnx = pytest.importorskip("onnx")
    import onnxruntime as ort

    from rtdecode.fit.detector_graph import append_detector
    from rtdecode.fit.onnx_building import add_input, checked, set_outputs

    graph = onnx.GraphProto(name="detector")
    add_input(graph, "maps", "FLOAT", ["b", 10, "h", "w"])
    add_input(graph, "inside", "FLOAT", [1, 1, "h", "w"])
    append_detector(graph, "maps", "inside", thresholds, slots, groups, **more)
    set_outputs(graph, {"rows": ("FLOAT", ["b", groups, slots, 12]), "candidates": ("INT32", ["b", groups])})
    model = checked(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Block(*session.run(["rows", "candidates"], {"maps": maps, "inside": inside}))


@pytest.mark.parametrize("readout", ["peak", "fused"])
@pytest.mark.parametrize("levels", [0, 8])
@pytest.mark.parametrize(("shape", "groups"), [((1, 1), 1), ((1, 9), 1), ((8, 3), 4), ((33, 20), 1), ((64, 48), 16)])
def test_onnx_finds_what_numba_finds(readout: str, levels: int, shape: tuple[int, int], groups: int) -> None:
    thresholds = DetectionThresholds.model_validate({**OPEN, "readout": readout})
    maps = random_maps(3, *shape, seed=shape[1] + levels, levels=levels)
    block = in_onnx(maps, thresholds, shape[0] * shape[1], groups, np.ones((1, 1, *shape), np.float32))
    assert check_equal(block, maps, thresholds) > (40 if shape[0] > 8 else 0)


@pytest.mark.parametrize("readout", ["peak", "fused"])
def test_padding_counts_as_beyond_the_frame(readout: str) -> None:
    thresholds = DetectionThresholds.model_validate({**OPEN, "readout": readout})
    maps = random_maps(2, 24, 32, seed=4)
    inside = np.zeros((1, 1, 24, 32), np.float32)
    inside[..., :21, :27] = 1.0
    with torch.inference_mode():
        rows, counts = Detector(thresholds, 768)(torch.from_numpy(maps), torch.from_numpy(inside))
    for block in (Block(rows.numpy(), counts.numpy()), in_onnx(maps, thresholds, 768, 1, inside)):
        for b in range(2):
            found = find_emitters(np.ascontiguousarray(maps[b, :, :21, :27]), 0, PX, thresholds)
            got = columns_of(block.frame(b), 32, PX)  # pixel numbers are those of the padded frame
            np.testing.assert_allclose(got[0], found.x_nm, rtol=1e-5, atol=1e-3)
            np.testing.assert_allclose(got[9], found.probability, rtol=1e-5)
            assert len(found) > 50


def test_too_many_candidates_are_counted_and_the_best_are_kept() -> None:
    thresholds = DetectionThresholds.model_validate(OPEN)
    maps = random_maps(2, 32, 32, seed=6)
    every = in_torch(maps, thresholds, 1024)
    for few in (in_torch(maps, thresholds, 20), in_onnx(maps, thresholds, 20, 1, np.ones((1, 1, 32, 32), np.float32))):
        np.testing.assert_array_equal(few.lost, every.candidates[:, 0] - 20)
        assert few.lost.min() > 0
        for b in range(2):
            pixels = every.frame(b)[:, 10].astype(int)
            p = np.sort(maps[b, 0].ravel()[pixels])[::-1]
            np.testing.assert_array_equal(np.sort(maps[b, 0].ravel()[few.frame(b)[:, 10].astype(int)])[::-1], p[:20])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_frame_that_is_not_finite_is_told_from_its_neighbours(value: float) -> None:
    thresholds = DetectionThresholds.model_validate(OPEN)
    maps = random_maps(3, 16, 16, seed=7)
    maps[1, 4, 3, 3] = value
    inside = np.ones((1, 1, 16, 16), np.float32)
    for block in (in_torch(maps, thresholds, 64), in_onnx(maps, thresholds, 64, 1, inside)):
        assert block.finite.tolist() == [True, False, True]
        assert block.lost.tolist() == [0, 0, 0]
