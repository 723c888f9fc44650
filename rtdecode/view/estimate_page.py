"""One page on what a recording holds: histograms with the ranges to train, mean frame, background, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtdecode.view.picture import INK, QUIET
from rtdecode.view.plots import (
    FIRST,
    SECOND,
    THIRD,
    axes,
    histogram,
    page,
    paragraph,
    picture,
    wrapped,
)

F8 = NDArray[np.float64]
Pair = tuple[float, float]
CELL = (420, 360)
GAP = 24
COLUMNS = 4
_LINE = 25


@dataclass(frozen=True, slots=True)
class EstimateView:
    """What the page shows, as plain numbers."""

    title: str
    photons: F8
    z_nm: F8 | None  # None: the PSF tells no z
    sigmas_px: F8  # (N, 2) of spots
    psf_sigmas_px: F8  # (K, 2)
    lags: NDArray[np.int64]
    covariance: F8
    modelled: F8  # covariance by the on-time that was found, at the lags
    mean_frame: NDArray[np.float32]
    background: NDArray[np.float32]
    background_even: bool  # no more structure than noise and the emitters' own trace
    background_levels: F8  # over time
    frames: NDArray[np.float32]  # (3, H, W)
    spots: Sequence[F8]  # (n, 2) row, column of each example
    isolated: Sequence[F8]
    ranges: Mapping[str, Pair]  # photons, z_nm, background, lifetime_frames
    figures: Sequence[str]
    doubts: Sequence[str]


def write_estimate_page(path: Path, view: EstimateView) -> None:
    """Write a PNG: what was found in blue, the range proposed for training as a green band, doubts in orange."""
    width = COLUMNS * (CELL[0] + GAP) + GAP
    words = [(line, INK) for line in view.figures] + [(f"! {line}", SECOND) for line in view.doubts]
    lines = sum(len(wrapped(line, width - 2 * GAP)) for line, _ in words)
    image = page(width, 3 * (CELL[1] + GAP) + 100 + lines * _LINE + GAP, view.title)
    cells = [(GAP + c * (CELL[0] + GAP), 70 + r * (CELL[1] + GAP)) for r in range(3) for c in range(COLUMNS)]
    histogram(
        image, cells[0], CELL, view.photons, "Photons in a full frame", "photons", view.ranges["photons"], log=True
    )
    if view.z_nm is not None:
        histogram(image, cells[1], CELL, view.z_nm, "z of isolated spots", "nm", view.ranges["z_nm"])
    histogram(
        image, cells[2], CELL, view.background.ravel(), "Background over the field", "photons per pixel",
        view.ranges["background"],
    )  # fmt: skip
    _flicker(image, cells[3], view)
    _widths(image, cells[4], view)
    _over_time(image, cells[5], view)
    low, high = (float(v) for v in np.percentile(view.mean_frame, [1, 99.8]))
    picture(image, cells[6], CELL, view.mean_frame, "Mean frame", f"{low:.4g} to {high:.4g} photons")
    low, high = float(view.background.min()), float(view.background.max())
    middle = float(view.background.mean())
    ends = (0.5 * middle, 1.5 * middle) if view.background_even else (min(low, 0.9 * high), high)
    below = f"{low:.4g} to {high:.4g} photons" + (", even as far as can be told" if view.background_even else "")
    picture(image, cells[7], CELL, view.background, "Background", below, limits=ends)
    for k in range(len(view.frames)):
        rings = ((view.spots[k], FIRST), (view.isolated[k], THIRD))
        title = ("A sparse frame", "A usual frame", "A dense frame")[k]
        below = f"{len(view.spots[k])} spots found, {len(view.isolated[k])} of them fitted as lone ones (green)"
        picture(image, cells[8 + k], CELL, view.frames[k], title, below, rings)
    paragraph(image, (GAP, 70 + 3 * (CELL[1] + GAP)), words, width - 2 * GAP)
    image.save(path, format="PNG")


def _flicker(image: Image.Image, corner: tuple[int, int], view: EstimateView) -> None:
    far = max(float(view.lags[-1]), 2.0)
    first = max(float(view.covariance[0]), 1e-9)
    share = view.covariance / first
    made = axes(image, corner, CELL, (0.0, far + 1), (min(-0.1, max(float(share.min()), -1.0)), 1.25),
                "Memory of the light", "frames apart", band=view.ranges["lifetime_frames"])  # fmt: skip
    made.curve(view.lags.astype(float), view.modelled / first, SECOND)
    made.dots(view.lags.astype(float), share, FIRST, 5)
    made.words("autocovariance, lag 1 = 1", FIRST)
    made.words("by the on-time found", SECOND, 1)
    made.words("band: on-times trained", QUIET, 2)


def _widths(image: Image.Image, corner: tuple[int, int], view: EstimateView) -> None:
    everything = np.concatenate([view.sigmas_px, view.psf_sigmas_px])
    low, high = 0.85 * float(np.percentile(everything, 1)), 1.1 * float(np.percentile(everything, 99))
    made = axes(image, corner, CELL, (low, high), (low, high), "Widths: sigma y over sigma x", "sigma x, px",
                log_x=True, log_y=True)  # fmt: skip
    made.dots(view.sigmas_px[:600, 0], view.sigmas_px[:600, 1], FIRST, 2)
    if np.ptp(view.psf_sigmas_px) > 0.05:
        made.curve(view.psf_sigmas_px[:, 0], view.psf_sigmas_px[:, 1], SECOND)
    else:
        made.dots(view.psf_sigmas_px[:1, 0], view.psf_sigmas_px[:1, 1], SECOND, 7)
    made.words("isolated spots", FIRST)
    made.words("the PSF file", SECOND, 1)


def _over_time(image: Image.Image, corner: tuple[int, int], view: EstimateView) -> None:
    levels, (low, high) = view.background_levels, view.ranges["background"]
    top = 1.35 * max(float(levels.max()), high)
    made = axes(image, corner, CELL, (0.0, len(levels) + 1.0), (0.0, top),
                "Background over time", f"parts of the frames looked at: {len(levels)}")  # fmt: skip
    x = np.arange(1, len(levels) + 1, dtype=np.float64)
    for edge in (low, high):
        made.curve(np.array([0.0, len(levels) + 1.0]), np.array([edge, edge]), THIRD, 2)
    made.curve(x, levels, FIRST)
    made.dots(x, levels, FIRST, 5)
    made.words("green: range trained", THIRD)
