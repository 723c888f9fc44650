"""The fitter's invariant, its context against an independent reference, bad frames, cameras, coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_model import TINY_CAMERA, noise_frames

from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.config import DetectionConfig, EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import CameraMismatch, EngineError, StreamError
from rtdecode.core.frames import Fate, Frame, FrameFlag, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.engines import build
from rtdecode.fit.fitter import FittedFrame, Fitter, check_camera
from rtdecode.fit.lines import adu_of
from rtdecode.fit.windows import Windows
from rtdecode.streams.log import CommitFlag

SENSITIVE = DetectionConfig(peak=0.02, accept=0.06)
"""Random weights on small frames: thresholds at which every frame gives some localizations."""
HEIGHT, WIDTH = 13, 21


def frame(index: int, pixels: np.ndarray, flags: int = 0) -> Frame:
    return Frame(FrameInfo(index, 0, index, flags), pixels)


def run(fitter: Fitter, frames: list[Frame]) -> list[FittedFrame]:
    """All frames through one fitter, and its end."""
    return [out for one in frames for out in fitter.push(one)] + fitter.finish()


def as_bytes(fitted: list[FittedFrame]) -> list[tuple[int, int, int, bytes]]:
    return [(f.info.index, f.fate, f.flags, f.localizations.records().tobytes()) for f in fitted]


@pytest.fixture(scope="module")
def engine(tiny_bundle: ModelBundle) -> Engine:
    """One compiled engine for many fitters: it holds no stream state."""
    return build(EngineConfig(threads=1), tiny_bundle)


def small_fitter(bundle: ModelBundle, engine: Engine) -> Fitter:
    return Fitter(bundle, engine, Roi(0, 0, WIDTH, HEIGHT), detection=SENSITIVE)


# ---------------------------------------------------------------------------------------------- invariant


def restarted(bundle: ModelBundle, engine: Engine, frames: list[Frame], kills: list[int]) -> list[FittedFrame]:
    """As a killed worker does it: after `kills[k]` pushes all but what came out is forgotten."""
    committed: list[FittedFrame] = []
    at = {one.index: i for i, one in enumerate(frames)}
    for pushes in kills:
        committed += _continue(bundle, engine, frames, committed, at, pushes)
    return committed + _continue(bundle, engine, frames, committed, at, None)


def _continue(
    bundle: ModelBundle,
    engine: Engine,
    frames: list[Frame],
    committed: list[FittedFrame],
    at: dict[int, int],
    pushes: int | None,
) -> list[FittedFrame]:
    fitter, start = small_fitter(bundle, engine), 0
    if committed:
        last = committed[-1]
        start = at[last.info.index] + 1
        if last.fate == Fate.FITTED and not last.flags & CommitFlag.RIGHT_IS_COPY:
            fitter.resume(frames[start - 1])
    todo = frames[start:] if pushes is None else frames[start : start + pushes]
    out = [fitted for one in todo for fitted in fitter.push(one)]
    return out + (fitter.finish() if pushes is None else [])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from([1, 1, 1, 2, 5]), min_size=1, max_size=14),
    bad=st.sets(st.integers(0, 13), max_size=3),
    kills=st.lists(st.integers(0, 6), max_size=5),
    seed=st.integers(0, 2**16),
)
def test_gaps_bad_frames_and_restarts_change_no_byte(
    tiny_bundle: ModelBundle, engine: Engine, steps: list[int], bad: set[int], kills: list[int], seed: int
) -> None:
    pixels = noise_frames(len(steps), HEIGHT, WIDTH, seed)
    frames = [
        frame(int(index), pixels[i], FrameFlag.WRONG_SIZE if i in bad else FrameFlag.GOOD)
        for i, index in enumerate(np.cumsum(steps))
    ]
    one_pass = run(small_fitter(tiny_bundle, engine), frames)
    assert [f.info.index for f in one_pass] == [f.index for f in frames]
    assert [f.fate == Fate.REJECTED for f in one_pass] == [i in bad for i in range(len(frames))]
    assert as_bytes(restarted(tiny_bundle, engine, frames, kills)) == as_bytes(one_pass)


def test_a_fresh_engine_gives_the_same_bytes_and_something_was_found(tiny_bundle: ModelBundle, engine: Engine) -> None:
    frames = [frame(i, pixels) for i, pixels in enumerate(noise_frames(6, HEIGHT, WIDTH, 1))]
    first = run(small_fitter(tiny_bundle, engine), frames)
    again = run(small_fitter(tiny_bundle, build(EngineConfig(threads=2), tiny_bundle)), frames)
    assert as_bytes(first) == as_bytes(again)
    assert sum(len(f.localizations) for f in first) > 6


# ------------------------------------------------------------------------------------------------ context


def reference_maps(bundle: ModelBundle, before: np.ndarray, here: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(10, H, W) of one triple straight from the network's training form, reflected at right and bottom."""
    torch = pytest.importorskip("torch")
    from rtdecode.fit.engine_torch import TorchEngine
    from rtdecode.fit.network import physical_maps

    stride, (height, width) = bundle.network.stride, here.shape
    clip = np.stack([bundle.camera.photons(one) for one in (before, here, after)])
    clip = np.pad(clip, ((0, 0), (0, -height % stride), (0, -width % stride)), mode="reflect")
    scaled = (clip - bundle.scaling.input_offset) / bundle.scaling.input_scale
    with torch.inference_mode():
        raw = TorchEngine(bundle)._graph.network(torch.tensor(scaled[None], dtype=torch.float32))
        maps = physical_maps(raw[0], bundle.scaling)
    return np.asarray(maps[0, :, :height, :width])


