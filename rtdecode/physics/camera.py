"""Noise of a camera: expected photons to ADU, as an EMCCD or sCMOS reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera


def adu_from_photons(
    camera: Camera, expected_photons: NDArray[np.floating], rng: np.random.Generator
) -> NDArray[np.uint16]:
    """One noisy reading (uint16, same shape) of the expected photons; negative expectation counts as 0.

    decode-method §4.5: Poisson, gamma-distributed multiplication (shape = electrons, so that 0 stays 0),
    normal read noise, floor to ADU, baseline; clipped at 0 and at the camera's full scale.
    """
    expected_e = np.maximum(expected_photons, 0.0) * camera.qe + camera.spurious_e
    electrons = rng.poisson(expected_e).astype(np.float64)
    if camera.em_gain is not None:
        electrons = rng.standard_gamma(electrons) * camera.em_gain  # numpy: shape 0 gives exactly 0
    electrons += camera.read_noise_e * rng.standard_normal(electrons.shape)
    adu = np.floor(electrons / camera.e_per_adu) + camera.baseline_adu
    return np.asarray(np.clip(adu, 0, camera.full_scale_adu), np.uint16)
