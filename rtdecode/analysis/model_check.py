"""Is this model right for this recording? Camera, PSF and what was inferred, each held against the model, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.analysis.camera_check import CameraEvidence, camera_evidence, electron_gain
from rtdecode.analysis.doubts import Doubt, Trained, density_um2, doubts
from rtdecode.analysis.psf_check import (
    AS_IS,
    MIRRORED_X,
    MIRRORED_Y,
    SCALES,
    TRANSPOSED,
    Crops,
    Fits,
    bright_lone_crops,
    drift_of_z,
    fit_crops,
    psf_hypotheses,
    z_slope,
)
from rtdecode.core.camera import Camera
from rtdecode.core.frames import FrameArray
from rtdecode.core.localizations import Localizations
from rtdecode.physics.crlb import crlb
from rtdecode.physics.psf import SplinePsf

F8 = NDArray[np.float64]
CHECKS = (
    "gain", "baseline", "pixel_size", "transposed", "mirrored", "z_mirrored", "background", "photons", "density",
    "sigma", "z", "localizations",
)  # fmt: skip
"""Stable names; the last three only when there is something to say."""
SIGNIFICANT = 4.0  # standard errors
CLEARLY_BETTER = 5.0  # standard errors of the mean gain of a PSF over the model's, of many that are tried
GAIN_TOLERANCE = 0.2  # relative
BASELINE_TOLERANCE = 0.04  # of the dark level above the baseline: sharp spots alone make half of it
BASELINE_CLOSE, CLOSE = 0.02, 2.5  # likewise, and standard errors: off by more, but not surely, is not called right
BASELINE_SEEN = 0.04  # likewise: a recording that could hide so much says nothing of the baseline
EXCLUDED = 3.0  # standard errors by which a PSF must fit worse than the model's before it is said not to be the case
PIXEL_TOLERANCE = 0.07  # relative
SIGMA_RANGE = (0.5, 2.0)  # median of the model's sigma over the single-frame bound, of lone emitters
MOVED, LEAST_MOVED = 6.0, 0.15  # standard errors, and nm for each nm, from which on z of a sample follows the focus
MIN_CROPS = 30
MOST_CHI2 = 1.3  # reduced, of a crop with one emitter in it: three standard deviations of 220 pixels
CROP_PX = 15


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. `unknown`: this recording cannot tell."""

    check: str
    verdict: Literal["ok", "warning", "unknown"]
    sentence: str


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """All findings, and the numbers and pictures behind them."""

    findings: list[Finding]
    numbers: dict[str, Any]  # plain, for JSON
    residuals: dict[str, F8]  # mean residual (15, 15) in standard deviations, of each PSF that was tried
    excess: dict[str, tuple[float, float]]  # reduced chi-squared over that of the model's PSF: mean, standard error

    @property
    def warnings(self) -> list[Finding]:
        """Those that a person should act on."""
        return [finding for finding in self.findings if finding.verdict == "warning"]


def check_model(
    frames_adu: FrameArray,
    localizations: Localizations,
    camera: Camera,
    psf: SplinePsf | None,
    trained: Trained,
    scan_step_nm: float | None = None,
) -> ModelCheck:
    """Check frames (T, H, W) in ADU of `camera`, whose localizations count frames from 0.

    `psf` None: the checks that need it are unknown. `scan_step_nm`: the focus moves while the recording is taken, z
    growing by so much each frame (beads, or a blinking sample), the only way to see a PSF mirrored in z. A PSF without
    z is round: it has no orientation to be wrong.
    """
    mean_adu: F8 = np.asarray(frames_adu.mean(axis=0, dtype=np.float64))
    evidence = camera_evidence(frames_adu, camera)
    findings = [_of_gain(evidence, camera), _of_baseline(evidence, camera)]
    crops = bright_lone_crops(frames_adu, localizations, camera)
    fits = {n: fit_crops(crops, one) for n, one in psf_hypotheses(psf).items()} if psf and len(crops) else {}
    excess = _all_excess(fits) if fits and len(crops) >= MIN_CROPS else {}
    shape = [*_of_psf(excess, len(crops), psf.px_nm[0] if psf else np.nan)]
    shape.append(_of_scan(crops, fits, localizations, scan_step_nm))
    findings += shape if psf is None or psf.tells_z else [_without_orientation(one) for one in shape]
    findings += _of_ranges(doubts(localizations, len(frames_adu), mean_adu, camera, trained))
    ratio, alone = _sigma_ratio(crops, fits[AS_IS], localizations, camera, psf) if psf and fits else (np.nan, 0)
    findings.append(_of_sigma(ratio, alone))
    numbers = _numbers(evidence, camera, crops, fits, localizations, mean_adu, len(frames_adu))
    numbers |= {"sigma_over_bound": ratio, "excess_chi2": {name: list(pair) for name, pair in excess.items()}}
    residuals = {name: np.mean(one.residuals, axis=0) for name, one in fits.items() if excess}
    return ModelCheck(findings, _plain(numbers), residuals, excess)


