"""Maps of a camera: baseline, read noise and gain of each pixel of an sCMOS, on the sensor or a part of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import ConfigError
from rtdecode.core.frames import Roi

F4 = NDArray[np.float32]
CAMERA_MAPS_FORMAT = "rtdecode-camera-maps-1"


@dataclass(frozen=True, slots=True)
class CameraMaps:
    """What differs from pixel to pixel; each (H, W), or with leading axes that fit the frames they are used on."""

    baseline_adu: F4
    read_noise_e: F4  # rms
    e_per_adu: F4

    @classmethod
    def load(cls, path: Path) -> CameraMaps:
        """Maps (H, W) of a safetensors file of this format; raises ConfigError for anything else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                if not any(CAMERA_MAPS_FORMAT in value for value in about.values()):
                    raise ConfigError(f"{path}: not a file of camera maps; expected the format {CAMERA_MAPS_FORMAT}")
                maps = cls(*(np.asarray(file.get_tensor(field.name), np.float32) for field in fields(cls)))
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{path}: cannot be read as camera maps: {error}") from error
        maps._check(path)
        return maps

    def save(self, path: Path) -> None:
        """Write as one safetensors file with its format in the metadata."""
        from safetensors.numpy import save

        tensors = {field.name: np.ascontiguousarray(getattr(self, field.name), np.float32) for field in fields(self)}
        path.write_bytes(save(tensors, {"format": CAMERA_MAPS_FORMAT}))  # save_file would ignore the umask

    def cut(self, roi: Roi, path: Path) -> CameraMaps:
        """The part of a region of the sensor; maps as large as its frames are taken as that region's own.

        Raises ConfigError, which names `path`, for regions beyond the maps and for binned frames.
        """
        height, width = self.baseline_adu.shape
        if self.baseline_adu.shape == roi.shape:
            return self
        rows, columns = (slice(a, a + n) for a, n in ((roi.y0_px, roi.height_px), (roi.x0_px, roi.width_px)))
        if roi.binning != 1 or rows.stop > height or columns.stop > width:
            raise ConfigError(
                f"{path}: maps of {width} x {height} px do not hold the run's region of {roi.width_px} x "
                f"{roi.height_px} px at ({roi.x0_px}, {roi.y0_px}), binning {roi.binning}; "
                "measure maps of the whole sensor, or of this region and binning"
            )
        return CameraMaps(*(getattr(self, field.name)[rows, columns] for field in fields(self)))

    def _check(self, path: Path) -> None:
        shapes = {getattr(self, field.name).shape for field in fields(self)}
        if len(shapes) != 1 or len(self.baseline_adu.shape) != 2:
            raise ConfigError(f"{path}: camera maps of shapes {sorted(shapes)}; expected three of one (H, W)")
        finite = all(np.isfinite(getattr(self, field.name)).all() for field in fields(self))
        if not finite or self.e_per_adu.min() <= 0 or self.read_noise_e.min() < 0:
            raise ConfigError(
                f"{path}: camera maps with values that no pixel has (not finite, e_per_adu not above 0, read noise "
                "below 0); give dead pixels the values of their neighbours"
            )
