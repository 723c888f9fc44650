"""Scores in parts: by how crowded it is around an emitter, and by its z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rtdecode.analysis.evaluate import Judged
from rtdecode.core.localizations import Emitters
from rtdecode.physics.structures import Field

F8 = NDArray[np.float64]

AROUND_NM = 1000.0
DENSITY_EDGES_UM2 = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, math.inf)
"""Within 1 um: nobody, one other, two or three, four to six, and so on."""
Z_STEPS_NM = (100.0, 200.0, 500.0, 1000.0)
MOST_Z = 10
_DISK = 96  # points that stand for the disk around a place


@dataclass(frozen=True, slots=True)
class Part:
    """Scores where a value lies from `low` to below `high`; NaN where there is nothing to take them from.

    An emitter belongs to the part of its own value, found or missed, and so does the localization that is paired with
    it; a false localization belongs to the part of the value where it lies.
    """

    low: float
    high: float
    n_emitters: int
    n_matched: int
    n_false: int
    jaccard: float
    precision: float
    recall: float
    rmse_lateral_nm: float
    rmse_axial_nm: float
    mean_error_z_nm: float

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON: None where there is no number, and for the last part's open end."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def by_density(judged: Judged, emitters: Emitters, field: Field | None = None) -> list[Part]:
    """By the density of other emitters of the frame within 1 um, per um^2; `emitters`: all of the truth.

    `field`: what is cut off of a disk at its rim is not counted as empty. None: it is.
    """
    found = judged.localizations
    places = np.column_stack([judged.emitters["x_nm"], judged.emitters["y_nm"], judged.emitters["frame_index"]])
    beside = np.column_stack([found.x_nm, found.y_nm, found.frame_index])
    of_emitter = local_density_um2(places, emitters, field) - 1 / _area_um2(places, field)  # not counting itself
    of_found = local_density_um2(beside, emitters, field)
    return parts(judged, np.maximum(of_emitter, 0.0), of_found, DENSITY_EDGES_UM2)


def by_z(judged: Judged) -> list[Part]:
    """By z of the emitter, in at most ten steps of a round length; none in 2D."""
    z_nm = judged.emitters["z_nm"].astype(np.float64)
    if judged.dims == 2 or not len(z_nm):
        return []
    low, high = float(z_nm.min()), float(z_nm.max())
    step = next((s for s in Z_STEPS_NM if (high - low) / s <= MOST_Z - 1), (high - low) / (MOST_Z - 1))
    first = math.floor(low / step)
    edges = step * np.arange(first, math.floor(high / step) + 2)
    return parts(judged, z_nm, judged.localizations.z_nm.astype(np.float64), edges.tolist())


def parts(judged: Judged, of_emitter: F8, of_localization: F8, edges: Sequence[float]) -> list[Part]:
    """One for each pair of neighbouring `edges`, by the value of each emitter (M,) and each localization (N,) that
    counts."""
    false = np.ones(len(judged.localizations), bool)
    false[judged.pairs[:, 1]] = False
    error, rows = judged.errors_nm(), judged.pairs[:, 0]
    out = []
    for low, high in pairwise(edges):
        here = (of_emitter >= low) & (of_emitter < high)
        n_false = int((false & (of_localization >= low) & (of_localization < high)).sum())
        out.append(_part(low, high, int(here.sum()), n_false, error[here[rows]]))
    return out


def _part(low: float, high: float, n_emitters: int, n_false: int, error: F8) -> Part:
    n = len(error)
    square = np.square(error).mean(axis=0) if n else np.full(3, math.nan)
    return Part(
        low, high, n_emitters, n, n_false,
        jaccard=_ratio(n, n_emitters + n_false), precision=_ratio(n, n + n_false), recall=_ratio(n, n_emitters),
        rmse_lateral_nm=math.sqrt(square[0] + square[1]), rmse_axial_nm=math.sqrt(square[2]),
        mean_error_z_nm=float(error[:, 2].mean()) if n else math.nan,
    )  # fmt: skip


def local_density_um2(places: NDArray[np.floating], emitters: Emitters, field: Field | None) -> F8:
    """(N,) emitters per um^2 within 1 um of (N, 3) x, y, frame; those outside the field are left out."""
    if field is not None:
        emitters = emitters[field.holds(np.column_stack([emitters["x_nm"], emitters["y_nm"]]))]
    if not len(emitters) or not len(places):
        return np.zeros(len(places))
    scale = [1, 1, 10 * AROUND_NM]  # the frame as a third axis, its neighbours out of reach
    truth = np.column_stack([emitters["x_nm"], emitters["y_nm"], emitters["frame_index"]]) * scale
    count = cKDTree(truth).query_ball_point(places * scale, AROUND_NM, return_length=True)
    return np.asarray(count / _area_um2(places, field), np.float64)


def _area_um2(places: NDArray[np.floating], field: Field | None) -> F8:
    """(N,) of the disk around each place, as far as it lies in the field."""
    whole = math.pi * AROUND_NM**2 * 1e-6
    if field is None:
        return np.full(len(places), whole)
    turn, radius = np.arange(_DISK) * math.pi * (3 - math.sqrt(5)), np.sqrt((np.arange(_DISK) + 0.5) / _DISK)
    disk = AROUND_NM * np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])  # evenly, as a sunflower's seeds
    inside = np.sum([field.holds(places[:, :2] + step) for step in disk], axis=0)
    return np.asarray(np.maximum(inside, 1) / _DISK * whole, np.float64)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