def _of_gain(evidence: CameraEvidence, camera: Camera) -> Finding:
    stated = electron_gain(camera)
    ratio, se = evidence.adu_per_electron / stated, evidence.adu_per_electron_se / stated
    if not np.isfinite(se) or se > GAIN_TOLERANCE:
        return Finding("gain", "unknown", "the light varies too little over the frames to tell the gain from the noise")
    words = f"the noise has {evidence.adu_per_electron:.3g} ADU per electron, the camera states {stated:.3g}"
    if abs(ratio - 1) <= max(GAIN_TOLERANCE, SIGNIFICANT * se):
        return Finding("gain", "ok", words)
    advice = f"e_per_adu or em_gain is wrong by a factor of {max(ratio, 1 / ratio):.2g}: correct the camera's values"
    return Finding("gain", "warning", f"{words}: {advice}")


def _of_baseline(evidence: CameraEvidence, camera: Camera) -> Finding:
    off, se = evidence.baseline_adu - camera.baseline_adu, evidence.baseline_adu_se
    if not np.isfinite(se):
        return Finding("baseline", "unknown", "the light varies too little over the frames to tell the baseline")
    words = f"the noise puts the baseline at {evidence.baseline_adu:.4g} ± {se:.2g} ADU, stated is "
    words += f"{camera.baseline_adu:g} ADU"
    level = abs(evidence.dark_adu - camera.baseline_adu)
    if abs(off) <= max(SIGNIFICANT * se, BASELINE_TOLERANCE * level, 1.0):
        if SIGNIFICANT * se > BASELINE_SEEN * level:
            return Finding("baseline", "unknown", f"{words}: too vague to tell a wrong one; look at more frames")
        if abs(off) > max(CLOSE * se, BASELINE_CLOSE * level, 1.0):
            return Finding("baseline", "unknown", f"{words}: no more than sharp spots alone may make; dark frames tell")
        return Finding("baseline", "ok", words)
    return Finding("baseline", "warning", f"{words}: measure it from frames taken with the shutter closed")


def _all_excess(fits: dict[str, Fits]) -> dict[str, tuple[float, float]]:
    """Of each PSF over the model's; crops that none of them explains (neighbours in them) weigh less."""
    best = np.min([one.chi2 for one in fits.values()], axis=0)
    return {name: _excess(fits[AS_IS].chi2, one.chi2, 1 / best**2) for name, one in fits.items()}


def _excess(as_is: F8, other: F8, weight: F8) -> tuple[float, float]:
    """Mean of the paired differences and its standard error; outliers (a neighbour in the crop) are drawn in."""
    difference = other - as_is
    difference = np.clip(difference, *np.percentile(difference, [5, 95]))
    mean = float(np.average(difference, weights=weight))
    return mean, float(np.sqrt(np.sum((weight * (difference - mean)) ** 2)) / np.sum(weight) + 1e-12)


