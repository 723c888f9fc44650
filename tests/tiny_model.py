"""A small model with random weights, through the real export, and noise to feed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from rtdecode.core.camera import Camera
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle, RecommendedFilter, TrainingRanges
from rtdecode.fit.scaling import Scaling

TINY_CAMERA = Camera(
    px_nm=(100.0, 110.0), baseline_adu=100.0, e_per_adu=45.0, read_noise_e=74.4, em_gain=300.0, spurious_e=0.002
)


def export_tiny(folder: Path, stem: Literal["half", "full"], **fields: Any) -> ModelBundle:
    """8 features, random weights made loud enough that noise gives localizations; stride 8 (half) or 4 (full).

    `fields` are handed to `export_bundle` in place of those here. An export takes seconds: ask for the fixture
    `tiny_bundle` where it will do.
    """
    torch = pytest.importorskip("torch")
    from rtdecode.fit.export import export_bundle
    from rtdecode.fit.network import Network, NetworkConfig

    torch.set_num_threads(1)  # tiny tensors on busy cores: two threads wait for each other
    torch.manual_seed(3)
    network = Network(NetworkConfig(features=8, stem=stem, heads="shared"))
    with torch.no_grad():
        network.heads.last.weight *= 5.5
    usual: dict[str, Any] = {
        "name": "tiny",
        "description": "random weights, for tests",
        "camera": TINY_CAMERA,
        "scaling": Scaling.from_ranges(10000, 3000, (90, 150), 750),
        "ranges": TrainingRanges(photons=(500, 25000), background=(90, 150), density_per_um2=(0, 2), z_nm=(-750, 750)),
        "detection": DetectionThresholds(peak=0.1, accept=0.5),
        "recommended_filter": RecommendedFilter(sigma_xy_max_nm=40, sigma_z_max_nm=80),
        "train_yaml": "seed: 3\n",
    }
    return export_bundle(folder, network, **(usual | fields))


def noise_frames(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """(n, H, W) uint16 ADU: background, noise and some bright pixels, all different."""
    random = np.random.default_rng(seed)
    background = random.normal(900.0, 80.0, (n, height, width))
    bright = random.random((n, height, width)) < 0.02
    return (background + bright * random.uniform(500, 6000, (n, height, width))).clip(0, 65535).astype(np.uint16)
