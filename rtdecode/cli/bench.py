"""`rtdecode bench`: what this machine does, in one run; figures for the reader's own judgement, not tests."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.cli.bench_line import N_NOISE, SOAK_POINTS, Figures, Line, noise, soak, timed
from rtdecode.cli.doctor import processor
from rtdecode.core.config import EngineConfig
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import Fitter
from rtdecode.stages.run_record import versions
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.ring import RingReader, RingWriter

SIZES = (64, 128, 256)
OVERHEAD_SIZES = (64, 256, 1024)
SOAK_SIZE = 32


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


def run_bench(model: str, seconds: float, as_json: bool, engine: EngineConfig) -> None:
    """Measure and print; each measurement takes about `seconds`."""
    _print_all(_measurements(model, seconds, engine), as_json, engine)


def run_soak(model: str, n_frames: int, as_json: bool, engine: EngineConfig) -> None:
    """Push frames through ring, fitter and log, and print the memory of the process on the way."""
    _print_all(_soak(model, n_frames, engine), as_json, engine)


def run_against_decode(model: str, seconds: float, as_json: bool) -> None:
    """This project beside DECODE's inference as published, in one run; raises EngineError without torch."""
    from rtdecode.cli.bench_decode import side_by_side

    with tempfile.TemporaryDirectory() as scratch:
        _print_all(side_by_side(ModelBundle.load(model), Path(scratch), seconds), as_json, None)


def _print_all(measurements: Iterator[tuple[str, Figures]], as_json: bool, engine: EngineConfig | None) -> None:
    found: Figures = {"processor": processor(), "versions": versions()}
    if engine is not None:
        engines.check(engine)
        found["versions"] |= {"engine": f"{engine.use} {engine.precision}"}
    tell: Callable[[str, Figures], None] = (lambda name, figures: None) if as_json else _tell
    tell("machine", {"processor": found["processor"], **found["versions"]})
    for name, figures in measurements:
        found[name] = figures
        tell(name, figures)
    if as_json:
        print(json.dumps(found, indent=2))


def _measurements(model: str, seconds: float, engine: EngineConfig) -> Iterator[tuple[str, Figures]]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = ModelBundle.load(model)
        for size in SIZES:
            yield f"fitter {bundle.name} {size}x{size}", fitter_figures(bundle, size, seconds, engine)
        if find_spec("torch") is None:
            yield "fitter 48 features", {"skipped": "its graph is exported by torch, which is not installed"}
        else:
            large = large_bundle(folder / "large", bundle)
            for size in SIZES:
                yield f"fitter 48 features {size}x{size}", fitter_figures(large, size, seconds, engine)
        for size in OVERHEAD_SIZES:
            yield f"house, empty network {size}x{size}", house_figures(bundle, folder / f"run{size}", size, seconds)
        for size in (64, 512):
            yield f"ring {size}x{size}, to another process", ring_figures(folder / "bench.ring", size, seconds)
        yield "log", log_figures(folder / "log", seconds)


def _soak(model: str, n_frames: int, config: EngineConfig) -> Iterator[tuple[str, Figures]]:
    bundle = ModelBundle.load(model)
    with tempfile.TemporaryDirectory() as scratch:
        engine = engines.build(config, bundle, frame_dtype="uint16")
        with Line.open(bundle, engine, Path(scratch) / "run", (SOAK_SIZE, SOAK_SIZE)) as line:
            for i, figures in enumerate(soak(line, n_frames)):
                yield f"soak {SOAK_SIZE}x{SOAK_SIZE}, {i + 1} of {SOAK_POINTS}", figures


def fitter_figures(bundle: ModelBundle, size: int, seconds: float, engine: EngineConfig | None = None) -> Figures:
    """Frames a second and time of a frame through network and detection, one at a time; a GPU's in blocks, too."""
    built = engines.build(engine or EngineConfig(), bundle, frame_dtype="uint16")
    return figures_of(Fitter(bundle, built, Roi(0, 0, size, size)), noise(bundle, (size, size)), seconds)


def figures_of(fitter: Fitter, frames: NDArray[np.uint16], seconds: float) -> Figures:
    """As `fitter_figures`; `frames` (16, H, W) are pushed in turn."""
    block, indices = fitter.largest_block, count()

    def push(more: bool) -> None:
        i = next(indices)
        fitter.push(Frame(FrameInfo(i, 0, 0), frames[i % N_NOISE]), more=more)

    def push_block(_: int) -> None:
        for k in reversed(range(block)):
            push(more=k > 0)

    figures = timed(lambda _: push(more=False), seconds)
    if block > 1:
        figures["frames_per_s_in_blocks"] = round(block * timed(push_block, seconds)["frames_per_s"], 1)
        figures["block"] = block
    return figures


def house_figures(bundle: ModelBundle, path: Path, size: int, seconds: float) -> Figures:
    """Ring, windows, detection, log and bookkeeping of one frame, with a network that costs nothing."""
    with Line.open(bundle, EmptyEngine(), path, (size, size)) as line:
        return timed(line.one, seconds)


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

    figures = timed(one, seconds)
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


def large_bundle(folder: Path, like: ModelBundle) -> ModelBundle:
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
