"""The graph that a device runs, held against the CPU path: camera maps, raw bytes, detection, lower precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnxruntime as ort  # noqa: E402
from tiny_model import TINY_CAMERA, noise_frames  # noqa: E402

from rtdecode.core.camera_maps import CameraMaps  # noqa: E402
from rtdecode.core.errors import EngineError  # noqa: E402
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle  # noqa: E402
from rtdecode.fit.device import Block, Inputs, columns_of  # noqa: E402
from rtdecode.fit.device_graph import OUTPUTS, device_graph, load, take_camera_maps  # noqa: E402
from rtdecode.fit.emitters import find_emitters  # noqa: E402
from rtdecode.fit.engine_onnxruntime import OnnxRuntimeEngine  # noqa: E402
from rtdecode.fit.export import map_scales  # noqa: E402
from rtdecode.fit.graph_precision import converted  # noqa: E402
from rtdecode.fit.lines import adu_of  # noqa: E402

H, W = 40, 32
LOW = DetectionThresholds(peak=0.001, accept=0.004, split=0.3, readout="fused")  # random weights are not sure


@pytest.fixture(params=["half", "full"])
def bundle(request: pytest.FixtureRequest) -> ModelBundle:
    """Both strides."""
    found = request.getfixturevalue("tiny_bundle" if request.param == "half" else "full_bundle")
    assert isinstance(found, ModelBundle)
    return found


def session(model: Any) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def features_of(bundle: ModelBundle, seed: int = 1) -> np.ndarray:
    shape = (2, *bundle.network.feature_shape(H, W))
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def camera_inputs(inputs: Inputs, bundle: ModelBundle) -> dict[str, np.ndarray]:
    baseline, gain = inputs.as_graph_camera(bundle.camera)
    arrays = {"baseline_adu": baseline, "e_per_adu": gain, "inside": inputs.inside}
    return {name: array[None, None] for name, array in arrays.items()}


def plain_inputs(bundle: ModelBundle) -> dict[str, np.ndarray]:
    flat = (np.full((H, W), value, np.float32) for value in (TINY_CAMERA.baseline_adu, TINY_CAMERA.e_per_adu, 1.0))
    return camera_inputs(Inputs(TINY_CAMERA, *flat), bundle)


def reference_maps(bundle: ModelBundle, frames: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    engine = OnnxRuntimeEngine(bundle.onnx_path, bundle.network, threads=1)
    engine.start(H, W)
    return engine.infer(frames, features)


@pytest.mark.parametrize("raw_uint16", [False, True])
def test_rows_are_what_the_cpu_path_finds(bundle: ModelBundle, raw_uint16: bool) -> None:
    frames, features = noise_frames(3, H, W), features_of(bundle)
    fed = frames.view(np.uint8).reshape(3, H, W, 2) if raw_uint16 else frames[:, None].astype(np.float32)
    graph = device_graph(bundle, "fp32", H * W // 4, groups=2, detection=LOW, raw_uint16=raw_uint16)
    found = session(graph).run(list(OUTPUTS), {"frames_adu": fed, "features": features, **plain_inputs(bundle)})
    block = Block(found[0], found[1])
    maps, carried = reference_maps(bundle, frames.astype(np.float32), features)
    np.testing.assert_allclose(found[2], carried, atol=1e-4 * max(1.0, carried.std()))
    assert block.lost.tolist() == [0, 0, 0]
    for b in range(3):
        expected = find_emitters(maps[b], 0, (100.0, 110.0), LOW)
        rows = block.frame(b)
        got = columns_of(rows[rows[:, 0] >= LOW.accept], W, (100.0, 110.0))
        assert len(expected) > 5 and got.shape[1] == len(expected)
        np.testing.assert_allclose(got[0], expected.x_nm, atol=0.05)
        np.testing.assert_allclose(got[3], expected.photons, rtol=1e-3)


def test_pixel_maps_and_another_camera_enter_as_the_camera_says(tiny_bundle: ModelBundle) -> None:
    """Against Camera.photons with maps, turned into the bundle's ADU, which is what the CPU path feeds."""
    random = np.random.default_rng(3)
    camera = TINY_CAMERA.model_copy(update={"em_gain": None, "qe": 0.7, "spurious_e": 0.4, "e_per_adu": 0.5})
    maps = CameraMaps(
        random.normal(110.0, 5.0, (H, W)).astype(np.float32),
        np.ones((H, W), np.float32),
        random.uniform(0.3, 0.7, (H, W)).astype(np.float32),
    )
    frames, features = noise_frames(2, H, W, seed=8), features_of(tiny_bundle)
    model = load(tiny_bundle.onnx_path)
    take_camera_maps(model.graph, tiny_bundle.camera)
    inputs = camera_inputs(Inputs(camera, maps.baseline_adu, maps.e_per_adu, np.ones((H, W), np.float32)), tiny_bundle)
    del inputs["inside"]
    fed = {"frames_adu": frames[:, None].astype(np.float32), "features": features, **inputs}
    got = session(model).run(["maps", "new_features"], fed)
    expected = reference_maps(tiny_bundle, adu_of(tiny_bundle.camera, camera.photons(frames, maps)), features)
    worst = np.abs(got[0] - expected[0]).max(axis=(0, 2, 3)) / map_scales(tiny_bundle.scaling)
    assert worst.max() < 1e-4
    unmapped = reference_maps(tiny_bundle, frames.astype(np.float32), features)[0]
    assert np.abs(unmapped - expected[0]).max() > 1.0  # the conversion matters


