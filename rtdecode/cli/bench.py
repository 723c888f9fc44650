"""`rtdecode bench`: what this machine does, in one run; figures for the reader's own judgement, not tests."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.cli.doctor import processor
from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import Fitter
from rtdecode.stages.localize import LocalizeStage
from rtdecode.stages.run_record import versions
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.ring import RingReader, RingWriter
from rtdecode.streams.run_folder import RunFolder

SIZES = (64, 128, 256)
OVERHEAD_SIZES = (64, 256, 1024)
_NOISE = 16  # different frames, used in turn
Figures = dict[str, Any]


class EmptyEngine:
    """A network that sees nothing and costs nothing: what remains is the house."""

    name, precision = "empty", "fp32"

    def start(self, height_px: int, width_px: int) -> None:
        """Nothing to compile."""
        self._maps = np.zeros((1, 10, height_px, width_px), np.float32)

    def infer(
        self, frames_adu: NDArray[np.float32], features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """No emitter anywhere."""
        return self._maps, features

    def zero_features(self) -> NDArray[np.float32]:
        """As small as can be."""
        return np.zeros((2, 1, 1, 1), np.float32)


def run_bench(model: str, seconds: float, as_json: bool) -> None:
    """Measure and print; each measurement takes about `seconds`."""
    found: Figures = {"processor": processor(), "versions": versions()}
    tell: Callable[[str, Figures], None] = (lambda name, figures: None) if as_json else _tell
    tell("machine", {"processor": found["processor"], **found["versions"]})
    for name, figures in _measurements(model, seconds):
        found[name] = figures
        tell(name, figures)
    if as_json:
        print(json.dumps(found, indent=2))


def _measurements(model: str, seconds: float) -> Iterator[tuple[str, Figures]]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = ModelBundle.load(model)
        for size in SIZES:
            yield f"fitter {bundle.name} {size}x{size}", fitter_figures(bundle, size, seconds)
        if find_spec("torch") is None:
            yield "fitter 48 features", {"skipped": "its graph is exported by torch, which is not installed"}
        else:
            large = _large_bundle(folder / "large", bundle)
            for size in SIZES:
                yield f"fitter 48 features {size}x{size}", fitter_figures(large, size, seconds)
        for size in OVERHEAD_SIZES:
            yield f"house, empty network {size}x{size}", house_figures(bundle, folder / f"run{size}", size, seconds)
        for size in (64, 512):
            yield f"ring {size}x{size}, to another process", ring_figures(folder / "bench.ring", size, seconds)
        yield "log", log_figures(folder / "log", seconds)


def fitter_figures(bundle: ModelBundle, size: int, seconds: float) -> Figures:
    """Frames a second and time of a frame through network and detection, one at a time."""
    fitter = Fitter(bundle, engines.build(EngineConfig(), bundle), Roi(0, 0, size, size))
    frames = _noise(bundle, size)
    return _timed(lambda i: fitter.push(Frame(FrameInfo(i, 0, 0), frames[i % _NOISE])), seconds)


def house_figures(bundle: ModelBundle, path: Path, size: int, seconds: float) -> Figures:
    """Ring, windows, detection, log and bookkeeping of one frame, with a network that costs nothing."""
    folder = RunFolder.create(path, "bench: true\n")
    ring = RingWriter.create(path / "frames.ring", (size, size), "uint16", 16)
    folder.publish_ring(ring.path)
    engine: Engine = EmptyEngine()
    stage = LocalizeStage(folder, lambda shape, dtype: Fitter(bundle, engine, Roi(0, 0, size, size)))
    stage.step()
    frames = _noise(bundle, size)

    def one(i: int) -> None:
        ring.slot()[...] = frames[i % _NOISE]
        ring.publish(FrameInfo(i, 0, time.monotonic_ns()))
        stage.step()

    figures = _timed(one, seconds)
    stage.close()
    ring.close(remove=True)
    return figures


def ring_figures(path: Path, size: int, seconds: float) -> Figures:
    """MB a second from this process through the ring into private copies in another one, nothing lost."""
    ring = RingWriter.create(path, (size, size), "uint16", 64, readers=("bench",))
    reader = subprocess.Popen([sys.executable, "-c", f"from rtdecode.cli.bench import drain; drain({str(path)!r})"])
    pixels = np.zeros((size, size), np.uint16)
    for i in range(2 * 64):  # more than the ring holds: the reader has come
        _push(ring, i, pixels)
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        _push(ring, 2 * 64 + n, pixels)
        n += 1
    took = time.perf_counter() - began
    ring.finish(None, "completed")
    reader.wait(60)
    ring.close(remove=True)
    return {"MB_per_s": round(n * pixels.nbytes / took / 1e6, 1), "frames_per_s": round(n / took)}


def drain(path: str) -> None:
    """The reading side of `ring_figures`."""
    ring = RingReader.open(Path(path), "bench")
    while not ring.drained:
        if ring.read() is None:
            time.sleep(0.0002)
    ring.close()


def log_figures(path: Path, seconds: float, per_frame: int = 40) -> Figures:
    """Bytes of a localization on disk with its share of the commit record, and time of one frame's append."""
    path.mkdir()
    log = LogWriter.open(path)
    records = np.zeros(per_frame, LOCALIZATION_DTYPE)

    def one(i: int) -> None:
        records["frame_index"] = i
        log.append(make_commits(i, n_localizations=per_frame), Localizations.from_records(records))

    figures = _timed(one, seconds)
    log.close()
    size = sum(file.stat().st_size for file in path.iterdir())
    return {"bytes_per_localization": round(size / log_count(path), 2), "localizations_per_frame": per_frame, **figures}


