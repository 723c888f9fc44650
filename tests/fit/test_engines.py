"""One contract for all engines: agreement with torch, blocks, repeats, threads, refusals before the runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_model import noise_frames

from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.engines import build
from rtdecode.fit.export import map_scales

ENGINES = ["openvino", "onnxruntime", "torch"]
SHAPES = [(8, 8), (16, 40), (64, 48)]


@pytest.fixture(params=["half", "full"])
def bundle(request: pytest.FixtureRequest) -> ModelBundle:
    """Both strides."""
    found = request.getfixturevalue("tiny_bundle" if request.param == "half" else "full_bundle")
    assert isinstance(found, ModelBundle)
    return found


def started(bundle: ModelBundle, use: str, shape: tuple[int, int], **options: object) -> Engine:
    engine = build(EngineConfig.model_validate({"use": use, "threads": 1, **options}), bundle)
    engine.start(*shape)
    return engine


def stream(engine: Engine, frames: np.ndarray, blocks: list[int]) -> tuple[bytes, bytes]:
    """All maps and the last features, as bytes, with the frames cut into these blocks."""
    features, parts, first = engine.zero_features(), [], 0
    for size in blocks:
        maps, features = engine.infer(frames[first : first + size], features)
        parts.append(maps)
        first += size
    assert first == len(frames)
    return np.concatenate(parts).tobytes(), features.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("use", ["openvino", "onnxruntime"])
def test_agrees_with_torch(bundle: ModelBundle, use: str, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    frames = noise_frames(3, *shape, seed=2).astype(np.float32)
    reference, engine = started(bundle, "torch", shape), started(bundle, use, shape)
    features = random.standard_normal(reference.zero_features().shape).astype(np.float32)
    expected_maps, expected_features = reference.infer(frames, features)
    maps, new_features = engine.infer(frames, features)
    worst = np.abs(maps - expected_maps).max(axis=(0, 2, 3)) / map_scales(bundle.scaling)
    assert worst.max() < 1e-4
    np.testing.assert_allclose(new_features, expected_features, atol=1e-4 * max(1.0, expected_features.std()))
    assert maps[:, 0].std() > 1e-3  # a graph that answers the same everywhere would agree too


@pytest.mark.parametrize("use", ENGINES)
def test_blocks_and_repeats_give_the_same_bytes(bundle: ModelBundle, use: str) -> None:
    engine = started(bundle, use, (24, 32))
    frames = noise_frames(8, 24, 32, seed=3).astype(np.float32)
    one_by_one = stream(engine, frames, [1] * 8)
    assert stream(engine, frames, [2] * 4) == one_by_one
    assert stream(engine, frames, [8]) == one_by_one
    assert stream(engine, frames, [3, 1, 4]) == one_by_one
    assert stream(started(bundle, use, (24, 32)), frames, [1] * 8) == one_by_one  # a restarted worker


def test_openvino_gives_the_same_bytes_with_any_number_of_threads(bundle: ModelBundle) -> None:
    """ONNX Runtime does not: it splits its sums by thread. So `threads` must not change within one of its runs."""
    frames = noise_frames(2, 64, 48, seed=4).astype(np.float32)
    one, two, three = (started(bundle, "openvino", (64, 48), threads=n) for n in (1, 2, 3))
    assert stream(one, frames, [1, 1]) == stream(two, frames, [1, 1]) == stream(three, frames, [1, 1])


@pytest.mark.parametrize("use", ENGINES)
def test_caller_keeps_what_it_was_given(tiny_bundle: ModelBundle, use: str) -> None:
    engine = started(tiny_bundle, use, (8, 8))
    frames = noise_frames(2, 8, 8, seed=5).astype(np.float32)
    zeros = engine.zero_features()
    maps, features = engine.infer(frames[:1], zeros)
    kept = maps.tobytes(), features.tobytes()
    engine.infer(frames[1:], features)
    assert (maps.tobytes(), features.tobytes()) == kept
    assert not zeros.any()


@pytest.mark.parametrize("use", ENGINES)
def test_wrong_blocks_are_refused_before_the_runtime(
    tiny_bundle: ModelBundle, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build(EngineConfig(use=use, tile_px=0), tiny_bundle)
    with pytest.raises(EngineError, match="start"):
        engine.infer(np.zeros((1, 8, 8), np.float32), np.zeros((2, 8, 4, 4), np.float32))
    with pytest.raises(EngineError, match="multiples of 8"):
        engine.start(64, 60)
    engine.start(16, 24)
    monkeypatch.setattr(engine, "_run", lambda *_: pytest.fail("the runtime was touched"))
    good, features = np.zeros((1, 16, 24), np.float32), engine.zero_features()
    for frames in (good[:, :8], good[0], good.astype(np.float64), good[None]):
        with pytest.raises(EngineError, match=r"frames are .*expected float32 \([0-9]+, 16, 24\)"):
            engine.infer(frames, features)
    for wrong in (features[:1], features[:, :4], features.astype(np.float64), features[..., :2]):
        with pytest.raises(EngineError, match=r"features are .*expected float32 \(2, 8, 8, 12\)"):
            engine.infer(good, wrong)


@pytest.mark.parametrize("use", ENGINES)
def test_bf16_is_real_or_refused(tiny_bundle: ModelBundle, use: str) -> None:
    if use == "openvino" and _cpu_has_bf16():
        frames = noise_frames(2, 16, 16).astype(np.float32)
        engine = started(tiny_bundle, use, (16, 16), precision="bf16")
        assert stream(engine, frames, [1, 1]) == stream(engine, frames, [2])
        assert stream(engine, frames, [2]) != stream(started(tiny_bundle, use, (16, 16)), frames, [2])
        return
    with pytest.raises(EngineError, match="fp32"):
        build(EngineConfig(use=use, precision="bf16"), tiny_bundle)


def _cpu_has_bf16() -> bool:
    from openvino import Core

    return "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("use", ENGINES)
def test_a_missing_library_is_an_error_that_says_what_to_install(
    tiny_bundle: ModelBundle, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, use, None)
    with pytest.raises(EngineError, match="pip install"):
        started(tiny_bundle, use, (8, 8))


@pytest.mark.parametrize("use", ENGINES)
def test_a_foreign_graph_is_an_engine_error(tiny_bundle: ModelBundle, use: str, tmp_path: object) -> None:
    import dataclasses
    import shutil
    from pathlib import Path

    folder = Path(shutil.copytree(tiny_bundle.folder, Path(str(tmp_path)) / "foreign"))
    (folder / "model.onnx").write_bytes(b"not a graph")
    (folder / "weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(EngineError, match=use):
        started(dataclasses.replace(tiny_bundle, folder=folder), use, (8, 8))


def test_onnx_runtime_reports_to_nobody(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    """From 1.29 on it sends what it runs to its maker, and keeps a data base of it in the home folder."""
    code = "import sys; from rtdecode.fit.engine_onnxruntime import open_session; open_session(sys.argv[1], 1)"
    quiet = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    command = [sys.executable, "-c", code, str(tiny_bundle.onnx_path)]
    subprocess.run(command, check=True, timeout=120, env=quiet | {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""})
    assert list(tmp_path.iterdir()) == []
