"""Scenes for the benchmark of stopping rules: a structure of cells that blink, as localizations, with the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """What is simulated. Cells of the structure blink at log-normal rates; every blink lasts some frames."""

    spread: float = 0.0  # sigma of the cells' log rates
    background: float = 0.0  # share of the localizations; uniform over the field, single frames
    structure: str = "filaments"  # or "random": cells anywhere, most of them alone
    sites: int = 0  # molecules of a cell, at fixed places in it; 0: anywhere in it
    bleach_frames: float | None = None  # rates fall to 1 / e within so many frames; the background does not
    drift_nm: float = 0.0  # over the first 30,000 frames, and on at that pace
    field_cells: int = 256  # a side
    structure_cells: int = 4000
    cell_nm: float = 40.0
    rate: float = 4.5e-4  # mean blinks of a structure cell in a frame
    period: float = 0.0  # frames from one blink of a cell to the next, which is then no blinking at all; 0: by chance
    on_frames: float = 3.0  # mean length of a blink
    found: float = 0.9  # of its frames are localized
    sigma_nm: float = 10.0  # of a localization; log-normal with a spread of 25 % around it
    sigma_error: float = 1.0  # what the fitter says its sigma is, over what it is


@dataclass(frozen=True)
class Movie:
    """Localizations of all frames in order, and when each cell of the structure was first seen."""

    localizations: Localizations
    first_seen: Floats  # (M,) sorted frames, inf for never

    def coverage(self, frame: int) -> float:
        """The true share of the structure's cells seen before this frame."""
        return float(np.searchsorted(self.first_seen, frame)) / len(self.first_seen)

    def oracle(self, target: float) -> float:
        """The first frame at which the true coverage is at the target."""
        return float(self.first_seen[int(np.ceil(target * len(self.first_seen))) - 1])


def film(scene: Scene, frames: int, seed: int) -> Movie:
    """Simulate `frames` frames."""
    rng = np.random.default_rng(seed)
    cells = np.argwhere(_structure(scene, rng))  # (M, 2) row, column
    who, start = _blinks(scene, len(cells), frames, rng)
    blink, frame = _frames_of(scene, start, frames, rng)
    first = np.full(len(cells), np.inf)
    np.minimum.at(first, who[blink], frame)
    places = _places(scene, cells, who, rng)[blink]
    n_background = round(len(frame) * scene.background / (1 - scene.background))
    side_nm = scene.field_cells * scene.cell_nm
    frame = np.concatenate([frame, rng.integers(0, frames, n_background)])
    places = np.concatenate([places, rng.uniform(0, side_nm, (n_background, 2))])
    return Movie(_localizations(scene, frame, places, rng), np.sort(first))


def _structure(scene: Scene, rng: np.random.Generator) -> NDArray[np.bool_]:
    n = scene.field_cells
    if scene.structure == "filaments":
        return _filaments(n, scene.structure_cells, rng)
    cells = np.zeros(n * n, bool)
    cells[rng.choice(n * n, scene.structure_cells, replace=False)] = True
    return cells.reshape(n, n)


def _filaments(n: int, wanted: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Cells that bent lines through the field cross, one after the other until there are enough."""
    cells = np.zeros((n, n), bool)
    while (missing := wanted - int(cells.sum())) > 0:
        turn, steps = rng.uniform(0, 2 * np.pi), 4 * n
        angles = turn + np.cumsum(rng.normal(0, 0.05, steps))
        path = rng.uniform(0, n, 2) + 0.5 * np.cumsum(np.stack([np.sin(angles), np.cos(angles)], 1), axis=0)
        outside = np.flatnonzero(((path < 0) | (path >= n)).any(axis=1))
        path = path[: outside[0] if len(outside) else steps].astype(np.int64)
        fresh = path[~cells[path[:, 0], path[:, 1]]]
        fresh = fresh[np.sort(np.unique(fresh @ [n, 1], return_index=True)[1])][:missing]
        cells[fresh[:, 0], fresh[:, 1]] = True
    return cells


def _clock(scene: Scene) -> tuple[Callable[[float], float], Callable[[Floats], Floats]]:
    """Frames to bleached time, and back."""
    tau = scene.bleach_frames
    if tau is None:
        return float, lambda time: time
    return lambda frame: tau * (1 - np.exp(-frame / tau)), lambda time: -tau * np.log1p(-time / tau)


def _blinks(
    scene: Scene, n_cells: int, frames: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whose, and its first frame, of each blink."""
    if scene.period:
        return _flickers(scene.period, n_cells, frames, rng)
    rates = scene.rate * np.exp(scene.spread * rng.standard_normal(n_cells) - scene.spread**2 / 2)
    forward, backward = _clock(scene)
    numbers = rng.poisson(rates * forward(frames))
    who = np.repeat(np.arange(n_cells), numbers)
    return who, backward(rng.uniform(0, forward(frames), len(who))).astype(np.int64)


def _flickers(
    period: float, n_cells: int, frames: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `_blinks` for cells that are lit once in a period, each in its phase; a static pattern at one frame."""
    times = rng.uniform(0, period, n_cells)[:, None] + period * np.arange(int(frames / period))  # (cells, blinks)
    return np.repeat(np.arange(n_cells), times.shape[1]), times.ravel().astype(np.int64)


def _frames_of(
    scene: Scene, start: NDArray[np.int64], frames: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(blink, frame) of each localization of the structure."""
    length = rng.geometric(1 / scene.on_frames, len(start))
    blink = np.repeat(np.arange(len(start)), length)
    frame = start[blink] + np.arange(len(blink)) - np.repeat(np.cumsum(length) - length, length)
    kept = (rng.random(len(blink)) < scene.found) & (frame < frames)
    return blink[kept], frame[kept]


def _places(scene: Scene, cells: NDArray[np.int64], who: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """(blinks, 2) x, y in nm."""
    if scene.sites:
        within = rng.uniform(0, 1, (len(cells), scene.sites, 2))[who, rng.integers(0, scene.sites, len(who))]
    else:
        within = rng.uniform(0, 1, (len(who), 2))
    return np.asarray((cells[who, ::-1] + within) * scene.cell_nm)


def _localizations(
    scene: Scene, frame: NDArray[np.int64], places_nm: Floats, rng: np.random.Generator
) -> Localizations:
    order = np.argsort(frame, kind="stable")
    frame, places_nm = frame[order], places_nm[order]
    sigma = scene.sigma_nm * np.exp(0.25 * rng.standard_normal(len(frame)))
    turn = rng.uniform(0, 2 * np.pi)
    drift = scene.drift_nm * (frame / 30000)[:, None] * [np.cos(turn), np.sin(turn)]
    found = places_nm + sigma[:, None] * rng.standard_normal((len(frame), 2)) + drift
    records = np.zeros(len(frame), LOCALIZATION_DTYPE)
    records["frame_index"], records["x_nm"], records["y_nm"] = frame, found[:, 0], found[:, 1]
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma * scene.sigma_error
    return Localizations.from_records(records)
