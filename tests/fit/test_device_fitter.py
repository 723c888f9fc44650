"""The fitter over an engine that detects by itself (torch's, on the CPU) against the fitter over maps."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny_model import TINY_CAMERA, noise_frames  # noqa: E402

from rtdecode.core.camera import Camera  # noqa: E402
from rtdecode.core.config import DetectionConfig, EngineConfig  # noqa: E402
from rtdecode.core.errors import EngineError  # noqa: E402
from rtdecode.core.frames import Fate, Frame, FrameInfo, Roi  # noqa: E402
from rtdecode.core.localizations import Localizations  # noqa: E402
from rtdecode.fit import engines  # noqa: E402
from rtdecode.fit.bundle import ModelBundle  # noqa: E402
from rtdecode.fit.engine_torch_cuda import TorchCudaEngine  # noqa: E402
from rtdecode.fit.fitter import FittedFrame, Fitter, thresholds_of  # noqa: E402
from rtdecode.streams.log import CommitFlag  # noqa: E402

HEIGHT, WIDTH = 21, 27
ROI = Roi(0, 0, WIDTH, HEIGHT)
SENSITIVE = DetectionConfig(peak=0.02, accept=0.1)
N = 24


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """(24, 21, 27) uint16."""
    return noise_frames(N, HEIGHT, WIDTH, seed=4)


def device(
    bundle: ModelBundle, camera: Camera = TINY_CAMERA, largest_block: int = 8, slots: int | None = None
) -> Fitter:
    """Over torch-cuda's code on the CPU: same blocks, states and rows, no capture."""
    thresholds = thresholds_of(bundle, SENSITIVE)
    engine = TorchCudaEngine(
        bundle, "fp32", detection=thresholds, device="cpu", largest_block=largest_block, slots=slots or HEIGHT * WIDTH
    )
    return Fitter(bundle, engine, ROI, camera, SENSITIVE, allow_camera_mismatch=True)


def host(bundle: ModelBundle, camera: Camera = TINY_CAMERA) -> Fitter:
    engine = engines.build(EngineConfig(use="torch", threads=1), bundle)
    return Fitter(bundle, engine, ROI, camera, SENSITIVE, allow_camera_mismatch=True)


def frame(index: int, pixels: np.ndarray) -> Frame:
    return Frame(FrameInfo(index, 0, index), pixels)


def fed(fitter: Fitter, frames: list[Frame], waiting: list[int]) -> list[FittedFrame]:
    """Frames pushed with so many behind each in the queue, then the end."""
    done = [one for k, each in enumerate(frames) for one in fitter.push(each, more=waiting[k % len(waiting)] > 0)]
    return done + fitter.finish()


