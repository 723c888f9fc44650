"""Tiles: the reach by arithmetic and by perturbation, seams that nobody can find, one size, the same bytes again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TINY_CAMERA, noise_frames

from rtdecode.core.config import DetectionConfig, EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit.blocks import CpuEngine
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.emitters import find_emitters
from rtdecode.fit.engines import build
from rtdecode.fit.fitter import Fitter
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.scaling import Scaling
from rtdecode.fit.tiles import LARGEST_UNTILED_PX, TILE_PX, TiledEngine, exact_halo_px, reach_px, spans
from rtdecode.fit.windows import Window, Windows

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # tiny tensors on busy cores: two threads wait for each other

Array = np.ndarray[Any, np.dtype[np.float32]]
LAYOUTS = [
    NetworkConfig(features=4, **fields)
    for fields in (
        {"stem": "full"},
        {"stem": "full", "heads": "shared", "context": "dilated"},
        {"stem": "half", "activation": "silu"},
        {"stem": "half", "fine": 4},
        {"stem": "half", "fine": 4, "context": "dilated", "activation": "relu"},
    )
]
ids = [f"{one.stem}-{one.context}-{one.fine}" for one in LAYOUTS]
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=ids)
SCALING = Scaling.from_ranges(10000, 3000, (90, 150), 750)
INDICES = (0, 1, 2, 5, 6)  # a gap in the middle


class GraphEngine(CpuEngine):
    """The graph of any layout with random weights, without an export; in float64, so that a seam is no rounding."""

    name, precision = "graph", "fp32"

    def __init__(self, layout: NetworkConfig) -> None:
        from rtdecode.fit.block_graph import BlockGraph
        from rtdecode.fit.network import Network

        super().__init__(layout)
        torch.manual_seed(5)
        network = Network(layout).eval()
        self._graph = BlockGraph(network, TINY_CAMERA, SCALING).double().eval()
        _make_loud(self._graph)
        self.compiled: list[tuple[int, int]] = []

    def _compile(self, height_px: int, width_px: int) -> None:
        self.compiled.append((height_px, width_px))

    def _run(self, frame_adu: Array, features: Array) -> tuple[Array, Array]:
        with torch.inference_mode():
            maps, carried = self._graph(torch.tensor(frame_adu).double(), torch.tensor(features).double())
        return maps.float().numpy(), carried.float().numpy()


def _make_loud(graph: Any) -> None:
    """Raw maps that swing by about 2, so that noise gives localizations."""
    network = graph.network
    if hasattr(network.heads, "correct"):
        torch.nn.init.normal_(network.heads.correct.weight, std=0.1)  # it starts at zero
    clip = torch.tensor(noise_frames(3, 64, 64, seed=6)[None].astype(np.float64))
    with torch.no_grad():
        loudness = network((clip - graph.baseline_adu) * graph.gain - graph.offset).std(dim=(0, 1, 3, 4)).mean()
        for name, weight in network.heads.named_parameters():
            if name.startswith(("last", "correct")) and name.endswith("weight"):
                weight *= 2.0 / loudness


def windows_of(engine: Engine, layout: NetworkConfig, frames: Array) -> list[Window]:
    """Every frame's maps, with its neighbours, over a gap and to the end."""
    windows = Windows(engine, layout.stride, *frames.shape[1:])
    found = [w for i, one in zip(INDICES, frames, strict=True) for w in windows.push(FrameInfo(i, 0, i), one)]
    return found + windows.gap()


def worst_difference(left: list[Window], right: list[Window]) -> float:
    """Of all maps, in units of their scale."""
    from rtdecode.fit.export import map_scales

    pairs = zip(left, right, strict=True)
    worst = np.max([np.abs(a.maps - b.maps).max(axis=(1, 2)) for a, b in pairs], axis=0)
    return float((worst / map_scales(SCALING)).max())


def found_in(windows: list[Window], peak: float) -> Localizations:
    thresholds = DetectionThresholds(peak=peak, accept=peak)
    return Localizations.concatenate([find_emitters(w.maps, w.info.index, (100.0, 100.0), thresholds) for w in windows])


