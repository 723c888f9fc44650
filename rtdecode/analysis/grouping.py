"""Localizations of one blink over neighbouring frames made one: positions weighted by 1/sigma^2, photons summed.

A localization goes on where one of an earlier frame ended, at most `dark_frames` empty frames before, within a radius;
the closest pair first, each used once. So two emitters that are both seen in a frame never become one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

RADIUS_SIGMAS = 3.5
"""Default radius, in standard deviations of a pair's difference: 1 in 400 pairs of one blink lies further apart. At 3 a
blink in 25 falls in two; at 4 neighbours are merged where it is dense (docs/analysis.md)."""
MOST_RADIUS_NM = 100.0


@dataclass(frozen=True, slots=True)
class Groups:
    """Blinks: as localizations whose frame is the first, and how long each was seen."""

    localizations: Localizations  # (G,) by first frame
    n_localizations: I8  # (G,) in the group
    last_frame: I8  # (G,)
    group: I8  # (N,) number of the group of each localization that came in

    def __len__(self) -> int:
        return len(self.localizations)

    @property
    def on_frames(self) -> I8:
        """(G,) frames from first to last, empty ones included."""
        return np.asarray(self.last_frame - self.localizations.frame_index + 1, np.int64)


def grouped(localizations: Localizations, radius_nm: float | None = None, dark_frames: int = 1) -> Groups:
    """Blinks of localizations whose frames ascend.

    `radius_nm` None: 3.5 standard deviations of the difference of a pair in x and y, at most 100 nm; in z always 3.5.
    Sigmas that are not positive numbers count as the radius. Raises ValueError for frames that do not ascend.
    """
    frame = localizations.frame_index
    if (np.diff(frame) < 0).any():
        raise ValueError("grouping needs localizations whose frames ascend")
    order = np.lexsort((localizations.x_nm, frame))
    sigma = _lateral_sigma(localizations)
    columns = [np.asarray(c, np.float64)[order] for c in (localizations.x_nm, localizations.y_nm, localizations.z_nm)]
    widths = [sigma[order], np.nan_to_num(localizations.sigma_z_nm.astype(np.float64))[order]]
    group = np.empty(len(frame), np.int64)
    starts = np.flatnonzero(np.diff(frame[order], prepend=-1 if len(frame) else 0))
    limit = (radius_nm or 0.0, RADIUS_SIGMAS, MOST_RADIUS_NM)
    group[order] = _link(frame[order], np.append(starts, len(frame)), *columns, *widths, limit, dark_frames)
    return _merged(localizations, group)


def _lateral_sigma(found: Localizations) -> F8:
    """(N,) root mean square of both; the largest radius where it is no number."""
    sigma = np.sqrt((found.sigma_x_nm.astype(np.float64) ** 2 + found.sigma_y_nm.astype(np.float64) ** 2) / 2)
    return np.where(np.isfinite(sigma) & (sigma > 0), sigma, MOST_RADIUS_NM)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _link(
    frame: I8, starts: I8, x: F8, y: F8, z: F8, sigma: F8, sigma_z: F8, limit: tuple[float, float, float], dark: int
) -> I8:
    """(N,) group numbers; rows by frame, then x."""
    n = len(frame)
    group = np.full(n, -1, np.int64)
    is_end = np.ones(n, np.bool_)  # nothing goes on from here yet
    made = 0
    for k in range(len(starts) - 1):
        first, last = starts[k], starts[k + 1]
        for back in range(1, dark + 2):
            before = k - back
            if before < 0 or frame[first] - frame[starts[before]] > dark + 1:
                break
            _join(first, last, starts[before], starts[before + 1], x, y, z, sigma, sigma_z, limit, group, is_end)
        for i in range(first, last):
            if group[i] < 0:
                group[i] = made
                made += 1
    return group


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _join(
    first: int, last: int, begin: int, end: int, x: F8, y: F8, z: F8, sigma: F8, sigma_z: F8,
    limit: tuple[float, float, float], group: I8, is_end: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Rows first..last go on with rows begin..end of an earlier frame: closest pairs first."""
    squares, heads, tails = [0.0], [0], [0]
    squares.pop()
    heads.pop()
    tails.pop()
    widest = limit[0] if limit[0] > 0 else limit[2]
    low = begin
    for i in range(first, last):
        if group[i] >= 0:
            continue
        while low < end and x[low] < x[i] - widest:
            low += 1
        for j in range(low, end):
            if x[j] > x[i] + widest:
                break
            if not is_end[j]:
                continue
            radius = limit[0]
            if radius <= 0:
                radius = min(limit[1] * np.sqrt(sigma[i] ** 2 + sigma[j] ** 2), limit[2])
            square = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2
            deep = limit[1] * np.sqrt(sigma_z[i] ** 2 + sigma_z[j] ** 2)
            if square <= radius * radius and (deep == 0.0 or abs(z[i] - z[j]) <= deep):
                squares.append(square)
                heads.append(i)
                tails.append(j)
    for k in np.argsort(np.array(squares)):
        i, j = heads[k], tails[k]
        if group[i] < 0 and is_end[j]:
            group[i] = group[j]
            is_end[j] = False


def _merged(found: Localizations, group: I8) -> Groups:
    """One row for each group, by first frame."""
    count = int(group.max()) + 1 if len(group) else 0
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1, np.int64)
    np.minimum.at(first, group, found.frame_index)
    np.maximum.at(last, group, found.frame_index)
    records = np.zeros(count, LOCALIZATION_DTYPE)
    records["frame_index"] = first
    for axis in "xyz":
        place, error = _weighted(getattr(found, f"{axis}_nm"), getattr(found, f"sigma_{axis}_nm"), group, count)
        records[f"{axis}_nm"], records[f"sigma_{axis}_nm"] = place, error
    members = np.bincount(group, minlength=count)
    records["photons"] = np.bincount(group, found.photons, count)
    records["sigma_photons"] = np.sqrt(np.bincount(group, found.sigma_photons.astype(np.float64) ** 2, count))
    records["background"] = np.bincount(group, found.background, count) / np.maximum(members, 1)
    best = np.zeros(count, np.float32)
    np.maximum.at(best, group, np.nan_to_num(found.probability))
    records["probability"] = best
    return Groups(Localizations.from_records(records), members.astype(np.int64), last, group)


def _weighted(values: NDArray[np.float32], sigma: NDArray[np.float32], group: I8, count: int) -> tuple[F8, F8]:
    """Mean of each group by 1/sigma^2, and its standard error; plain where a sigma is no positive number."""
    usable = np.isfinite(sigma) & (sigma > 0)
    every = np.bincount(group, ~usable, count) == 0  # groups of which each sigma is usable
    weight = np.where(every[group], 1 / np.where(usable, sigma, 1).astype(np.float64) ** 2, 1.0)
    total = np.maximum(np.bincount(group, weight, count), 1e-300)
    return np.bincount(group, weight * values, count) / total, np.where(every, 1 / np.sqrt(total), 0.0)
