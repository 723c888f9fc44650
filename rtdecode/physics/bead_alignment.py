"""Beads moved onto their common average in 3D: a coarse search over all heights, then Gauss-Newton to a thousandth px.

Beads of several stacks may begin at different heights, so the search covers a third of the stack both ways. The
template is at first the bead that is most like the others (a mean of unaligned beads would be a smear).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, shift, spline_filter

F8 = NDArray[np.float64]
Flags = NDArray[np.bool_]
_SEEDS = 12  # brightest beads among which the first template is looked for
_REACH_PX = 4  # a bead's middle pixel is not further from its centre
_OTHER_LIGHT = 0.08  # of the average's height: light of something else inside the ROI


@dataclass(frozen=True, slots=True)
class Aligned:
    """B beads on their average (Z, N, N), which is nan in slices that fewer than half of the used beads reach."""

    moves: F8  # (B, 5): slices, rows, columns onto the average, brightness over the average's, background left over
    average: F8
    similarity: F8  # (B,) Pearson correlation with the average, both smoothed
    reasons: tuple[str, ...]  # "" for used beads


def align(light: F8, present: Flags, dz_nm: float, rounds: int, min_similarity: float) -> Aligned:
    """Align (B, Z, N, N) beads whose slices are there where `present` (B, Z); outliers do not pull the others."""
    # Interpolation averages noise, so noisy beads would be drawn to half steps: align smoothed copies.
    soft = gaussian_filter(light, (0, min(2.0, 25.0 / dz_nm), 0.8, 0.8))
    brightness = soft.clip(0).sum((1, 2, 3))
    template = soft[_most_typical(soft, present, brightness)]
    moves = np.zeros((len(soft), 5))
    for n, bead in enumerate(soft):
        moves[n, :3] = coarse_move(template, bead, dz_nm)[0]
    moves[:, 3] = brightness / np.median(brightness)
    good = np.ones(len(soft), bool)
    ready = np.array([spline_filter(bead, order=3, mode="nearest") for bead in soft])
    for _ in range(rounds):
        moves = np.array([_refined(template, *bead) for bead in zip(ready, present, moves, strict=True)])
        moves -= [*np.median(moves[good, :3], axis=0), 0, 0]  # the average stays where the beads are
        moves[:, 3] /= np.median(moves[good, 3])
        moved = _moved(ready, present, moves)
        template = _common(moved[good], np.nanmedian)
        similarity = np.array([_likeness(template, bead) for bead in moved])
        good = _alike(similarity, min_similarity)
    unlike = ["" if g else f"unlike the others (similarity {s:.2f})" for s, g in zip(similarity, good, strict=True)]
    reasons = tuple(_other_light(template, bead) or words for bead, words in zip(moved, unlike, strict=True))
    return Aligned(moves, template, similarity, reasons)


def average(light: F8, present: Flags, moves: F8) -> F8:
    """(Z, N, N) mean of beads (B, Z, N, N) after their moves; nan in slices that fewer than half of them have."""
    ready = np.array([spline_filter(bead, order=3, mode="nearest") for bead in light])
    return _common(_moved(ready, present, moves), np.nanmean)


def _moved(ready: F8, present: Flags, moves: F8) -> F8:
    """Beads (B, Z, N, N), as spline coefficients, at the average's place and brightness; nan beyond their slices."""
    moved = np.empty_like(ready)
    for n, (bead, m) in enumerate(zip(ready, moves, strict=True)):
        moved[n] = shift(bead, m[:3], order=3, mode="nearest", prefilter=False) / m[3] - m[4]
        moved[n, ~_present_after(present[n], m[0])] = np.nan
    return moved


