"""Everything there is to know of the GPU engines on this machine, in one call: built, checked, timed, beside its floor.

    python tools/gpu_check.py --json gpu.json         # on a machine with a GPU: some ten minutes
    python tools/gpu_check.py --rehearse              # anywhere: every path that a CPU can reach, on small sizes

What cannot be measured here is printed as "not measured", with the reason. Needs the extras [train] and [gpu].
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch.nn import functional as F

from rtdecode.core.errors import RtdecodeError
from rtdecode.core.frames import FrameInfo
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.device import DeviceBlocks, localizations_of, reflected
from rtdecode.fit.emitters import find_emitters, without_z
from rtdecode.fit.engine_onnxruntime import OnnxRuntimeEngine
from rtdecode.fit.engine_tensorrt import TensorRtEngine, plan_graph
from rtdecode.fit.engine_torch_cuda import TorchCudaEngine
from rtdecode.fit.network import Network, NetworkConfig, macs_per_pixel, physical_maps
from rtdecode.fit.tensorrt_library import ROI_CLASSES, Library, profile_shapes
from rtdecode.fit.windows import Windows

Row = dict[str, Any]
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Plan:
    """Sizes and devices of one run of this script."""

    device: str
    tiles: tuple[int, ...]
    blocks: tuple[int, ...]
    seconds: float  # of each timing
    precisions: tuple[str, ...]
    matrix: int  # side of the products that give the ceiling
    latency_tile: int

    @property
    def rehearses(self) -> bool:
        return self.device == "cpu"


FULL = Plan("cuda", (64, 128, 256, 512, 2048), (1, 2, 4, 8, 16, 32, 64), 1.0, ("fp32", "fp16", "bf16"), 8192, 128)
REHEARSAL = Plan("cpu", (32,), (1, 2), 0.02, ("fp32", "bf16"), 128, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="astigmatic-light", help="folder or name of the light model")
    parser.add_argument("--anchor", help="a 48-feature bundle; without one: random weights, which run as fast")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, small sizes; no figure means anything")
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args()
    if not given.rehearse and not torch.cuda.is_available():
        parser.error("there is no CUDA device that torch can use; `--rehearse` runs what a CPU can reach")
    if given.rehearse:
        torch.set_num_threads(1)  # small tensors on busy cores: two threads wait for each other
    try:
        with tempfile.TemporaryDirectory(prefix="rtdecode-gpu-check-") as folder:
            anchor = (
                ModelBundle.load(given.anchor)
                if given.anchor
                else anchor_bundle(Path(folder) / "anchor", given.rehearse)
            )
            bundles = {"light": ModelBundle.load(given.bundle), "48 features": anchor}
            rows = list(check(REHEARSAL if given.rehearse else FULL, bundles, Path(folder)))
    except RtdecodeError as error:
        sys.exit(f"gpu_check: {error}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    failed = [row for row in rows if "failed" in row]
    sys.exit(f"{len(failed)} checks failed" if failed else 0)


def check(plan: Plan, bundles: dict[str, ModelBundle], folder: Path) -> Iterator[Row]:
    """All rows, each printed as it is made."""
    for row in _rows(plan, bundles, folder):
        print("  ".join(f"{key} {_text(value)}" for key, value in row.items()), flush=True)
        yield row


def _rows(plan: Plan, bundles: dict[str, ModelBundle], folder: Path) -> Iterator[Row]:
    yield machine(plan)
    ceiling = ceilings(plan)
    yield {"what": "ceilings", **ceiling}
    for name, bundle in bundles.items():
        yield from _guarded({"what": "eager DECODE", "network": name}, lambda b=bundle: eager_rows(plan, b))  # type: ignore[misc]
        for label, precision, make in engines(plan, bundle, folder):
            about = {"network": name, "engine": label, "precision": precision}
            yield from _guarded(about, lambda m=make, b=bundle, p=precision: engine_rows(plan, b, m, p, ceiling))  # type: ignore[misc]
        yield from tensorrt_builds(plan, name, bundle)
    yield {"what": "admission gate", "result": f"{NOT_MEASURED}: run `rtdecode engine check BUNDLE` where it is there"}


def _guarded(about: Row, rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows, or the reason why there are none; one engine's failure must not cost the others' figures."""
    try:
        for row in rows():
            yield {**about, **row}
    except RtdecodeError as error:
        yield {**about, "result": f"{NOT_MEASURED}: {error}"}
    except (RuntimeError, MemoryError) as error:  # torch: out of memory, no kernel
        torch.cuda.empty_cache()
        yield {**about, "result": f"{NOT_MEASURED}: {type(error).__name__}: {str(error)[:200]}", "failed": True}


