"""A run's localizations in a foreign format: streamed from the log, filtered, with where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.core.errors import BundleError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.fit.bundle import ModelBundle
from rtdecode.formats import FORMATS
from rtdecode.formats.about import Z_COLUMNS, About
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.notes import read_roi
from rtdecode.stages.run_record import IMPORTED, RunRecord
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
    return FORMATS[name].write(out, parts, replace(about, absent=absent_of(folder)))


def parts_of(folder: RunFolder) -> Iterator[Localizations]:
    """The log's localizations, a few MB at a time. Raises LogError."""
    reader = LogReader.open(folder.path)
    while True:
        commits, part = reader.read_new()
        if not len(commits):
            return
        if len(part):
            yield part


def absent_of(folder: RunFolder) -> frozenset[str]:
    """Columns that no localization of the run knows: z of a 2D model's, or what another program did not say.

    Of a run without localizations nobody can tell: none.
    """
    unknown = {name for name in LOCALIZATION_DTYPE.names or () if name != "frame_index"}
    nothing = frozenset(unknown)
    for part in parts_of(folder):
        unknown -= Z_COLUMNS if (part.sigma_z_nm > 0).any() else set() if part.is_2d else {"z_nm"}
        unknown -= {name for name in unknown - Z_COLUMNS if np.isfinite(getattr(part, name)).any()}
        if not unknown:
            break  # a run of our own 3D model: after its first localizations
    return frozenset(unknown) if unknown != nothing else frozenset()


def about_run(folder: RunFolder, more: dict[str, Any]) -> About:
    """Pixel size, field and provenance of a run; frames are as many as the camera counted."""
    record, roi = RunRecord.of_run(folder), read_roi(folder)
    report = folder.read_report() or {}
    frames = dict(report.get("frames") or {}).get("expected")
    begun: dict[str, Any] = {"rtdecode": record.versions.get("rtdecode", ""), "run": folder.name}
    if record.source.use == IMPORTED:
        said = record.source.fields
        provenance = begun | {"imported": {"file": Path(said.pop("path", "")).name, **said}}
        return About(camera_px_nm(record), roi.shape if roi else None, frames, provenance | more)
    provenance = begun | {
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
