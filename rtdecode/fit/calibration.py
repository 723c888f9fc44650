"""What a model's own probabilities and sigmas are worth: maps measured on simulations, applied to each localization."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from rtdecode.core.yaml_files import StrictModel

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rows = tuple[tuple[Positive, ...], ...]
SIGMAS = ("x", "y", "z", "photons")
"""Fields of a SigmaTable, in the order of a Localizations' sigmas."""


class ProbabilityMap(StrictModel):
    """Share of localizations that are true, by the probability that the model states: straight lines between knots."""

    stated: tuple[Share, ...]  # rising
    true: tuple[Share, ...]  # never falling

    @model_validator(mode="after")
    def _is_monotone(self) -> ProbabilityMap:
        if len(self.stated) != len(self.true) or len(self.stated) < 2:
            raise ValueError(f"expected two or more knots, as many `true` as `stated`, found {self}")
        _need_rising("stated", self.stated)
        if any(b < a for a, b in pairwise(self.true)):
            raise ValueError(f"`true` must never fall as `stated` rises, found {list(self.true)}")
        return self


class SigmaTable(StrictModel):
    """Factors on the sigmas of x, y, z and photons, by signal and crowding: (signal, crowding), bilinear in the logs.

    Signal is photons / sqrt(background), crowding the number of emitters that the network expects nearby (see
    `crowding`). Of what a localization knows, these two tell best where its sigma is wrong: networks are too modest
    where light is plenty and there is nobody near, and too sure of themselves where the fit of one emitter may be that
    of two. The stated sigma and p say both at once, and neither well (docs/decisions/0013 has the comparison).
    """

    signal: tuple[Positive, ...]  # knots, rising; between them by the logarithm
    crowding: tuple[Annotated[float, Field(ge=0)], ...]  # knots, rising
    window_px: Annotated[int, Field(ge=1, le=50)] = 7
    core_px: Annotated[int, Field(ge=0, le=20)] = 2
    x: Rows
    y: Rows
    z: Rows
    photons: Rows

    @model_validator(mode="after")
    def _has_its_shape(self) -> SigmaTable:
        for name in ("signal", "crowding"):
            _need_rising(name, getattr(self, name))
        shape = (len(self.signal), len(self.crowding))
        if min(shape) < 2 or self.core_px >= self.window_px:
            raise ValueError(f"expected two or more knots on each side and core_px < window_px, found {self}")
        for name in SIGMAS:
            rows = getattr(self, name)
            if [len(row) for row in rows] != [shape[1]] * shape[0]:
                raise ValueError(f"`{name}` must have {shape[0]} rows of {shape[1]} factors, found {rows}")
        return self


class Calibration(StrictModel):
    """What is done to each localization after the read-out and before `accept`."""

    probability: ProbabilityMap
    sigma: SigmaTable

    def lookup(self) -> Lookup:
        """As the kernel takes it."""
        table = self.sigma
        factors = np.log(np.array([getattr(table, name) for name in SIGMAS], np.float64))
        return Lookup(
            np.array(self.probability.stated, np.float64),
            np.array(self.probability.true, np.float64),
            np.log(np.array(table.signal, np.float64)),
            np.array(table.crowding, np.float64),
            factors,
            table.window_px,
            table.core_px,
        )


class Lookup(NamedTuple):
    """A Calibration as arrays."""

    stated: F8  # (K,)
    true: F8  # (K,)
    log_signal: F8  # (S,)
    crowding: F8  # (C,)
    log_factors: F8  # (4, S, C)
    window_px: int
    core_px: int


def calibrated(columns: F4, p: F4, px_nm: tuple[float, float], accept: float, lookup: Lookup) -> F4:
    """The localizations (10, N) that are accepted, with true probabilities and sigmas, in their order.

    Columns are those of LOCALIZATION_DTYPE after frame_index; `p` (H, W) is the frame's map of probabilities, px_nm
    (x, y). Some 0.4 us for each.
    """
    x_px, y_px = (columns[axis].astype(np.float64) / px_nm[axis] for axis in (0, 1))
    near = crowding(p, x_px, y_px, lookup.window_px, lookup.core_px)
    return calibrated_by_crowding(columns, near, accept, lookup)