def _of_psf(excess: dict[str, tuple[float, float]], n_crops: int, model_px_nm: float) -> list[Finding]:
    """Pixel size, transposed, mirrored: a warning for at most one, the best, if clearly better than as it is.

    The others are ok only if what they look for fits clearly worse: a PSF that looks the same turned, or crops full of
    neighbours, tell nothing.
    """
    if not excess:
        words = f"{n_crops} bright lone emitters with a PSF to fit, {MIN_CROPS} are needed"
        return [Finding(check, "unknown", words) for check in ("pixel_size", "transposed", "mirrored")]
    width = _best_width(excess)
    warned = _psf_warning(excess, width, model_px_nm)
    looked_for = {
        "pixel_size": (("scaled_0.8", "scaled_1.25"), f"the PSF is {width:.2f} times as wide as the model's"),
        "transposed": ((TRANSPOSED,), "x and y are not exchanged"),
        "mirrored": ((MIRRORED_X, MIRRORED_Y), "the image is not mirrored"),
    }
    return [
        warned if warned is not None and warned.check == check else _excluded(check, excess, others, words)
        for check, (others, words) in looked_for.items()
    ]


def _psf_warning(excess: dict[str, tuple[float, float]], width: float, model_px_nm: float) -> Finding | None:
    """What the best of the PSFs means, if it fits clearly better than the model's."""
    best = min(excess, key=lambda name: excess[name][0])
    if not excess[best][0] < -CLEARLY_BETTER * excess[best][1]:
        return None
    if best == TRANSPOSED:
        words = "the PSF fits better with x and y exchanged: the beads were taken with the camera turned; "
        return Finding("transposed", "warning", words + "transpose the frames or the PSF")
    if best in (MIRRORED_X, MIRRORED_Y):
        words = f"the PSF fits better mirrored along {best[-1]}: beads and recording were read out differently "
        words += "(EM and conventional amplifier?); mirror the frames or the PSF"
        return Finding("mirrored", "warning", words)
    if abs(width - 1) <= PIXEL_TOLERANCE:
        return None
    words = (
        f"the PSF is {width:.2f} times as wide as the model's, as if pixels were {model_px_nm / width:.0f} nm and not "
    )
    words += f"the model's {model_px_nm:g} nm: check the pixel size, or calibrate the PSF on this microscope and train "
    return Finding("pixel_size", "warning", words + "for it")


def _excluded(check: str, excess: dict[str, tuple[float, float]], others: tuple[str, ...], words: str) -> Finding:
    if all(excess[name][0] > EXCLUDED * excess[name][1] for name in others):
        return Finding(check, "ok", words)
    return Finding(
        check, "unknown", "the emitters of this recording fit both ways alike; sparser or more frames may tell"
    )


def _best_width(excess: dict[str, tuple[float, float]]) -> float:
    """Width of the PSF relative to the model's, by a parabola through the best of the scales and its neighbours."""
    widths = np.array(sorted([*SCALES, 1.0]))
    values = np.array([excess[AS_IS if width == 1.0 else f"scaled_{width:g}"][0] for width in widths])
    k = int(np.clip(np.argmin(values), 1, len(widths) - 2))
    a, b, _ = np.polyfit(np.log(widths[k - 1 : k + 2]), values[k - 1 : k + 2], 2)
    return float(np.clip(np.exp(-b / (2 * a)), widths[0], widths[-1])) if a > 0 else float(widths[np.argmin(values)])


def _of_scan(crops: Crops, fits: dict[str, Fits], found: Localizations, step_nm: float | None) -> Finding:
    if step_nm is None:
        words = (
            "no recording at one focus can tell: an emitter at -z looks the same through the mirrored PSF; move the "
        )
        return Finding(
            "z_mirrored", "unknown", words + "focus while you record, beads or sample, and give --scan-step-nm"
        )
    slope, beads = z_slope(crops, fits[AS_IS], found, step_nm) if fits else (np.nan, 0)
    if not np.isfinite(slope):
        return _of_moved_sample(*drift_of_z(found, step_nm))
    words = f"z of {beads} beads changes by {slope:.2f} nm for each nm of the scan"
    if slope > 0 and not 0.7 < slope < 1.4:
        return Finding("z_mirrored", "warning", f"{words}: the step of the bead stack or of this scan is wrong")
    return _by_sign(slope, words)


def _of_moved_sample(slope: float, error: float) -> Finding:
    """Blinking emitters while the focus moves; they last a few frames, so the error is somewhat larger than stated."""
    if not (np.isfinite(slope) and abs(slope) > max(MOVED * error, LEAST_MOVED)):
        words = (
            "no bead was seen alone in five frames, and the emitters' z does not move with the focus; move it further"
        )
        return Finding("z_mirrored", "unknown", words)
    return _by_sign(slope, f"the emitters' z moves by {slope:.2f} ± {error:.2f} nm for each nm of the focus")