def check_same(found: list[FittedFrame], expected: list[FittedFrame]) -> None:
    assert [(f.info.index, f.fate, f.flags) for f in found] == [(e.info.index, e.fate, e.flags) for e in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert len(mine.localizations) == len(theirs.localizations)
        for (name, a), (_, b) in zip(mine.localizations.columns(), theirs.localizations.columns(), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=0.05, err_msg=name)
    assert len(Localizations.concatenate(f.localizations for f in expected)) > 20 * len(expected) // 8


def with_holes(pixels: np.ndarray) -> list[Frame]:
    """Gaps at both ends of a lone frame, a frame of another size, one that is saturated."""
    frames = [frame(k, pixels[k]) for k in range(N) if k not in (5, 7, 8)]
    frames[9] = frame(frames[9].index, np.zeros((4, 4), np.uint16))
    frames[14] = frame(frames[14].index, np.full((HEIGHT, WIDTH), 65535, np.uint16))
    return frames


@pytest.mark.parametrize("waiting", [[0], [1], [1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]])
def test_what_has_come_is_taken_as_one_block_and_the_answers_are_the_same(
    tiny_bundle: ModelBundle, pixels: np.ndarray, waiting: list[int]
) -> None:
    frames = with_holes(pixels)
    found = fed(device(tiny_bundle), frames, waiting)
    check_same(found, fed(host(tiny_bundle), frames, [0]))
    assert [one.info.index for one in found] == [each.index for each in frames]
    assert sum(one.fate == Fate.REJECTED for one in found) == 2


def test_nothing_waits_when_the_queue_is_empty(tiny_bundle: ModelBundle, pixels: np.ndarray) -> None:
    fitter = device(tiny_bundle)
    counts = [len(fitter.push(frame(k, pixels[k]), more=False)) for k in range(6)]
    assert counts == [0, 1, 1, 1, 1, 1]
    gathered = [len(fitter.push(frame(k, pixels[k]), more=True)) for k in range(6, 16)]
    assert gathered == [0] * 7 + [8, 0, 0] and len(fitter.push(frame(16, pixels[16]), more=False)) == 3


def test_after_a_restart_it_goes_on_as_if_nothing_had_been(tiny_bundle: ModelBundle, pixels: np.ndarray) -> None:
    frames = [frame(k, pixels[k]) for k in range(N)]
    whole = fed(device(tiny_bundle), frames, [0])
    second = device(tiny_bundle)
    second.resume(frames[9])
    check_same(fed(second, frames[10:], [1, 0]), whole[10:])
    assert not whole[10].flags & CommitFlag.LEFT_IS_COPY


def test_another_camera_is_converted_on_the_device(tiny_bundle: ModelBundle, pixels: np.ndarray) -> None:
    camera = TINY_CAMERA.model_copy(update={"baseline_adu": 150.0, "em_gain": 200.0, "spurious_e": 0.2})
    frames = [frame(k, pixels[k]) for k in range(8)]
    check_same(fed(device(tiny_bundle, camera), frames, [1, 0]), fed(host(tiny_bundle, camera), frames, [0]))


def test_candidates_without_a_slot_are_counted(tiny_bundle: ModelBundle, pixels: np.ndarray) -> None:
    fitter = device(tiny_bundle, slots=2)
    found = fed(fitter, [frame(k, pixels[k]) for k in range(6)], [0])
    everything = fed(device(tiny_bundle), [frame(k, pixels[k]) for k in range(6)], [0])
    assert all(len(one.localizations) <= 2 for one in found)
    assert fitter.lost_candidates >= sum(len(one.localizations) for one in everything) - 12 > 0


def test_values_that_are_not_finite_name_their_frame(
    tiny_bundle: ModelBundle, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitter = device(tiny_bundle)
    fitter.push(frame(0, pixels[0]))
    engine = fitter._line._windows._engine  # type: ignore[attr-defined]
    for buffer in engine._static.features:
        buffer.fill_(float("nan"))  # as a kernel that is broken would leave them
    with pytest.raises(EngineError, match="not finite for frame 0"):
        fitter.push(frame(1, pixels[1]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what must be missing")
@pytest.mark.parametrize("use", engines.ON_GPU)
def test_without_a_gpu_the_engine_is_refused_by_name(tiny_bundle: ModelBundle, use: str) -> None:
    config = EngineConfig.model_validate({"use": use, "precision": "fp32"})
    with pytest.raises(EngineError, match="no NVIDIA GPU"):
        engines.build(config, tiny_bundle)
    with pytest.raises(EngineError, match=r"CUDA|not installed"):
        engines.device_of(use)


def test_what_a_gpu_engine_does_not_do_is_said(tiny_bundle: ModelBundle) -> None:
    with pytest.raises(EngineError, match=r"tile_px 128.*CPU"):
        engines.build(EngineConfig.model_validate({"use": "torch-cuda", "tile_px": 128}), tiny_bundle)
    with pytest.raises(EngineError, match="int8"):
        engines.check(EngineConfig.model_validate({"use": "torch-cuda", "precision": "int8"}))
    with pytest.raises(EngineError, match="gives no maps"):
        engines.host_engine(EngineConfig.model_validate({"use": "torch-cuda"}), tiny_bundle)