def assert_same(tiled: Localizations, whole: Localizations) -> None:
    """The same number in the same order, within 0.1 nm (1e-3 px) of each other."""
    assert len(tiled) == len(whole) > 100
    np.testing.assert_array_equal(tiled.frame_index, whole.frame_index)
    for name in ("x_nm", "y_nm"):
        np.testing.assert_allclose(getattr(tiled, name), getattr(whole, name), atol=0.1)


# ------------------------------------------------------------------------------------------------ the reach


def test_reach_of_decodes_layout_is_what_was_measured() -> None:
    assert (reach_px(NetworkConfig()), exact_halo_px(NetworkConfig())) == (42, 44)
    assert exact_halo_px(NetworkConfig(stem="half")) == 88


@every_layout
def test_one_pixel_within_reach_is_felt_and_one_beyond_is_not(layout: NetworkConfig) -> None:
    """Weights that are all positive leave no path out; float64 sees the faintest. Both sides of both axes."""
    from rtdecode.fit.network import Network

    net = Network(layout).double().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.rand_like(weight) / weight[0].numel() if weight.ndim > 1 else torch.zeros_like(weight))
    reach, size, width = reach_px(layout), 2 * exact_halo_px(layout) + 4 * layout.stride, 2 * layout.stride
    edge = exact_halo_px(layout) + layout.stride  # on the grid

    def maps_with(at: int | None, axis: int) -> Any:
        """Maps of a field that is long along `axis`, turned so that it comes first, with pixels `at` it made loud."""
        frames = torch.ones(1, 3, size, width, dtype=torch.float64)
        if at is not None:
            frames[0, :, at, width // 2] = 1e6
        maps = net(frames if axis == 0 else frames.mT.contiguous())[0, 0]
        return maps if axis == 0 else maps.mT

    for axis in (0, 1):
        with torch.inference_mode():
            still = maps_with(None, axis)
            changed = {at: maps_with(edge + at, axis) != still for at in (-reach, -reach - 1, reach - 1, reach)}
        assert changed[-reach][:, edge:].any() and not changed[-reach - 1][:, edge:].any()
        assert changed[reach - 1][:, :edge].any() and not changed[reach][:, :edge].any()


# ------------------------------------------------------------------------------------------------ the cutting


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 700), st.integers(0, 12), st.integers(0, 200), st.sampled_from([4, 8]))
def test_tiles_cover_the_field_once_with_whole_halos(n_size: int, n_halo: int, more: int, stride: int) -> None:
    size, halo = n_size * stride, n_halo * stride
    largest = 3 * halo + (1 + more) * stride
    cut = spans(size, largest, halo, stride)
    assert len({span.stop - span.start for span in cut}) == 1  # compiled once
    assert cut[0].stop - cut[0].start <= largest
    seams = [0, *(span.own_stop for span in cut)]
    assert [span.own_start for span in cut] == seams[:-1] and seams[-1] == size
    for span in cut:
        assert span.start <= span.own_start < span.own_stop <= span.stop
        assert span.start == 0 or span.own_start - span.start >= halo
        assert span.stop == size or span.stop - span.own_stop >= halo
        assert not any(at % stride for at in (span.start, span.stop, span.own_start, span.own_stop))


