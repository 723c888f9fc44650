"""report.html of a run: what its folder holds, put on the page in the order a person asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.fit.bundle import ModelBundle, TrainingRanges
from rtdecode.session.exporting import bundle_of, recommended_filter
from rtdecode.session.measuring import drift_of, measured_rows, resolution_of
from rtdecode.session.run_overview import OverTime, Overview, Picture, overview
from rtdecode.session.summary import summary_rows
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.notes import read_roi
from rtdecode.stages.run_record import IMPORTED, RunRecord
from rtdecode.stages.widefield import saved_total_adu
from rtdecode.streams.run_folder import RunFolder
from rtdecode.view.canvas import Region
from rtdecode.view.labels import count_words
from rtdecode.view.picture import widefield_grey
from rtdecode.view.report_page import ColourBar, Figure, RunPage, ScaleBar, png_of, write_report_page
from rtdecode.view.svg_charts import BLUE, GREEN, ORANGE, Curve, curves, histogram
from rtdecode.view.unknown_sigma import UNKNOWN_NM

Floats = NDArray[np.floating]


def make_run_page(folder: RunFolder, report: dict[str, Any]) -> Path:
    """Write report.html from the run folder and its report.json; gives its path. Raises LogError."""
    record = RunRecord.of_run(folder)
    bundle = bundle_of(record)
    field, quality = _field(folder, record), recommended_filter(bundle)
    seen = overview(folder, field, quality)
    path = folder.path / "report.html"
    write_report_page(path, _page(folder, report, record, bundle, seen, field, quality))
    return path


def verdict(report: dict[str, Any]) -> tuple[str, bool]:
    """One sentence on how the run went, and whether that is well."""
    frames = report["frames"]
    if report.get("source", {}).get("use") == IMPORTED:
        count, all_frames = count_words(report["localizations"]), count_words(frames["expected"])
        if "made_by" in report:
            return f"{count} localizations, made by {report['made_by']}, {all_frames} frames", True
        return f"Imported: {count} localizations of another program in {all_frames} frames", True
    lost, rejected = frames["lost_before"] + frames["lost_in_ring"], frames["rejected"]
    fitted = f"{count_words(frames['fitted'])} of {count_words(frames['expected'])} frames fitted"
    books = f"{count_words(lost)} lost" if lost else "none lost"
    books += f", {count_words(rejected)} rejected" if rejected else ""
    ended = str(report["finish"])
    words = f"{ended[:1].upper()}{ended[1:]}: {fitted}, {books}; {count_words(report['localizations'])} localizations"
    reason = f" ({report['reason']})" if report["reason"] else ""
    return words + reason, ended in ("completed", "stopped") and not lost and not rejected


def _page(
    folder: RunFolder,
    report: dict[str, Any],
    record: RunRecord,
    bundle: ModelBundle | None,
    seen: Overview,
    field: Region | None,
    quality: QualityFilter,
) -> RunPage:
    sentence, good = verdict(report)
    ranges = bundle.card.ranges if bundle is not None else None
    total = saved_total_adu(folder.path)
    drift, fine = drift_of(folder), resolution_of(folder)
    return RunPage(
        title=folder.name,
        verdict=sentence,
        good=good,
        about=" · ".join(_about(folder, report, record, field)),
        warnings=report["warnings"],
        whole=_figure(seen.whole, "Super-resolution image") if seen.whole else None,
        widefield=_widefield(total, report) if total is not None else None,
        scale_bar=ScaleBar.of_width(field.width_nm) if field is not None else None,
        colours=ColourBar.of_scale(seen.scale, "z (nm)") if seen.scale is not None else None,
        slices=[_figure(part, "") for part in seen.slices],
        charts=[*_charts(seen, ranges, report["rate_fps"] is not None), *_measured(drift, fine)],
        rows=[*(row for row in summary_rows(report) if row[0] != "warning"), *measured_rows(folder)],
        versions=list(report["versions"].items()),
        configuration=folder.run_yaml.read_text(encoding="utf-8"),
        notes=list(_notes(seen, quality, ranges)),
    )


def _about(folder: RunFolder, report: dict[str, Any], record: RunRecord, field: Region | None) -> Iterator[str]:
    started = str(dict(folder.fields().get("run") or {}).get("started", ""))
    if started:
        yield started.replace("T", " ").replace("+00:00", " UTC")
    if report["source"]["use"] != IMPORTED:
        yield f"model {report['model']['name']} ({report['model']['sha256'][:12]})"
        yield f"engine {report['engine']['use']} {report['engine']['precision']}"
    yield f"source {report['source']['use']}"
    if field is not None:
        px_nm = camera_px_nm(record)
        columns, rows = round(field.width_nm / px_nm[0]), round(field.height_nm / px_nm[1])
        yield f"{columns} x {rows} px of {px_nm[0]:g} x {px_nm[1]:g} nm"


def _notes(seen: Overview, quality: QualityFilter, ranges: TrainingRanges | None) -> Iterator[str]:
    if seen.whole is not None:
        shown, total = count_words(seen.shown), count_words(int(seen.commits["n_localizations"].sum()))
        yield (
            f"{shown} of {total} localizations are drawn, each as a Gaussian of its own sigma: "
            f"{quality.words}. The log holds all of them."
        )
    if len(seen.sample) and not np.isfinite(seen.sample.sigma_x_nm).all():
        yield f"Where no sigma was stated, a localization is drawn {UNKNOWN_NM:g} nm wide."
    if ranges is not None:
        yield "Green in the histograms: the range that the model was trained for. Beyond it its answers mean little."


def _charts(seen: Overview, ranges: TrainingRanges | None, timed: bool) -> Iterator[str]:
    """SVG of each chart that has something to show."""
    if len(seen.sample):
        yield from _histograms(seen.sample, ranges)
    if len(seen.over_time.frame) > 1:
        yield from _courses(seen.over_time, timed)


def _histograms(sample: Localizations, ranges: TrainingRanges | None) -> Iterator[str]:
    trained = ranges.model_dump() if ranges is not None else {}
    shown: list[tuple[Floats, str, str, str]] = [
        (sample.photons, "Photons of a localization", "photons", "photons"),
        (sample.background, "Background", "photons per pixel", "background"),
        (sample.z_nm, "z", "nm", "z_nm"),
        ((sample.sigma_x_nm + sample.sigma_y_nm) / 2, "Stated sigma in x, y", "nm", ""),
        (sample.sigma_z_nm, "Stated sigma in z", "nm", ""),
        (sample.probability, "Probability", "", ""),
    ]
    for values, title, unit, name in shown:
        of_depth = title in ("z", "Stated sigma in z")
        if np.isfinite(values).any() and not (of_depth and sample.is_2d):  # another program's table may lack any
            yield histogram(values, title, unit, trained.get(name), log=name == "photons")


def _courses(time: OverTime, timed: bool) -> Iterator[str]:
    """Curves by frame: how many, how bright, how late, how many not at all."""
    yield _course(time, time.per_frame, "Localizations in a frame", BLUE)
    if np.isfinite(time.photons).any():
        shares = [(time.photons, "photons", BLUE), (time.background, "background", ORANGE)]
        lines = [
            Curve(time.frame, values / max(float(np.nanmax(values)), 1e-9), name, colour)
            for values, name, colour in shares
            if np.isfinite(values).any()
        ]
        yield curves(lines, "Medians over time, of their highest", "frame", y=(0.0, 1.3))
    if timed:
        yield _course(time, time.latency_ms, "Latency, arrival to log (ms)", GREEN)
    if time.not_fitted.any():
        yield _course(time, time.not_fitted, "Frames lost or rejected", ORANGE)


def _measured(drift: Drift | None, fine: dict[str, Any] | None) -> Iterator[str]:
    """Drift and ring correlation, where they were measured."""
    if drift is not None and len(drift) > 1:
        names = [(0, "x", BLUE), (1, "y", ORANGE), (2, "z", GREEN)]
        lines = [
            Curve(drift.frame, drift.shift_nm[:, k], name, colour) for k, name, colour in names if drift.range_nm[k]
        ]
        yield curves(lines, "Drift (nm)", "frame")
    if fine is not None and "curve" in fine:
        frequency, correlation = (np.asarray(values, np.float64) for values in fine["curve"])
        yield curves(
            [Curve(frequency * 1000, correlation)], "Fourier ring correlation", "1/µm", level=1 / 7, y=(-0.2, 1.05)
        )


def _course(time: OverTime, values: Floats, title: str, colour: str) -> str:
    known = values[np.isfinite(values)]
    top = 1.15 * float(known.max()) if len(known) and known.max() > 0 else 1.0
    return curves([Curve(time.frame, values, colour=colour)], title, "frame", y=(0.0, top))


def _figure(picture: Picture, title: str) -> Figure:
    frames = f"frames {count_words(picture.first)} to {count_words(picture.last)}"
    return Figure(picture.png, f"{title}, {frames}" if title else frames[:1].upper() + frames[1:])


def _widefield(total: Floats, report: dict[str, Any]) -> Figure:
    words = f"Wide-field image: the sum of {count_words(report['frames']['fitted'])} fitted frames"
    return Figure(png_of(widefield_grey(total)), words, smooth=False)


def _field(folder: RunFolder, record: RunRecord) -> Region | None:
    roi = read_roi(folder)
    return Region.of_frame((roi.height_px, roi.width_px), camera_px_nm(record)) if roi is not None else None
