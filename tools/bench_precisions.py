"""OpenVINO's precisions side by side: `python tools/bench_precisions.py`; frames per second of the bare network.

The shipped bundle and DECODE's own layout with 48 features (random weights: its speed is that of a trained one), one
frame at a time. The precisions take turns, so that a busy machine is busy for all; best and median of the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.engines import build

PRECISIONS = ("fp32", "bf16", "int8")


def main() -> None:
    """Print one line for each bundle, size and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each precision in a round")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    light = ModelBundle.load("astigmatic-light")
    with tempfile.TemporaryDirectory() as scratch:
        for bundle in (light, decode_layout(Path(scratch) / "decode-48", light)):
            for size in (64, 128):
                _measure(bundle, size, given.rounds, given.seconds, given.threads)


def decode_layout(folder: Path, like: ModelBundle) -> ModelBundle:
    """48 features at camera resolution with four separate heads; the PSF is there to calibrate int8 with."""
    from rtdecode.fit.export import export_bundle
    from rtdecode.fit.network import Network, NetworkConfig

    card, network = like.card, Network(NetworkConfig(features=48))
    return export_bundle(
        folder, network, name="decode-48", description="random weights", scaling=card.scaling, camera=card.camera,
        ranges=card.ranges, train_yaml="seed: none\n", psf_path=like.psf_path,
    )  # fmt: skip


def _measure(bundle: ModelBundle, size: int, rounds: int, seconds: float, threads: int) -> None:
    engines = {p: build(EngineConfig.model_validate({"precision": p, "threads": threads}), bundle) for p in PRECISIONS}
    frames = np.random.default_rng(0).normal(300, 40, (16, 1, size, size)).astype(np.float32)
    rates: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for engine in engines.values():
        engine.start(size, size)
        _rate(engine, frames, 0.0)
    for _ in range(rounds):
        for precision, engine in engines.items():
            rates[precision].append(_rate(engine, frames, seconds))
    for precision, found in rates.items():
        ratio = np.median(np.array(found) / np.array(rates["fp32"]))
        print(
            f"{bundle.name:18} {size:4}² {precision}  best {max(found):7.1f}  median {np.median(found):7.1f} frames/s, "
            f"{ratio:.2f} times fp32 in the same round (median)",
            flush=True,
        )


def _rate(engine: Engine, frames: np.ndarray, seconds: float) -> float:
    features, n, began = engine.zero_features(), 0, time.perf_counter()
    while n < 4 or time.perf_counter() - began < seconds:
        _, features = engine.infer(frames[n % len(frames)], features)
        n += 1
    return n / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
