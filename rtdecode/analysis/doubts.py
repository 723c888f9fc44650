"""Whether a model fits the data it was run on: what a person must be told before believing the localizations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.localizations import Localizations

Range = tuple[float, float]

MAX_SHARE_OUTSIDE = 0.2  # of the localizations beyond what was trained; the tails of a good run reach a few percent
_RETRAIN = "train a model for such data, or check the camera's values"


@dataclass(frozen=True, slots=True)
class Trained:
    """What the network saw in training, (lowest, highest) of each."""

    photons: Range  # detected photons of an emitter in a frame
    background: Range  # photons per pixel
    density_per_um2: Range  # emitters per square micrometre and frame
    z_nm: Range


def doubts(
    localizations: Localizations,
    n_frames: int,
    mean_frame_adu: NDArray[np.floating],
    camera: Camera,
    trained: Trained,
) -> list[str]:
    """One sentence for each sign that the model, the camera or the recording do not belong together.

    `mean_frame_adu` (H, W) is the mean of the `n_frames` fitted frames in ADU of `camera`.
    Without frames there is nothing to doubt.
    """
    if n_frames == 0:
        return []
    sentences = _of_background(mean_frame_adu, camera, trained.background)
    if len(localizations) == 0:
        return [*sentences, f"nothing was localized in {n_frames} frames"]
    area_um2 = mean_frame_adu.size * camera.px_nm[0] * camera.px_nm[1] / 1e6
    sentences += _of_density(len(localizations) / n_frames / area_um2, trained.density_per_um2[1])
    sentences += _of_column("photons", localizations.photons, trained.photons, "photons")
    return sentences + _of_column("z", localizations.z_nm, trained.z_nm, "nm")


def _of_background(mean_frame_adu: NDArray[np.floating], camera: Camera, trained: Range) -> list[str]:
    """Emitters only add light: the median is above the background, and the darkest pixels are near it."""
    darkest, median = (float(value) for value in np.percentile(mean_frame_adu, [5, 50]))
    if median < camera.baseline_adu:
        return [
            f"half of the pixels are on average below {median:.4g} ADU, under the camera's baseline of "
            f"{camera.baseline_adu:g} ADU: this is not the recording's camera"
        ]
    least, most = (float(value) for value in camera.photons(np.array([darkest, median])))
    if most < trained[0]:
        return [f"the background is at most {most:.3g} photons per pixel, trained were {_words(trained)}: {_RETRAIN}"]
    if least > trained[1]:
        return [f"the background is about {least:.3g} photons per pixel, trained were {_words(trained)}: {_RETRAIN}"]
    return []


def _of_density(density_per_um2: float, highest: float) -> list[str]:
    if density_per_um2 <= highest:
        return []
    return [
        f"{density_per_um2:.3g} localizations per square micrometre and frame, trained was up to {highest:g}: "
        "too dense for this model, or no blinking emitters at all"
    ]


def _of_column(name: str, values: NDArray[np.floating], trained: Range, unit: str) -> list[str]:
    share = float(np.mean((values < trained[0]) | (values > trained[1])))
    if share <= MAX_SHARE_OUTSIDE:
        return []
    return [f"{share:.0%} of the localizations have {name} beyond the trained {_words(trained)} {unit}: {_RETRAIN}"]


def _words(limits: Range) -> str:
    return f"{limits[0]:g} to {limits[1]:g}"
