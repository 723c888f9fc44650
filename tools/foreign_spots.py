"""Does a model run away on spots that it never saw: round Gaussians of several widths and brightnesses.

    python tools/foreign_spots.py astigmatic-light

One emitter per um² and frame, background 90 photons, 40 frames of 64 x 64 px each.
"""

from __future__ import annotations

import sys

import numpy as np

from rtdecode.core.config import EngineConfig
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.engines import build
from rtdecode.fit.fitter import Fitter
from rtdecode.physics.psf import GaussianPsf
from rtdecode.physics.simulate import PhotonConfig, SimulationConfig, simulate_movie

WIDTHS_PX, PHOTONS, N_FRAMES, SIDE_PX = (1.1, 1.3, 1.6), (3000.0, 5000.0, 10000.0), 40, 64


def found_per_frame(bundle: ModelBundle, psf_sigma_px: float, photons: float, seed: int = 2) -> tuple[float, list[int]]:
    """Emitters in a frame on the average, and the number of localizations in each frame."""
    psf = GaussianPsf(psf_sigma_px=psf_sigma_px, depth_nm=float("inf"), roi_px=21)
    light = SimulationConfig(
        shape_px=(SIDE_PX, SIDE_PX), density_um2=(1, 1), photons=PhotonConfig(mean=photons, sd=500), z_nm=(-1, 1)
    )
    movie = simulate_movie(psf, bundle.camera, light, N_FRAMES, seed)
    fitter = Fitter(bundle, build(EngineConfig(), bundle), Roi(0, 0, SIDE_PX, SIDE_PX))
    fitted = [one for i, px in enumerate(movie.frames_adu[0]) for one in fitter.push(Frame(FrameInfo(i, 0, 0), px))]
    return len(movie.emitters) / N_FRAMES, [len(one.localizations) for one in [*fitted, *fitter.finish()]]


def main() -> None:
    """A line for each width and brightness."""
    for model in sys.argv[1:] or ["astigmatic-light"]:
        bundle = ModelBundle.load(model)
        for width in WIDTHS_PX:
            for photons in PHOTONS:
                truth, found = found_per_frame(bundle, width, photons)
                words = f"{truth:.0f} emitters a frame, found: median {np.median(found):.0f}, most {max(found)}"
                print(f"{bundle.name}  {width} px  {photons:.0f} photons  {words}")


if __name__ == "__main__":
    main()
