"""The gate: broken engines are caught, lines are believed only as they were signed, and for what they were made."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import EngineError
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.engine_openvino import OpenVinoEngine
from rtdecode.stages import admission
from rtdecode.stages.admission import Trial, admit, check, keys_of, limits_of
from rtdecode.stages.admission_lines import NAME, Line, find

onnx = pytest.importorskip("onnx")
Array = np.ndarray
ONNX_RUNTIME = EngineConfig(use="onnxruntime", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def light() -> ModelBundle:
    return ModelBundle.load("astigmatic-scmos-light")


@pytest.fixture(scope="module", autouse=True)
def a_third_of_the_frames() -> Iterator[None]:
    """2,900 localizations: what is caught here is caught by the whole gate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "CLIPS", 8)
        yield


@pytest.fixture(scope="module")
def trial(light: ModelBundle) -> Trial:
    return Trial.of(light, threads=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: ModelBundle) -> Path:
    """An empty one; gives the file of the bundle's lines."""
    monkeypatch.setenv("RTDECODE_CACHE", str(tmp_path))
    return tmp_path / "bundles" / light.sha256[:32] / NAME


def edited(bundle: ModelBundle, path: Path, name: str, edit: Callable[[Array], None]) -> OpenVinoEngine:
    """The engine on a copy of the bundle's graph in which `edit` has changed one initializer."""
    model = onnx.load(str(bundle.onnx_path))
    (tensor,) = [one for one in model.graph.initializer if one.name == f"network.{name}"]
    values = onnx.numpy_helper.to_array(tensor).copy()
    edit(values)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, str(path))
    return OpenVinoEngine(path, bundle.network, "fp32", threads=1)


def negate_largest(weights: Array) -> None:
    weights.flat[np.abs(weights).argmax()] *= -1


def negate_largest_of_dx(weights: Array) -> None:
    """Of the last layer, which has four rows for each map; the largest of all may be of a map that matters less."""
    negate_largest(weights[8:12])


def swap_two(rows: Array) -> None:
    rows[[3, 4]] = rows[[4, 3]]


def shift_map(number: int, by: float) -> Callable[[Array], None]:
    """Of the last layer's bias, which has four values for each map."""

    def shift(bias: Array) -> None:
        bias[4 * number : 4 * number + 4] += np.float32(by)

    return shift


