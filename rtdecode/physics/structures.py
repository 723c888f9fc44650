"""3D structures as molecule positions, and the switching that turns molecules into emitters in frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import EMITTER_DTYPE, Emitters

Points = NDArray[np.float32]
_STEP_NM = 10.0  # along a tube's centre line: finer than its width, coarse enough to be free
_MARGIN_NM = 800.0  # molecules further outside than this put no light into the field


@dataclass(frozen=True, slots=True)
class Switching:
    """Three states, the SMLM 2016 challenge's constants: on -> dark, dark -> on, on -> bleached, each a rate.

    The three times are the mean waiting times of the three transitions (rates 1/on, 1/dark, 1/bleach), so that
    a molecule shines for `bleach_frames` in all before it bleaches, in stretches of 1 / (1/on + 1/bleach).
    """

    on_frames: float = 3.0
    dark_frames: float = 2.5
    bleach_frames: float = 1.5
    photons_mean: float = 5000.0  # detected in a full frame of shining
    photons_spread: float = 1000.0  # standard deviation between molecules; one value for a molecule's life
    photons_shape: Literal["normal", "log_normal"] = "normal"  # of that distribution; normal is cut at a tenth of mean

    def __post_init__(self) -> None:
        if min(self.on_frames, self.dark_frames, self.bleach_frames, self.photons_mean) <= 0:
            raise ValueError(f"times and photons of a Switching must be above 0, found {self}")
        if self.photons_spread < 0:
            raise ValueError(f"photons_spread must not be negative, found {self.photons_spread}")

    def brightness(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(n,) photons of a full frame, one for each molecule's life."""
        if self.photons_shape == "normal":
            return np.maximum(rng.normal(self.photons_mean, self.photons_spread, n), 0.1 * self.photons_mean)
        variance = math.log1p((self.photons_spread / self.photons_mean) ** 2)  # of the logarithm
        return rng.lognormal(math.log(self.photons_mean) - variance / 2, math.sqrt(variance), n)


@dataclass(frozen=True, slots=True)
class Field:
    """Rectangle that the camera sees: `width_nm` along x, `height_nm` along y, in pixels of `px_nm` (x, y).

    (0, 0) nm is the centre of the first pixel, so the field begins half a pixel before it.
    """

    width_nm: float = 6400.0
    height_nm: float = 6400.0
    px_nm: tuple[float, float] = (100.0, 100.0)

    @classmethod
    def of_shape(cls, height_px: int, width_px: int, px_nm: tuple[float, float]) -> Field:
        """The field of a frame of (height, width) pixels."""
        return cls(width_px * px_nm[0], height_px * px_nm[1], px_nm)

    @property
    def area_um2(self) -> float:
        """Area in square micrometres."""
        return self.width_nm * self.height_nm * 1e-6

    @property
    def corner_nm(self) -> NDArray[np.float64]:
        """(x, y) of the corner of the first pixel."""
        return np.array([-self.px_nm[0] / 2, -self.px_nm[1] / 2])

    @property
    def size_nm(self) -> NDArray[np.float64]:
        """(width, height)."""
        return np.array([self.width_nm, self.height_nm])

    def holds(self, xy_nm: NDArray[np.floating], margin_nm: float = 0.0) -> NDArray[np.bool_]:
        """(N,) whether each of (N, 2 or more) points lies inside, or at most `margin_nm` outside."""
        from_corner = xy_nm[:, :2] - self.corner_nm  # (N, 2)
        inside = (from_corner >= -margin_nm) & (from_corner < self.size_nm + margin_nm)
        return np.asarray(inside.all(axis=1))


def random_field(
    n: int,
    field: Field = Field(),
    *,
    z_range_nm: tuple[float, float] = (-700.0, 700.0),
    margin_nm: float = 0.0,
    seed: int,
) -> Points:
    """(n, 3) float32 nm: molecules uniform over the field and `margin_nm` around it, and over `z_range_nm`."""
    rng = np.random.default_rng(seed)
    low = np.append(field.corner_nm - margin_nm, z_range_nm[0])
    high = np.append(field.corner_nm + field.size_nm + margin_nm, z_range_nm[1])
    return rng.uniform(low, high, (n, 3)).astype(np.float32)


