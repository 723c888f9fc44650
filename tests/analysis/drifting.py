"""Blinks of tubes that drift, as localizations with their errors, and the drift they had."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.physics.structures import tubes

FPS = 100.0


def drifting_tubes(
    n_frames: int, per_frame: float, seed: int, step_nm: float = 30.0
) -> tuple[Localizations, Callable[[np.ndarray], np.ndarray]]:
    """1 nm/s (z 0.8), and a step in the middle; blinks of two frames on average, sigma 15 nm in x, y, 33 in z."""
    rng = np.random.default_rng(seed)
    molecules = tubes(seed=seed)

    def truth(frames: np.ndarray) -> np.ndarray:
        t = np.asarray(frames) / FPS
        shift = np.column_stack([t, -0.7 * t, 0.8 * t])
        shift[np.asarray(frames) > n_frames / 2] += (step_nm, -step_nm / 2, step_nm)
        return shift

    n = round(per_frame * n_frames / 2)
    who, start, length = rng.integers(0, len(molecules), n), rng.integers(0, n_frames, n), rng.geometric(0.5, n)
    row = np.repeat(np.arange(n), length)
    frame = start[row] + np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    row, frame = row[frame < n_frames], frame[frame < n_frames]
    order = np.argsort(frame, kind="stable")
    row, frame = row[order], frame[order]
    sigma = 15.0 * np.exp(rng.normal(0, 0.4, len(row)))
    error = rng.normal(0, 1, (len(row), 3)) * sigma[:, None] * (1, 1, 2.2)
    place = molecules[who[row]] + truth(frame) + error
    records = np.zeros(len(row), LOCALIZATION_DTYPE)
    records["frame_index"] = frame
    records["x_nm"], records["y_nm"], records["z_nm"] = place.T
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma
    records["sigma_z_nm"], records["photons"], records["probability"] = 2.2 * sigma, 3000, 1
    return Localizations.from_records(records), truth
