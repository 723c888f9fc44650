"""Backgrounds of training clips: a level, smooth and rough random fields on it, blobs of light far out of focus."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import map_coordinates, zoom

from rtdecode.core.yaml_files import StrictModel

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Texture(StrictModel):
    """Value noise of several octaves, as Perlin's (1985) sums: each octave half as wide as the one before."""

    swing: Share = 0.3  # largest relative swing; each clip draws its own between 0 and this
    octaves: Annotated[int, Field(ge=1, le=6)] = 3
    widest_px: Annotated[float, Field(ge=2)] = 24.0  # distance of the first octave's knots
    persistence: Share = 0.5  # amplitude of an octave over that of the one before


class Blobs(StrictModel):
    """Round light of structures far out of focus, wider than any spot that counts as an emitter."""

    per_um2: tuple[NotNegative, NotNegative] = (0.0, 0.05)  # drawn for each clip
    psf_sigma_px: tuple[Positive, Positive] = (4.0, 12.0)
    height: tuple[NotNegative, NotNegative] = (0.1, 0.8)  # of the middle, over the background's level


def draw_background(
    level: float,
    shape_px: tuple[int, int],
    px_nm: tuple[float, float],
    rng: np.random.Generator,
    *,
    structure: float = 0.0,
    texture: Texture | None = None,
    blobs: Blobs | None = None,
) -> F4:
    """(H, W) photons per pixel, never negative: `level` times one plus what is asked for.

    `structure` is the swing of a smooth field of 4 x 4 knots. What is not asked for takes nothing from `rng`.
    """
    if structure == 0 and texture is None and blobs is None:
        return np.full(shape_px, level, np.float32)
    field = np.zeros(shape_px)
    if structure > 0:
        field += _smooth(structure, shape_px, rng)
    if texture is not None:
        field += _rough(texture, shape_px, rng)
    if blobs is not None:
        field += _blobs(blobs, shape_px, px_nm, rng)
    return np.asarray(level * np.maximum(1 + field, 0), np.float32)


def _smooth(swing: float, shape_px: tuple[int, int], rng: np.random.Generator) -> F8:
    knots = rng.uniform(-1, 1, (4, 4)) * rng.uniform(0, swing)
    field = zoom(knots, (shape_px[0] / 4, shape_px[1] / 4), order=1, grid_mode=True, mode="nearest")
    return np.asarray(field, np.float64)


def _rough(texture: Texture, shape_px: tuple[int, int], rng: np.random.Generator) -> F8:
    """Octaves of random knots at a random place of their grid, joined by cubic splines, within the drawn swing."""
    amplitudes = texture.persistence ** np.arange(texture.octaves)
    amplitudes *= rng.uniform(0, texture.swing) / amplitudes.sum()
    octaves = [a * _octave(texture.widest_px / 2**k, shape_px, rng) for k, a in enumerate(amplitudes)]
    return np.asarray(np.sum(octaves, axis=0), np.float64)


def _octave(knots_px: float, shape_px: tuple[int, int], rng: np.random.Generator) -> F8:
    """(H, W) in [-1, 1]: random values every `knots_px`."""
    axes = [np.arange(n) / knots_px + 1 + rng.random() for n in shape_px]
    knots = rng.uniform(-1, 1, [int(axis[-1]) + 3 for axis in axes])
    rows, columns = np.meshgrid(*axes, indexing="ij")
    field = map_coordinates(knots, [rows, columns], order=3, mode="mirror")
    return np.asarray(np.clip(field, -1, 1), np.float64)


def _blobs(blobs: Blobs, shape_px: tuple[int, int], px_nm: tuple[float, float], rng: np.random.Generator) -> F8:
    """(H, W) sum of round Gaussians whose middles lie up to two of their widest sigmas beyond the rim."""
    beyond = 2 * blobs.psf_sigma_px[1]
    sides = np.array(shape_px) + 2 * beyond  # y, x in px
    area_um2 = sides[0] * px_nm[1] * sides[1] * px_nm[0] / 1e6
    n = rng.poisson(rng.uniform(*blobs.per_um2) * area_um2)
    y, x = (rng.uniform(-0.5, 0.5, (n, 2)) * sides + (np.array(shape_px) - 1) / 2).T  # (N,) each
    wide, high = rng.uniform(*blobs.psf_sigma_px, n), rng.uniform(*blobs.height, n)
    along_y = np.exp(-(((np.arange(shape_px[0]) - y[:, None]) / wide[:, None]) ** 2) / 2) * high[:, None]  # (N, H)
    along_x = np.exp(-(((np.arange(shape_px[1]) - x[:, None]) / wide[:, None]) ** 2) / 2)  # (N, W)
    return np.asarray(np.einsum("ni,nj->ij", along_y, along_x), np.float64)