def machine(plan: Plan) -> Row:
    gpu = "none" if plan.rehearses else torch.cuda.get_device_name()
    capability = "" if plan.rehearses else "{}.{}".format(*torch.cuda.get_device_capability())
    return {
        "what": "machine",
        "gpu": gpu,
        "capability": capability,
        "torch": str(torch.__version__),
        "rehearsal": plan.rehearses,
    }


def ceilings(plan: Plan) -> Row:
    """Measured: operations of a large matrix product by precision, bytes of a copy on the device, bytes to it."""
    device, found = torch.device(plan.device), Row()
    torch.backends.cuda.matmul.allow_tf32 = False
    for precision, kind in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)):
        a = torch.randn(plan.matrix, plan.matrix, device=device).to(kind)
        found[f"{precision}_flop_s"] = 2 * plan.matrix**3 / seconds_of(lambda a=a: a @ a, plan)  # type: ignore[misc]
    size = plan.matrix**2
    here, there = torch.zeros(size, device=device), torch.zeros(size, device=device)
    host = torch.zeros(size, pin_memory=not plan.rehearses)
    found["copy_byte_s"] = 8 * size / seconds_of(lambda: there.copy_(here), plan)  # read and written
    found["upload_byte_s"] = 4 * size / seconds_of(lambda: there.copy_(host, non_blocking=True), plan)
    return found


def engines(plan: Plan, bundle: ModelBundle, folder: Path) -> Iterator[tuple[str, str, Callable[[], DeviceBlocks]]]:
    """Label, precision and maker of every engine that could serve this bundle."""
    how = "torch, not captured" if plan.rehearses else "torch, captured graphs"
    for precision in plan.precisions:
        yield how, precision, lambda p=precision: TorchCudaEngine(bundle, p, device=plan.device)  # type: ignore[misc]
    if not plan.rehearses:
        yield "torch, not captured", "bf16", lambda: TorchCudaEngine(bundle, "bf16", capture=False)
    for use in ("tensorrt", "tensorrt_rtx"):
        for precision in plan.precisions:
            yield use, precision, lambda u=use, p=precision: TensorRtEngine(bundle, p, u, cache=folder / "plans")  # type: ignore[misc]


def engine_rows(
    plan: Plan, bundle: ModelBundle, make: Callable[[], DeviceBlocks], precision: str, ceiling: Row
) -> Iterator[Row]:
    engine = make()
    held = agreement(engine, bundle, plan.latency_tile)
    wrong = precision == "fp32" and (held["same_share"] < 0.99 or held["lost"])
    yield {"what": "agreement with fp32 on the CPU", **held} | ({"failed": True} if wrong else {})
    for tile in plan.tiles:
        started = time.perf_counter()
        engine.start(tile, tile, bundle.camera)
        yield {"what": "start", "tile": tile, "s": time.perf_counter() - started}
        for block in (b for b in plan.blocks if b <= engine.largest_block):
            yield {"what": "speed", **speed(plan, engine, bundle, tile, block, precision, ceiling)}
    yield {"what": "latency", **latency(plan, engine, bundle)}


def speed(
    plan: Plan, engine: DeviceBlocks, bundle: ModelBundle, tile: int, block: int, precision: str, ceiling: Row
) -> Row:
    """Pixels per second from host frames to host rows; the floor is what the ceilings allow for the network alone."""
    frames = scene(bundle, block, tile)
    state = engine.new_state()

    def one() -> None:
        nonlocal state
        _, state = engine.localize_block(frames, state)

    px_s = frames.size / seconds_of(one, plan)
    operations = 2e0 * sum(macs_per_pixel(bundle.network)) / ceiling[f"{precision}_flop_s"]
    upload = 2 / ceiling["upload_byte_s"]
    floor = 1 / max(operations, upload)
    return {
        "tile": tile,
        "block": block,
        "frames_s": px_s / tile**2,
        "px_s": px_s,
        "floor_px_s": floor,
        "of_floor": px_s / floor,
    }