def _by_sign(slope: float, words: str) -> Finding:
    if slope > 0:
        return Finding("z_mirrored", "ok", words)
    advice = (
        "the PSF's z runs against the scan's; calibrate again with a negative --dz-nm, or train on the reversed PSF"
    )
    return Finding("z_mirrored", "warning", f"{words}: {advice}")


def _without_orientation(finding: Finding) -> Finding:
    """Of a round spot: which way it is turned can be neither wrong nor told."""
    if finding.check == "pixel_size":
        return finding
    return Finding(finding.check, "ok", "the model is 2D: its round spot looks the same from all sides and at all z")


def _of_ranges(found: list[Doubt]) -> list[Finding]:
    """The doubts, and the checks of ranges that raised none."""
    raised = {doubt.check for doubt in found}
    quiet = [check for check in ("background", "photons", "density") if check not in raised]
    return [Finding(d.check, "warning", d.sentence) for d in found] + [
        Finding(check, "ok", "within what was trained") for check in quiet
    ]


def _sigma_ratio(crops: Crops, fits: Fits, found: Localizations, camera: Camera, psf: SplinePsf) -> tuple[float, int]:
    """Median of the model's sigma in x and y over the bound of a single frame, at the refitted parameters; of how many.

    Only of crops that one emitter explains: an unseen neighbour rightly makes the model less sure, and the bound does
    not know of it.
    """
    alone = fits.chi2 < MOST_CHI2
    x, y, z, photons, background = fits.parameters[alone].T
    shape = (CROP_PX, CROP_PX)
    level = np.maximum(background, 0.1)
    bounds = crlb(psf, camera, x * camera.px_nm[0], y * camera.px_nm[1], z, photons, level, shape)
    index = crops.index[alone]
    own = np.hypot(found.sigma_x_nm[index], found.sigma_y_nm[index])
    return (float(np.median(own / bounds.radial_nm)) if alone.any() else np.nan), int(alone.sum())


def _of_sigma(ratio: float, n_crops: int) -> Finding:
    if not np.isfinite(ratio) or n_crops < MIN_CROPS:
        return Finding("sigma", "unknown", f"{n_crops} bright lone emitters with a PSF, {MIN_CROPS} are needed")
    words = f"the model's sigmas of lone emitters are {ratio:.2f} times the bound of a single frame"
    if SIGMA_RANGE[0] < ratio < SIGMA_RANGE[1]:
        return Finding("sigma", "ok", words)
    return Finding(
        "sigma", "warning", f"{words}: it does not know such emitters; check camera and PSF, or train for them"
    )


def _numbers(
    evidence: CameraEvidence, camera: Camera, crops: Crops, fits: dict[str, Fits], found: Localizations,
    mean_adu: F8, n_frames: int,
) -> dict[str, Any]:  # fmt: skip
    """What was measured, by names with units."""
    spread = {
        name: np.percentile(values, [5, 50, 95]).tolist() if len(found) else []
        for name, values in {
            "photons": found.photons, "background": found.background, "z_nm": found.z_nm,
            "sigma_x_nm": found.sigma_x_nm,
        }.items()
    }  # fmt: skip
    return {
        "frames": n_frames,
        "localizations": len(found),
        "density_um2": density_um2(found, n_frames, mean_adu, camera) if n_frames else 0.0,
        "percentiles_5_50_95": spread,
        "adu_per_electron": evidence.adu_per_electron,
        "adu_per_electron_se": evidence.adu_per_electron_se,
        "adu_per_electron_stated": electron_gain(camera),
        "baseline_adu": evidence.baseline_adu,
        "baseline_adu_se": evidence.baseline_adu_se,
        "baseline_adu_stated": camera.baseline_adu,
        "dark_noise_ratio": evidence.noise_ratio,
        "crops": len(crops),
        "reduced_chi2": {name: float(np.median(one.chi2)) for name, one in fits.items()},
    }


def _plain(value: Any) -> Any:
    """NaN is null in JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
