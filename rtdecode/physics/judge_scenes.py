"""Scenes no training draws: molecules on structures that switch in three states over a structured background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from rtdecode.core.camera import Camera
from rtdecode.core.localizations import EMITTER_DTYPE, Emitters
from rtdecode.core.yaml_files import StrictModel
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.psf import Psf
from rtdecode.physics.render import expected_frames
from rtdecode.physics.structures import Field, Points, Switching, random_field, switch, tubes

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
Rng = np.random.Generator
Positive = Annotated[float, Limits(gt=0)]
NotNegative = Annotated[float, Limits(ge=0)]
Share = Annotated[float, Limits(ge=0, le=1)]
Side = Annotated[int, Limits(ge=16, le=512)]
StructureName = Literal["tubes", "filaments", "clusters", "scattered"]

MOLECULES = 8000  # of each structure, so that each gives the same share of the emitters
MARGIN_NM = 800.0  # molecules further outside than this put no light into the field


class BackgroundConfig(StrictModel):
    """Photons per pixel: level x (tilted plane + out-of-focus blobs), fading over the movie as dyes bleach."""

    level: NotNegative = 80.0  # mean of the plane in the first frame
    gradient: Share = 0.4  # the plane rises by this share from the middle to the rim
    blobs: Annotated[int, Limits(ge=0, le=1000)] = 5
    blob_height: NotNegative = 0.5  # of the highest possible blob, in levels
    blob_sigma_px: tuple[Positive, Positive] = (8.0, 20.0)  # narrower ones are emitters out of focus to anyone
    fade: Share = 0.15  # lost from the first frame to the last

    def field(self, shape_px: tuple[int, int], rng: Rng) -> F4:
        """(H, W) of the first frame."""
        rows, columns = np.indices(shape_px).astype(np.float64)
        turn = rng.uniform(0, 2 * np.pi)
        along = np.cos(turn) * (columns / shape_px[1] - 0.5) + np.sin(turn) * (rows / shape_px[0] - 0.5)
        relative = 1.0 + 2.0 * self.gradient * along / (abs(np.cos(turn)) + abs(np.sin(turn)))
        for _ in range(self.blobs):
            row, column = rng.uniform(0, shape_px[0]), rng.uniform(0, shape_px[1])
            tall, wide = rng.uniform(*self.blob_sigma_px, 2)
            height = self.blob_height * rng.uniform(0.3, 1.0)
            relative += height * np.exp(-0.5 * (((rows - row) / tall) ** 2 + ((columns - column) / wide) ** 2))
        return np.asarray(self.level * relative, np.float32)


class SceneConfig(StrictModel):
    """What the judge looks at. Switching as in physics.structures: mean waiting times of the three transitions."""

    shape_px: tuple[Side, Side] = (64, 64)  # rows, columns
    structures: Annotated[tuple[StructureName, ...], Limits(min_length=1)] = ("tubes", "filaments", "clusters")
    z_nm: tuple[float, float] = (-650.0, 650.0)
    on_frames: Positive = 3.0
    dark_frames: Positive = 2.5
    bleach_frames: Positive = 4.0
    photons_mean: Positive = 5000.0  # detected in a full frame of shining
    photons_spread: NotNegative = 3000.0  # log-normal between molecules: many dim, few very bright
    background: BackgroundConfig = BackgroundConfig()

    @property
    def switching(self) -> Switching:
        """For physics.structures."""
        times = (self.on_frames, self.dark_frames, self.bleach_frames)
        return Switching(*times, self.photons_mean, self.photons_spread, "log_normal")


@dataclass(frozen=True, slots=True)
class Movie:
    """(n, H, W) ADU, its truth (also of emitters whose centre lies outside), and what lay below."""

    frames_adu: NDArray[np.uint16]
    emitters: Emitters
    background: F4  # (H, W) photons per pixel in the first frame
    fade: float  # share of it that is gone in the last frame

    def background_at(self, emitters: Emitters, px_nm: tuple[float, float]) -> F8:
        """(N,) photons per pixel below each emitter, of the nearest pixel in the field."""
        height, width = self.background.shape
        row = np.clip(np.rint(emitters["y_nm"] / px_nm[1]).astype(int), 0, height - 1)
        column = np.clip(np.rint(emitters["x_nm"] / px_nm[0]).astype(int), 0, width - 1)
        return np.asarray(
            self.background[row, column] * _faded(emitters["frame_index"], len(self.frames_adu), self.fade)
        )


def structure_movie(
    psf: Psf, camera: Camera, scene: SceneConfig, density_um2: float, n_frames: int, seed: int, take: int = 0
) -> Movie:
    """`n_frames` of the scene with `density_um2` emitters per um^2 of the field and frame; same numbers, same movie.

    Another `take` of the same `seed` shows the same molecules, with other switching, background and noise.
    """
    field = Field.of_shape(*scene.shape_px, camera.px_nm)
    of_switching, of_light = (int(s) for s in np.random.SeedSequence((seed, take, 1)).generate_state(2))
    emitters = switch(
        molecules_of(scene, field, seed), n_frames, density_um2, field, scene.switching, seed=of_switching
    )
    return render_movie(psf, camera, emitters, n_frames, scene.shape_px, scene.background, of_light)


def flash_movie(
    psf: Psf, camera: Camera, scene: SceneConfig, density_um2: float, n_frames: int, seed: int, margin_px: float = 8.0
) -> Movie:
    """As `structure_movie`, but every emitter lives for one whole frame at a place of its own, uniform.

    So positions within the pixel are independent and uniform: what a test of the estimates' uniformity needs.
    """
    rng = np.random.default_rng(seed)
    (rows, columns), px_nm = scene.shape_px, np.asarray(camera.px_nm)
    size_nm = (np.array([columns, rows]) + 2 * margin_px) * px_nm
    frame = np.repeat(np.arange(n_frames), rng.poisson(density_um2 * float(np.prod(size_nm)) * 1e-6, n_frames))
    emitters = np.empty(len(frame), EMITTER_DTYPE)
    emitters["frame_index"] = frame
    xy = rng.uniform(0, 1, (len(frame), 2)) * size_nm - (margin_px + 0.5) * px_nm
    emitters["x_nm"], emitters["y_nm"] = xy.T
    emitters["z_nm"] = rng.uniform(*scene.z_nm, len(frame))
    emitters["photons"] = scene.switching.brightness(len(frame), rng)
    light_seed = int(rng.integers(2**31))
    return render_movie(psf, camera, emitters, n_frames, scene.shape_px, scene.background, light_seed)


def lone_movie(
    psf: Psf, camera: Camera, scene: SceneConfig, photons: float, n: int, seed: int, side_px: int = 40
) -> Movie:
    """`n` emitters of exactly `photons`, each alone in every second of 1 + 2 n frames (side, side), z uniform."""
    rng = np.random.default_rng(seed)
    emitters = np.empty(n, EMITTER_DTYPE)
    emitters["frame_index"] = 1 + 2 * np.arange(n)
    for axis, name in enumerate(("x_nm", "y_nm")):
        emitters[name] = (side_px / 2 + rng.uniform(-2, 2, n)) * camera.px_nm[axis]
    emitters["z_nm"], emitters["photons"] = rng.uniform(*scene.z_nm, n), photons
    light_seed = int(rng.integers(2**31))
    return render_movie(psf, camera, emitters, 1 + 2 * n, (side_px, side_px), scene.background, light_seed)


def render_movie(
    psf: Psf,
    camera: Camera,
    emitters: Emitters,
    n_frames: int,
    shape_px: tuple[int, int],
    background: BackgroundConfig,
    seed: int,
) -> Movie:
    """The light of `emitters` over a background, through the camera, 256 frames at a time."""
    rng = np.random.default_rng(seed)
    field = background.field(shape_px, rng)
    frames = np.empty((n_frames, *shape_px), np.uint16)
    fading = _faded(np.arange(n_frames), n_frames, background.fade).astype(np.float32)
    for first in range(0, n_frames, 256):
        part = slice(first, min(first + 256, n_frames))
        light = expected_frames(psf, emitters, first, part.stop - first, shape_px, camera.px_nm)
        frames[part] = adu_from_photons(camera, light + fading[part, None, None] * field, rng)
    return Movie(frames, emitters, field, background.fade)


def molecules_of(scene: SceneConfig, field: Field, seed: int) -> Points:
    """(N, 3) float32 nm: the same number of molecules on each structure of the scene."""
    rng = np.random.default_rng(seed)
    parts = []
    for name in scene.structures:
        made = _MAKERS[name](field, scene.z_nm, int(rng.integers(2**31)))
        parts.append(made[rng.integers(0, len(made), MOLECULES)])
    return np.concatenate(parts)


def filaments(
    field: Field, z_nm: tuple[float, float], seed: int, n: int = 24, molecules_per_um: float = 250.0
) -> Points:
    """(N, 3): thin stiff threads (5 nm, persistence length 3 um), crossing anywhere, each at its own tilt."""
    rng = np.random.default_rng(seed)
    step = 1000.0 / molecules_per_um  # nm; one molecule a step
    n_steps = int(1.2 * float(field.size_nm.max()) / step)
    bend = np.sqrt(2 * step / 3000.0)  # of the direction in a step, rad: its mean cosine falls to 1/e over 3 um
    turn = rng.uniform(0, 2 * np.pi, (n, 1)) + np.cumsum(rng.normal(0, bend, (n, n_steps)), axis=1)
    middle = field.corner_nm + rng.uniform(0, 1, (n, 2)) * field.size_nm
    xy = np.stack([np.cumsum(np.cos(turn), axis=1), np.cumsum(np.sin(turn), axis=1)], axis=2) * step
    xy += middle[:, None] - xy[:, n_steps // 2, None]  # (n, steps, 2)
    ends = rng.uniform(*z_nm, (2, n, 1))
    z = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, n_steps)
    points = np.concatenate([xy, z[:, :, None]], axis=2).reshape(-1, 3)
    points += rng.normal(0, 2.5, points.shape) * [1, 1, 0]
    return points[field.holds(points, MARGIN_NM)].astype(np.float32)


def clusters(field: Field, z_nm: tuple[float, float], seed: int, per_um2: float = 2.0, molecules: int = 60) -> Points:
    """(N, 3): Gaussian clusters of receptors, sigma 15 to 80 nm, centres uniform in 3D."""
    rng = np.random.default_rng(seed)
    n = 1 + int(rng.poisson(per_um2 * field.area_um2))
    centres = random_field(n, field, z_range_nm=z_nm, margin_nm=MARGIN_NM, seed=int(rng.integers(2**31)))
    points = np.repeat(centres, molecules, axis=0) + rng.normal(0, 1, (n * molecules, 3)) * np.repeat(
        rng.uniform(15, 80, (n, 1)), molecules, axis=0
    )
    points[:, 2] = np.clip(points[:, 2], *z_nm)
    return points.astype(np.float32)


def _tubes(field: Field, z_nm: tuple[float, float], seed: int) -> Points:
    return tubes(field, seed=seed, z_range_nm=z_nm)


def _scattered(field: Field, z_nm: tuple[float, float], seed: int) -> Points:
    return random_field(MOLECULES, field, z_range_nm=z_nm, margin_nm=MARGIN_NM, seed=seed)


_MAKERS: dict[StructureName, Callable[[Field, tuple[float, float], int], Points]] = {
    "tubes": _tubes,
    "filaments": filaments,
    "clusters": clusters,
    "scattered": _scattered,
}


def _faded(frame: NDArray[np.integer], n_frames: int, fade: float) -> F8:
    """(N,) what is left of the background in each frame."""
    return np.asarray(1.0 - fade * frame / max(1, n_frames - 1), np.float64)
