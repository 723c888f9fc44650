"""Whether a model fits the data it was run on: what a person must be told before believing the localizations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.localizations import Localizations

Range = tuple[float, float]

MAX_SHARE_OUTSIDE = 0.2  # of the localizations beyond what was trained; the tails of a good run reach a few percent
ENOUGH = 50  # localizations whose median background means something
_RETRAIN = "train a model for such data, or check the camera's values"


@dataclass(frozen=True, slots=True)
class Trained:
    """What the network saw in training, (lowest, highest) of each."""

    photons: Range  # detected photons of an emitter in a frame
    background: Range  # photons per pixel
    density_per_um2: Range  # emitters per square micrometre and frame
    z_nm: Range
    background_end: float = math.inf  # the model can say no more; blobs of a training may have been brighter


@dataclass(frozen=True, slots=True)
class Doubt:
    """One sign of a misfit; `check` is a stable name, the sentence says what was found and what to do."""

    check: str
    sentence: str


def doubts(
    localizations: Localizations,
    n_frames: int,
    mean_frame_adu: NDArray[np.floating],
    camera: Camera,
    trained: Trained,
) -> list[Doubt]:
    """Each sign that the model, the camera or the recording do not belong together; each check at most once.

    `mean_frame_adu` (H, W) is the mean of the `n_frames` fitted frames in ADU of `camera`.
    Without frames there is nothing to doubt.
    """
    if n_frames == 0:
        return []
    found = _of_background(mean_frame_adu, localizations, camera, trained)
    if len(localizations) == 0:
        return [*found, Doubt("localizations", f"nothing was localized in {n_frames} frames")]
    if not found:  # a background that the model cannot tell would pass for light of emitters
        found += _of_density(localizations, n_frames, mean_frame_adu, camera, trained.density_per_um2[1])
    found += _of_column("photons", localizations.photons, trained.photons, "photons")
    return found + _of_column("z", localizations.z_nm, trained.z_nm, "nm")


def density_um2(
    localizations: Localizations, n_frames: int, mean_frame_adu: NDArray[np.floating], camera: Camera
) -> float:
    """Emitters per square micrometre and frame: as many as were found, or as their light asks for if that is more.

    Where they are too dense to be told apart the count stands still, but the light above the background does not.
    """
    area_um2 = mean_frame_adu.size * camera.px_nm[0] * camera.px_nm[1] / 1e6
    counted = len(localizations) / n_frames / area_um2
    if len(localizations) < ENOUGH:
        return counted
    above = float(np.mean(camera.photons(mean_frame_adu))) - float(np.median(localizations.background))
    by_light = above * mean_frame_adu.size / float(np.mean(localizations.photons)) / area_um2
    return max(counted, by_light)


def _of_background(
    mean_frame_adu: NDArray[np.floating], localizations: Localizations, camera: Camera, ranges: Trained
) -> list[Doubt]:
    """Emitters only add light: the median is above the background, and the darkest pixels are near it.

    Where emitters are everywhere no pixel is dark: then it is high only if the model says so as well.
    """
    trained, background_end = ranges.background, ranges.background_end
    darkest, median = (float(value) for value in np.percentile(mean_frame_adu, [5, 50]))
    if median < camera.baseline_adu:
        words = f"half of the pixels are on average below {median:.4g} ADU, under the camera's baseline of "
        return [Doubt("baseline", f"{words}{camera.baseline_adu:g} ADU: this is not the recording's camera")]
    least, most = (float(value) for value in camera.photons(np.array([darkest, median])))
    known = len(localizations) >= ENOUGH
    inferred = float(np.median(localizations.background)) if known else np.nan
    if most < trained[0] or (known and max(inferred, least) < trained[0]):
        found = f"at most {most:.3g}" if most < trained[0] else f"about {least:.3g}"
    elif least > trained[1] and not inferred < 0.95 * min(trained[1], background_end):
        found = f"about {least:.3g}"
    else:
        return []
    sentence = f"the background is {found} photons per pixel, trained were {_words(trained)}: {_RETRAIN}"
    return [Doubt("background", sentence)]


def _of_density(
    localizations: Localizations, n_frames: int, mean_frame_adu: NDArray[np.floating], camera: Camera, highest: float
) -> list[Doubt]:
    density = density_um2(localizations, n_frames, mean_frame_adu, camera)
    if density <= highest:
        return []
    words = f"{density:.3g} emitters per square micrometre and frame, trained was up to {highest:g}: "
    return [Doubt("density", words + "too dense for this model, or no blinking emitters at all")]


def _of_column(name: str, values: NDArray[np.floating], trained: Range, unit: str) -> list[Doubt]:
    share = float(np.mean((values < trained[0]) | (values > trained[1])))
    if share <= MAX_SHARE_OUTSIDE:
        return []
    words = f"{share:.0%} of the localizations have {name} beyond the trained {_words(trained)} {unit}: {_RETRAIN}"
    return [Doubt(name, words)]


def _words(limits: Range) -> str:
    return f"{limits[0]:g} to {limits[1]:g}"