def latency(plan: Plan, engine: DeviceBlocks, bundle: ModelBundle) -> Row:
    """From a frame in host memory to its localizations, one frame at a time."""
    side = plan.latency_tile
    engine.start(side, side, bundle.camera)
    frames, state, times = scene(bundle, 8, side), engine.new_state(), []
    for k in range(20 if plan.rehearses else 2000):
        begun = time.perf_counter()
        block, state = engine.localize_block(frames[k % 8 : k % 8 + 1], state)
        localizations_of(block.frame(0), k, side, bundle.camera.px_nm, bundle.detection, _lookup(bundle))
        times.append(1e3 * (time.perf_counter() - begun))
    p50, p99 = np.percentile(times[len(times) // 10 :], [50, 99])
    return {"tile": side, "p50_ms": float(p50), "p99_ms": float(p99)}


def agreement(engine: DeviceBlocks, bundle: ModelBundle, side: int) -> Row:
    """Localizations of a padded, odd-sized stretch against Windows, ONNX Runtime in fp32 and the numba scan."""
    frames = scene(bundle, 9, side)[:, : side - 3, : side - 1]
    (found, lost), wanted = on_device(engine, bundle, frames), on_cpu(bundle, frames)
    pairs = [_matched(a, b) for a, b in zip(found, wanted, strict=True)]
    both, only = sum(len(p[0]) for p in pairs), sum(len(a) + len(b) for a, b in zip(found, wanted, strict=True))
    apart = np.concatenate(
        [[*(getattr(a, n) - getattr(b, n) for n in ("x_nm", "y_nm", "z_nm", "probability"))] for a, b in pairs], 1
    )
    rms = np.sqrt(np.mean(apart**2, 1)) if both else np.full(4, np.nan)
    return {"localizations": sum(map(len, wanted)), "lost": lost, "same_share": both / max(only - both, 1)} | dict(
        zip(("x_rms_nm", "y_rms_nm", "z_rms_nm", "p_rms"), map(float, rms), strict=True)
    )


def on_device(
    engine: DeviceBlocks, bundle: ModelBundle, frames: np.ndarray[Any, Any]
) -> tuple[list[Localizations], int]:
    """A stretch as a fitter feeds it: the first frame alone, a block, the last once more; and candidates lost."""
    engine.start(frames.shape[1], frames.shape[2], bundle.camera)
    _, state = engine.localize_block(frames[:1], engine.new_state())
    middle, state = engine.localize_block(frames[1:], engine.repeat_last(state))
    last, _ = engine.localize_block(frames[-1:], state)
    width = len(reflected(frames.shape[2], bundle.network.stride))
    tables = [block.frame(b) for block in (middle, last) for b in range(len(block.rows))]
    given = (width, bundle.camera.px_nm, bundle.detection, _lookup(bundle))
    lost = int(middle.lost.sum() + last.lost.sum())
    return [localizations_of(rows, k, *given) for k, rows in enumerate(tables)], lost


def on_cpu(bundle: ModelBundle, frames: np.ndarray[Any, Any]) -> list[Localizations]:
    windows = Windows(OnnxRuntimeEngine(bundle.onnx_path, bundle.network), bundle.network.stride, *frames.shape[1:])
    done = [w for k, f in enumerate(frames) for w in windows.push(FrameInfo(k, 0, 0), f.astype(np.float32))]
    maps = [w.maps if bundle.tells_z else without_z(w.maps) for w in [*done, *windows.gap()]]
    return [find_emitters(m, k, bundle.camera.px_nm, bundle.detection, _lookup(bundle)) for k, m in enumerate(maps)]


def _matched(a: Localizations, b: Localizations, within_nm: float = 100.0) -> tuple[Localizations, Localizations]:
    """Each other's nearest within a distance."""
    if not len(a) or not len(b):
        return a[:0], b[:0]
    far = np.hypot(a.x_nm[:, None] - b.x_nm, a.y_nm[:, None] - b.y_nm)
    i = np.arange(len(a))
    j = far.argmin(1)
    mutual = (far.argmin(0)[j] == i) & (far[i, j] < within_nm)
    return a[i[mutual]], b[j[mutual]]


def eager_rows(plan: Plan, bundle: ModelBundle) -> Iterator[Row]:
    """DECODE's inference as published: fp32, eager, the frame network run for each of three frames, torch detection."""
    network = Network(bundle.network).to(plan.device).eval()
    for tile in plan.tiles:
        for block in plan.blocks:
            if block * tile * tile > 64 * 256 * 256:
                continue
            clip = torch.randn(block, 3, tile, tile, device=plan.device)

            def one(clip: torch.Tensor = clip) -> None:
                with torch.no_grad():
                    eager_detection(physical_maps(network(clip)[:, 0], bundle.scaling))

            s = seconds_of(one, plan)
            yield {"tile": tile, "block": block, "frames_s": block / s, "px_s": block * tile**2 / s}


def eager_detection(maps: torch.Tensor, peak: float = 0.1, split: float = 0.6) -> torch.Tensor:
    """decode-method §6.2 in dense torch operations, the found pixels copied to the host."""
    p = maps[:, :1]
    q = torch.where(p > peak, p, torch.zeros_like(p))
    first = (q == F.max_pool2d(q, 3, 1, 1)) & (q > 0)
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], device=maps.device)[None, None]
    total = (F.conv2d(p, cross, padding=1) * (first | (p > split))).clamp(0, 1)
    batch, _, row, column = (total >= peak).nonzero(as_tuple=True)
    return maps[batch, :, row, column].cpu()