BROKEN = {
    "one weight, first layer": ("frame_net.enc0.0.weight", negate_largest, "added lateral"),
    "one weight, last layer": ("heads.last.weight", negate_largest_of_dx, "added lateral"),
    "channels of the frame network": ("frame_net.out.weight", swap_two, "Jaccard"),
    "channels of the heads": ("heads.hidden.bias", swap_two, "added"),
    "bias of p": ("heads.last.bias", shift_map(0, 0.5), "Jaccard"),
    "bias of dx": ("heads.last.bias", shift_map(2, 0.01), "added lateral"),
    "bias of z": ("heads.last.bias", shift_map(4, 0.003), "added axial"),
    "bias of sigma y": ("heads.last.bias", shift_map(7, 0.03), "sigma"),
    "bias of photons": ("heads.last.bias", shift_map(1, 0.03), "photons"),
    "bias of background": ("heads.last.bias", shift_map(9, -0.05), "background"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_engine_is_caught(light: ModelBundle, trial: Trial, tmp_path: Path, case: str) -> None:
    name, edit, words = BROKEN[case]
    figures, _ = trial.judge(edited(light, tmp_path / "broken.onnx", name, edit))
    assert [fault for fault in figures.faults() if words in fault], figures


FINE = {
    "one weight, of sigma of photons alone": ("heads.last.weight", negate_largest, "sigma"),
    "one weight, of the fine heads": ("heads.correct.weight", negate_largest, "Jaccard"),
}


@pytest.mark.parametrize("case", FINE)
def test_a_broken_engine_of_a_model_with_fine_heads_is_caught(tmp_path: Path, case: str) -> None:
    model = ModelBundle.load("astigmatic-light")
    name, edit, words = FINE[case]
    figures, _ = Trial.of(model, threads=1).judge(edited(model, tmp_path / "broken.onnx", name, edit))
    assert [fault for fault in figures.faults() if words in fault], figures


@pytest.mark.parametrize("layer", ["frame_net.dec0.0", "context_net.enc1.0", "frame_net.enc1.2"])
def test_one_weight_that_a_reduced_precision_may_spoil_fp32_may_not(
    light: ModelBundle, trial: Trial, tmp_path: Path, layer: str
) -> None:
    figures, _ = trial.judge(edited(light, tmp_path / "broken.onnx", f"{layer}.weight", negate_largest))
    assert figures.faults(limits_of(EngineConfig(precision="bf16"))) == []
    assert figures.faults(limits_of(EngineConfig(use="torch", precision="fp32"))) != []


def test_the_graph_written_anew_without_an_edit_passes(light: ModelBundle, trial: Trial, tmp_path: Path) -> None:
    figures, per_s = trial.judge(edited(light, tmp_path / "same.onnx", "heads.last.bias", lambda bias: None))
    assert figures.faults() == [] and figures.n_pairs == figures.n_reference > 2000
    assert figures.added_lateral_nm == 0 and per_s > 0


def test_an_admission_is_kept_and_not_made_again(light: ModelBundle, cache: Path) -> None:
    said: list[str] = []
    first = admit(ONNX_RUNTIME, light, said.append)
    assert "Jaccard +0.00 points" in first and len(said) == 2 and "checking onnxruntime fp32" in said[0]
    assert len(cache.read_text().splitlines()) == 1
    said.clear()
    assert admit(ONNX_RUNTIME, light, said.append) == first and said == []
    assert admit(EngineConfig(precision="fp32"), light, said.append).endswith("the reference")


def signed(config: EngineConfig, bundle: ModelBundle, **changed: object) -> Line:
    figures = {"n_frames": 384, "jaccard_change_points": 0.0, "added_lateral_nm": 0.1, "added_axial_nm": 0.1}
    line = Line.made(keys_of(config, bundle), figures, (), 400.0)
    return dataclasses.replace(line, **changed)


def put(cache: Path, line: Line) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(line.text() + "\n")


def test_an_edited_line_is_noticed_and_the_engine_checked_again(light: ModelBundle, cache: Path) -> None:
    refused = Line.made(keys_of(ONNX_RUNTIME, light), {"n_frames": 384}, ("added lateral error 3 nm",), 400.0)
    put(cache, dataclasses.replace(refused, faults=()))  # somebody would like it admitted
    said: list[str] = []
    assert find(light, keys_of(ONNX_RUNTIME, light), said.append) is None
    assert len(said) == 1 and "line 1 was changed after it was signed" in said[0]
    assert check(ONNX_RUNTIME, light, said.append).figures["n_pairs"] > 2000
    assert len(cache.read_text().splitlines()) == 1 and "changed" not in cache.read_text()


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"keys": {}, "figures": {}, "faults": 3}'])
def test_what_is_no_line_is_not_believed(light: ModelBundle, cache: Path, text: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(text + "\n")
    assert find(light, keys_of(ONNX_RUNTIME, light)) is None


def test_a_refusal_names_the_figures_and_stays(light: ModelBundle, cache: Path) -> None:
    refused = signed(ONNX_RUNTIME, light)
    refused = Line.made(refused.keys, refused.figures, ("added lateral error 3 nm (allowed 0.5 nm)",), 400.0)
    put(cache, refused)
    with pytest.raises(
        EngineError, match=r"onnxruntime fp32 is not admitted .*added lateral error 3 nm .*384 simulated"
    ):
        admit(ONNX_RUNTIME, light)


def test_a_line_serves_only_what_it_was_made_for(
    light: ModelBundle, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_of(ONNX_RUNTIME, light)
    put(cache, signed(ONNX_RUNTIME, light))
    assert find(light, keys) is not None
    others = [keys_of(EngineConfig(precision="fp32"), light)]
    folder = Path(shutil.copytree(light.folder, tmp_path / "other"))
    copy = ModelBundle.load(folder)
    others.append(keys_of(ONNX_RUNTIME, copy.write_detection(copy.detection.model_copy(update={"accept": 0.4}),
                                                             copy.card.recommended_filter)))  # fmt: skip
    (folder / "model.onnx").write_bytes(light.onnx_path.read_bytes() + b"\0")
    others.append(keys_of(ONNX_RUNTIME, dataclasses.replace(light, folder=folder)))
    version = importlib.metadata.version
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == "onnxruntime" else version(name))
        others.append(keys_of(ONNX_RUNTIME, light))
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == "openvino" else version(name))
        others.append(keys_of(ONNX_RUNTIME, light))  # the reference is another one
    read = Path.read_text
    another = "model name\t: Another CPU\n"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda s, *a, **k: another if s.name == "cpuinfo" else read(s, *a, **k))
        others.append(keys_of(ONNX_RUNTIME, light))
    with monkeypatch.context() as patch:
        patch.setattr(admission, "FRAMES", 8)
        others.append(keys_of(ONNX_RUNTIME, light))
    assert all(find(light, other) is None for other in others)
    changed = [{name for name in keys if keys[name] != other[name]} for other in others]
    assert changed == [
        {"engine", "library", "device"}, {"bundle"}, {"graph"}, {"library"}, {"reference"}, {"device"}, {"gate"},
    ]  # fmt: skip


def test_the_cpu_arithmetic_is_part_of_openvinos_key(light: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bf16 = EngineConfig(precision="bf16")
    here = keys_of(bf16, light)
    without_bf16(monkeypatch)
    there = keys_of(bf16, light)
    assert here["precision"] == "bf16" and there["device"].endswith("FP32 INT8")


def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """What OpenVINO answers on a CPU with AVX2."""
    import openvino

    ask = openvino.Core.get_property
    monkeypatch.setattr(
        openvino.Core, "get_property",
        lambda self, *what: ["FP32", "INT8"] if what == ("CPU", "OPTIMIZATION_CAPABILITIES") else ask(self, *what),
    )  # fmt: skip


def test_a_cache_that_cannot_be_written_is_told(
    light: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RTDECODE_CACHE", str(tmp_path / "file"))
    said: list[str] = []
    assert check(ONNX_RUNTIME, light, said.append).faults == ()
    assert any("cannot be kept" in sentence and "again next time" in sentence for sentence in said)


def test_a_bundle_without_psf_serves_fp32_or_what_is_allowed_unchecked(tiny_bundle: ModelBundle) -> None:
    assert "unchecked" in admit(ONNX_RUNTIME, tiny_bundle)
    with pytest.raises(EngineError, match=r"tiny holds no psf.safetensors.*allow_unchecked"):
        admit(EngineConfig(precision="bf16"), tiny_bundle)
    assert "as allowed" in admit(EngineConfig(precision="bf16", allow_unchecked=True), tiny_bundle)


def test_a_line_is_plain_json(light: ModelBundle) -> None:
    line = signed(ONNX_RUNTIME, light)
    assert set(json.loads(line.text())) == {"keys", "figures", "faults", "frames_per_s", "signature"}
    assert Line.read(line.text()) == line
