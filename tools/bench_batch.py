"""Scaling of `rtdecode batch` on this machine, and what its client and scheduler hold when blocks are many.

    python tools/bench_batch.py --frames 1500 --rounds 3            frames a second of one and of two workers, in turn
    python tools/bench_batch.py --blocks 10000                      memory after a tenth and after all of so many blocks

Workers have one thread; frames are noise of the camera of `astigmatic-light`; `--blocks`: 16 x 16 px, one a block.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from distributed import Client, LocalCluster

from rtdecode.batch.plan import BatchPlan
from rtdecode.batch.run import Progress, prepare, run_batch
from rtdecode.fit.bundle import ModelBundle

MODEL = "astigmatic-light"


def main() -> None:
    """As the first lines say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = memory(Path(scratch), asked.blocks) if asked.blocks else scaling(Path(scratch), asked)
    print(json.dumps(found, indent=1))


def scaling(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Frames a second from the first submission to the last run folder, workers warm, one and two in turn."""
    movie = _movie(folder, asked.frames, 64)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for n_workers, rates_of in rates.items():
        with _cluster(n_workers) as cluster, Client(cluster) as client:
            _fit(folder / f"warm{n_workers}", movie, 50, client)  # engines are compiled, in every worker
            for k in range(asked.rounds):
                began = time.perf_counter()
                _fit(folder / f"{n_workers}-{k}", movie, 50, client)
                rates_of.append(round(asked.frames / (time.perf_counter() - began), 1))
    ratio = round(median(rates[2]) / median(rates[1]), 2)
    load = round(psutil.getloadavg()[0], 1)
    return {"frames": asked.frames, "frames_per_s_by_workers": rates, "two_over_one": ratio, "load_at_end": load}


def memory(folder: Path, n_blocks: int) -> dict[str, Any]:
    """Resident MB of the client and of the process of the scheduler, which is this one, too."""
    movie, seen = _movie(folder, n_blocks, 16), []
    us = psutil.Process(os.getpid())

    def look(progress: Progress) -> None:
        if progress.done in (n_blocks // 10, n_blocks // 2, n_blocks):
            seen.append({"blocks": progress.done, "rss_mb": round(us.memory_info().rss / 1e6, 1)})

    with _cluster(2) as cluster, Client(cluster) as client:
        began = time.perf_counter()
        _fit(folder / "many", movie, 1, client, look)
        return {"blocks": n_blocks, "seconds": round(time.perf_counter() - began, 1), "client_and_scheduler": seen}


def _movie(folder: Path, n_frames: int, side: int) -> Path:
    bundle = ModelBundle.load(MODEL)
    rng, path = np.random.default_rng(1), folder / "movie.npy"
    light = rng.poisson(90, (n_frames, side, side)) * bundle.camera.adu_per_photon + bundle.camera.baseline_adu
    np.save(path, light.astype(np.uint16))
    return path


def _fit(out: Path, movie: Path, block_frames: int, client: Client, look: Any = lambda _: None) -> None:
    plan = BatchPlan.model_validate({
        "defaults": {"model": MODEL, "engine": {"precision": "fp32", "threads": 1}},
        "recordings": [{"path": str(movie)}], "block_frames": block_frames,
    })  # fmt: skip
    out.mkdir()
    assert run_batch(plan, prepare(plan, out / "plan.yaml", out), out, client, on_progress=look).good


def _cluster(n_workers: int) -> LocalCluster:
    return LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1")


if __name__ == "__main__":
    main()
