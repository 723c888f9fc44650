"""Noise of a camera: expected photons to ADU, as an EMCCD or sCMOS reads them."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.yaml_files import StrictModel

NotNegative = Annotated[float, Field(ge=0)]
AtLeastOne = Annotated[float, Field(ge=1)]


class CameraVariation(StrictModel):
    """How pixels of a simulated sCMOS differ; new maps are drawn for each clip.

    The defaults are of a cooled back-illuminated sensor. With `corrected` the clips are converted with their maps,
    as a run is that has them: what remains is that pixels differ in noise. Without, as a run that has none.
    """

    baseline_sd_adu: NotNegative = 1.0
    e_per_adu_sd: Annotated[float, Field(ge=0, le=0.2)] = 0.01  # relative
    read_noise_sd: Annotated[float, Field(ge=0, le=1)] = 0.15  # of its logarithm
    hot_share: Annotated[float, Field(ge=0, le=1)] = 0.005  # pixels with far more read noise
    hot_times: tuple[AtLeastOne, AtLeastOne] = (2.0, 15.0)  # as much, log-uniform
    corrected: bool = True

    def draw(self, camera: Camera, shape: tuple[int, ...], rng: np.random.Generator) -> CameraMaps:
        """Maps of this shape around the camera's own values."""
        hot, (low, high) = rng.random(shape) < self.hot_share, np.log(self.hot_times)
        times = np.exp(rng.normal(0, self.read_noise_sd, shape) + hot * rng.uniform(low, high, shape))
        e_per_adu = camera.e_per_adu * np.maximum(rng.normal(1, self.e_per_adu_sd, shape), 0.2)
        baseline_adu = np.maximum(rng.normal(camera.baseline_adu, self.baseline_sd_adu, shape), 0)
        maps = (baseline_adu, camera.read_noise_e * times, e_per_adu)
        return CameraMaps(*(values.astype(np.float32) for values in maps))


def adu_from_photons(
    camera: Camera,
    expected_photons: NDArray[np.floating],
    rng: np.random.Generator,
    maps: CameraMaps | None = None,
) -> NDArray[np.uint16]:
    """One noisy reading (uint16, same shape) of the expected photons; negative expectation counts as 0.

    decode-method §4.5: Poisson, gamma-distributed multiplication (shape = electrons, so that 0 stays 0),
    normal read noise, floor to ADU, baseline; clipped at 0 and at the camera's full scale. `maps` take the place
    of baseline, read noise and gain; a baseline between two ADU is rounded up or down by what it lies between.
    """
    expected_e = np.maximum(expected_photons, 0.0) * camera.qe + camera.spurious_e
    electrons = rng.poisson(expected_e).astype(np.float64)
    if camera.em_gain is not None:
        electrons = rng.standard_gamma(electrons) * camera.em_gain  # numpy: shape 0 gives exactly 0
    if maps is None:
        electrons += camera.read_noise_e * rng.standard_normal(electrons.shape)
        adu = np.floor(electrons / camera.e_per_adu) + camera.baseline_adu
    else:
        electrons += maps.read_noise_e * rng.standard_normal(electrons.shape)
        adu = np.floor(electrons / maps.e_per_adu + maps.baseline_adu)
    return np.asarray(np.clip(adu, 0, camera.full_scale_adu), np.uint16)