def tubes(
    field: Field = Field(),
    *,
    seed: int,
    singles: int = 4,
    pairs: int = 3,
    z_range_nm: tuple[float, float] = (-500.0, 500.0),
    separation_nm: tuple[float, float] = (120.0, 200.0),
    molecules_per_um: float = 400.0,
) -> Points:
    """(N, 3) float32 nm: molecules on crossing microtubule-like tubes, each rising or sinking through z.

    Walls from 7.5 to 12.5 nm radius (25 nm outside, hollow, as in the challenge). `pairs` are two parallel tubes
    whose axes are `separation_nm` apart, which a wide-field image does not resolve. Paths leave the field.
    """
    rng = np.random.default_rng(seed)
    n = singles + pairs
    slots = rng.permutation(n)
    walls = []
    for i in range(n):
        turn = np.pi * (slots[i] + rng.uniform(0.2, 0.8)) / n  # every direction once, so that tubes cross
        axis, sideways = _path(field, turn, z_range_nm, rising=bool(i % 2), rng=rng)
        apart = rng.uniform(*separation_nm) if i < pairs else 0.0
        for shift in (-apart / 2, apart / 2) if apart else (0.0,):
            walls.append(_wall(axis + shift * sideways, sideways, molecules_per_um, rng))
    molecules = np.concatenate([np.empty((0, 3)), *walls])
    return molecules[field.holds(molecules, _MARGIN_NM)].astype(np.float32)


def switch(
    molecules_nm: NDArray[np.floating],
    n_frames: int,
    density_um2: float,
    field: Field = Field(),
    switching: Switching = Switching(),
    *,
    seed: int,
    min_photons: float = 1.0,
) -> Emitters:
    """Emitters of `n_frames` frames: (M,) EMITTER_DTYPE, sorted by frame_index (from 0).

    Molecules ((N, 3) nm) are activated uniformly in time, drawn with replacement, so often that a frame holds
    `density_um2` emitters per um^2 on average within the field, from the first frame to the last; those
    outside the field are kept too, for their light reaches in. Photons are the share of a frame that the
    molecule shone, so first and last frames are partial; records below `min_photons` are dropped and not counted.
    """
    rng = np.random.default_rng(seed)
    inside = float(np.mean(field.holds(molecules_nm))) if len(molecules_nm) else 0.0
    if density_um2 <= 0 or n_frames <= 0 or inside == 0.0:
        return np.empty(0, EMITTER_DTYPE)
    warm_up = 10.0 * (switching.on_frames + switching.dark_frames + switching.bleach_frames)
    per_frame = density_um2 * field.area_um2 / inside  # emitters, wherever they lie
    rate = per_frame / _records_per_activation(switching, min_photons)
    n = int(rng.poisson(rate * (n_frames + warm_up)))
    start = rng.uniform(-warm_up, n_frames, n)
    return _emitters(molecules_nm, n_frames, start, switching, min_photons, rng)