@pytest.mark.parametrize("which", ["tiny_bundle", "full_bundle"])
@pytest.mark.parametrize("shape", [(13, 21), (8, 8), (5, 3), (1, 1), (1, 30)])
def test_every_centre_has_its_own_neighbours(
    request: pytest.FixtureRequest, which: str, shape: tuple[int, int]
) -> None:
    from rtdecode.fit.export import map_scales

    bundle: ModelBundle = request.getfixturevalue(which)
    pixels = noise_frames(6, *shape, seed=8).astype(np.float32)
    indices = [0, 1, 2, 5, 9, 10]  # a gap, and a frame alone
    neighbours = [(0, 0, 1), (0, 1, 2), (1, 2, 2), (3, 3, 3), (4, 4, 5), (4, 5, 5)]
    windows = Windows(build(EngineConfig(use="onnxruntime", threads=1), bundle), bundle.network.stride, *shape)
    found = [w for i, one in zip(indices, pixels, strict=True) for w in windows.push(FrameInfo(i, 0, 0), one)]
    found += windows.gap()
    assert [w.info.index for w in found] == indices
    assert [(w.left_copy, w.right_copy) for w in found] == [(a == b, b == c) for a, b, c in neighbours]
    for window, (a, b, c) in zip(found, neighbours, strict=True):
        expected = reference_maps(bundle, pixels[a], pixels[b], pixels[c])
        assert (np.abs(window.maps - expected).max(axis=(1, 2)) / map_scales(bundle.scaling)).max() < 1e-4


# --------------------------------------------------------------------------------------------- bad frames


def test_bad_frames_are_rejected_and_are_gaps(tiny_bundle: ModelBundle, engine: Engine) -> None:
    pixels = noise_frames(6, HEIGHT, WIDTH, 2).astype(np.float32)
    pixels[1, 3, 4] = np.nan
    pixels[3, 0, 0] = -np.inf
    pixels[4, 0, 0] = 1e30
    frames = [frame(i, one) for i, one in enumerate(pixels)]
    frames[5] = frame(5, np.zeros((HEIGHT, WIDTH + 1), np.float32))
    fitted = run(small_fitter(tiny_bundle, engine), frames)
    alone = CommitFlag.LEFT_IS_COPY | CommitFlag.RIGHT_IS_COPY
    assert [f.fate for f in fitted] == [Fate.FITTED, Fate.REJECTED, Fate.FITTED] + [Fate.REJECTED] * 3
    assert [f.flags for f in fitted] == [alone, CommitFlag.NOT_FINITE, alone] + [CommitFlag.NOT_FINITE] * 2 + [
        CommitFlag.WRONG_SIZE
    ]
    assert [len(f.localizations) for f in fitted if f.fate == Fate.REJECTED] == [0] * 4


