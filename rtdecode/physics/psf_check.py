"""Is a calibrated PSF fit for use: its z-ramp on its own beads, heights that look alike, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rtdecode.physics.calibrate import Bead
from rtdecode.physics.psf import Psf
from rtdecode.physics.spot_fit import fit_spots

F8 = NDArray[np.float64]
_BEADS, _SLICES = 8, 61  # of each calibration that are fitted at most: a few seconds
_APART_NM = 200.0  # closer heights are told apart or not by precision, not by shape
_TYPICAL_PHOTONS, _TYPICAL_BACKGROUND = 3000.0, 20.0
_ALIKE_SD = 3.0  # heights that are less far apart are mistaken for each other once in 15 or more often
_MOST_ALIKE = 0.5  # share of heights that have a double, from which on z is a guess
_BIN_NM = 50.0
_NOISY, _TOO_NOISY = 0.02, 0.06  # of the spot's height; the challenge's beads have 0.001
_MOST_BIAS_NM, _MOST_SCATTER_NM, _MOST_ASTRAY = 30.0, 50.0, 0.1


@dataclass(frozen=True, slots=True)
class Ramp:
    """z fitted to single bead slices against the stage's; slope, bias, scatter over slices inside the PSF's range."""

    bead: NDArray[np.int64]  # (N,) which of the beads that were given
    true_nm: F8  # (N,)
    fitted_nm: F8  # (N,)
    slope: float
    bias_nm: float
    scatter_nm: float


@dataclass(frozen=True, slots=True)
class Alike:
    """Two heights whose spots cannot be told apart; `apart_sd` standard deviations for a typical emitter."""

    z_nm: tuple[float, float]
    apart_sd: float
    mirrored_at_nm: float | None  # where the PSF looks the same above and below
    free_nm: tuple[float, float]  # the widest range without such a pair
    share: float  # of all heights that look like another one


@dataclass(frozen=True, slots=True)
class Verdict:
    """`grade` good, usable or unusable; the heights it holds for; whole sentences for a person."""

    grade: str
    z_nm: tuple[float, float] | None
    words: str


def z_ramp(psf: Psf, beads: Sequence[Bead]) -> Ramp:
    """Fit `psf` to slices of each bead by least squares; at most 8 beads and 61 slices of each."""
    low, high = psf.z_range_nm
    grid = np.linspace(low, high, max(9, round((high - low) / 50)))
    number, true, fitted = [], [], []
    for n, bead in enumerate(beads[:_BEADS]):
        if bead.light is None or bead.z_nm is None:
            continue
        inside = np.flatnonzero((bead.z_nm >= low) & (bead.z_nm <= high))
        inside = inside[:: max(1, -(-len(inside) // _SLICES))]
        middle = float(bead.light.shape[1] // 2)
        fits = fit_spots(psf, bead.light[inside], grid, (middle, middle))
        number.append(np.full(len(inside), n))
        true.append(bead.z_nm[inside])
        fitted.append(fits.z_nm)
    return _ramp(np.concatenate(number), np.concatenate(true), np.concatenate(fitted))


def _ramp(bead: NDArray[np.int64], true_nm: F8, fitted_nm: F8) -> Ramp:
    """Slope by Theil and Sen's median of slopes to many partners, which a few wrong branches cannot turn."""
    order = np.argsort(true_nm)
    t, f = true_nm[order], fitted_nm[order]
    half = max(1, len(t) // 2)
    run = t[half:] - t[: len(t) - half]
    slope = float(np.median((f[half:] - f[: len(f) - half])[run > 0] / run[run > 0])) if (run > 0).any() else np.nan
    error = fitted_nm - true_nm
    off_line = f - slope * t
    scatter = 1.4826 * float(np.median(np.abs(off_line - np.median(off_line))))
    return Ramp(bead, true_nm, fitted_nm, slope, float(np.median(error)), scatter)


def alike_heights(psf: Psf) -> Alike | None:
    """The pair of heights 200 nm or more apart that is hardest to tell apart, None where all can be.

    A spot of 3000 photons on 20 per pixel at one height is fitted by that of the other with position, photons and
    background free (to first order); the rest of the difference, over the photons' noise, is `apart_sd`.
    """
    low, high = psf.z_range_nm
    z = np.linspace(low, high, max(5, round((high - low) / 25) + 1))
    apart = _separations(psf, z)
    far = np.abs(z[:, None] - z[None, :]) >= _APART_NM
    alike = far & (apart < _ALIKE_SD)
    if not alike.any():
        return None
    worst = np.unravel_index(np.where(far, apart, np.inf).argmin(), apart.shape)
    share = float(alike.any(0).mean())
    pair = sorted((float(z[worst[0]]), float(z[worst[1]])))
    return Alike((pair[0], pair[1]), float(apart[worst]), _mirror(z, alike), _free(z, alike), share)


def verdict(psf: Psf, n_beads: int, ramp: Ramp | None, alike: Alike | None, noise: float = 0.0) -> Verdict:
    """Good; usable between two heights; or not usable, and why. Heights where the ramp is off are left out.

    `noise` of the average bead over its height: the ramp does not show it, since the beads made the PSF.
    """
    low, high = psf.z_range_nm
    ok, notes = (low, high), []
    if noise > _NOISY:
        notes.append(f"the average bead's noise is {noise:.0%} of its height: record brighter beads, or more of them")
    if noise > _TOO_NOISY:
        return Verdict("unusable", None, _join("Not usable: too noisy", None, notes))
    if alike is not None:
        ok = alike.free_nm
        notes.append(_alike_words(alike))
        if alike.share > _MOST_ALIKE:
            return Verdict("unusable", None, _join("Not usable for z (x and y are not concerned)", None, notes))
    if ramp is not None:
        straight = _straight(ramp, ok)
        if straight is None:
            return Verdict("unusable", None, _join("Not usable: fitted z does not follow the stage", ramp, notes))
        ok = straight
        notes.append(f"z-ramp slope {ramp.slope:.3f}, bias {ramp.bias_nm:+.0f} nm, scatter {ramp.scatter_nm:.0f} nm")
    if n_beads == 1:
        notes.append("one bead only: what is odd about it cannot be seen; use several")
    if ok[1] - ok[0] < _APART_NM:
        return Verdict("unusable", None, _join("Not usable for z", None, notes))
    whole = ok[1] - ok[0] >= 0.9 * (high - low)
    words = "Good" if whole else f"Usable between z = {ok[0]:.0f} and {ok[1]:.0f} nm"
    return Verdict("good" if whole else "usable", ok, _join(words, None, notes))


def _join(first: str, ramp: Ramp | None, notes: list[str]) -> str:
    if ramp is not None:
        notes = [f"slope {ramp.slope:.2f}, scatter {ramp.scatter_nm:.0f} nm", *notes]
    return ". ".join([first, *(note[0].upper() + note[1:] for note in notes)]) + "."


def _alike_words(alike: Alike) -> str:
    one, other = (f"{z + 0.0:.0f}" for z in np.round(alike.z_nm))
    often = f"of emitters with {_TYPICAL_PHOTONS:.0f} photons {_mistaken(alike.apart_sd):.0%} are taken for the other"
    if alike.mirrored_at_nm is None:
        return f"ambiguous z: {one} and {other} nm look alike ({often})"
    middle = f"{round(alike.mirrored_at_nm) + 0:d}"
    return (
        f"ambiguous z: the PSF looks the same above and below z = {middle} nm; at {one} and {other} nm {often} "
        "(is the cylindrical lens in, and strong enough?)"
    )


def _mistaken(apart_sd: float) -> float:
    """Share of emitters that are nearer the wrong one of two spots so many standard deviations apart."""
    return 0.5 * math.erfc(apart_sd / 2 / math.sqrt(2))


def _separations(psf: Psf, z: F8) -> F8:
    """(Z, Z) standard deviations by which a typical emitter at one height differs from any at the other."""
    size = psf.roi_px + 2
    middle = np.full(len(z), float(size // 2))
    value, d_x, d_y, _ = psf.with_derivatives(middle, middle, z, (size, size))
    spots = [v.reshape(len(z), -1).astype(np.float64) for v in (value, d_x, d_y)]
    apart = np.empty((len(z), len(z)))
    for n in range(len(z)):
        free = np.stack([s[n] for s in spots] + [np.ones(size * size)], axis=1)  # photons, x, y, background
        weight = 1 / np.sqrt(_TYPICAL_PHOTONS * np.maximum(spots[0][n], 0) + _TYPICAL_BACKGROUND)
        basis = np.linalg.qr(free * weight[:, None])[0]
        others = spots[0] * weight * _TYPICAL_PHOTONS
        apart[n] = np.linalg.norm(others - (others @ basis) @ basis.T, axis=1)
    return np.asarray(np.minimum(apart, apart.T))


def _mirror(z: F8, alike: NDArray[np.bool_]) -> float | None:
    """The height about which pairs mirror each other, where their middles agree."""
    rows, columns = np.nonzero(np.triu(alike))
    middles = (z[rows] + z[columns]) / 2
    centre = float(np.median(middles))
    span = float(np.max(z[columns] - z[rows]))
    return centre if np.percentile(np.abs(middles - centre), 75) < 0.15 * span and len(rows) > 3 else None


def _free(z: F8, alike: NDArray[np.bool_]) -> tuple[float, float]:
    """The widest run of heights, nearest to z = 0 among equals, of which no two are alike."""
    best, n = (0, 0), len(z)
    for first in range(n):
        last = first
        while last + 1 < n and not alike[first : last + 1, last + 1].any():
            last += 1
        wider = z[last] - z[first] - (z[best[1]] - z[best[0]])
        nearer = abs(z[last] + z[first]) < abs(z[best[1]] + z[best[0]])
        if wider > 1e-6 or (wider > -1e-6 and nearer):
            best = (first, last)
    return float(z[best[0]]), float(z[best[1]])


def _straight(ramp: Ramp, within: tuple[float, float]) -> tuple[float, float] | None:
    """The widest run of heights inside `within` where fits follow the stage; None where it is under 200 nm."""
    edges = np.arange(within[0], within[1] + _BIN_NM, _BIN_NM)
    edges[-1] = max(within[1], edges[-2] + 1e-6)
    error = ramp.fitted_nm - ramp.true_nm
    best, start = (0.0, 0.0), None
    for low, high in pairwise(edges):
        here = error[(ramp.true_nm >= low) & (ramp.true_nm <= high)]
        if len(here) and _follows(here):
            start = low if start is None else start
            if high - start > best[1] - best[0]:
                best = (float(start), float(high))
        else:
            start = None
    return best if best[1] - best[0] >= _APART_NM else None


def _follows(error_nm: F8) -> bool:
    """Fits of one bin: small bias and scatter, hardly one on a wrong branch."""
    middle = float(np.median(error_nm))
    scatter = 1.4826 * float(np.median(np.abs(error_nm - middle)))
    astray = float((np.abs(error_nm - middle) > 150.0).mean())
    return abs(middle) <= _MOST_BIAS_NM and scatter <= _MOST_SCATTER_NM and astray <= _MOST_ASTRAY


def fitted_slices(psf: Psf, bead: Bead, z_nm: F8) -> tuple[F8, F8, F8]:
    """Slices of a bead nearest to the wanted stage positions (n,): true z (n,), images and fitted models (n, N, N)."""
    if bead.light is None or bead.z_nm is None:
        raise ValueError("a bead without its light has no slices")
    at = np.abs(bead.z_nm[None, :] - z_nm[:, None]).argmin(1)
    images, half = bead.light[at], bead.light.shape[1] // 2
    low, high = psf.z_range_nm
    fits = fit_spots(psf, images, np.linspace(low, high, 25), (half, half))
    shape = (images.shape[1], images.shape[2])
    unit = psf.with_derivatives(fits.x_px, fits.y_px, fits.z_nm, shape)[0]
    models = unit * fits.photons[:, None, None] + fits.background[:, None, None]
    return bead.z_nm[at], images.astype(np.float64), np.asarray(models, np.float64)