def _path(
    field: Field, turn: float, z_range_nm: tuple[float, float], *, rising: bool, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre line (K, 3) through the field in direction `turn`, and its horizontal normals (K, 3)."""
    length = 1.7 * float(field.size_nm.max())
    s = np.arange(-length / 2, length / 2, _STEP_NM)  # (K,)
    bend = rng.uniform(0.02, 0.05, 2) * length / np.array([1.0, 2.5])
    wave = np.sin(2 * np.pi * s[:, None] * [0.9, 1.9] / length + rng.uniform(0, 2 * np.pi, 2)) @ bend
    offset = rng.uniform(-0.3, 0.3) * float(field.size_nm.min())
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    centre = field.corner_nm + field.size_nm / 2
    xy = centre + s[:, None] * along + (offset + wave)[:, None] * across  # (K, 2)
    axis = np.column_stack([xy, _height(s / length, z_range_nm, rising, rng)])
    tangent = np.gradient(xy, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return axis, np.column_stack([-tangent[:, 1], tangent[:, 0], np.zeros(len(s))])


def _height(
    s: NDArray[np.float64], z_range_nm: tuple[float, float], rising: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    """z along a path, s from -0.5 to 0.5: from near one end of the range to near the other, smoothly."""
    low, high = z_range_nm[0] + 13.0, z_range_nm[1] - 13.0  # the wall stays in the range
    span = high - low
    start, end = low + rng.uniform(0, 0.15) * span, high - rng.uniform(0, 0.15) * span
    step = np.clip(s / 0.64 + 0.5, 0.0, 1.0)  # the middle of the path crosses the field
    smooth = step * step * (3 - 2 * step)
    return np.asarray(start + (end - start) * (smooth if rising else 1 - smooth))


def _wall(
    axis: NDArray[np.float64],
    sideways: NDArray[np.float64],
    molecules_per_um: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """(M, 3) molecules uniform in the wall around a centre line (K, 3)."""
    steps = np.linalg.norm(np.diff(axis, axis=0), axis=1)  # (K - 1,)
    at = np.concatenate([[0.0], np.cumsum(steps)])
    n = int(rng.poisson(at[-1] * 1e-3 * molecules_per_um))
    where = rng.uniform(0, at[-1], n)
    centre = np.column_stack([np.interp(where, at, axis[:, i]) for i in range(3)])
    cell = np.minimum(np.searchsorted(at, where, side="right") - 1, len(steps) - 1)
    tangent = np.diff(axis, axis=0)[cell] / steps[cell, None]
    level = sideways[cell]
    upward = np.cross(tangent, level)
    radius = np.sqrt(rng.uniform(7.5**2, 12.5**2, n))[:, None]
    around = rng.uniform(0, 2 * np.pi, n)[:, None]
    return np.asarray(centre + radius * (np.cos(around) * level + np.sin(around) * upward))


def _stretches(
    start: NDArray[np.float64], switching: Switching, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """(activation, begin, end) of every shining stretch of activations that begin at `start` (frames)."""
    leave = 1 / switching.on_frames + 1 / switching.bleach_frames
    returns = 1 / switching.on_frames / leave  # share of stretches that end in the dark, not bleached
    who, now = np.arange(len(start)), start
    found: list[tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]] = []
    while len(who):
        end = now + rng.exponential(1 / leave, len(who))
        found.append((who, now, end))
        again = rng.random(len(who)) < returns
        who, now = who[again], end[again] + rng.exponential(switching.dark_frames, int(again.sum()))
    if not found:
        return np.empty(0, np.intp), np.empty(0), np.empty(0)
    return (
        np.concatenate([f[0] for f in found]),
        np.concatenate([f[1] for f in found]),
        np.concatenate([f[2] for f in found]),
    )


def _shares(
    who: NDArray[np.intp], begin: NDArray[np.float64], end: NDArray[np.float64], n_frames: int
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float64]]:
    """(activation, frame, share of the frame that it shone), one row for each activation and frame touched."""
    seen = (end > 0) & (begin < n_frames)
    who, begin, end = who[seen], np.maximum(begin[seen], 0.0), np.minimum(end[seen], float(n_frames))
    first = np.floor(begin).astype(np.int64)
    touched = np.maximum(np.ceil(end).astype(np.int64) - first, 1)
    row = np.repeat(np.arange(len(who)), touched)
    frame = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(touched) - touched, touched)
    share = np.minimum(end[row], frame + 1.0) - np.maximum(begin[row], frame)
    span = int(who.max()) + 1 if len(who) else 1
    key, place = np.unique(frame * span + who[row], return_inverse=True)
    total = np.bincount(place, weights=share, minlength=len(key)).astype(np.float64)  # their sum: one emitter
    return (key % span).astype(np.intp), key // span, total


def _emitters(
    molecules_nm: NDArray[np.floating],
    n_frames: int,
    start: NDArray[np.float64],
    switching: Switching,
    min_photons: float,
    rng: np.random.Generator,
) -> Emitters:
    """Emitters of the activations that begin at `start`, sorted by frame and then activation."""
    molecule = rng.integers(0, len(molecules_nm), len(start))
    brightness = switching.brightness(len(start), rng)
    who, frame, share = _shares(*_stretches(start, switching, rng), n_frames)
    kept = brightness[who] * share >= min_photons
    who, frame, share = who[kept], frame[kept], share[kept]
    out = np.empty(len(who), EMITTER_DTYPE)
    out["frame_index"], out["photons"] = frame, brightness[who] * share
    for i, name in enumerate(("x_nm", "y_nm", "z_nm")):
        out[name] = molecules_nm[molecule[who], i]
    return out


def _records_per_activation(switching: Switching, min_photons: float) -> float:
    """Mean number of frames with at least `min_photons` of one activation, from 100,000 drawn once (0.3 %).

    Drawn and not derived: stretches of one molecule that share a frame are one record.
    """
    rng = np.random.default_rng(20160823)
    start = rng.uniform(0, 1, 100_000)
    far = int(start.max() + 200 * (switching.on_frames + switching.dark_frames + switching.bleach_frames))
    origin = np.zeros((1, 3))
    return max(len(_emitters(origin, far, start, switching, min_photons, rng)) / len(start), 1e-6)
