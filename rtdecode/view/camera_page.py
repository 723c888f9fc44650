"""One page on a camera's calibration: the photon transfer curve, maps and their histograms, what could not be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtdecode.view.picture import INK
from rtdecode.view.plots import FIRST, SECOND, axes, page, paragraph, picture, wrapped

F8 = NDArray[np.float64]
CELL = (460, 400)
GAP = 24
_LINE = 25


def write_camera_page(
    path: Path,
    title: str,
    signal: F8,
    variance: F8,
    line: tuple[float, float],
    maps: Mapping[str, NDArray[np.floating]],
    figures: Sequence[str],
    told: Sequence[str],
) -> None:
    """Write a PNG. `signal` and `variance` (K,) are the curve's points, `line` its slope and offset; `maps` (H, W)."""
    width = 3 * (CELL[0] + GAP) + GAP
    words = [(sentence, INK) for sentence in figures] + [(f"! {sentence}", SECOND) for sentence in told]
    lines = sum(len(wrapped(sentence, width - 2 * GAP)) for sentence, _ in words)
    rows = 3 if maps else min(len(signal), 1)
    image = page(width, 80 + rows * (CELL[1] + GAP) + lines * _LINE + 2 * GAP, title)
    cells = [(GAP + c * (CELL[0] + GAP), 70 + r * (CELL[1] + GAP)) for r in range(rows) for c in range(3)]
    if len(signal):
        far, top = 1.05 * float(signal.max()), 1.1 * float(variance.max())
        near = min(0.0, float(signal.min()))
        made = axes(image, cells[0], CELL, (near, far), (0.0, top), "Variance over signal, ADU2", "signal, ADU")
        ends = np.array([near, far])
        made.curve(ends, np.maximum(line[0] * ends + line[1], 0.0), SECOND)
        made.dots(signal, variance, FIRST, 5)
        made.words("measured", FIRST, left=True)
        made.words(f"slope {line[0]:.4g} ADU", SECOND, 1, left=True)
    for k, (name, values) in enumerate(maps.items()):
        low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
        picture(image, cells[3 + k], CELL, values, name, f"{low:.4g} to {high:.4g}", limits=(low, high))
        _spread(image, cells[6 + k], name, values)
    paragraph(image, (GAP, 70 + rows * (CELL[1] + GAP)), words, width - 2 * GAP)
    image.save(path, format="PNG")


def _spread(image: Image.Image, corner: tuple[int, int], name: str, values: NDArray[np.floating]) -> None:
    """Histogram of a map, counts on a logarithmic scale: hot pixels are few."""
    low, high = (float(v) for v in np.percentile(values, [0.1, 99.9]))
    spare = 0.05 * max(high - low, 1e-6)
    ends = (low - spare, high + spare)
    counts, _ = np.histogram(values, np.linspace(*ends, 41))
    made = axes(image, corner, CELL, ends, (0.5, 2.0 * max(int(counts.max()), 1)), "", name, log_y=True)
    made.bars(counts.astype(np.float64))
    made.line_at(float(np.median(values)), SECOND)
    made.words(f"median {float(np.median(values)):.4g}", SECOND)
