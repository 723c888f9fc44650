"""Held-out scenes of a training's own simulation, and what a bundle finds in them, for its calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from rtdecode.analysis.evaluate import Judged, Rules, judge
from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import BundleError
from rtdecode.core.frames import FrameInfo
from rtdecode.core.localizations import EMITTER_DTYPE, Emitters, Localizations
from rtdecode.core.yaml_files import key_lines, load_yaml
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.calibration import crowding
from rtdecode.fit.emitters import find_emitters
from rtdecode.fit.engines import host_engine
from rtdecode.fit.lines import adu_of
from rtdecode.fit.windows import Windows
from rtdecode.physics.psf import Psf, load_psf
from rtdecode.physics.simulate import Clips, SimulationConfig, render_clips, simulate_clips
from rtdecode.physics.structures import Field

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

SHAPE_PX = (64, 64)
ALONE_SHAPE_PX = (40, 40)
ALONE_PER_CLIP = 40
CLIP_FRAMES = 25  # long against the on-times, short enough that backgrounds vary
WINDOW_PX, CORE_PX = 7, 2  # for `crowding`; 3 and 10 tell no more
SEED = (20160823, 2, 1013, 0)
"""More words follow. Trainings seed with two or three words, `evaluate` with others, the benchmark's are shorter."""


class _Training(BaseModel):
    """The part of a training's configuration that says what it simulated; the rest needs torch to be read."""

    simulation: SimulationConfig


