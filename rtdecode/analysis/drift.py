"""Drift from the localizations themselves: live, each block of frames against those before; afterwards against all."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rtdecode.analysis.grouping import grouped
from rtdecode.analysis.pair_shifts import KERNEL_NM, Grid, Shift, mode_of
from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]

BLOCK_FRAMES = 100
LEAST_LOCALIZATIONS = 400  # of a block; where there are fewer, or they show no place, the block gets longer
MOST_BLOCKS = 16  # as long at most, in blocks
REACH_NM = (120.0, 240.0)  # lateral and axial: how far a block may have gone since the one before
NEAR_NM = (60.0, 120.0)  # how far a second look moves a block that has a place: half the reach, a quarter of the pairs
LOOKS = 2  # second looks at a finished run; a third moves no block by more than 0.1 nm
MOST_REFERENCE = 150_000  # points that blocks are held against: cost and memory of a look are bounded
MOST_PAIRS = 1 << 20
LEAST_CONTRAST, LEAST_EXCESS = 1.2, 6.0
"""A mode that stands out less is none (the fullest of 1,700 empty cells reaches 4 standard deviations by chance): the
block is taken to stand where the last one did, with no certainty."""


class DriftEstimator:
    """Takes localizations as they come, in whole frames; after each full block one more place of the sample is known.

    A block is held against the earlier ones, their drift taken off: thinned evenly when they are more than
    MOST_REFERENCE. Bounded in time for each block and in memory for any run.
    """

    def __init__(self, block_frames: int = BLOCK_FRAMES, seed: int = 0) -> None:
        if block_frames < 1:
            raise ValueError(f"block_frames {block_frames}: at least 1")
        self._block_frames, self._random = block_frames, np.random.default_rng(seed)
        self._waiting: list[Localizations] = []
        self._wanted = block_frames  # frames of the block that waits
        self._first_frame: int | None = None
        self._reference = np.empty((0, 3), np.float32)
        self._thinned = 1.0  # share of all points so far that the reference keeps
        self._frame: list[float] = []
        self._starts: list[int] = []
        self._shifts: list[F8] = []
        self._sigmas: list[F8] = []

    def add(self, localizations: Localizations) -> Drift:
        """Take the next ones, frames ascending; the drift as known now."""
        if len(localizations):
            self._first_frame = int(localizations.frame_index[0]) if self._first_frame is None else self._first_frame
            self._waiting.append(localizations)
            self._take_blocks(int(localizations.frame_index[-1]))
        return self.drift

    @property
    def drift(self) -> Drift:
        """One place for each block so far."""
        if not self._frame:
            return Drift.none()
        return Drift(np.array(self._frame), np.array(self._shifts), np.array(self._sigmas))

    @property
    def block_starts(self) -> NDArray[np.int64]:
        """(K,) first frame with a localization of each block so far."""
        return np.array(self._starts, np.int64)

    def finish(self) -> Drift:
        """What waits becomes the last block, if it is half a block at least."""
        if sum(map(len, self._waiting)) >= LEAST_LOCALIZATIONS // 2:
            self._take(Localizations.concatenate(self._waiting), is_last_try=True)
        self._waiting, self._first_frame = [], None
        return self.drift

    def _take_blocks(self, last_frame: int) -> None:
        """Whole blocks of what waits: the frame that came last may not be whole, so it waits."""
        while self._first_frame is not None and last_frame >= self._first_frame + self._wanted:
            whole, cut = Localizations.concatenate(self._waiting), self._first_frame + self._wanted
            rows = int(np.searchsorted(whole.frame_index, cut))
            is_last_try = self._wanted >= MOST_BLOCKS * self._block_frames
            enough = rows >= LEAST_LOCALIZATIONS
            if (enough or is_last_try) and self._take(whole[:rows], is_last_try):
                self._waiting, self._first_frame, self._wanted = [whole[rows:]], cut, self._block_frames
            else:
                self._waiting, self._wanted = [whole], self._wanted + self._block_frames

    def _take(self, block: Localizations, is_last_try: bool) -> bool:
        """Whether the block has got a place; the last try makes one where there is none, of infinite error.

        Blinks, not localizations: a molecule that is seen in three frames is one witness, and a better one.
        """
        points = points_of(grouped(block).localizations)
        last = self._shifts[-1] if self._shifts else np.zeros(3)
        if not len(self._reference):
            self._place(block, last, np.zeros(3))
            self._remember(points)
            return True
        shift = _shift(points, self._reference, last, REACH_NM, is_2d=block.is_2d)
        if shift is not None:
            self._place(block, shift.nm, shift.sigma_nm)
            self._remember((points - shift.nm).astype(np.float32))
        elif is_last_try and len(block):
            self._place(block, last, np.full(3, np.inf))
        return shift is not None or is_last_try

    def _place(self, block: Localizations, nm: F8, sigma_nm: F8) -> None:
        self._frame.append(float(block.frame_index.mean()))
        self._starts.append(int(block.frame_index[0]))
        self._shifts.append(nm)
        self._sigmas.append(sigma_nm)

    def _remember(self, points: F4) -> None:
        kept = points[self._random.random(len(points)) < self._thinned] if self._thinned < 1 else points
        self._reference = np.concatenate([self._reference, kept])
        while len(self._reference) > MOST_REFERENCE:
            self._reference = self._reference[self._random.random(len(self._reference)) < 0.5]
            self._thinned /= 2


def estimate_drift(localizations: Localizations, block_frames: int = BLOCK_FRAMES, looks: int = LOOKS) -> Drift:
    """Of a finished run, frames ascending: DriftEstimator's, then each block held against all others `looks` times.

    A live estimate knows only what came before; the first blocks, held against few, gain most by the second look.
    """
    estimator = DriftEstimator(block_frames)
    for start in range(0, len(localizations), 1 << 16):
        estimator.add(localizations[start : start + (1 << 16)])
    drift = estimator.finish()
    return _looked_at_again(localizations, drift, estimator.block_starts, looks) if len(drift) > 2 else drift


def _looked_at_again(localizations: Localizations, drift: Drift, starts: NDArray[np.int64], looks: int) -> Drift:
    """Each block's place from all other blocks; the first stays where it was, the origin."""
    rows = np.append(np.searchsorted(localizations.frame_index, starts), len(localizations))
    blocks = [points_of(grouped(localizations[i:j]).localizations) for i, j in pairwise(rows)]
    for _ in range(looks):
        drift = _second_look(blocks, drift, is_2d=localizations.is_2d)
    return replace(drift, shift_nm=drift.shift_nm - drift.shift_nm[0])


