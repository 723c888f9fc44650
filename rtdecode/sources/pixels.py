"""Stored numbers to ADU: which element type a recording's frames get, and the conversion of one frame."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.errors import RecordingError
from rtdecode.core.frames import FrameArray, FrameFlag
from rtdecode.sources.addresses import Place
from rtdecode.sources.recording import Pixels, unusable

Units = Literal["adu", "photons"]


class PixelConverter:
    """Writes stored frames into ring slots as ADU: uint16 for whole ADU, float32 for everything else.

    `units` None takes the recording's own word, and ADU for integers; floats without a word are refused, for
    photons taken as ADU would be fitted without a complaint and all wrong.
    """

    def __init__(self, path: Place, stored: np.dtype[np.generic], units: Units | None, camera: Camera | None) -> None:
        self.path, self.camera = path, camera
        if stored.kind not in "uif":
            raise unusable(path, f"elements of type {stored.name}", "integers or floats", "Save counts or photons.")
        if stored.kind == "f" and units is None:
            raise unusable(
                path,
                f"{stored.name} values whose unit is not stated",
                "whole ADU, or a stated unit",
                "Say --units photons (numbers are photons) or --units adu (camera counts that were averaged).",
            )
        if units == "photons" and camera is None:
            raise unusable(path, "photons", "a camera to turn them into ADU", "Give --camera YAML.")
        if units == "photons" and camera is not None and camera.maps is not None:
            raise unusable(
                path, "photons", "counts, which the camera's maps are for", "Leave `maps` out of the camera."
            )
        self.from_photons = units == "photons"
        self.dtype = "uint16" if stored.kind in "ui" and not self.from_photons else "float32"
        self._check_range = self.dtype == "uint16" and stored not in (np.dtype("u1"), np.dtype("u2"))
        self._check_range = self._check_range and stored.newbyteorder("=") != np.dtype("u2")
        full = camera.full_scale_adu if camera is not None else 65535.0
        self.full_scale_adu = min(full, 255.0) if stored.itemsize == 1 else full

    def convert(self, pixels: Pixels, out: FrameArray, position: int) -> FrameFlag:
        """Fill `out` (H, W) from `pixels` (H, W) as stored; NaN stays NaN. Raises RecordingError out of range."""
        self.check(pixels, position)
        if self.from_photons and self.camera is not None:
            np.copyto(out, adu_from_photon_values(self.camera, pixels), casting="unsafe")
        else:
            np.copyto(out, pixels, casting="unsafe")
        return FrameFlag.SATURATED if out.max() >= self.full_scale_adu else FrameFlag.GOOD

    def check(self, pixels: Pixels, position: int) -> None:
        """Refuse integers that cannot be counts of a 16-bit camera; costs nothing for types that cannot hold them."""
        if not self._check_range:
            return
        low, high = pixels.min(), pixels.max()
        if low < 0 or high > 65535:
            raise out_of_range(self.path, position, int(low), int(high))


def out_of_range(path: Place, position: int, low: int, high: int) -> RecordingError:
    """The error for integers that no camera counts: below 0 or above 65535."""
    return unusable(
        path,
        f"frame {position} has values from {low} to {high}",
        "camera counts from 0 to 65535",
        "It was processed (background subtracted?): replay the raw movie, or save floats and say --units adu.",
    )


def adu_from_photon_values(camera: Camera, photons: NDArray[np.generic]) -> NDArray[np.float64]:
    """ADU (not rounded) that `camera.photons` turns back into these photons: the chain's mean, no noise."""
    electrons = photons.astype(np.float64) * camera.qe + camera.spurious_e
    return np.asarray(electrons * (camera.em_gain or 1.0) / camera.e_per_adu + camera.baseline_adu)
