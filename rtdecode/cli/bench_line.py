"""What several measurements share: a clock, noise to look at, and one line from ring to log in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from rtdecode.core.contracts import Engine
from rtdecode.core.frames import FrameInfo, Roi
from rtdecode.fit.bundle import PSF, ModelBundle
from rtdecode.fit.device import DeviceEngine
from rtdecode.fit.fitter import Fitter
from rtdecode.physics.psf import load_psf
from rtdecode.physics.simulate import PhotonConfig, SimulationConfig, simulate_clips
from rtdecode.stages.localize import LocalizeStage
from rtdecode.streams.ring import RingWriter
from rtdecode.streams.run_folder import RunFolder

N_NOISE = 16  # different frames, used in turn
RING_FRAMES = 16
BLOCK = 12  # frames that a measurement in blocks leaves to a GPU at once; fewer than the ring holds
SOAK_POINTS = 10
DENSITY_UM2 = 1.0
Figures = dict[str, Any]


@dataclass
class Line:
    """Ring, fitter and log of a run folder, one frame at a time; close it, or use it as a context."""

    stage: LocalizeStage
    ring: RingWriter
    frames: NDArray[np.uint16]  # (16, H, W) in ADU, pushed in turn

    @classmethod
    def open(cls, bundle: ModelBundle, engine: Engine | DeviceEngine, path: Path, shape: tuple[int, int]) -> Line:
        """Make the run folder `path` and start; frames of `shape` (H, W). Raises EngineError."""
        folder = RunFolder.create(path, "bench: true\n")
        ring = RingWriter.create(path / "frames.ring", shape, "uint16", RING_FRAMES)
        folder.publish_ring(ring.path)
        roi = Roi(0, 0, width_px=shape[1], height_px=shape[0])
        stage = LocalizeStage(folder, lambda shape, dtype: Fitter(bundle, engine, roi))
        stage.step()
        return cls(stage, ring, movie(bundle, shape))

    def one(self, i: int) -> None:
        """Frame i (rising) into the ring, through the fitter, its neighbour's localizations into the log."""
        self._publish(i)
        self.stage.step()

    def several(self, _: int) -> None:
        """As `one` with the next BLOCK frames, all in the ring before the first is taken."""
        for _ in range(BLOCK):
            self._publish(self.ring.received)
        for _ in range(BLOCK):
            self.stage.step()

    def _publish(self, i: int) -> None:
        self.ring.slot()[...] = self.frames[i % N_NOISE]
        self.ring.publish(FrameInfo(i, 0, time.monotonic_ns()))

    def __enter__(self) -> Line:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stage.close()
        self.ring.close(remove=True)


def soak(line: Line, n_frames: int, points: int = SOAK_POINTS) -> Iterator[Figures]:
    """Push `n_frames`; at `points` equal steps: frames so far, MB of memory of this process, frames a second."""
    process, began = psutil.Process(), time.perf_counter()
    for point in range(points):
        for i in range(point * n_frames // points, (point + 1) * n_frames // points):
            line.one(i)
        done = (point + 1) * n_frames // points
        rate = done / (time.perf_counter() - began)
        megabytes = round(process.memory_info().rss / 1e6, 1)
        yield {"frames": done, "rss_MB": megabytes, "frames_per_s": round(rate, 1)}


def timed(work: Callable[[int], object], seconds: float, warm: int = 5) -> Figures:
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


def movie(bundle: ModelBundle, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """(16, H, W) ADU from the bundle's own PSF and camera, about one emitter per um² or the most it was trained for.

    `noise` where the bundle holds no PSF. What a fitter costs besides its network depends on what it finds.
    """
    if PSF not in bundle.card.files:
        return noise(bundle, shape)
    ranges, density_um2 = bundle.card.ranges, min(DENSITY_UM2, bundle.card.ranges.density_per_um2[1])
    config = SimulationConfig(
        shape_px=shape,
        density_um2=(density_um2, density_um2),
        photons=PhotonConfig(log_uniform_share=1.0, range=(max(ranges.photons[0], 500.0), ranges.photons[1])),
        z_nm=ranges.z_nm,
        background=ranges.background,
    )
    clips = simulate_clips(load_psf(bundle.psf_path), bundle.camera, config, 1, N_NOISE, np.random.default_rng(0))
    return np.asarray(clips.frames_adu[0]).clip(0, bundle.camera.full_scale_adu).astype(np.uint16)


def noise(bundle: ModelBundle, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """(16, H, W) ADU of background with a few bright pixels, so that detection has something to do."""
    rng, camera = np.random.default_rng(0), bundle.camera
    photons = rng.poisson(90, (N_NOISE, *shape)) + 2000 * (rng.random((N_NOISE, *shape)) < 0.005)
    return (camera.baseline_adu + photons * camera.adu_per_photon).clip(0, camera.full_scale_adu).astype(np.uint16)
