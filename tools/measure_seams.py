"""What a thin halo costs: localizations of one bundle in tiles against untiled ones, fp32, for several halos."""

from __future__ import annotations

import sys

import numpy as np

from rtdecode.core.config import EngineConfig
from rtdecode.core.frames import FrameInfo
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.emitters import find_emitters
from rtdecode.fit.windows import Windows
from rtdecode.physics.psf import load_psf
from rtdecode.physics.simulate import PhotonConfig, SimulationConfig, simulate_movie

SIDE, N_FRAMES, NEAR_PX = 400, 4, 8
"""Field in px, frames, and how far from a seam pixels are judged."""


def main() -> None:
    """A line for each halo: rms differences of p and of x where an emitter is likely, near the seams."""
    bundle = ModelBundle.load(sys.argv[1] if len(sys.argv) > 1 else "astigmatic-light")
    config = SimulationConfig(
        shape_px=(SIDE, SIDE), density_um2=(1.0, 1.0), photons=PhotonConfig(mean=6000.0, sd=2500.0)
    )
    clips = simulate_movie(load_psf(bundle.psf_path), bundle.camera, config, N_FRAMES, seed=1)
    frames = clips.frames_adu.reshape(N_FRAMES, SIDE, SIDE).astype(np.float32)
    whole = _maps(bundle, frames, EngineConfig(tile_px=0))
    n = _count(bundle, whole)
    near = np.zeros((SIDE, SIDE), bool)
    near[SIDE // 2 - NEAR_PX : SIDE // 2 + NEAR_PX] = True
    near |= near.T  # two tiles a side: seams cross in the middle
    for halo_px in (16, 32, 48, 64, 88):
        tiled = _maps(bundle, frames, EngineConfig(tile_px=SIDE // 2 + halo_px + 8, halo_px=halo_px))
        apart = (tiled - whole)[:, :, near]
        likely = whole[:, 0, near] > 0.3
        rms_p, rms_x_nm = (float(np.sqrt(np.mean(d**2))) for d in (apart[:, 0], apart[:, 2][likely] * 100.0))
        print(
            f"halo {halo_px:2} px: p rms {rms_p:.1e}, largest {np.abs(apart[:, 0]).max():.1e}; "
            f"x rms {rms_x_nm:.1e} nm; {_count(bundle, tiled)} localizations, untiled {n}",
            flush=True,
        )


def _maps(bundle: ModelBundle, frames: np.ndarray, engine: EngineConfig) -> np.ndarray:
    windows = Windows(engines.build(engine, bundle), bundle.network.stride, SIDE, SIDE)
    found = [w.maps for i, one in enumerate(frames) for w in windows.push(FrameInfo(i, 0, i), one)]
    return np.stack(found + [w.maps for w in windows.gap()])  # (T, 10, H, W)


def _count(bundle: ModelBundle, maps: np.ndarray) -> int:
    return sum(len(find_emitters(one, 0, bundle.camera.px_nm, bundle.detection)) for one in maps)


if __name__ == "__main__":
    main()
