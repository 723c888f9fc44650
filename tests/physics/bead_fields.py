"""Bead stacks of a known PSF: what was put where, with which flaw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.physics.psf import Psf, SplinePsf

DZ = 25.0


@dataclass(frozen=True)
class Put:
    """A bead in the field: (row, column) px, height nm, photons of a slice in focus."""

    row: float
    column: float
    height_nm: float = 0.0
    photons: float = 60000.0


def slices_nm(half_range_nm: float = 600.0, dz_nm: float = DZ) -> NDArray[np.float64]:
    """(Z,) stage positions around focus."""
    n = round(half_range_nm / dz_nm)
    return np.arange(-n, n + 1) * dz_nm


def field_of(
    psf: Psf, beads: list[Put], shape: tuple[int, int], z_nm: NDArray[np.float64], background: float = 100.0
) -> NDArray[np.float32]:
    """(Z, H, W) expected photons; a bead at height h looks at stage z as the PSF at z + h."""
    frames = np.full((len(z_nm), *shape), background, np.float32)
    for bead in beads:
        row, column, photons = (np.full(len(z_nm), v) for v in (bead.row, bead.column, bead.photons))
        psf.add_to(frames, np.arange(len(z_nm)), column, row, z_nm + bead.height_nm, photons)
    return frames


def noisy(frames: NDArray[np.float32], seed: int = 1, full_scale: int = 65535) -> NDArray[np.uint16]:
    """Shot noise and a camera that ends at `full_scale`."""
    return np.random.default_rng(seed).poisson(frames).clip(0, full_scale).astype(np.uint16)


def double_helix(dz_nm: float = DZ) -> SplinePsf:
    """Two lobes 8 px apart that turn by 150 degrees over 1.2 um; nothing astigmatic about it."""
    z = slices_nm(dz_nm=dz_nm)
    y, x = np.mgrid[-18:19, -18:19].astype(float)
    samples = np.zeros((len(z), 37, 37))
    for n, height in enumerate(z):
        angle = np.radians(75.0) * height / z[-1]
        for side in (-4, 4):
            away = (x - side * np.cos(angle)) ** 2 + (y - side * np.sin(angle)) ** 2
            samples[n] += np.exp(-away / (2 * 1.4**2))
    return SplinePsf.from_samples((samples / samples[len(z) // 2].sum()).astype(np.float32), dz_nm, len(z) // 2,
                                  (100.0, 100.0))  # fmt: skip
