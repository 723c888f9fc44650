"""Seconds a frame and peak memory of the whole fitter on a large field: one process, one setting, one line."""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.config import EngineConfig
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import Fitter
from rtdecode.physics.psf import load_psf
from rtdecode.physics.simulate import PhotonConfig, SimulationConfig, simulate_movie


def main() -> None:
    """Simulated frames of the bundle's PSF and camera, 0.2 emitters a um², one at a time, as a camera gives them."""
    options = _options()
    bundle, size = ModelBundle.load(options.model), options.field
    asked = {
        "use": options.engine,
        "precision": options.precision,
        "tile_px": options.tile_px,
        "halo_px": options.halo_px,
    }
    engine = engines.build(EngineConfig.model_validate(asked), bundle)
    fitter = Fitter(bundle, engine, Roi(0, 0, size, size))
    frame = _frame(bundle, size)
    times, found = [], 0
    for i in range(options.frames + 2):
        began = time.perf_counter()
        found += sum(len(out.localizations) for out in fitter.push(Frame(FrameInfo(i, 0, i), frame)))
        times.append(time.perf_counter() - began)
    print(json.dumps(asked | {
        "field": size, "tiles": getattr(engine, "description", "untiled"),
        "best_s": round(min(times[2:]), 3), "median_s": round(float(np.median(times[2:])), 3),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "localizations_per_frame": found // (options.frames + 1),
    }), flush=True)  # fmt: skip


def _frame(bundle: ModelBundle, size: int) -> NDArray[np.uint16]:
    """(size, size) ADU: one simulated field of 512 x 512 px laid side by side."""
    config = SimulationConfig(
        shape_px=(512, 512), density_um2=(0.2, 0.2), photons=PhotonConfig(mean=6000.0, sd=2500.0),
        lifetime_frames=(2.0, 2.0), background=(90.0, 90.0),
    )  # fmt: skip
    one = simulate_movie(load_psf(bundle.psf_path), bundle.camera, config, 1, seed=0).frames_adu[0, 0]
    times = -(-size // 512)
    return np.ascontiguousarray(np.tile(one, (times, times))[:size, :size])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="astigmatic-light")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--field", type=int, default=2048, help="side of the frame in px")
    parser.add_argument("--tile-px", type=int, help="largest side of a tile; 0: untiled; left out: automatic")
    parser.add_argument("--halo-px", type=int, help="left out: exact")
    parser.add_argument("--frames", type=int, default=4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
