"""Localizations whose truth is known, without frames: drawn from emitters and their errors, to judge analyses by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Emitters, Localizations
from rtdecode.physics.simulate import PhotonConfig, exposures
from rtdecode.physics.structures import Field, tubes

F8 = NDArray[np.float64]
FPS = 100.0
AT_PHOTONS = 6000.0  # has this
SIGMA_NM = 10.0  # in x and y; in proportion to 1/sqrt(photons)
AXIAL = 2.2  # times that in z
LEAST_PHOTONS = 200.0  # fewer are not seen


def blinking_field(
    n_frames: int, density_um2: float, seed: int, on_frames: float = 2.0, field: Field = Field()
) -> tuple[Localizations, NDArray[np.int64]]:
    """Localizations by frame and (N,) the blink of each: molecules anywhere, each on once, z +-700 nm.

    `density_um2` emitters per um^2 and frame; on-times are exponential with mean `on_frames` and begin at any time,
    so first and last frames are dim, and some not seen.
    """
    rng = np.random.default_rng(seed)
    n = rng.poisson(density_um2 * field.area_um2 * n_frames / on_frames)
    place = np.column_stack([rng.uniform(field.corner_nm, field.corner_nm + field.size_nm, (n, 2)),
                             rng.uniform(-700, 700, n)])  # fmt: skip
    on = rng.uniform(0, n_frames, n)
    emitters = exposures(place, PhotonConfig().draw(n, rng), on, on + rng.exponential(on_frames, n), n_frames)
    emitters = emitters[emitters["photons"] >= LEAST_PHOTONS]
    emitters = emitters[np.argsort(emitters["frame_index"], kind="stable")]
    xyz = np.column_stack([emitters[name] for name in ("x_nm", "y_nm", "z_nm")])
    blink = np.unique(xyz, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    return localized(emitters, rng), blink


def drifting_tubes(
    n_frames: int, per_frame: float, seed: int, step_nm: float = 30.0
) -> tuple[Localizations, Callable[[NDArray[np.integer]], F8]]:
    """1 nm/s in x (y -0.7, z 0.8) and a step in the middle, as localizations and as the (N, 3) drift at frames.

    Blinks of two frames on average; sigma 15 nm in x, y, 33 in z, log-normally spread.
    """
    rng = np.random.default_rng(seed)
    molecules = tubes(seed=seed)
    n = round(per_frame * n_frames / 2)
    who, start, length = rng.integers(0, len(molecules), n), rng.integers(0, n_frames, n), rng.geometric(0.5, n)
    row = np.repeat(np.arange(n), length)
    frame = start[row] + np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
    row, frame = row[frame < n_frames], frame[frame < n_frames]
    order = np.argsort(frame, kind="stable")
    row, frame = row[order], frame[order]
    sigma = 15.0 * np.exp(rng.normal(0, 0.4, len(row)))
    error = rng.normal(0, 1, (len(row), 3)) * sigma[:, None] * (1, 1, AXIAL)
    records = np.zeros(len(row), LOCALIZATION_DTYPE)
    records["frame_index"] = frame
    records["x_nm"], records["y_nm"], records["z_nm"] = (
        molecules[who[row]] + slow_drift(frame, n_frames, step_nm) + error
    ).T
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma
    records["sigma_z_nm"], records["photons"], records["probability"] = AXIAL * sigma, 3000, 1
    return Localizations.from_records(records), lambda frames: slow_drift(frames, n_frames, step_nm)


def blinking_molecules(
    molecules_nm: NDArray[np.floating],
    blinks: int,
    n_frames: int,
    seed: int,
    on_frames: int = 3,
    sigma_nm: float = 10.0,
) -> Localizations:
    """2D: blinks of some frames in a row at random molecules ((M, 2 or more) nm) and times, each frame found anew."""
    rng = np.random.default_rng(seed)
    who, start = rng.integers(0, len(molecules_nm), blinks), rng.integers(0, n_frames, blinks)
    frame = (start[:, None] + np.arange(on_frames)).ravel()
    place = np.repeat(molecules_nm[who, :2], on_frames, axis=0) + rng.normal(0, sigma_nm, (len(frame), 2))
    records = np.zeros(len(frame), LOCALIZATION_DTYPE)
    records["frame_index"], records["x_nm"], records["y_nm"] = frame, place[:, 0], place[:, 1]
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma_nm
    return Localizations.from_records(np.sort(records, order="frame_index"))


def slow_drift(frames: NDArray[np.integer], n_frames: int, step_nm: float = 30.0) -> F8:
    """(N, 3) nm: 1 nm/s at 100 frames a second in x, -0.7 in y, 0.8 in z; a step (half of it in -y) in the middle."""
    t = np.asarray(frames) / FPS
    shift = np.column_stack([t, -0.7 * t, 0.8 * t])
    shift[np.asarray(frames) > n_frames / 2] += (step_nm, -step_nm / 2, step_nm)
    return shift


def localized(emitters: Emitters, rng: np.random.Generator) -> Localizations:
    """Each emitter found once, its sigma as its photons allow, its error normal with that sigma."""
    records = np.zeros(len(emitters), LOCALIZATION_DTYPE)
    sigma = SIGMA_NM * np.sqrt(AT_PHOTONS / emitters["photons"].astype(np.float64))
    for name, factor in (("x", 1.0), ("y", 1.0), ("z", AXIAL)):
        records[f"{name}_nm"] = emitters[f"{name}_nm"] + rng.normal(0, factor * sigma)
        records[f"sigma_{name}_nm"] = factor * sigma
    for name in ("frame_index", "photons"):
        records[name] = emitters[name]
    records["sigma_photons"], records["probability"] = np.sqrt(2 * emitters["photons"]), 1
    return Localizations.from_records(records)
