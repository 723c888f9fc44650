"""Emitters to expected photons: where the light of a table of emitters lands in a stretch of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Emitters
from rtdecode.physics.psf import Psf


def expected_frames(
    psf: Psf,
    emitters: Emitters,
    first_frame: int,
    n_frames: int,
    shape: tuple[int, int],
    px_nm: tuple[float, float],
) -> NDArray[np.float32]:
    """(n_frames, H, W) expected photons of frames [first, first + n), without background.

    Emitters are `EMITTER_DTYPE` records, sorted or not; those of other frames are ignored, those outside
    the field shed the light that reaches it. (0, 0) nm is the centre of pixel (0, 0).
    """
    frames = np.zeros((n_frames, *shape), np.float32)
    number = emitters["frame_index"] - first_frame
    here = emitters[(number >= 0) & (number < n_frames)]
    x, y = here["x_nm"].astype(np.float64) / px_nm[0], here["y_nm"].astype(np.float64) / px_nm[1]
    z, photons = here["z_nm"].astype(np.float64), here["photons"].astype(np.float64)
    psf.add_to(frames, (here["frame_index"] - first_frame).astype(np.int64), x, y, z, photons)
    return frames