def test_a_graph_of_another_camera_is_refused(tiny_bundle: ModelBundle) -> None:
    model = load(tiny_bundle.onnx_path)
    with pytest.raises(EngineError, match="subtracts 100 ADU, the bundle's camera has 101"):
        take_camera_maps(model.graph, TINY_CAMERA.model_copy(update={"baseline_adu": 101.0}))
    with pytest.raises(EngineError, match="does not begin with Sub, Mul, Sub"):
        take_camera_maps(onnx.GraphProto(), TINY_CAMERA)


def test_fp16_agrees_with_fp32_and_is_really_lower(bundle: ModelBundle) -> None:
    frames, features = noise_frames(2, H, W).astype(np.float32), features_of(bundle)
    model = converted(load(bundle.onnx_path), "fp16")
    got = session(model).run(["maps", "new_features"], {"frames_adu": frames[:, None], "features": features})
    expected, carried = reference_maps(bundle, frames, features)
    worst = np.abs(got[0] - expected).max(axis=(0, 2, 3)) / map_scales(bundle.scaling)
    assert 1e-6 < worst.max() < 0.05
    assert got[0].dtype == got[1].dtype == np.float32
    assert 0 < np.abs(got[1] - carried).max() < 0.05 * carried.std()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_convolution_is_low_and_the_walls_are_not(bundle: ModelBundle, precision: str) -> None:
    model = converted(load(bundle.onnx_path), precision)
    low = onnx.TensorProto.FLOAT16 if precision == "fp16" else onnx.TensorProto.BFLOAT16
    constants = {item.name: item.data_type for item in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 20
    assert {constants[name] for node in convolutions for name in node.input[1:]} == {low}
    walls = [*model.graph.input, *model.graph.output]
    assert {value.type.tensor_type.elem_type for value in walls} == {onnx.TensorProto.FLOAT}
    assert [opset.version for opset in model.opset_import] == [23 if precision == "bf16" else 18]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    outer = [node for node in model.graph.node if node.op_type in ("Tanh", "Clip") or node.output[0].startswith("sub")]
    assert outer and {types[node.output[0]] for node in outer} == {onnx.TensorProto.FLOAT}


def test_bf16_graph_computes_what_torch_computes_in_bf16(full_bundle: ModelBundle) -> None:
    """ONNX's own reference evaluator: no runtime on a CPU takes bf16 convolutions as ONNX."""
    frames, features = noise_frames(1, 8, 8).astype(np.float32), features_of(full_bundle)[:, :, :8, :8]
    model = converted(load(full_bundle.onnx_path), "bf16")
    evaluator = onnx.reference.ReferenceEvaluator(model)
    maps, carried = evaluator.run(["maps", "new_features"], {"frames_adu": frames[:, None], "features": features})
    engine = OnnxRuntimeEngine(full_bundle.onnx_path, full_bundle.network, threads=1)
    engine.start(8, 8)
    expected, kept = engine.infer(frames, np.ascontiguousarray(features))
    worst = np.abs(maps - expected).max(axis=(0, 2, 3)) / map_scales(full_bundle.scaling)
    assert 1e-5 < worst.max() < 0.2
    assert 0 < np.abs(carried - kept).max() < 0.1 * kept.std()


def test_bf16_device_graph_passes_the_checker(bundle: ModelBundle) -> None:
    graph = device_graph(bundle, "bf16", slots=64, raw_uint16=True, with_maps=True)
    assert [value.name for value in graph.graph.output] == [*OUTPUTS, "maps"]


def test_unknown_precision_is_refused(tiny_bundle: ModelBundle) -> None:
    with pytest.raises(EngineError, match="'int3' is not one of fp32, bf16, fp16"):
        converted(load(tiny_bundle.onnx_path), "int3")
