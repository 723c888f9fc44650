"""The GPU path of torch, run on the CPU: blocks, states, padding and rows against the CPU engine and the numba scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny_model import TINY_CAMERA, noise_frames  # noqa: E402

from rtdecode.core.camera_maps import CameraMaps  # noqa: E402
from rtdecode.core.errors import EngineError  # noqa: E402
from rtdecode.core.frames import FrameInfo  # noqa: E402
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle  # noqa: E402
from rtdecode.fit.device import Block, DeviceState, columns_of, lengths, reflected, slots_for  # noqa: E402
from rtdecode.fit.emitters import find_emitters  # noqa: E402
from rtdecode.fit.engine_torch import TorchEngine  # noqa: E402
from rtdecode.fit.engine_torch_cuda import TorchCudaEngine  # noqa: E402
from rtdecode.fit.lines import adu_of  # noqa: E402
from rtdecode.fit.windows import Windows  # noqa: E402

LOW = DetectionThresholds(peak=0.05, accept=0.1, split=0.6, readout="fused")
PX = (100.0, 110.0)


@pytest.fixture(params=["half", "full"])
def bundle(request: pytest.FixtureRequest) -> ModelBundle:
    """Both strides."""
    found = request.getfixturevalue("tiny_bundle" if request.param == "half" else "full_bundle")
    assert isinstance(found, ModelBundle)
    return found


def on_cpu(bundle: ModelBundle, **options: object) -> TorchCudaEngine:
    return TorchCudaEngine(bundle, device="cpu", **{"precision": "fp32", "detection": LOW, "slots": 500, **options})  # type: ignore[arg-type]


@dataclass
class Expected:
    """Localizations by the CPU path: windows over the torch engine, numba scan."""

    bundle: ModelBundle
    frames: np.ndarray  # float32, of the bundle's camera

    def all(self) -> list[np.ndarray]:
        windows = Windows(TorchEngine(self.bundle), self.bundle.network.stride, *self.frames.shape[1:])
        done = [w for k, frame in enumerate(self.frames) for w in windows.push(FrameInfo(k, 0, 0), frame)]
        found = [find_emitters(w.maps, 0, PX, LOW) for w in [*done, *windows.gap()]]
        return [np.stack([column for _, column in one.columns()][1:]) for one in found]


def stream(engine: TorchCudaEngine, frames: np.ndarray, blocks: list[int]) -> list[np.ndarray]:
    """A stretch of frames as the fitter will feed it: the first alone, then blocks, then the last once more."""
    _, state = engine.localize_block(frames[:1], engine.new_state())
    state, first, parts = engine.repeat_last(state), 1, []
    for size in blocks:
        block, state = engine.localize_block(frames[first : first + size], state)
        parts.append(block)
        first += size
    last, _ = engine.localize_block(frames[-1:], state)
    assert first == len(frames)
    assert not sum(block.lost.sum() for block in [*parts, last])
    width = len(reflected(frames.shape[2], engine.layout.stride))
    tables = [block.frame(b) for block in [*parts, last] for b in range(len(block.rows))]
    return [columns_of(rows[rows[:, 0] >= LOW.accept], width, PX) for rows in tables]


def check_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for got, wanted in zip(found, expected, strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got[:2], wanted[:2], atol=0.05)
        np.testing.assert_allclose(got[2:], wanted[2:], rtol=2e-3, atol=0.05)
    assert sum(one.shape[1] for one in expected) > 20


@pytest.mark.parametrize("shape", [(24, 32), (21, 27)])
@pytest.mark.parametrize("frame_dtype", ["uint16", "float32"])
def test_a_stretch_gives_what_the_cpu_path_gives(bundle: ModelBundle, shape: tuple[int, int], frame_dtype: str) -> None:
    frames = noise_frames(8, *shape, seed=3)
    frames[2] += 40000  # beyond int16, whose bits carry it
    engine = on_cpu(bundle, frame_dtype=frame_dtype)
    engine.start(*shape, TINY_CAMERA)
    expected = Expected(bundle, frames.astype(np.float32)).all()
    check_same(stream(engine, frames.astype(frame_dtype), [7]), expected)
    check_same(stream(engine, frames.astype(frame_dtype), [1, 3, 1, 2]), expected)


def test_pixel_maps_of_another_camera(tiny_bundle: ModelBundle) -> None:
    random = np.random.default_rng(3)
    camera = TINY_CAMERA.model_copy(update={"em_gain": 200.0, "qe": 0.9, "spurious_e": 0.3})
    shape = (21, 27)
    gain = random.uniform(20, 40, shape).astype(np.float32)
    maps = CameraMaps(random.normal(110.0, 5.0, shape).astype(np.float32), np.ones(shape, np.float32), gain)
    frames = noise_frames(4, *shape, seed=5)
    engine = on_cpu(tiny_bundle)
    engine.start(*shape, camera, maps)
    expected = Expected(tiny_bundle, adu_of(tiny_bundle.camera, camera.photons(frames, maps))).all()
    check_same(stream(engine, frames, [3]), expected)
    with pytest.raises(EngineError, match="cut them first"):
        engine.start(20, 27, camera, maps)


def test_bf16_runs_and_is_near(tiny_bundle: ModelBundle) -> None:
    frames = noise_frames(3, 24, 32, seed=3)
    exact, low = on_cpu(tiny_bundle), on_cpu(tiny_bundle, precision="bf16")
    found = []
    for engine in (exact, low):
        engine.start(24, 32, TINY_CAMERA)
        found.append(np.concatenate(stream(engine, frames, [2]), axis=1))
    assert 0.8 < found[1].shape[1] / found[0].shape[1] < 1.25
    assert not np.array_equal(found[0][9][:5], found[1][9][:5])


def test_blocks_are_cut_into_captured_lengths() -> None:
    assert lengths(13, 4) == [4, 4, 4, 1]
    assert lengths(13, 64) == [8, 4, 1]
    assert lengths(64, 64) == [64]
    assert lengths(7, 6) == [4, 2, 1]
    for n in range(1, 200):
        for largest in (1, 5, 32):
            assert sum(lengths(n, largest)) == n and max(lengths(n, largest)) <= largest
    assert slots_for(64, 64, 9999) == 256 and slots_for(8, 8, 64) == 64 and slots_for(512, 512, 3840) == 3840


def test_what_does_not_fit_is_refused(tiny_bundle: ModelBundle) -> None:
    engine = on_cpu(tiny_bundle)
    frames = noise_frames(2, 16, 24)
    with pytest.raises(EngineError, match="call start"):
        engine.new_state()
    engine.start(16, 24, TINY_CAMERA)
    state = engine.new_state()
    for wrong in (frames[:, :8], frames[0], frames[:0]):
        with pytest.raises(EngineError, match=r"expected \(B, 16, 24\)"):
            engine.localize_block(wrong, state)
    with pytest.raises(EngineError, match="made for uint16"):
        engine.localize_block(frames.astype(np.float32), state)
    _, after = engine.localize_block(frames, state)
    for stale in (state, DeviceState(99)):
        with pytest.raises(EngineError, match="is not the latest"):
            engine.localize_block(frames, stale)
        with pytest.raises(EngineError, match="is not the latest"):
            engine.repeat_last(stale)
    engine.localize_block(frames, engine.repeat_last(after))


def test_the_block_is_the_callers_own(tiny_bundle: ModelBundle) -> None:
    engine = on_cpu(tiny_bundle)
    engine.start(16, 24, TINY_CAMERA)
    first, state = engine.localize_block(noise_frames(2, 16, 24), engine.new_state())
    kept: Block = Block(first.rows.copy(), first.candidates.copy())
    engine.localize_block(noise_frames(2, 16, 24, seed=9), state)
    np.testing.assert_array_equal(first.rows, kept.rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_cuda_it_says_what_to_choose(tiny_bundle: ModelBundle) -> None:
    with pytest.raises(EngineError, match="choose engine openvino"):
        TorchCudaEngine(tiny_bundle)
    with pytest.raises(EngineError, match="captured on CUDA only"):
        on_cpu(tiny_bundle, capture=True)
    with pytest.raises(EngineError, match="int8"):
        on_cpu(tiny_bundle, precision="int8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_captured_graphs_give_what_the_plain_run_gives(tiny_bundle: ModelBundle, precision: str) -> None:
    frames = noise_frames(9, 24, 32, seed=3)
    found = []
    for capture in (False, True):
        engine = TorchCudaEngine(tiny_bundle, precision, detection=LOW, capture=capture, slots=500)
        engine.start(24, 32, TINY_CAMERA)
        found.append(stream(engine, frames, [3, 4, 1]))
    for got, wanted in zip(*found, strict=True):
        np.testing.assert_array_equal(got, wanted)
