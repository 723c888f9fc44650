"""A run's localizations in a foreign format: streamed from the log, filtered, with where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rtdecode.core.errors import BundleError
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.fit.bundle import ModelBundle
from rtdecode.formats import FORMATS
from rtdecode.formats.about import About
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.notes import read_roi
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.log import LogReader
from rtdecode.streams.run_folder import RunFolder

Change = Callable[[Localizations], Localizations]


def export_run(
    folder: RunFolder, name: str, out: Path, quality: QualityFilter = SHOW_ALL, change: Change | None = None,
    said: dict[str, Any] | None = None,
) -> int:  # fmt: skip
    """Write `out`; rows written. `change`: applied before the filter (a drift), `said`: what provenance tells of it.

    Memory stays bounded for any run. Raises FileFormatError, LogError.
    """
    about = about_run(folder, {"filter": quality.as_json(), **(said or {})})
    parts = (quality.of(change(part) if change else part) for part in parts_of(folder))
    return FORMATS[name].write(out, parts, about, is_2d=tells_no_z(folder))


def parts_of(folder: RunFolder) -> Iterator[Localizations]:
    """The log's localizations, a few MB at a time. Raises LogError."""
    reader = LogReader.open(folder.path)
    while True:
        commits, part = reader.read_new()
        if not len(commits):
            return
        if len(part):
            yield part


def tells_no_z(folder: RunFolder) -> bool:
    """Whether all localizations are a 2D model's."""
    flat = [part.is_2d for part in parts_of(folder)]
    return bool(flat) and all(flat)


def about_run(folder: RunFolder, more: dict[str, Any]) -> About:
    """Pixel size, field and provenance of a run; frames are as many as the camera counted."""
    record, roi = RunRecord.of_run(folder), read_roi(folder)
    report = folder.read_report() or {}
    frames = dict(report.get("frames") or {}).get("expected")
    provenance = {
        "rtdecode": record.versions.get("rtdecode", ""),
        "run": folder.name,
        "model": {"name": record.model_name, "sha256": record.model_sha256},
        "engine": record.engine.model_dump(),
        "detection": record.detection.model_dump(),
        "camera": record.camera.model_dump(mode="json") if record.camera else None,
        "source": {"use": record.source.use},
        "versions": record.versions,
    }
    return About(camera_px_nm(record), roi.shape if roi else None, frames, provenance | more)


def recommended_filter(bundle: ModelBundle | None) -> QualityFilter:
    """The model's own; all is shown where there is none."""
    if bundle is None:
        return SHOW_ALL
    limits = bundle.card.recommended_filter
    return QualityFilter(limits.sigma_xy_max_nm, limits.sigma_z_max_nm if bundle.tells_z else None)


def bundle_of(record: RunRecord) -> ModelBundle | None:
    """The model of a run; None where it was moved or changed since."""
    try:
        return ModelBundle.load(record.model)
    except BundleError:
        return None