def calibrated_by_crowding(columns: F4, near: F8, accept: float, lookup: Lookup) -> F4:
    """As `calibrated`, where the crowding (N,) is known already: the map of probabilities stayed on a device."""
    return _corrected(columns, near, np.float32(accept), lookup)  # type: ignore[no-any-return]


def crowding(p: F4, x_px: F8, y_px: F8, window_px: int, core_px: int) -> F8:
    """(N,) sum of the map `p` (H, W) over the window around each position, but for the core: emitters expected near it.

    Both are squares of 2 n + 1 pixels around the nearest pixel, cut at the frame's rim.
    """
    return _crowding(p, x_px, y_px, window_px, core_px)  # type: ignore[no-any-return]


def signal(photons: F4, background: F4) -> F8:
    """(N,) photons / sqrt(background), both at least 1."""
    n, below = np.maximum(photons.astype(np.float64), 1.0), np.maximum(background.astype(np.float64), 1.0)
    return np.asarray(n / np.sqrt(below))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _corrected(columns: F4, near: F8, accept: np.float32, lookup: Lookup) -> F4:
    out = np.empty_like(columns)
    n = 0
    for k in range(columns.shape[1]):
        true = np.float32(np.interp(columns[9, k], lookup.stated, lookup.true))
        if true < accept:
            continue
        out[:, n] = columns[:, k]
        out[9, n] = true
        _correct_sigmas(out[:, n], near[k], lookup)
        n += 1
    return out[:, :n].copy()


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _correct_sigmas(one: F4, near: float, lookup: Lookup) -> None:
    """The four sigmas of one localization's columns (10,), in place."""
    i, a = _cell(lookup.log_signal, np.log(max(one[3], 1.0) / np.sqrt(max(one[4], 1.0))))
    j, b = _cell(lookup.crowding, near)
    for q in range(4):
        f = lookup.log_factors[q]
        low, high = f[i, j] + b * (f[i, j + 1] - f[i, j]), f[i + 1, j] + b * (f[i + 1, j + 1] - f[i + 1, j])
        one[5 + q] *= np.exp(low + a * (high - low))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _crowding(p: F4, x_px: F8, y_px: F8, window_px: int, core_px: int) -> F8:
    out = np.empty(len(x_px))
    for k in range(len(x_px)):
        out[k] = _near(p, x_px[k], y_px[k], window_px, core_px)
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _near(p: F4, x_px: float, y_px: float, window_px: int, core_px: int) -> float:
    """Sum over the window without the core."""
    row = min(max(int(np.rint(y_px)), 0), p.shape[0] - 1)
    column = min(max(int(np.rint(x_px)), 0), p.shape[1] - 1)
    return _box(p, row, column, window_px) - _box(p, row, column, core_px)  # type: ignore[no-any-return]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _box(p: F4, row: int, column: int, reach: int) -> float:
    total = 0.0
    for a in range(max(row - reach, 0), min(row + reach + 1, p.shape[0])):
        for b in range(max(column - reach, 0), min(column + reach + 1, p.shape[1])):
            total += p[a, b]
    return total


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cell(knots: F8, value: float) -> tuple[int, float]:
    """Which two knots a value lies between, and how far from the first to the second; held at the ends."""
    held = min(max(value, knots[0]), knots[-1])
    k = 0
    while k < len(knots) - 2 and held > knots[k + 1]:
        k += 1
    return k, (held - knots[k]) / (knots[k + 1] - knots[k])


def _need_rising(name: str, knots: Sequence[float]) -> None:
    if any(b <= a for a, b in pairwise(knots)):
        raise ValueError(f"`{name}` must rise from knot to knot, found {list(knots)}")