def log_count(path: Path) -> int:
    """Localizations in a log's folder."""
    return (path / "locs.bin").stat().st_size // LOCALIZATION_DTYPE.itemsize


def _push(ring: RingWriter, i: int, pixels: NDArray[np.uint16]) -> None:
    while not ring.wait_for_readers(60.0):
        pass
    ring.slot()[...] = pixels
    ring.publish(FrameInfo(i, 0, 0))


def _timed(work: Callable[[int], object], seconds: float, warm: int = 5) -> Figures:
    """Calls a second, and ms of a call: p50, p99."""
    for i in range(warm):
        work(i)
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times) < 10:
        start = time.perf_counter()
        work(warm + len(times))
        times.append(time.perf_counter() - start)
    p50, p99 = np.percentile(np.array(times) * 1e3, [50, 99])
    per_s = len(times) / (time.perf_counter() - began)
    return {"frames_per_s": round(per_s, 1), "p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


def _noise(bundle: ModelBundle, size: int) -> NDArray[np.uint16]:
    """(16, size, size) ADU of background with a few bright pixels, so that detection has something to do."""
    rng, camera = np.random.default_rng(0), bundle.camera
    photons = rng.poisson(90, (_NOISE, size, size)) + 2000 * (rng.random((_NOISE, size, size)) < 0.005)
    return (camera.baseline_adu + photons * camera.adu_per_photon).clip(0, camera.full_scale_adu).astype(np.uint16)


def _large_bundle(folder: Path, like: ModelBundle) -> ModelBundle:
    """DECODE's own network, 48 features, with random weights: its speed is that of a trained one."""
    from rtdecode.fit.export import export_bundle
    from rtdecode.fit.network import Network, NetworkConfig

    card = like.card
    return export_bundle(
        folder,
        Network(NetworkConfig(features=48)),
        name="large",
        description="random weights, for a benchmark",
        scaling=card.scaling,
        camera=card.camera,
        ranges=card.ranges,
        train_yaml="seed: none\n",
        psf_path=None,
    )


def _tell(name: str, figures: Figures) -> None:
    words = "  ".join(f"{key} {value}" for key, value in figures.items())
    print(f"{name:34} {words}", flush=True)