def test_saturated_frames_are_fitted_and_flagged(tiny_bundle: ModelBundle, engine: Engine) -> None:
    pixels = noise_frames(3, HEIGHT, WIDTH, 3)
    pixels[2, 5, 5] = 65535
    frames = [frame(0, pixels[0]), frame(1, pixels[1], FrameFlag.SATURATED), frame(2, pixels[2])]
    fitted = run(small_fitter(tiny_bundle, engine), frames)
    assert [bool(f.flags & CommitFlag.SATURATED) for f in fitted] == [False, True, True]
    assert {f.fate for f in fitted} == {Fate.FITTED}


@pytest.mark.parametrize("ceiling", [4095, 65535])
def test_widely_saturated_frames_are_rejected_and_a_gap(ceiling: int, tiny_bundle: ModelBundle, engine: Engine) -> None:
    """At the camera's full scale (65535), or at a ceiling that only the frame's source knows."""
    pixels = noise_frames(4, HEIGHT, WIDTH, 3)
    n_allowed = int(0.05 * HEIGHT * WIDTH)
    pixels[1].flat[:n_allowed] = pixels[2].flat[: n_allowed + 1] = ceiling
    flags = [0, FrameFlag.SATURATED, FrameFlag.SATURATED, 0] if ceiling < 65535 else [0] * 4
    fitted = run(small_fitter(tiny_bundle, engine), [frame(k, pixels[k], flags[k]) for k in range(4)])
    assert [f.fate for f in fitted] == [Fate.FITTED, Fate.FITTED, Fate.REJECTED, Fate.FITTED]
    left, right = CommitFlag.LEFT_IS_COPY, CommitFlag.RIGHT_IS_COPY
    saturated = CommitFlag.SATURATED
    assert [f.flags for f in fitted] == [left, saturated | right, saturated, left | right]


def test_indices_must_rise(tiny_bundle: ModelBundle, engine: Engine) -> None:
    fitter, pixels = small_fitter(tiny_bundle, engine), noise_frames(1, HEIGHT, WIDTH)[0]
    fitter.push(frame(4, pixels))
    for index in (4, 3):
        with pytest.raises(StreamError, match=f"frame {index} came after frame 4"):
            fitter.push(frame(index, pixels))


def test_resuming_from_a_bad_frame_is_refused(tiny_bundle: ModelBundle, engine: Engine) -> None:
    with pytest.raises(StreamError, match="no frame to resume from"):
        small_fitter(tiny_bundle, engine).resume(frame(4, np.full((HEIGHT, WIDTH), np.nan, np.float32)))


