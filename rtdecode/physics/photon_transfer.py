"""A camera from its own frames: baseline and read noise of dark ones, gain where variance grows with light."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.errors import CalibrationError

F8 = NDArray[np.float64]
MIN_FRAMES = 20
MAP_FRAMES = 200  # of the dark stack, and of all light stacks together, from which maps are made
MAX_DRIFT = 0.05  # of the light, over a stack
MAX_DARK_DRIFT_ADU = 1.0
MAX_TOP_SHARE = 1e-3  # of the readings of a stack that equal its highest: a full well or converter
_HOT = 5.0  # times the usual dark variance: a pixel that is left out of the common gain
_ROUNDING = 1 / 12  # variance of rounding to whole ADU
_BINS = 24


@dataclass(frozen=True, slots=True)
class Moments:
    """What is kept of a stack of one light level: mean and variance of each pixel over time, ADU."""

    name: str
    n_frames: int
    mean: F8  # (H, W)
    variance: F8  # (H, W), of the frames' common flicker freed
    drift: float  # of the frame's mean, slowly, ADU
    top_share: float  # of readings that equal the highest one
    highest: float

    @classmethod
    def of(cls, frames: Iterable[NDArray[np.generic]], name: str) -> Moments:
        """From frames (H, W) in ADU, one by one; raises CalibrationError for fewer than MIN_FRAMES."""
        first: F8 | None = None
        levels, highest, at_top = [], -math.inf, 0
        for frame in frames:
            values = np.asarray(frame, np.float64)
            if first is None:
                first = values
                total, squares, by_level = (np.zeros_like(first) for _ in range(3))
            apart = values - first  # small numbers: sums of squares stay exact
            total += apart
            squares += apart**2
            levels.append(float(values.mean()))
            by_level += apart * (levels[-1] - levels[0])
            top = float(values.max())
            at_top = (0 if top > highest else at_top) + (int((values == top).sum()) if top >= highest else 0)
            highest = max(highest, top)
        n = len(levels)
        if first is None or n < MIN_FRAMES:
            raise CalibrationError(f"{name}: {n} frames are too few for a variance; record at least {MIN_FRAMES}")
        mean = total / n
        variance = (squares - n * mean**2) / (n - 1)
        common = _common(np.array(levels), variance)
        share = mean + first
        share = share / share.mean()
        parts = np.array([part.mean() for part in np.array_split(np.array(levels), 5)])
        return cls(
            name, n, first + mean, np.maximum(variance - common * share**2, 0.0), float(np.ptp(parts)),
            at_top / (n * first.size), highest,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CameraEstimate:
    """What a camera's frames say of it; None where they cannot."""

    baseline_adu: float | None
    adu_per_e: float | None  # ADU that one detected photo-electron makes, multiplication included
    adu_per_e_error: float | None  # one standard deviation
    read_noise_adu: float | None
    em_gain: float | None
    maps: CameraMaps | None
    signal: F8  # (K,) ADU over the baseline, or as read without dark frames
    variance: F8  # (K,) ADU²
    line: tuple[float, float]  # slope and offset of variance over signal
    bend: float  # largest relative distance of a point from the line
    told: tuple[str, ...]  # sentences: what could not be told, and what is odd

    @property
    def e_per_adu(self) -> float | None:
        """Electrons, after multiplication, of one ADU: what Camera has."""
        return None if self.adu_per_e is None else (self.em_gain or 1.0) / self.adu_per_e

    @property
    def read_noise_e(self) -> float | None:
        """Electrons rms, after multiplication: what Camera has."""
        if self.e_per_adu is None or self.read_noise_adu is None:
            return None
        return self.read_noise_adu * self.e_per_adu


def estimate_camera(dark: Moments | None, light: Sequence[Moments], em_gain: float | None) -> CameraEstimate:
    """Baseline, gain and read noise; raises CalibrationError where a stack is saturated, drifts, or is too dim.

    A reading's variance is read noise plus excess * ADU-per-electron * signal (Janesick's photon transfer; the excess
    is 2 behind a multiplying register, Robbins & Hadwen 2003). `light` are flat fields at several levels, or anything
    that stands still: then its pixels are the levels. `baseline_adu` is the dark mean plus 0.5, since Camera rounds
    down; rounding is taken out of the read noise.
    """
    _check(dark, light)
    baseline = None if dark is None else float(np.median(dark.mean)) + 0.5
    noise = None if dark is None else math.sqrt(max(float(np.median(dark.variance)) - _ROUNDING, 0.0))
    if not light:
        empty = np.zeros(0)
        told = ("without light the gain cannot be told: read noise is in ADU only",)
        return CameraEstimate(baseline, None, None, noise, em_gain, None, empty, empty, (0.0, 0.0), 0.0, told)
    signal, variance, frames = _pooled(dark, light)
    slope, offset, error = _line(signal, variance, frames, free_offset=dark is None)
    excess = 2.0 if em_gain else 1.0
    at, level = _of_stacks(dark, light) if len(light) >= 3 else _of_bins(signal, variance)
    bend = _bend(at, level, slope, offset)
    maps = None if dark is None or em_gain else _maps(dark, light, slope)
    return CameraEstimate(
        baseline, slope / excess, error / excess, noise, em_gain, maps, at, level, (slope, offset), bend,
        tuple(_words(dark, light, em_gain, maps, bend, slope, offset)),
    )  # fmt: skip