@dataclass(frozen=True, slots=True)
class World:
    """What scenes of one bundle are made of: its PSF as calibrated, its camera, its training's light."""

    bundle: ModelBundle
    psf: Psf
    simulation: SimulationConfig

    @classmethod
    def of(cls, bundle: ModelBundle) -> World:
        """From the bundle's own files, without torch; raises BundleError, CalibrationError, ConfigError."""
        if ("simulation",) not in key_lines(bundle.train_path):
            raise BundleError(
                f"{bundle.train_path}: no key `simulation` there, as in a model that rtdecode did not train; "
                "there is nothing to measure its calibration on"
            )
        simulation = load_yaml(bundle.train_path, _Training).simulation
        steady = {"psf_jitter": None, "empty_share": 0.0, "shape_px": SHAPE_PX}
        return cls(bundle, load_psf(bundle.psf_path), simulation.model_copy(update=steady))

    def densities(self, wanted: tuple[float, ...]) -> tuple[float, ...]:
        """Those that the training reached, per um²; its highest where it reached none."""
        highest = self.simulation.density_um2[1]
        return tuple(d for d in wanted if d <= highest) or (highest,)

    def clips(self, density: float, n_clips: int, seed: int) -> Clips:
        """Clips at one density, per um²; 0: empty ones."""
        changed: dict[str, object] = {"density_um2": (density, density)}
        if density == 0:  # the smallest blobs look like emitters, and so do peaks of a rough field
            changed |= {"background_blobs": None, "background_texture": None}
        simulation = self.simulation.model_copy(update=changed)
        rng = np.random.default_rng((*SEED, seed, round(density * 1000)))
        return simulate_clips(self.psf, self.bundle.camera, simulation, n_clips, CLIP_FRAMES, rng)

    def alone(self, n_clips: int, seed: int) -> Clips:
        """Emitters alone in every second of 2 n + 1 frames, for one whole frame each, at any z.

        Photons are log-uniform over the training's range, from a fiftieth of its end: what is dimmer is not found.
        """
        simulation = self.simulation.model_copy(update={"shape_px": ALONE_SHAPE_PX})
        rng, n_frames = np.random.default_rng((*SEED, seed, 2**31)), 2 * ALONE_PER_CLIP + 1
        light = np.empty((n_clips, ALONE_PER_CLIP), EMITTER_DTYPE)
        light["frame_index"] = np.arange(n_clips)[:, None] * n_frames + 1 + 2 * np.arange(ALONE_PER_CLIP)
        px_x_nm, px_y_nm = self.bundle.camera.px_nm
        light["x_nm"] = (ALONE_SHAPE_PX[1] / 2 + rng.uniform(-2, 2, light.shape)) * px_x_nm
        light["y_nm"] = (ALONE_SHAPE_PX[0] / 2 + rng.uniform(-2, 2, light.shape)) * px_y_nm
        light["z_nm"] = rng.uniform(*simulation.z_nm, light.shape)
        low, high = self.bundle.card.ranges.photons
        light["photons"] = np.exp(rng.uniform(np.log(max(low, high / 50, 1.0)), np.log(max(high, 2.0)), light.shape))
        return render_clips(self.psf, self.bundle.camera, simulation, light.ravel(), (n_clips, n_frames), rng)


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a bundle finds in some clips, however doubtful, as its network states it, held against the truth."""

    emitters: Emitters
    found: Localizations
    judged: Judged  # of those that count
    crowding: F8  # (N,) of judged.localizations
    frames: NDArray[np.int64]
    rules: Rules

    @property
    def true(self) -> NDArray[np.bool_]:
        """(N,) whether an emitter belongs to each of judged.localizations."""
        true = np.zeros(len(self.judged.localizations), bool)
        true[self.judged.pairs[:, 1]] = True
        return true


def look_at(bundle: ModelBundle, clips: Clips, engine: EngineConfig) -> Seen:
    """Find and judge, without `accept` and without a calibration that the bundle may have."""
    emitters = _with_gaps(clips.emitters, clips.n_frames)
    parts, p = [], {}
    for index, maps in _maps(bundle, clips, engine):
        sensitive = bundle.detection.model_copy(update={"accept": 0.0})
        parts.append(find_emitters(maps, index, bundle.camera.px_nm, sensitive))
        p[index] = maps[0]
    found, frames = Localizations.concatenate(parts), np.array(sorted(p), np.int64)
    shape_px = clips.frames_adu.shape[2:]
    field = Field.of_shape(shape_px[0], shape_px[1], bundle.camera.px_nm)
    rules = Rules(min_photons=bundle.card.ranges.photons[0], field=field)
    judged = judge(emitters, found, frames=frames, rules=rules)
    near = _crowding(judged.localizations, p, bundle.camera.px_nm)
    return Seen(emitters, found, judged, near, frames, rules)


def _maps(bundle: ModelBundle, clips: Clips, engine: EngineConfig) -> Iterator[tuple[int, F4]]:
    """(index, maps) of each frame in order; a gap in the indices keeps clips apart."""
    n_clips, n_frames, height, width = clips.frames_adu.shape
    windows = Windows(host_engine(engine, bundle), bundle.network.stride, height, width)
    adu = _graph_adu(bundle, clips)
    for clip in range(n_clips):
        for frame in range(n_frames):
            info = FrameInfo(clip * (n_frames + 1) + frame, 0, 0)
            yield from ((w.info.index, w.maps) for w in windows.push(info, adu[clip, frame]))
    yield from ((w.info.index, w.maps) for w in windows.gap())


def _graph_adu(bundle: ModelBundle, clips: Clips) -> F4:
    """(B, T, H, W) as a run gives them to the graph: corrected by the camera's maps where it has some."""
    if clips.maps is None:
        return clips.frames_adu.astype(np.float32)
    return adu_of(bundle.camera, bundle.camera.photons(clips.frames_adu, clips.maps))


def _with_gaps(emitters: Emitters, n_frames: int) -> Emitters:
    moved = emitters.copy()
    moved["frame_index"] += emitters["frame_index"] // n_frames
    return moved


def _crowding(found: Localizations, p: dict[int, F4], px_nm: tuple[float, float]) -> F8:
    out = np.empty(len(found))
    for index in np.unique(found.frame_index).tolist():
        rows = np.flatnonzero(found.frame_index == index)
        x_px, y_px = found.x_nm[rows] / np.float64(px_nm[0]), found.y_nm[rows] / np.float64(px_nm[1])
        out[rows] = crowding(p[index], x_px, y_px, WINDOW_PX, CORE_PX)
    return out