def _common(moved: F8, kind: Callable[..., F8]) -> F8:
    few = np.asarray(np.isfinite(moved[:, :, 0, 0]).sum(0) < (len(moved) + 1) // 2)
    filled = np.where(few[None, :, None, None], 0.0, moved)  # numpy warns of a mean of nothing
    result = np.asarray(kind(filled, axis=0))
    result[few] = np.nan
    return result


def coarse_move(template: F8, bead: F8, dz_nm: float) -> tuple[F8, float]:
    """Whole (slices, rows, columns) that bring `bead` onto `template` (both (Z, N, N)), and their cosine."""
    n_z = len(bead)
    known = _known(template)
    t_hat = np.fft.rfft2(np.where(known[:, None, None], template, 0.0))
    b_hat = np.conj(np.fft.rfft2(bead))
    t_power, b_power = (np.nan_to_num(v) ** 2 for v in (template, bead))
    t_power, b_power = t_power.sum((1, 2)), b_power.sum((1, 2))
    best, best_cosine = np.zeros(3), -1.0
    for up in range(-(n_z // 3), n_z // 3 + 1, max(1, round(20.0 / dz_nm))):
        here, there = slice(max(0, up), n_z + min(0, up)), slice(max(0, -up), n_z - max(0, up))
        match = np.fft.irfft2((t_hat[here] * b_hat[there]).sum(0), s=template.shape[1:])
        match = np.roll(match, (_REACH_PX, _REACH_PX), (0, 1))[: 2 * _REACH_PX + 1, : 2 * _REACH_PX + 1]
        norm = np.sqrt(t_power[here].sum() * (b_power[there] * known[here]).sum())
        row, column = np.unravel_index(match.argmax(), match.shape)
        if match.max() / norm > best_cosine:
            best_cosine = float(match.max() / norm)
            best = np.array([up, row - _REACH_PX, column - _REACH_PX], np.float64)
    return best, best_cosine


def _most_typical(soft: F8, present: Flags, brightness: F8) -> int:
    """Of the brighter beads the one with the highest median likeness to the others."""
    seeds = np.argsort(-brightness * present.mean(1))[:_SEEDS]
    step = max(1, soft.shape[1] // 40)  # slices enough to tell
    thin = soft[seeds][:, ::step]
    cosines = [[coarse_move(one, other, 20.0)[1] for other in thin] for one in thin]
    return int(seeds[np.argmax(np.median(cosines, axis=1))])


def _known(volume: F8) -> Flags:
    """(Z,) slices without nan."""
    return np.asarray(np.isfinite(volume).all((1, 2)))


def _core(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The middle of the volume: rims suffer from neighbours and from the shift's edge handling."""
    z = shape[0] // 8
    return (slice(z, shape[0] - z), *(slice(n // 6, n - n // 6) for n in shape[1:]))


def _present_after(present: Flags, move_slices: float) -> Flags:
    """Which of the average's slices a bead covers once it was moved."""
    at = np.arange(len(present)) - move_slices
    first, last = np.flatnonzero(present)[[0, -1]]
    return np.asarray((at >= first) & (at <= last))


def _refined(template: F8, ready: F8, present: Flags, start: F8) -> F8:
    """Inverse-compositional Gauss-Newton (Baker & Matthews 2004): the template's slopes are computed once."""
    move = start.copy()
    core = _core(template.shape)
    whole = np.asarray(_known(template) & _present_after(present, move[0]))[core[0]]
    usable = np.flatnonzero(whole)[:: max(1, int(whole.sum()) // 40)] + core[0].start
    wanted = template[usable][:, core[1], core[2]]
    slopes = np.asarray(np.gradient(np.nan_to_num(template)))[:, usable][:, :, core[1], core[2]].reshape(3, -1)
    basis = np.stack([*slopes, wanted.ravel(), np.ones(wanted.size)], axis=1)  # (n, 5)
    solve = np.linalg.pinv(basis.T @ basis) @ basis.T
    grid = np.indices(template.shape)[:, usable][:, :, core[1], core[2]]
    for _ in range(12):
        here = map_coordinates(ready, grid - move[:3, None, None, None], order=3, mode="nearest", prefilter=False)
        step = solve @ (here / move[3] - move[4] - wanted).ravel()
        step[:3] = np.clip(step[:3], -1, 1)
        move += [*step[:3], 0, step[4]]
        move[3] *= max(0.3, 1 + step[3])
        if np.abs(step[:3]).max() < 1e-3:
            break
    return move


def _likeness(template: F8, moved: F8) -> float:
    core = _core(template.shape)
    one, other = template[core], moved[core]
    usable = _known(one) & _known(other)
    return float(np.corrcoef(one[usable].ravel(), other[usable].ravel())[0, 1]) if usable.sum() > 4 else 0.0


def _alike(similarity: F8, least: float) -> Flags:
    """At least `least`, and no outlier among the others (6 robust standard deviations, but 0.02 is forgiven)."""
    middle = np.median(similarity)
    spread = 1.4826 * np.median(np.abs(similarity - middle))
    good = (similarity >= least) & (similarity >= middle - max(6 * spread, 0.02))
    return np.asarray(good if good.any() else similarity == similarity.max())


def _other_light(template: F8, moved: F8) -> str:
    """Light that the average does not have, over all slices: a neighbour too close to have been found by itself."""
    usable = _known(template) & _known(moved)
    if usable.sum() < 5:
        return "it shares too few slices with the others"
    extra = gaussian_filter((moved - template)[usable].mean(0), 1.0)
    height = float(np.max(template[usable].mean(0)))
    noise = 1.4826 * np.median(np.abs(extra - np.median(extra)))
    row, column = np.unravel_index(int(extra.argmax()), extra.shape)
    if extra.max() < max(_OTHER_LIGHT * height, 8 * noise):
        return ""
    away = np.hypot(row - extra.shape[0] // 2, column - extra.shape[1] // 2)
    return f"light of something else {away:.0f} px from its middle" if away > 3 else ""