def _common(levels: F8, variance: F8) -> float:
    """Variance of the frame's mean beyond what its pixels' own noise makes: a flickering or drifting lamp."""
    return max(float(levels.var(ddof=1)) - float(variance.mean()) / variance.size, 0.0)


def _check(dark: Moments | None, light: Sequence[Moments]) -> None:
    if dark is None and not light:
        raise CalibrationError("neither dark frames nor frames with light; give --dark, --light or both")
    if dark is not None and dark.drift > MAX_DARK_DRIFT_ADU:
        raise CalibrationError(
            f"{dark.name}: the dark level drifts by {dark.drift:.2f} ADU; let the camera reach its temperature, keep "
            "the shutter shut, and record again"
        )
    for stack in light:
        if dark is not None and stack.mean.shape != dark.mean.shape:
            raise CalibrationError(f"{stack.name}: frames of {stack.mean.shape}, the dark ones have {dark.mean.shape}")
        _check_light(stack, dark)


def _check_light(stack: Moments, dark: Moments | None) -> None:
    if stack.top_share > MAX_TOP_SHARE:
        raise CalibrationError(
            f"{stack.name}: {stack.top_share:.1%} of the readings are {stack.highest:g} ADU, the highest: saturated. "
            "Record with less light"
        )
    level = float(stack.mean.mean()) - (float(dark.mean.mean()) if dark is not None else 0.0)
    if stack.drift > MAX_DRIFT * max(level, 1e-9) and stack.drift > MAX_DARK_DRIFT_ADU:
        raise CalibrationError(
            f"{stack.name}: the light drifts by {stack.drift:.3g} ADU, {stack.drift / max(level, 1e-9):.0%} of it; let "
            "the lamp warm up, or use a steadier one"
        )
    if dark is not None and level < 2 * math.sqrt(float(np.median(dark.variance))):
        raise CalibrationError(
            f"{stack.name}: only {level:.1f} ADU above the dark frames, less than twice their noise: too dim to tell "
            "the gain"
        )


def _pooled(dark: Moments | None, light: Sequence[Moments]) -> tuple[F8, F8, F8]:
    """Signal, variance over the dark's, and frames behind them, of every good pixel of every stack: (N,) each."""
    good = np.ones(light[0].mean.shape, bool)
    if dark is not None:
        good = dark.variance <= _HOT * np.median(dark.variance)
    base = dark.mean if dark is not None else np.zeros(good.shape)
    floor = dark.variance if dark is not None else np.zeros(good.shape)
    signal = np.concatenate([(stack.mean - base)[good] for stack in light])
    variance = np.concatenate([(stack.variance - floor)[good] for stack in light])
    return signal, variance, np.repeat([float(stack.n_frames) for stack in light], int(good.sum()))


def _line(signal: F8, variance: F8, frames: F8, *, free_offset: bool) -> tuple[float, float, float]:
    """Slope, offset and error of the slope; weighted by what a variance of so many frames is known to, twice."""
    if free_offset and np.percentile(signal, 95) - np.percentile(signal, 5) < 0.2 * np.percentile(signal, 50):
        raise CalibrationError(
            "all pixels have nearly the same light and there are no dark frames: the gain cannot be told. Give --dark, "
            "several light levels, or a recording with bright and dark places"
        )
    design = np.column_stack([signal, np.ones(len(signal))]) if free_offset else signal[:, None]
    weight, keep = frames.copy(), np.ones(len(signal), bool)
    for _ in range(4):
        root = np.sqrt(weight * keep)
        found, *_ = np.linalg.lstsq(design * root[:, None], variance * root, rcond=None)
        fitted = np.maximum(design @ found, 0.02 * float(np.median(np.maximum(variance, 0))) + 1e-12)
        spread = fitted * np.sqrt(2 / (frames - 1))
        weight = 1 / spread**2
        keep = np.abs(variance - design @ found) < 6 * np.maximum(spread, np.median(spread) * 0.2)
    if not found[0] > 0:
        raise CalibrationError(
            "the variance does not grow with the light: are these frames averaged, smoothed, or of a moving specimen?"
        )
    curve = np.linalg.inv((design * (weight * keep)[:, None]).T @ design)
    return float(found[0]), float(found[1]) if free_offset else 0.0, float(math.sqrt(curve[0, 0]))