def test_automatic_tiles_begin_above_a_fixed_area() -> None:
    layout = LAYOUTS[2]
    inner = GraphEngine(layout)
    engine = TiledEngine(inner, layout)
    engine.start(1024, LARGEST_UNTILED_PX // 1024)
    assert not engine.is_tiled and engine.description == "untiled"
    engine.start(2048, 2048)
    assert engine.description == "2 x 2 tiles of 1112 x 1112 px, halo 88 px"
    engine.start(256, 256 + LARGEST_UNTILED_PX // 256)  # long and narrow: one row of tiles
    assert engine.description.startswith("1 x 5 tiles of 256 x 1016 px")
    assert inner.compiled[:2] == [(1024, 1024), (1112, 1112)] and max(inner.compiled[2]) <= TILE_PX


# ------------------------------------------------------------------------------------------------ the seams


@every_layout
def test_tiled_maps_are_the_untiled_ones(layout: NetworkConfig) -> None:
    """Odd sizes, five frames with a gap. A halo thinner by one step of the grid is seen."""
    halo = exact_halo_px(layout)
    shape = (3 * halo + 33, 5 * halo + 7)
    frames = noise_frames(len(INDICES), *shape, seed=11).astype(np.float32)
    whole = windows_of(GraphEngine(layout), layout, frames)
    exact = TiledEngine(GraphEngine(layout), layout, tile_px=3 * halo)
    tiled = windows_of(exact, layout, frames)
    assert exact.description.startswith("2 x 4 tiles")
    assert worst_difference(tiled, whole) < 1e-6
    peak = float(np.quantile(whole[0].maps[0], 0.95))
    assert_same(found_in(tiled, peak), found_in(whole, peak))
    thin = TiledEngine(GraphEngine(layout), layout, tile_px=3 * halo, halo_px=halo - layout.stride)
    assert worst_difference(windows_of(thin, layout, frames), whole) > 1e-5


@pytest.mark.parametrize("use", ["openvino", "onnxruntime"])
def test_tiled_localizations_are_the_untiled_ones(tiny_bundle: ModelBundle, use: str) -> None:
    frames = noise_frames(3, 290, 411, seed=12)

    def fitted(tile_px: int) -> Localizations:
        engine = build(EngineConfig.model_validate({"use": use, "threads": 1, "tile_px": tile_px}), tiny_bundle)
        detection = DetectionConfig(peak=0.02, accept=0.06)
        fitter = Fitter(tiny_bundle, engine, Roi(0, 0, 411, 290), detection=detection)
        out = [f for i, pixels in enumerate(frames) for f in fitter.push(Frame(FrameInfo(i, 0, i), pixels))]
        return Localizations.concatenate([f.localizations for f in out + fitter.finish()])

    assert_same(fitted(264), fitted(0))


def test_blocks_and_repeats_give_the_same_bytes_and_the_caller_keeps_its_own(tiny_bundle: ModelBundle) -> None:
    frames = noise_frames(3, 280, 288, seed=13).astype(np.float32)

    def stream(blocks: list[int]) -> bytes:
        engine = build(EngineConfig(threads=1, tile_px=264), tiny_bundle)
        engine.start(280, 288)
        features, parts = engine.zero_features(), []
        for block in np.split(frames, np.cumsum(blocks)[:-1]):
            before = features.copy()
            maps, after = engine.infer(block, features)
            np.testing.assert_array_equal(features, before)
            features = after
            parts.append(maps)
        return np.concatenate(parts).tobytes() + features.tobytes()

    assert stream([1, 1, 1]) == stream([1, 1, 1]) == stream([3]) == stream([2, 1])


# ------------------------------------------------------------------------------------------------ refusals


def test_a_tile_that_is_mostly_halo_is_refused(tiny_bundle: ModelBundle, full_bundle: ModelBundle) -> None:
    with pytest.raises(EngineError, match=r"engine.tile_px: 263 is too small .* 88 px .* at least 264"):
        build(EngineConfig(tile_px=263), tiny_bundle)
    with pytest.raises(EngineError, match=r"engine.tile_px: 100 .* 44 px .* at least 132"):
        build(EngineConfig(tile_px=100), full_bundle)
    build(EngineConfig(tile_px=100, halo_px=32), tiny_bundle)


def test_wrong_blocks_are_refused(tiny_bundle: ModelBundle) -> None:
    engine = build(EngineConfig(tile_px=264), tiny_bundle)
    with pytest.raises(EngineError, match="multiples of 8"):
        engine.start(400, 404)
    with pytest.raises(EngineError, match="start"):
        engine.zero_features()
    engine.start(400, 400)
    good, features = np.zeros((1, 400, 400), np.float32), engine.zero_features()
    for frames in (good[:, :264], good[0], good.astype(np.float64)):
        with pytest.raises(EngineError, match=r"frames are .*expected float32 \([0-9]+, 400, 400\)"):
            engine.infer(frames, features)
    with pytest.raises(EngineError, match=r"features are .*expected float32 \(2, 8, 200, 200\)"):
        engine.infer(good, features[:, :4])