def test_maps_that_are_not_finite_stop_the_run(
    tiny_bundle: ModelBundle, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitter, infer = small_fitter(tiny_bundle, engine), engine.infer

    def broken(frames_adu: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        maps, new_features = infer(frames_adu, features)
        maps[0, 7, 2, 3] = np.nan
        return maps, new_features

    monkeypatch.setattr(engine, "infer", broken)
    fitter.push(frame(0, noise_frames(1, HEIGHT, WIDTH)[0]))
    with pytest.raises(EngineError, match="not finite for frame 0"):
        fitter.finish()


# ------------------------------------------------------------------------------- cameras and coordinates


class OneEmitter:
    """An engine whose every answer is one emitter at row 1, column 4 of a padded 8 x 24 frame."""

    name, precision = "one", "fp32"

    def start(self, height_px: int, width_px: int) -> None:
        assert (height_px, width_px) == (8, 24)

    def zero_features(self) -> np.ndarray:
        return np.zeros((2, 1, 1, 1), np.float32)

    def infer(self, frames_adu: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen = frames_adu
        maps = np.zeros((1, 10, 8, 24), np.float32)
        maps[0, 0] = 0.001
        maps[0, :, 1, 4] = [0.9, 5000, 0.25, -0.5, -321, 70, 0.1, 0.2, 33, 91]
        maps[0, :, 6, 22] = [0.9, 1, 0, 0, 0, 1, 1, 1, 1, 1]  # in the padding
        return maps, features


def one_fitted(bundle: ModelBundle, engine: OneEmitter, camera: Camera | None, allow: bool = False) -> Localizations:
    fitter = Fitter(bundle, engine, Roi(50, 60, 20, 5), camera, allow_camera_mismatch=allow)
    (fitted,) = run(fitter, [frame(3, np.full((5, 20), 200, np.uint16))])
    return fitted.localizations


def test_one_emitter_comes_out_where_it_is(tiny_bundle: ModelBundle) -> None:
    found = one_fitted(tiny_bundle, OneEmitter(), None)
    assert len(found) == 1  # what lies in the padding is not in the frame
    assert (found.frame_index[0], found.x_nm[0], found.y_nm[0], found.z_nm[0]) == (3, 425.0, 55.0, -321.0)


def test_another_camera_is_refused_with_both_values(tiny_bundle: ModelBundle) -> None:
    other = TINY_CAMERA.model_copy(update={"em_gain": None, "px_nm": (65.0, 65.0)})
    with pytest.raises(
        CameraMismatch, match=r"px_nm: model \(100.0, 110.0\), run \(65.0, 65.0\)[\s\S]*em_gain.*300.*None"
    ):
        check_camera(TINY_CAMERA, other, allow=False)
    with pytest.raises(CameraMismatch, match="px_nm"):
        one_fitted(tiny_bundle, OneEmitter(), TINY_CAMERA.model_copy(update={"px_nm": (100.0, 111.0)}))
    check_camera(TINY_CAMERA, other, allow=True)
    check_camera(TINY_CAMERA, TINY_CAMERA.model_copy(), allow=False)


def test_an_allowed_camera_gives_its_pixels_and_its_photons(tiny_bundle: ModelBundle) -> None:
    scmos = Camera(px_nm=(65.0, 70.0), baseline_adu=90.0, e_per_adu=0.5, read_noise_e=1.6, qe=0.8)
    engine = OneEmitter()
    found = one_fitted(tiny_bundle, engine, scmos, allow=True)
    assert (found.x_nm[0], found.y_nm[0]) == (4.25 * 65, 0.5 * 70)
    np.testing.assert_allclose(tiny_bundle.camera.photons(engine.seen), (200 - 90) * 0.5 / 0.8, rtol=1e-5)
    same_counts = TINY_CAMERA.model_copy(update={"px_nm": (90.0, 90.0), "read_noise_e": 1.0})
    one_fitted(tiny_bundle, engine, same_counts, allow=True)
    assert (engine.seen == 200).all()  # nothing to convert: not one rounding


def test_maps_bring_each_pixel_to_the_models_camera(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    """A sensor of 80 x 90 px of which the run reads 20 x 5 at (50, 60): each pixel's own baseline and gain."""
    rng = np.random.default_rng(0)
    baseline_adu, e_per_adu = (rng.uniform(low, high, (90, 80)).astype("f4") for low, high in ((90, 110), (40, 50)))
    CameraMaps(baseline_adu, np.full((90, 80), 74.4, "f4"), e_per_adu).save(tmp_path / "maps.safetensors")
    engine = OneEmitter()
    one_fitted(tiny_bundle, engine, TINY_CAMERA.model_copy(update={"maps": tmp_path / "maps.safetensors"}))
    wanted = (200 - baseline_adu[60:65, 50:70]) * e_per_adu[60:65, 50:70] / 300 - 0.002
    np.testing.assert_allclose(TINY_CAMERA.photons(engine.seen)[0, :5, :20], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("camera", [TINY_CAMERA, TINY_CAMERA.model_copy(update={"em_gain": None, "qe": 0.7})])
def test_adu_of_inverts_photons(camera: Camera) -> None:
    adu = np.array([[0, 100, 200, 5000, 65535]], np.uint16)
    np.testing.assert_allclose(adu_of(camera, camera.photons(adu)), adu, atol=0.05, rtol=1e-6)
