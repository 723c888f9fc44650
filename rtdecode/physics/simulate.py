"""Simulated clips and movies: blinking emitters anywhere in 3D, their light, background, camera noise, truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.localizations import EMITTER_DTYPE, Emitters
from rtdecode.core.ranges import NotNegativeRange, PositiveRange, Range
from rtdecode.core.yaml_files import StrictModel
from rtdecode.physics.background import Blobs, Texture, draw_background
from rtdecode.physics.camera import CameraVariation, adu_from_photons
from rtdecode.physics.jitter import PsfJitter, changed
from rtdecode.physics.psf import Psf
from rtdecode.physics.render import expected_frames

F8 = NDArray[np.float64]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=1)]


class PhotonConfig(StrictModel):
    """Photons of an emitter per full frame: normal(mean, sd), or with `log_uniform_share` log-uniform in range."""

    mean: Annotated[float, Field(gt=0)] = 6000.0
    sd: NotNegative = 2500.0
    log_uniform_share: Share = 0.0
    range: PositiveRange = (500.0, 25000.0)

    def draw(self, n: int, rng: np.random.Generator) -> F8:
        """(n,) photons per full frame; the normal part is cut at 50 photons from below."""
        normal = np.maximum(rng.normal(self.mean, self.sd, n), 50.0)
        low, high = np.log(self.range)
        log_uniform = np.exp(rng.uniform(low, high, n))
        return np.where(rng.random(n) < self.log_uniform_share, log_uniform, normal)


class SimulationConfig(StrictModel):
    """What is simulated. Ranges (low, high) are drawn uniformly, once for each clip."""

    shape_px: tuple[Pixels, Pixels] = (48, 48)  # rows, columns
    density_um2: NotNegativeRange = (0.0, 2.4)  # emitters per um² and frame
    density_power: Annotated[float, Field(ge=1)] = 1.0  # above 1, more clips are sparse: low + (high - low) u^power
    empty_share: Share = 0.0  # clips without any emitter
    photons: PhotonConfig = PhotonConfig()
    z_nm: Range = (-750.0, 750.0)
    lifetime_frames: PositiveRange = (2.0, 2.0)
    background: NotNegativeRange = (90.0, 90.0)  # photons per pixel
    background_structure: Share = 0.0  # relative swing of a smooth random field on the background
    background_texture: Texture | None = None  # a rougher field on top, of several scales
    background_blobs: Blobs | None = None  # light far out of focus on top
    margin_px: NotNegative = 18.0  # emitters this far beyond the rim shed light into the frame
    psf_jitter: PsfJitter | None = None  # each clip's PSF a little wrong; `{}` takes the usual bounds
    camera_variation: CameraVariation | None = None  # pixels differ, as those of an sCMOS; each clip has its own


@dataclass(frozen=True, slots=True)
class Clips:
    """B clips of T frames with their truth."""

    frames_adu: NDArray[np.uint16]  # (B, T, H, W)
    background: NDArray[np.float32]  # (B, H, W) photons per pixel, the same in all frames of a clip
    emitters: Emitters  # inside the frame; frame_index counts b * T + t
    maps: CameraMaps | None = None  # (B, 1, H, W) each, for `Camera.photons`; None: there are none, or none is known

    @property
    def n_frames(self) -> int:
        """Frames of each clip."""
        return int(self.frames_adu.shape[1])


def expected_molecules(per_frame: float, lifetime_frames: float, n_frames: int) -> float:
    """Molecules whose mean is `per_frame` emitters on in each frame (decode-method §4.1).

    Golden: 25 per frame, lifetime 2, 10,001 frames -> 25 * 10013 / 3 = 83,441.7.
    """
    return per_frame * (n_frames - 1 + 6 * lifetime_frames + 1) / (lifetime_frames + 1)


def simulate_clips(
    psf: Psf, camera: Camera, config: SimulationConfig, n_clips: int, n_frames: int, rng: np.random.Generator
) -> Clips:
    """`n_clips` independent clips, each with its own density, lifetime, background, PSF and sensor."""
    light = np.concatenate(
        [_draw_clip(config, camera, n_frames, rng, first_frame=clip * n_frames) for clip in range(n_clips)]
    )
    return render_clips(psf, camera, config, light, (n_clips, n_frames), rng)


def render_clips(
    psf: Psf,
    camera: Camera,
    config: SimulationConfig,
    light: Emitters,
    clips_and_frames: tuple[int, int],
    rng: np.random.Generator,
) -> Clips:
    """Clips of these emitters (frame_index counts clip * frames + frame; also those that shine in from outside)."""
    n_clips, n_frames = clips_and_frames
    expected = _expected(psf, camera, config, light, (n_clips, n_frames), rng)
    background = np.stack([_background(config, camera, rng) for _ in range(n_clips)])  # (B, H, W)
    variation = config.camera_variation
    maps = None if variation is None else variation.draw(camera, (n_clips, 1, *config.shape_px), rng)
    frames = adu_from_photons(camera, expected + background[:, None], rng, maps)
    known = maps if variation is not None and variation.corrected else None
    return Clips(frames, background, in_field(light, config.shape_px, camera.px_nm), known)


def simulate_movie(psf: Psf, camera: Camera, config: SimulationConfig, n_frames: int, seed: int) -> Clips:
    """One contiguous movie: a single clip of `n_frames`."""
    return simulate_clips(psf, camera, config, 1, n_frames, np.random.default_rng(seed))


def _expected(
    psf: Psf,
    camera: Camera,
    config: SimulationConfig,
    light: Emitters,
    clips_and_frames: tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """(B, T, H, W) expected photons without background, each clip with its own PSF where `psf_jitter` asks for it."""
    n_clips, n_frames = clips_and_frames
    if config.psf_jitter is None:
        frames = expected_frames(psf, light, 0, n_clips * n_frames, config.shape_px, camera.px_nm)
        return frames.reshape(n_clips, n_frames, *config.shape_px)
    psfs = [changed(psf, config.psf_jitter.draw(rng)) for _ in range(n_clips)]
    clips = [
        expected_frames(one, light, clip * n_frames, n_frames, config.shape_px, camera.px_nm)
        for clip, one in enumerate(psfs)
    ]
    return np.stack(clips)


def in_field(emitters: Emitters, shape_px: tuple[int, int], px_nm: tuple[float, float]) -> Emitters:
    """Emitters inside [-0.5, W - 0.5) x [-0.5, H - 0.5) px, in the order of their frames."""
    x, y = emitters["x_nm"] / px_nm[0], emitters["y_nm"] / px_nm[1]
    inside = (x >= -0.5) & (x < shape_px[1] - 0.5) & (y >= -0.5) & (y < shape_px[0] - 0.5)
    kept = emitters[inside]
    return kept[np.argsort(kept["frame_index"], kind="stable")]


def _draw_clip(
    config: SimulationConfig, camera: Camera, n_frames: int, rng: np.random.Generator, first_frame: int
) -> Emitters:
    """Emitters of one clip, beyond the rim too."""
    rows, columns = config.shape_px
    lo = np.array([-0.5 - config.margin_px] * 2)
    hi = np.array([columns, rows]) - 0.5 + config.margin_px  # x, y in px
    area_um2 = float(np.prod((hi - lo) * camera.px_nm)) / 1e6
    density = 0.0 if rng.random() < config.empty_share else _draw_density(config, rng)
    lifetime = rng.uniform(*config.lifetime_frames)
    n = int(rng.poisson(expected_molecules(density * area_um2, lifetime, n_frames)))
    position_nm = np.column_stack([rng.uniform(lo, hi, (n, 2)) * camera.px_nm, rng.uniform(*config.z_nm, n)])
    on = rng.uniform(-3 * lifetime, n_frames - 1 + 3 * lifetime, n)
    off = on + rng.exponential(lifetime, n)
    return exposures(position_nm, config.photons.draw(n, rng), on, off, n_frames, first_frame)


def _draw_density(config: SimulationConfig, rng: np.random.Generator) -> float:
    low, high = config.density_um2
    return float(low + (high - low) * rng.random() ** config.density_power)


def exposures(position_nm: F8, photons: F8, on: F8, off: F8, n_frames: int, first_frame: int = 0) -> Emitters:
    """One record for each molecule (position (N, 3), on-time [on, off) in frames) and frame that it lights.

    Photons are those of a full frame times the lit part of the frame, so first and last frames are partial.
    """
    start, stop = np.maximum(np.floor(on), 0).astype(int), np.minimum(np.ceil(off), n_frames).astype(int)
    length = np.maximum(stop - start, 0)
    molecule = np.repeat(np.arange(len(on)), length)  # (M,)
    frame = start[molecule] + np.arange(len(molecule)) - np.repeat(np.cumsum(length) - length, length)
    lit = np.minimum(off[molecule], frame + 1) - np.maximum(on[molecule], frame)
    out = np.empty(len(molecule), EMITTER_DTYPE)
    out["frame_index"] = frame + first_frame
    for axis, name in enumerate(("x_nm", "y_nm", "z_nm")):
        out[name] = position_nm[molecule, axis]
    out["photons"] = photons[molecule] * lit
    return out


def _background(config: SimulationConfig, camera: Camera, rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) photons per pixel of one clip."""
    level = rng.uniform(*config.background)
    return draw_background(
        level,
        config.shape_px,
        camera.px_nm,
        rng,
        structure=config.background_structure,
        texture=config.background_texture,
        blobs=config.background_blobs,
    )