def _second_look(blocks: list[F4], drift: Drift, *, is_2d: bool) -> Drift:
    every = max(1, -(-sum(map(len, blocks)) // MOST_REFERENCE))
    still = [(points - nm).astype(np.float32)[::every] for points, nm in zip(blocks, drift.shift_nm, strict=True)]
    whose = np.repeat(np.arange(len(blocks)), [len(points) for points in still])
    reference = np.concatenate(still)
    shifts, sigmas = drift.shift_nm.copy(), drift.sigma_nm.copy()
    for k, points in enumerate(blocks):
        reach = NEAR_NM if np.isfinite(sigmas[k]).all() else REACH_NM
        found = _shift(points, reference[whose != k], drift.shift_nm[k], reach, is_2d=is_2d)
        if found is not None:
            shifts[k], sigmas[k] = found.nm, found.sigma_nm
    return replace(drift, shift_nm=shifts, sigma_nm=sigmas)


def points_of(localizations: Localizations) -> F4:
    """(N, 3) x, y, z in nm; z 0 of a 2D model's."""
    z = np.zeros(len(localizations), np.float32) if localizations.is_2d else localizations.z_nm
    return np.column_stack([localizations.x_nm, localizations.y_nm, z]).astype(np.float32)


def _shift(points: F4, reference: F4, near_nm: F8, reach_nm: tuple[float, float], *, is_2d: bool) -> Shift | None:
    """Of `points` from `reference`, within reach of a place; None where the displacements have no mode.

    Within NEAR_NM the place itself is where the search begins, elsewhere the fullest cell of a histogram.
    """
    if not len(points) or not len(reference):
        return None
    grid = Grid(reference, reach_nm[0])
    displacements, rows = grid.pairs(points, near_nm, reach_nm, MOST_PAIRS)
    if not len(displacements):
        return None
    kernel = np.array(KERNEL_NM)
    start = near_nm if reach_nm == NEAR_NM else _peak(displacements, near_nm, reach_nm)
    found = mode_of(displacements, rows, start, kernel)
    if found is None or found.contrast < LEAST_CONTRAST or found.excess < LEAST_EXCESS:
        return None
    return replace(found, nm=found.nm * [1, 1, 0], sigma_nm=found.sigma_nm * [1, 1, 0]) if is_2d else found


def _peak(displacements: F4, near_nm: F8, reach_nm: tuple[float, float]) -> F8:
    """Where a coarse, smoothed histogram of the displacements is fullest."""
    cell = np.array([20.0, 20.0, 40.0])
    reach = np.array([reach_nm[0], reach_nm[0], reach_nm[1]])
    edges = [np.arange(-r, r + c / 2, c) + n for r, c, n in zip(reach, cell, near_nm, strict=True)]
    counts, _ = np.histogramdd(displacements, edges)
    smooth = counts
    for axis in range(3):
        smooth = np.apply_along_axis(np.convolve, axis, smooth, [0.25, 0.5, 0.25], "same")
    at = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    return np.array([(edge[k] + edge[k + 1]) / 2 for edge, k in zip(edges, at, strict=True)])
