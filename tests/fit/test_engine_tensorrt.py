"""TensorRT without a GPU: TensorRT-RTX's real parser and builder, the cache, and errors before anything crashes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from tiny_model import noise_frames  # noqa: E402

from rtdecode.core.errors import EngineError  # noqa: E402
from rtdecode.core.extras import is_there  # noqa: E402
from rtdecode.fit.bundle import ModelBundle  # noqa: E402
from rtdecode.fit.calibration import Calibration, ProbabilityMap, SigmaTable  # noqa: E402
from rtdecode.fit.cuda_runtime import Cuda  # noqa: E402
from rtdecode.fit.device_graph import load  # noqa: E402
from rtdecode.fit.engine_tensorrt import TensorRtEngine, plan_graph  # noqa: E402
from rtdecode.fit.onnx_building import Builder, set_outputs  # noqa: E402
from rtdecode.fit.tensorrt_cache import PlanCache, PlanKey, architecture_sha256  # noqa: E402
from rtdecode.fit.tensorrt_library import ROI_CLASSES, Library, RoiClass, input_shapes, profile_shapes, roi_class  # noqa: E402

needs_rtx = pytest.mark.skipif(
    not is_there("tensorrt_rtx_bindings"), reason="TensorRT-RTX's wheels are not installed here (extra [gpu])"
)
KEY = PlanKey("a" * 64, "tensorrt", "11.4", "H200", "9.0", "13050", "bf16", "class", False)


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("raw_uint16", [False, True])
def test_the_real_builder_takes_every_variant(tiny_bundle: ModelBundle, precision: str, raw_uint16: bool) -> None:
    roi = ROI_CLASSES[0]
    graph = plan_graph(tiny_bundle, precision, roi, tiny_bundle.detection, raw_uint16)
    shapes = profile_shapes(tiny_bundle.network, roi, raw_uint16)
    plan, timing = Library("tensorrt_rtx").build(graph, shapes, precision)
    assert len(plan) > 100_000
    assert timing == b""  # RTX keeps its own, made on the user's GPU


@needs_rtx
@pytest.mark.parametrize("readout", ["peak", "fused"])
@pytest.mark.parametrize("roi", [ROI_CLASSES[2], ROI_CLASSES[-1]], ids=["256", "2048"])
def test_both_readouts_and_the_classes_of_large_frames_build(
    full_bundle: ModelBundle, readout: str, roi: RoiClass
) -> None:
    detection = full_bundle.detection.model_copy(update={"readout": readout})
    graph = plan_graph(full_bundle, "bf16", roi, detection, raw_uint16=True)
    plan, _ = Library("tensorrt_rtx").build(graph, profile_shapes(full_bundle.network, roi, True), "bf16")
    assert len(plan) > 100_000


@needs_rtx
def test_an_engine_to_be_refitted_needs_a_gpu_to_be_built_and_says_so(tiny_bundle: ModelBundle) -> None:
    if _has_gpu():
        pytest.skip("there is a GPU")
    graph = plan_graph(tiny_bundle, "fp32", ROI_CLASSES[0], tiny_bundle.detection, False)
    shapes = profile_shapes(tiny_bundle.network, ROI_CLASSES[0], False)
    with pytest.raises(EngineError, match=r"cannot build this graph in fp32: .*CUDA_SUCCESS"):
        Library("tensorrt_rtx").build(graph, shapes, "fp32", refit=True)


@needs_rtx
def test_the_crowding_of_a_calibrated_model_builds(tiny_bundle: ModelBundle) -> None:
    factors = {name: [[1.0, 1.0], [1.0, 1.0]] for name in ("x", "y", "z", "photons")}
    sigma = SigmaTable.model_validate({"signal": [20.0, 2000.0], "crowding": [0.0, 30.0], **factors})
    calibration = Calibration(probability=ProbabilityMap(stated=(0.0, 1.0), true=(0.0, 1.0)), sigma=sigma)
    bundle = replace(tiny_bundle, card=tiny_bundle.card.model_copy(update={"calibration": calibration}))
    graph = plan_graph(bundle, "bf16", ROI_CLASSES[0], bundle.detection, True)
    assert b"AveragePool" in graph and b"AveragePool" not in plan_graph(
        tiny_bundle, "bf16", ROI_CLASSES[0], tiny_bundle.detection, True
    )
    plan, _ = Library("tensorrt_rtx").build(graph, profile_shapes(bundle.network, ROI_CLASSES[0], True), "bf16")
    assert len(plan) > 100_000


@needs_rtx
def test_the_real_builder_takes_int8(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    quantized, roi = _quantized(tiny_bundle, tmp_path / "int8.onnx"), ROI_CLASSES[0]
    graph = plan_graph(tiny_bundle, "int8", roi, tiny_bundle.detection, True, quantized)
    shapes, library = profile_shapes(tiny_bundle.network, roi, True), Library("tensorrt_rtx")
    assert len(library.build(graph, shapes, "int8")[0]) > 100_000
    with pytest.raises(EngineError, match="of quantized values, fp32 was asked for"):
        library.build(graph, shapes, "fp32")
    with pytest.raises(EngineError, match="int8 needs one"):
        plan_graph(tiny_bundle, "int8", roi, tiny_bundle.detection, True)


def _quantized(bundle: ModelBundle, path: Path) -> Path:
    """Symmetric, per channel, no int32 biases: the only form that NVIDIA's parser takes."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            features = np.random.default_rng(0).standard_normal((2, *bundle.network.feature_shape(16, 16)))
            frames = noise_frames(1, 16, 16)[:, None].astype(np.float32)
            self.items = iter([{"frames_adu": frames, "features": features.astype(np.float32)}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.items, None)

    quantize_static(
        str(bundle.onnx_path), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        op_types_to_quantize=["Conv"], activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )  # fmt: skip
    return path


@needs_rtx
def test_parser_builder_and_precision_speak_up(tiny_bundle: ModelBundle) -> None:
    library = Library("tensorrt_rtx")
    graph = plan_graph(tiny_bundle, "fp32", ROI_CLASSES[0], tiny_bundle.detection, False)
    shapes = profile_shapes(tiny_bundle.network, ROI_CLASSES[0], False)
    with pytest.raises(EngineError, match=r"convolutions are .*FLOAT.* bf16 was asked for"):
        library.build(graph, shapes, "bf16")
    with pytest.raises(EngineError, match="parser refuses the graph"):
        library.build(b"no graph", shapes, "fp32")
    with pytest.raises(EngineError, match=r"parser refuses the graph: .*NonZero"):
        library.build(_with_nonzero(tiny_bundle), shapes, "fp32")
    small = {name: tuple((*shape[:1], 1, *shape[2:]) for shape in sizes) for name, sizes in shapes.items()}
    with pytest.raises(EngineError, match="features"):
        library.build(graph, {**shapes, "features": small["features"]}, "fp32")  # one channel: not this graph


def _with_nonzero(bundle: ModelBundle) -> bytes:
    model = load(bundle.onnx_path)
    Builder(model.graph, "x/").op("NonZero", "maps", name="where")
    set_outputs(model.graph, {"where": ("INT64", [4, "n"])})
    return model.SerializeToString()


@pytest.mark.parametrize(("use", "words"), [("tensorrt", "NVIDIA's own index"), ("tensorrt_rtx", r"\[gpu\]")])
def test_a_missing_library_says_how_to_get_it(use: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (use, f"{use}_bindings"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(EngineError, match=words):
        Library(use)


def test_without_a_device_the_engine_is_refused_before_a_runtime_is_made(tiny_bundle: ModelBundle) -> None:
    """deserialize_cuda_engine would kill the process here."""
    pytest.importorskip("cuda.bindings.runtime")
    if not is_there("tensorrt_rtx_bindings") or _has_gpu():
        pytest.skip("needs the library and no GPU")
    with pytest.raises(EngineError, match=r"no CUDA device can be used here \(cudaGetDeviceCount: .*openvino"):
        TensorRtEngine(tiny_bundle, "bf16", "tensorrt_rtx")
    with pytest.raises(EngineError, match="int4"):
        TensorRtEngine(tiny_bundle, "int4", "tensorrt_rtx")
    with pytest.raises(EngineError, match="int16"):
        TensorRtEngine(tiny_bundle, "bf16", "tensorrt_rtx", frame_dtype="int16")


def _has_gpu() -> bool:
    try:
        Cuda()
    except EngineError:
        return False
    return True


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 64), (64, 65, 128), (256, 4, 256), (2048, 2048, 2048)])
def test_class_of_a_frame(height: int, width: int, side: int) -> None:
    assert roi_class(height, width).side_px == side


