"""Bead stacks to a PSF: find beads, align them in 3D over all stacks, average, smooth, normalise once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, shift
from scipy.optimize import curve_fit

from rtdecode.core.errors import CalibrationError
from rtdecode.physics.bead_alignment import Aligned, align, average
from rtdecode.physics.bead_heights import height_reasons
from rtdecode.physics.beads import (
    CalibrationSettings,
    Candidate,
    checked,
    find_beads,
    without_copies,
    without_hot_pixels,
)
from rtdecode.physics.psf import SplinePsf, rim_fade

__all__ = ["Bead", "Calibration", "CalibrationSettings", "calibrate"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
_LEAST_ALIKE = 0.7
_OFF_FOCUS_NM = 250.0


@dataclass(frozen=True, slots=True)
class Bead:
    """One bead: where it was found, how it was moved onto the average, how alike it is, whether and why not used.

    What was not aligned (too near the rim, saturated ...) has nan in `dz_nm`, `brightness` and `similarity`.
    """

    row_px: float
    column_px: float
    dz_nm: float  # height over the average bead
    brightness: float  # of the average bead
    similarity: float  # Pearson correlation with the average of all
    used: bool
    stack: int = 0
    reason: str = ""  # why it is not used
    light: F4 | None = None  # (Z, N, N) its slices as recorded, background off
    z_nm: F8 | None = None  # (Z,) of those slices over the average's focus, by the stage and its height


@dataclass(frozen=True, slots=True)
class Calibration:
    """The PSF, its normalised samples (Z, N, N), what became of each bead, and sentences on what is odd."""

    psf: SplinePsf
    samples: F4
    beads: tuple[Bead, ...]
    noise: float = 0.0  # of the average bead around focus, over its height
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[Bead, ...]:
        """The beads that the PSF is the mean of."""
        return tuple(bead for bead in self.beads if bead.used)


def calibrate(
    stacks: NDArray[np.generic] | Sequence[NDArray[np.generic]], settings: CalibrationSettings
) -> Calibration:
    """PSF from one stack (Z, H, W) of beads or several; raises CalibrationError where no usable bead is found.

    z of a slice is (slice - focus_slice) * dz_nm. Hot pixels are replaced first. One constant normalises all slices
    (the mean sum of the slices around focus, as SMAP does): slice by slice, photons would come out wrong by the factor
    that defocus loses (1.9 for the SMLM challenge's beads).
    """
    several = [stacks] if isinstance(stacks, np.ndarray) else list(stacks)
    whole = [without_hot_pixels(checked(stack, settings)) for stack in several]
    candidates = without_copies([c for n, (stack, _) in enumerate(whole) for c in find_beads(stack, settings, n)])
    usable = [c for c in candidates if c.light is not None]
    if not usable:
        raise CalibrationError(_none_usable(candidates, settings))
    light, present, focus = _side_by_side(usable, settings)
    found = align(light, present, settings.step_nm, settings.rounds, settings.min_similarity)
    places = np.array([[c.stack, c.row, c.column] for c in usable])
    reasons, notes = height_reasons(found, places, settings)
    used = np.array([not reason for reason in reasons])
    _check_alike(found, used)
    moves = found.moves - [*np.median(found.moves[used, :3], axis=0), 0, 0]
    mean, focus_index = _shared(average(light[used], present[used], moves[used]), focus)
    noise = _noise(mean, focus_index, settings)
    mean, off_middle = _centred(mean, focus_index, settings.step_nm)
    samples = _finish(mean, focus_index, settings)
    psf = SplinePsf.from_samples(samples, settings.step_nm, focus_index, settings.px_nm)
    beads = _report(candidates, moves, found.similarity, reasons, focus, off_middle, settings)
    notes += _of_hot_pixels(sum(n for _, n in whole)) + _of_focus(samples, focus_index, settings)
    return Calibration(psf, samples, beads, noise, notes)


def _check_alike(found: Aligned, used: NDArray[np.bool_]) -> None:
    """A bead that is like no other is like itself: of several at least two must agree."""
    if len(used) == 1 or (used.sum() > 1 and np.sort(found.similarity[used])[-2] >= _LEAST_ALIKE):
        return
    others = np.sort(found.similarity)[:-1]
    raise CalibrationError(
        f"of {len(used)} spots no two are alike (similarity to the average at most {others[-1]:.2f}): too dim, too few "
        "or too large steps in z, or no beads; record brighter beads, in steps of 10 to 50 nm"
    )


def _shared(mean: F8, focus: float) -> tuple[F8, float]:
    """The average without the slices that too few beads reach, and its focus."""
    whole = np.flatnonzero(np.isfinite(mean).all((1, 2)))
    return mean[whole[0] : whole[-1] + 1], focus - whole[0]


def _noise(mean: F8, focus: float, settings: CalibrationSettings) -> float:
    """Noise of a pixel over the height of the spot, in the slices around focus; by the rim, where little light is."""
    smooth = gaussian_filter1d(mean, settings.smooth_z_nm / settings.step_nm, axis=0, mode="nearest")
    middle = round(min(max(focus, 1), len(mean) - 2))
    near = smooth[middle - 1 : middle + 2]
    rim = np.diff(np.concatenate([near[:, :2], near[:, -2:]], axis=1), axis=2)
    return float(1.4826 * np.median(np.abs(rim)) / np.sqrt(2) / max(float(near.max()), 1e-12))


def _of_hot_pixels(n: int) -> tuple[str, ...]:
    return (f"{n} hot or dead pixels were replaced by their neighbours' median",) if n else ()


def _of_focus(samples: F4, focus: float, settings: CalibrationSettings) -> tuple[str, ...]:
    """A word where the spots are sharpest far from z = 0."""
    brightest = gaussian_filter1d(samples.max((1, 2)).astype(np.float64), max(1.0, 50 / settings.step_nm))
    sharp = int(brightest.argmax())
    away_nm = (sharp - focus) * settings.step_nm
    if abs(away_nm) < _OFF_FOCUS_NM:
        return ()
    return (
        f"the spots are sharpest near z = {away_nm:.0f} nm, not in the slice that counts as z = 0; for z from there, "
        f"move --focus-slice by {away_nm / settings.dz_nm:+.0f} slices",
    )


def _none_usable(candidates: list[Candidate], settings: CalibrationSettings) -> str:
    if not candidates:
        return f"no bead found with its whole {settings.roi_px} px ROI inside the frame: nothing stands out"
    reasons = Counter(c.reason for c in candidates)
    words = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(4))
    advice = "; a smaller --roi-px may do" if any("beyond" in reason for reason in reasons) else ""
    return f"no bead found with its whole {settings.roi_px} px ROI inside the frame and to itself: {words}{advice}"


def _side_by_side(usable: list[Candidate], settings: CalibrationSettings) -> tuple[F8, NDArray[np.bool_], float]:
    """Light (B, Z, N, N) of all beads with their focus in one slice, which slices are there (B, Z), that focus."""
    focus = max(settings.focus(_slices(c)) for c in usable)
    starts = [round(focus - settings.focus(_slices(c))) for c in usable]
    n_z = max(start + _slices(c) for start, c in zip(starts, usable, strict=True))
    light = np.zeros((len(usable), n_z, settings.roi_px, settings.roi_px))
    present = np.zeros((len(usable), n_z), bool)
    for n, (start, c) in enumerate(zip(starts, usable, strict=True)):
        assert c.light is not None
        light[n] = np.pad(c.light, ((start, n_z - start - len(c.light)), (0, 0), (0, 0)), mode="edge")
        present[n, start : start + len(c.light)] = True
    return light, present, focus


def _slices(candidate: Candidate) -> int:
    return 0 if candidate.light is None else len(candidate.light)


def _report(
    candidates: list[Candidate],
    moves: F8,
    similarity: F8,
    reasons: list[str],
    focus: float,
    off_middle: F8,
    settings: CalibrationSettings,
) -> tuple[Bead, ...]:
    """What became of each candidate; positions are those of the PSF's centre."""
    beads, n = [], 0
    for c in candidates:
        if c.light is None:
            nan = float("nan")
            beads.append(Bead(float(c.row), float(c.column), nan, nan, nan, False, c.stack, c.reason))
            continue
        m = moves[n]
        start = round(focus - settings.focus(len(c.light)))
        z_nm = (np.arange(len(c.light)) + start + m[0] - focus) * settings.step_nm
        row, column = c.row + off_middle[0] - m[1], c.column + off_middle[1] - m[2]
        height = float(-m[0] * settings.step_nm)
        of_average = (height, float(m[3]), float(similarity[n]), not reasons[n])
        beads.append(Bead(float(row), float(column), *of_average, c.stack, reasons[n], c.light, z_nm))
        n += 1
    return tuple(beads)


def _centred(mean: F8, focus: float, dz_nm: float) -> tuple[F8, F8]:
    """The average with its centre on the middle pixel, and where that was (2,) px off.

    The centre is the Gaussian's of the slices within 50 nm of focus; where they are no Gaussian (double helix), it
    is the centroid of the light of all slices.
    """
    at_focus, near = round(min(max(focus, 0), len(mean) - 1)), max(1, round(50 / dz_nm))
    half = mean.shape[1] // 2
    reach = min(7, half)
    window = slice(half - reach, half + reach + 1)
    in_focus = mean[max(0, at_focus - near) : at_focus + near + 1, window, window].mean(0)
    off = _gaussian_centre(in_focus)
    off = _centroid(mean) if off is None else off
    return np.asarray(shift(mean, (0, -off[0], -off[1]), order=3, mode="nearest")), off


def _gaussian_centre(image: F8) -> F8 | None:
    """(row, column) over the middle; None where a Gaussian leaves more than a tenth of the variance."""
    rows, columns = np.indices(image.shape) - len(image) // 2

    def gaussian(at: F8, height: float, y: float, x: float, sy: float, sx: float, floor: float) -> F8:
        bell = np.exp(-((at[0] - y) ** 2 / (2 * sy**2) + (at[1] - x) ** 2 / (2 * sx**2)))
        return np.asarray(height * bell + floor)

    at = np.array([rows.ravel(), columns.ravel()], np.float64)
    guess = (image.max(), 0.0, 0.0, 2.0, 2.0, 0.0)
    limits = ([0, -3, -3, 0.3, 0.3, -np.inf], [np.inf, 3, 3, 20, 20, np.inf])
    try:
        found, _ = curve_fit(gaussian, at, image.ravel(), p0=guess, bounds=limits)
    except RuntimeError:  # it did not end: no Gaussian
        return None
    left = image.ravel() - gaussian(at, *found)
    return np.asarray(found[1:3]) if left.var() < 0.1 * image.var() else None


def _centroid(mean: F8) -> F8:
    """(row, column) over the middle, of the light of all slices that is more than a fifth of the brightest pixel's."""
    light = mean.mean(0)
    weight = np.clip(light - 0.2 * light.max(), 0, None)
    rows, columns = np.indices(light.shape) - len(light) // 2
    return np.asarray([(weight * rows).sum(), (weight * columns).sum()]) / float(weight.sum())


def _finish(mean: F8, focus: float, settings: CalibrationSettings) -> F4:
    """Smooth along z, no light below zero, fade the rim (3 of 37 px) to zero, one normalisation for all slices."""
    smooth = gaussian_filter1d(mean, settings.smooth_z_nm / settings.step_nm, axis=0, mode="nearest")
    smooth = np.clip(smooth, 0, None) * rim_fade(settings.roi_px)
    middle = round(focus)
    if not 1 <= middle <= len(mean) - 2:
        raise CalibrationError(
            f"the focus (slice {focus:g} of {len(mean)} that the beads share) is not inside the stack; "
            "give --focus-slice, counted from 0"
        )
    return np.asarray(smooth / smooth[middle - 1 : middle + 2].sum((1, 2)).mean(), np.float32)
