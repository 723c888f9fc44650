"""Pictures of what an analysis says: drift over the run, the ring correlation, scores by density and by z; PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rtdecode.core.drift import Drift
from rtdecode.view.chart import GREY, INK, Chart, around

F8 = NDArray[np.float64]
Row = Mapping[str, float | None]

SIZE = (1200, 760)
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito: for all eyes
MOST_BARS = 200  # blocks that still get a bar of their own


def write_drift_page(path: Path, drift: Drift, title: str, words: Sequence[str]) -> None:
    """x and y above, z below (not in 2D); bars of one standard error, gaps where a block could not be placed."""
    image, pen = _page(title, words)
    deep = bool(drift.range_nm[2])
    boxes = [(80, 140, 1160, 420), (80, 490, 1160, 690)] if deep else [(80, 140, 1160, 690)]
    for box, axes in zip(boxes, ([(0, "x", BLUE), (1, "y", ORANGE)], [(2, "z", GREEN)]), strict=False):
        columns = [k for k, _, _ in axes]
        placed = np.isfinite(drift.sigma_nm[:, columns]).all(axis=1)
        chart = Chart(pen, box, _wide(drift.frame), around(drift.shift_nm[:, columns].ravel().tolist(), share=0.12))
        chart.axes(f"drift in {' and '.join(name for _, name, _ in axes)}, nm", "frame")
        chart.legend([(name, colour) for _, name, colour in axes])
        for k, _, colour in axes:
            _with_bars(chart, drift.frame, np.where(placed, drift.shift_nm[:, k], np.nan), drift.sigma_nm[:, k], colour)
    _save(image, path)


def write_resolution_page(
    path: Path, curve: tuple[F8, F8] | None, frc_nm: float | None, trend: Sequence[tuple[float, float | None]],
    nyquist_nm: float | None, title: str, words: Sequence[str],
) -> None:  # fmt: skip
    """The ring correlation (frequency in 1/nm) with its threshold on the left, the resolution over frames right."""
    image, pen = _page(title, words)
    if curve is not None:
        frequency, values = curve
        end = min(float(frequency[-1]), 3 / frc_nm) if frc_nm else float(frequency[-1])
        chart = Chart(pen, (80, 140, 700, 690), (0.0, 1000 * end), (-0.2, 1.05))
        chart.axes("Fourier ring correlation", "spatial frequency, 1/um")
        chart.line((0.0, 1000 * end), (1 / 7, 1 / 7), GREY, 1)
        shown = frequency <= end
        chart.line((1000 * frequency[shown]).tolist(), values[shown].tolist(), BLUE)
        chart.legend([("1/7", GREY), *([(f"falls below it at {frc_nm:.0f} nm", ORANGE)] if frc_nm else [])])
        if frc_nm:
            chart.upright(1000 / frc_nm, -0.2, 1.05, ORANGE)
    known = [(frame, nm) for frame, nm in trend if nm is not None]
    top = 1.15 * max([nm for _, nm in known] + [nyquist_nm or 0.0, 1.0])
    chart = Chart(pen, (790, 140, 1160, 690), (0.0, max([frame for frame, _ in trend] + [1.0])), (0.0, top))
    chart.axes("resolution, nm", "up to frame")
    chart.line([f for f, _ in known], [nm for _, nm in known], ORANGE)
    for frame, nm in known:
        chart.dot(frame, nm, 5, ORANGE)
    if nyquist_nm:
        chart.line(chart.x, (nyquist_nm, nyquist_nm), GREEN, 1)
    chart.legend([("FRC", ORANGE), *([("density's limit", GREEN)] if nyquist_nm else [])])
    _save(image, path)


def write_evaluation_page(
    path: Path, by_density: Sequence[Row], by_z: Sequence[Row], title: str, words: Sequence[str]
) -> None:
    """A row of charts for the density around an emitter, one for its z (not in 2D)."""
    image, pen = _page(title, words, (1200, 1120 if by_z else SIZE[1]))
    flat = not by_z
    _score_row(pen, 140, by_density, "emitters per um^2 around", _middle_of_density, flat)
    if by_z:
        _score_row(pen, 660, by_z, "z, nm", _middle, flat)
    _save(image, path)


def _score_row(
    pen: ImageDraw.ImageDraw, top: int, rows: Sequence[Row], below: str, place: Callable[[Row], float], flat: bool
) -> None:
    rows = [row for row in rows if row["jaccard"] is not None]
    shares = [("jaccard", "Jaccard", BLUE), ("precision", "precision", GREEN), ("recall", "recall", ORANGE)]
    errors = [("rmse_lateral_nm", "lateral", BLUE)]
    errors += [] if flat else [("rmse_axial_nm", "axial", ORANGE), ("mean_error_z_nm", "bias in z", GREEN)]
    for left, lines, title in ((80, shares, "shares"), (680, errors, "RMSE, nm" if flat else "RMSE and bias, nm")):
        values = [value for key, _, _ in lines for row in rows if (value := row[key]) is not None]
        y = (0.0, 1.05) if lines is shares else (min(0.0, *values, 0.0) * 1.1, max([*values, 1.0]) * 1.15)
        x = [place(row) for row in rows]
        chart = Chart(pen, (left, top, left + 480, top + 420), _wide(np.array(x)), y)
        chart.axes(title, below)
        chart.legend([(name, colour) for _, name, colour in lines])
        for key, _, colour in lines:
            points = [(at, value) for at, row in zip(x, rows, strict=True) if (value := row[key]) is not None]
            chart.line([at for at, _ in points], [value for _, value in points], colour)
            for at, value in points:
                chart.dot(at, value, 4, colour)


def _middle(row: Row) -> float:
    low, high = row["low"], row["high"]
    return ((low or 0.0) + (high if high is not None else (low or 0.0) * 1.5)) / 2


def _middle_of_density(row: Row) -> float:
    return 0.0 if not row["low"] else _middle(row)


def _with_bars(chart: Chart, x: F8, y: F8, error: F8, colour: str) -> None:
    known = np.isfinite(y)
    chart.line(x[known].tolist(), y[known].tolist(), colour)
    if len(x) <= MOST_BARS:
        for at, value, sigma in zip(x[known], y[known], error[known], strict=True):
            chart.upright(at, value - sigma, value + sigma, colour)
            chart.dot(at, value, 3, colour)


def _wide(values: NDArray[np.floating]) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = max(0.03 * (high - low), 1e-3 * max(abs(high), 1.0))
    return low - room, high + room


def _page(title: str, words: Sequence[str], size: tuple[int, int] = SIZE) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    chart = Chart(pen, (0, 0, *size), (0, 1), (0, 1))
    chart.words((30, 18), title, 24, INK, "lt")
    for k, line in enumerate(words[:3]):
        chart.words((30, 52 + 22 * k), line, 16, INK if k == 0 else GREY, "lt")
    return image, pen


def _save(image: Image.Image, path: Path) -> None:
    """The picture appears when it is whole."""
    draft = path.with_name(path.name + ".part")
    image.quantize(128).save(draft, "PNG", optimize=True)
    draft.replace(path)
