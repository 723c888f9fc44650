"""The camera as a chain of numbers from ADU back to detected photons; noise is simulated in physics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.frames import Roi
from rtdecode.core.yaml_files import StrictModel

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Camera(StrictModel):
    """EMCCD or sCMOS. With qe 1 "photons" are detected photo-electrons (DECODE's convention).

    Chain (decode-method §4.5): electrons = Poisson(photons * qe + spurious_e), times a gamma-distributed
    `em_gain` where there is one, plus `read_noise_e` (after the gain); ADU = floor(e / e_per_adu) + baseline.
    """

    px_nm: tuple[Positive, Positive]  # pixel size in the sample, (x, y)
    baseline_adu: NotNegative
    e_per_adu: Positive
    read_noise_e: NotNegative  # rms, after multiplication
    qe: Annotated[float, Field(gt=0, le=1)] = 1.0
    em_gain: Annotated[float, Field(gt=1)] | None = None  # None: no multiplication register (sCMOS, CCD)
    spurious_e: NotNegative = 0.0  # clock-induced charge and dark current, electrons per pixel and frame
    full_scale_adu: Positive = 65535.0
    maps: Path | None = None  # file of CameraMaps: baseline, gain and read noise of each pixel, instead of the above

    @property
    def adu_per_photon(self) -> float:
        """ADU that one photon makes on average."""
        return self.qe * (self.em_gain or 1.0) / self.e_per_adu

    @property
    def excess_noise(self) -> float:
        """Factor on the shot-noise variance: 2 for a multiplying register at high gain, else 1."""
        return 2.0 if self.em_gain else 1.0

    def load_maps(self, roi: Roi) -> CameraMaps | None:
        """The maps of a region of the sensor, None where there are none; raises ConfigError."""
        return None if self.maps is None else CameraMaps.load(self.maps).cut(roi, self.maps)

    def with_maps_in(self, folder: Path) -> Camera:
        """The same camera, the path of its maps made absolute from `folder`."""
        return self if self.maps is None else self.model_copy(update={"maps": (folder / self.maps).resolve()})

    def photons(self, adu: NDArray[np.generic], maps: CameraMaps | None = None) -> NDArray[np.float32]:
        """Detected photons of each pixel, float32 of the same shape; may be negative. Golden: 200 ADU -> 14.998.

        `maps` (of `load_maps`; they fit the last axes of `adu`) take the place of baseline and gain.
        """
        baseline_adu = np.float32(self.baseline_adu) if maps is None else maps.baseline_adu
        electrons = adu.astype(np.float32) - baseline_adu
        electrons *= np.float32(self.e_per_adu) if maps is None else maps.e_per_adu
        detected = electrons / np.float32(self.em_gain or 1.0) - np.float32(self.spurious_e)
        return np.asarray(detected / np.float32(self.qe), np.float32)

    def differences(self, other: Camera) -> dict[str, tuple[object, object]]:
        """Fields whose values differ by more than 1e-6 relative: name -> (mine, the other's).

        Maps are no difference: they bring each pixel to what the fields say, and belong to one camera only.
        """
        mine, theirs = self.model_dump(exclude={"maps"}), other.model_dump(exclude={"maps"})
        return {name: (mine[name], theirs[name]) for name in mine if not _close(mine[name], theirs[name])}


def _close(a: object, b: object) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.allclose(np.asarray(a, float), np.asarray(b, float), rtol=1e-6, atol=1e-9))