def tensorrt_builds(plan: Plan, name: str, bundle: ModelBundle) -> Iterator[Row]:
    """TensorRT-RTX's parser and builder, which need no GPU: what each precision's plan weighs."""
    classes = ROI_CLASSES[:1] if plan.rehearses else ROI_CLASSES
    for precision in plan.precisions:
        for roi in classes:
            about = {
                "network": name,
                "engine": "tensorrt_rtx",
                "precision": precision,
                "what": "build",
                "class": roi.side_px,
            }

            def build(precision: str = precision, roi: Any = roi) -> Iterator[Row]:
                library, begun = Library("tensorrt_rtx"), time.perf_counter()
                graph = plan_graph(bundle, precision, roi, bundle.detection, raw_uint16=True)
                data, _ = library.build(graph, profile_shapes(bundle.network, roi, True), precision)
                yield {"version": library.version, "plan_bytes": len(data), "s": time.perf_counter() - begun}

            yield from _guarded(about, build)


def seconds_of(work: Callable[[], Any], plan: Plan) -> float:
    """Seconds of one call: the median of five batches of calls, each of a fifth of the plan's time, after two calls."""
    wait = torch.cuda.synchronize if not plan.rehearses else lambda: None
    work(), work(), wait()
    begun = time.perf_counter()
    work(), wait()
    calls, batches = max(1, int(plan.seconds / 5 / max(time.perf_counter() - begun, 1e-7))), []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        batches.append((time.perf_counter() - begun) / calls)
    return float(np.median(batches))


def scene(bundle: ModelBundle, frames: int, side: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """(n, side, side) uint16 ADU: round spots of 3,000 photons at 0.3 per um² of 100 nm pixels on 90, with noise."""
    random, camera = np.random.default_rng(seed), bundle.camera
    photons, reach = np.full((frames, side + 8, side + 8), 90.0), np.arange(-4, 5)
    for frame in photons:
        for y, x in random.uniform(4, side + 4, (max(1, side * side // 330), 2)):
            i, j = round(y), round(x)
            spot = np.exp(-((reach + i - y)[:, None] ** 2 + (reach + j - x) ** 2) / 3.4)
            part = frame[max(i - 4, 0) : i + 5, max(j - 4, 0) : j + 5]
            part += 3000 / 10.7 * spot[: part.shape[0], : part.shape[1]]
    electrons = random.poisson(photons[:, 4:-4, 4:-4] * camera.qe).astype(float)
    if camera.em_gain:
        electrons = random.gamma(electrons, camera.em_gain)
    noisy = electrons + random.normal(0.0, camera.read_noise_e, electrons.shape)
    return np.asarray((camera.baseline_adu + noisy / camera.e_per_adu).clip(0, 65535).astype(np.uint16))


def anchor_bundle(folder: Path, small: bool) -> ModelBundle:
    """DECODE's layout with random weights and loud heads, so that noise gives localizations to compare."""
    from rtdecode.fit.export import export_bundle

    like = ModelBundle.load("astigmatic-light").card
    torch.manual_seed(0)
    network = Network(NetworkConfig(features=8 if small else 48))
    with torch.no_grad():
        for layer in network.heads.last:
            layer.weight *= 4.0
    detection = DetectionThresholds(peak=0.05, accept=0.1, split=0.6)
    plain = {"name": "anchor", "description": "random weights", "train_yaml": "seed: 0\n", "detection": detection}
    return export_bundle(
        folder,
        network,
        scaling=like.scaling,
        camera=like.camera,
        ranges=like.ranges,
        **plain,  # type: ignore[arg-type]
    )


def _lookup(bundle: ModelBundle) -> Any:
    return None if bundle.calibration is None else bundle.calibration.lookup()


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