def _of_stacks(dark: Moments | None, light: Sequence[Moments]) -> tuple[F8, F8]:
    """The curve (K,): mean signal and median variance of each stack."""
    base, floor = (0.0, 0.0) if dark is None else (float(dark.mean.mean()), float(np.median(dark.variance)))
    at = np.array([float(stack.mean.mean()) - base for stack in light])
    return at, np.array([float(np.median(stack.variance)) - floor for stack in light])


def _of_bins(signal: F8, variance: F8) -> tuple[F8, F8]:
    """The curve (K,) of few stacks: means of bins of equal numbers of pixels; the noisiest half percent is left out.

    Not for flat fields: there a bin is no level, but pixels of a higher gain, which have far more variance.
    """
    order = np.argsort(signal)
    parts = [part for part in np.array_split(order, min(_BINS, len(order))) if len(part)]
    at = np.array([float(signal[part].mean()) for part in parts])
    level = [float(np.mean(np.sort(variance[part])[: max(1, int(0.995 * len(part)))])) for part in parts]
    return at, np.array(level)


def _bend(at: F8, level: F8, slope: float, offset: float) -> float:
    """Largest relative distance of the curve's brighter points from the line; 0 where there is one level only."""
    if np.ptp(at) < 0.5 * np.median(at):
        return 0.0
    ratio = level / np.maximum(slope * at + offset, 1e-9)
    bright = at > 0.1 * at.max()
    return float(np.max(np.abs(ratio[bright] / np.median(ratio[bright]) - 1)))


def _maps(dark: Moments, light: Sequence[Moments], slope: float) -> CameraMaps | None:
    """Each pixel's own values; gains are drawn towards the common one by as much as they are noise."""
    frames = sum(stack.n_frames for stack in light)
    if min(dark.n_frames, frames) < MAP_FRAMES:
        return None
    top, below = np.zeros(dark.mean.shape), np.zeros(dark.mean.shape)
    for stack in light:
        signal = np.maximum(stack.mean - dark.mean, 1e-6)
        weight = stack.n_frames / np.maximum(slope * signal + dark.variance, 1e-9) ** 2
        top += weight * signal * (stack.variance - dark.variance)
        below += weight * signal**2
    gain = top / below  # (H, W) ADU per electron
    noise = 2 / frames  # relative variance of such a gain
    spread = float((1.4826 * np.median(np.abs(gain / np.median(gain) - 1))) ** 2)
    own = max(1 - noise / max(spread, 1e-12), 0.0)
    gain = np.median(gain) * (1 - own) + own * np.clip(gain, 0.2 * slope, 5 * slope)
    read_adu = np.sqrt(np.maximum(dark.variance - _ROUNDING, 0.0))
    maps = (dark.mean + 0.5, read_adu / gain, 1 / gain)
    return CameraMaps(*(values.astype(np.float32) for values in maps))


def _words(
    dark: Moments | None,
    light: Sequence[Moments],
    em_gain: float | None,
    maps: CameraMaps | None,
    bend: float,
    slope: float,
    offset: float,
) -> Iterable[str]:
    if em_gain:
        yield (
            "EMCCD: light tells ADU per photo-electron only (excess noise 2 assumed); how that divides into EM gain "
            "and e_per_adu is taken from the EM gain that was given, and makes no difference to photons"
        )
        yield "clock-induced charge (spurious_e) and quantum efficiency cannot be told from these frames"
    else:
        yield (
            "taken as a camera without EM gain; for an EMCCD give its EM gain, or the gain comes out twice too high. "
            "Quantum efficiency cannot be told from these frames"
        )
    if dark is None:
        yield (
            f"no dark frames: baseline and read noise cannot be told apart; a camera without read noise would have its "
            f"baseline at {-offset / slope:.1f} ADU"
        )
    elif maps is None and not em_gain:
        frames = sum(stack.n_frames for stack in light)
        yield f"no maps: they need {MAP_FRAMES} dark frames and as many with light, found {dark.n_frames} and {frames}"
    if bend > 0.1:
        yield (
            f"the variance leaves the straight line by {bend:.0%}: near saturation, not linear, or the light moves; "
            "leave out the brightest level"
        )
