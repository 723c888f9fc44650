"""The smallest training that goes all the way: a Gaussian PSF, a sCMOS camera, 16 x 16 px, a network of 8 features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rtdecode.core.camera import Camera
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.scaling import Scaling
from rtdecode.physics.psf import GaussianPsf, SplinePsf
from rtdecode.physics.simulate import SimulationConfig
from rtdecode.train.config import BatchConfig, OptimiserConfig, TrainingConfig


def write_training(path: Path, half_depth_slices: int = 5, **fields: Any) -> Path:
    """The training's YAML at `path`, its PSF (2 n + 1 slices of 100 nm) beside it; `fields` replace the plain ones."""
    n = half_depth_slices
    z = np.arange(-n, n + 1) * 100.0
    samples = GaussianPsf(roi_px=15).with_derivatives([7] * len(z), [7] * len(z), z, (15, 15))[0]
    SplinePsf.from_samples(samples, 100.0, n, (100.0, 100.0)).save(path.parent / "psf.safetensors")
    plain: dict[str, Any] = {
        "name": "tiny",
        "description": "A test.",
        "psf": Path("psf.safetensors"),
        "camera": Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.5),
        "network": NetworkConfig(features=8, stem="half", activation="silu", heads="shared"),
        "scaling": Scaling(input_offset=90, input_scale=120, photons_max=20000, z_max_nm=600, background_max=200),
        "simulation": SimulationConfig(shape_px=(16, 16), margin_px=6, z_nm=(-500, 500), density_um2=(0.5, 1.5)),
        "batch": BatchConfig(clips=2, frames=4),
        "optimiser": OptimiserConfig(learning_rate=1e-3, warmup_iterations=1, ema_decay=0.5),
        "calibration_share": 0,
        "page_every": 0,
    }
    config = TrainingConfig(**plain | fields)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path