def test_classes_hold_their_frames_and_topk_limit(full_bundle: ModelBundle) -> None:
    for roi in ROI_CLASSES:
        assert roi.slots <= 3840
        assert 4 * 4 % roi.groups == 0 and roi.side_px % 8 == 0  # any sides in multiples of 4
        shapes = profile_shapes(full_bundle.network, roi, True)
        largest = input_shapes(full_bundle.network, roi.block, roi.side_px, roi.side_px, True)
        assert {name: sizes[2] for name, sizes in shapes.items()} == largest
    with pytest.raises(EngineError, match="which cuts them into tiles"):
        roi_class(2052, 64)


def counted(plan: bytes) -> tuple[Callable[[bytes], tuple[bytes, bytes]], list[bytes]]:
    calls: list[bytes] = []

    def build(timing: bytes) -> tuple[bytes, bytes]:
        calls.append(timing)
        return plan, b"timings"

    return build, calls


def test_a_plan_is_built_once_and_timings_are_handed_on(tmp_path: Path) -> None:
    build, calls = counted(b"plan")
    assert PlanCache(tmp_path).plan(KEY, build) == b"plan"
    assert PlanCache(tmp_path).plan(KEY, build) == b"plan"
    assert calls == [b""]
    PlanCache(tmp_path).plan(replace(KEY, onnx_sha256="b" * 64), build)
    assert calls == [b"", b"timings"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("field", [f for f in PlanKey.__dataclass_fields__ if f != "refit"])
def test_everything_a_plan_depends_on_is_in_its_key(tmp_path: Path, field: str) -> None:
    build, calls = counted(b"plan")
    cache = PlanCache(tmp_path)
    cache.plan(KEY, build)
    cache.plan(replace(KEY, **{field: "other"}), build)
    cache.plan(replace(KEY, refit=True), build)
    assert len(calls) == 3


@pytest.mark.parametrize("damage", [b"", b"junk", b"flip", b"cut"])
def test_a_damaged_plan_is_announced_and_built_anew(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    build, calls = counted(b"the plan's many bytes")
    cache = PlanCache(tmp_path)
    cache.plan(KEY, build)
    path = cache.plan_path(KEY)
    whole = path.read_bytes()
    path.write_bytes({b"flip": whole[:-1] + b"?", b"cut": whole[:-3]}.get(damage, damage))
    with caplog.at_level(logging.WARNING):
        assert cache.plan(KEY, build) == b"the plan's many bytes"
    assert "damaged" in caplog.text and len(calls) == 2
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_a_build_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    build, calls = counted(b"plan")
    with caplog.at_level(logging.WARNING):
        assert PlanCache(tmp_path / "file" / "engines").plan(KEY, build) == b"plan"
    assert "cannot be written" in caplog.text and len(calls) == 1


def test_architecture_is_the_graph_without_its_weights(tiny_bundle: ModelBundle, full_bundle: ModelBundle) -> None:
    model = load(tiny_bundle.onnx_path)
    whole = model.SerializeToString()
    weights = next(item for item in model.graph.initializer if len(item.dims) == 4)
    array = onnx.numpy_helper.to_array(weights) + np.float32(0.1)
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    assert model.SerializeToString() != whole
    assert architecture_sha256(model.SerializeToString()) == architecture_sha256(whole)
    assert architecture_sha256(full_bundle.onnx_path.read_bytes()) != architecture_sha256(whole)
