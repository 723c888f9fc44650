"""int8: which convolutions stay in floating point in every layout, and a cached graph that is whole or made again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import EngineError
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.cache import VARIABLE
from rtdecode.fit.engines import build
from rtdecode.fit.graph_scope import in_floating_point
from rtdecode.fit.int8 import GRAPH, NOTE, int8_graph, is_cached

HEADS = {
    "full": [f"heads.{part}.{n}" for part in ("hidden", "last") for n in range(4)],
    "fine": ["heads.hidden", "heads.last", "heads.narrow", "heads.mix", "heads.correct"],
    "dilated": ["heads.hidden", "heads.last"],
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "full": {"stem": "full"},
    "fine": {"stem": "half", "fine": 4},
    "dilated": {"stem": "half", "context": "dilated", "activation": "relu"},
}


@pytest.fixture
def light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelBundle:
    """The shipped bundle and a cache of this test alone."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return ModelBundle.load("astigmatic-light")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the shipped bundle's graph, to be copied: making it takes seconds."""
    pytest.importorskip("nncf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(cache := tmp_path_factory.mktemp("int8")))
        int8_graph(ModelBundle.load("astigmatic-light"))
    return cache


@pytest.fixture
def cached(light: ModelBundle, made: Path, tmp_path: Path) -> Path:
    """The folder of a whole int8 graph in this test's cache."""
    shutil.copytree(made, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").glob("bundles/*/int8-*")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_first_convolutions_and_heads_stay_in_floating_point(layout: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from tiny_model import TINY_CAMERA

    from rtdecode.fit.export import export_onnx
    from rtdecode.fit.network import Network, NetworkConfig
    from rtdecode.fit.scaling import Scaling

    torch.set_num_threads(1)
    network = Network(NetworkConfig(features=4, **LAYOUTS[layout]))
    path = tmp_path / "model.onnx"
    export_onnx(network, TINY_CAMERA, Scaling.from_ranges(10000, 3000, (90, 150), 750), path)
    layers, kept = convolutions(path), kept_convolutions(path)
    first = ["frame_net.enc0.0", "frame_net.enc0.2", "frame_net.pool0"]
    assert sorted(layers[name] for name in kept) == sorted(first + HEADS[layout])
    assert len(layers) == sum(isinstance(module, torch.nn.Conv2d) for module in network.modules())


def test_the_shipped_bundle_keeps_them_too(light: ModelBundle) -> None:
    layers = convolutions(light.onnx_path)
    expected = ["frame_net.enc0.0", "frame_net.enc0.2", "frame_net.pool0", "heads.hidden", "heads.last"]
    expected += ["heads.narrow", "heads.mix", "heads.correct"]
    assert sorted(layers[name] for name in kept_convolutions(light.onnx_path)) == sorted(expected)


def convolutions(path: Path) -> dict[str, str]:
    """Name of each convolution in the ONNX -> the layer it came from, by its weights' name."""
    onnx = pytest.importorskip("onnx")
    convs = [node for node in onnx.load(str(path)).graph.node if node.op_type == "Conv"]
    layers = {node.name: node.input[1].removeprefix("network.").removesuffix(".weight") for node in convs}
    return layers


def kept_convolutions(path: Path) -> list[str]:
    """By their names in the ONNX; OpenVINO marks those whose bias is an addition of its own."""
    import openvino

    model = openvino.Core().read_model(str(path))
    kept = set(in_floating_point(model))
    convs = [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]
    return [name.removesuffix("/WithoutBiases") for name in convs if name in kept]


def test_the_graph_runs_and_is_another_one(light: ModelBundle, cached: Path) -> None:
    answers = {}
    for precision in ("fp32", "int8"):
        engine = build(EngineConfig.model_validate({"precision": precision, "threads": 1}), light)
        engine.start(24, 32)
        rng = np.random.default_rng(0)
        frames = rng.normal(700, 80, (4, 24, 32)).astype(np.float32)
        frames[:, 12, 16] += 3000
        maps, features = engine.infer(frames, engine.zero_features())
        again, _ = engine.infer(frames[2:], engine.infer(frames[:2], engine.zero_features())[1])
        assert again.tobytes() == maps[2:].tobytes()
        answers[precision] = maps, features
    difference = np.abs(answers["int8"][0][:, 0] - answers["fp32"][0][:, 0])
    assert 1e-6 < difference.max() < 0.3  # of p
    convs = (cached / GRAPH).read_text().count('type="FakeQuantize"')
    assert convs > 30  # weights and activations of most of the 32 layers


def test_a_cached_graph_is_taken_without_nncf(
    light: ModelBundle, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    said: list[str] = []
    assert int8_graph(light, said.append) == cached / GRAPH and said == []
    shutil.rmtree(cached)
    with pytest.raises(EngineError, match=r"made with NNCF, which is not installed here; .*\[int8\].*bf16 or fp32"):
        int8_graph(light, said.append)


@pytest.mark.parametrize("harm", ["cut", "changed", "note"])
def test_a_broken_cached_graph_is_announced_and_never_run(
    light: ModelBundle, cached: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)  # so that what would be made again is an error here
    if harm == "cut":
        (cached / "graph.bin").write_bytes((cached / "graph.bin").read_bytes()[:-8])
    elif harm == "changed":
        (cached / GRAPH).write_text((cached / GRAPH).read_text().replace('levels="256"', 'levels="255"', 1))
    else:
        note = json.loads((cached / NOTE).read_text())
        (cached / NOTE).write_text(json.dumps(note | {"files": {}}))
    assert not is_cached(light)
    said: list[str] = []
    with pytest.raises(EngineError, match="NNCF"):
        int8_graph(light, said.append)
    assert len(said) == 1 and said[0].endswith("it is made again") and str(cached) in said[0]


def test_a_broken_graph_is_made_again(light: ModelBundle, cached: Path) -> None:
    whole = {path.name: path.read_bytes() for path in cached.iterdir() if path.name != NOTE}
    (cached / "graph.bin").write_bytes(b"")
    assert int8_graph(light) == cached / GRAPH and is_cached(light)
    assert (cached / "graph.bin").read_bytes() == whole["graph.bin"]  # the same frames, the same scales
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]  # nothing half made is left


def test_another_version_or_bundle_has_its_own_graph(
    light: ModelBundle, cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    assert is_cached(light)
    copy = ModelBundle.load(Path(shutil.copytree(light.folder, tmp_path / "other")))
    other = copy.write_detection(copy.detection.model_copy(update={"accept": 0.4}), copy.card.recommended_filter)
    assert not is_cached(other)
    version = importlib.metadata.version
    for package in ("openvino", "nncf"):
        with monkeypatch.context() as patch:
            patch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == package else version(name))  # noqa: B023
            assert not is_cached(light)


def test_a_bundle_without_psf_has_no_int8(tiny_bundle: ModelBundle) -> None:
    pytest.importorskip("nncf")
    with pytest.raises(EngineError, match=r"no psf\.safetensors.*fp32"):
        build(EngineConfig(precision="int8"), tiny_bundle)


def test_engines_of_other_precisions_do_not_import_nncf(light: ModelBundle) -> None:
    code = (
        "import sys\nfrom rtdecode.core.config import EngineConfig\nfrom rtdecode.fit.bundle import ModelBundle\n"
        "from rtdecode.fit.engines import build\nimport rtdecode.stages.admission\n"
        "build(EngineConfig(threads=1), ModelBundle.load('astigmatic-light')).start(16, 16)\n"
        "assert not {'nncf', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=dict(os.environ))


def test_nncf_reports_to_nobody(light: ModelBundle, tmp_path: Path) -> None:
    """By default it tells its maker of each use, and keeps a number of the installation in the home folder."""
    pytest.importorskip("nncf")
    code = "from rtdecode.fit.bundle import ModelBundle; from rtdecode.fit.int8 import int8_graph; "
    code += "int8_graph(ModelBundle.load('astigmatic-light'))"
    quiet = {key: value for key, value in os.environ.items() if key not in ("CI", "NNCF_CI")}
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240, env=quiet | {"HOME": str(home)})
    assert not (home / "intel").exists()
    assert list(tmp_path.glob("cache/bundles/*/int8-*/graph.xml"))
