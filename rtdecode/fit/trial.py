"""Frames to try a bundle on: simulated from its own PSF and camera, over the ranges that it was trained for."""

from __future__ import annotations

import numpy as np

from rtdecode.fit.bundle import ModelBundle
from rtdecode.physics.psf import load_psf
from rtdecode.physics.simulate import Clips, PhotonConfig, SimulationConfig, simulate_clips

SHAPE_PX = (64, 64)
BRIGHTEST_OVER_DIMMEST = 50.0
"""A training's own draw of photons is not on the card; this is PhotonConfig's, with the card's brightest."""


def trial_clips(bundle: ModelBundle, n_clips: int, n_frames: int, seed: int) -> Clips:
    """Clips (n_clips, n_frames, 64, 64), each of another density and background; raises BundleError without a PSF.

    Photons of a full frame are log-uniform over the upper fiftyfold of the card's range, on-times 2 frames; z,
    density and background uniform over the card's.
    """
    ranges = bundle.card.ranges
    brightest = ranges.photons[1]
    dimmest = max(ranges.photons[0], brightest / BRIGHTEST_OVER_DIMMEST)
    config = SimulationConfig(
        shape_px=SHAPE_PX,
        density_um2=ranges.density_per_um2,
        photons=PhotonConfig(log_uniform_share=1.0, range=(dimmest, brightest)),
        z_nm=ranges.z_nm,
        background=ranges.background,
    )
    rng = np.random.default_rng(seed)
    return simulate_clips(load_psf(bundle.psf_path), bundle.camera, config, n_clips, n_frames, rng)
