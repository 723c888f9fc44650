"""Drift and resolution of a finished run, measured from its log and kept in its folder: drift.csv, resolution.json."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.core.drift import Drift
from rtdecode.core.errors import ConfigError, RunFolderError
from rtdecode.core.localizations import Localizations
from rtdecode.session.exporting import bundle_of, parts_of, recommended_filter
from rtdecode.session.volume_plan import VOLUME_JSON
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.drift_file import NAME as DRIFT
from rtdecode.streams.drift_file import read_drift, write_drift
from rtdecode.streams.files import write_atomically
from rtdecode.streams.run_folder import RunFolder

RESOLUTION = "resolution.json"
AT_ONCE = 400_000  # localizations up to which both are measured at a run's end: some ten seconds
CURVE_POINTS = 120
LITTLE_NM = 10.0  # of a table that states no sigma: what a good localization is known to
SEEN = 2.5  # chi-squared of the blocks about one place, per degree of freedom
LEAST_PLACED = 0.8  # share of the blocks that must have got a place


def measure_drift(folder: RunFolder) -> Drift:
    """Of the localizations that pass the model's filter; written to drift.csv. Raises LogError, FileFormatError.

    ConfigError for a volume: its frames are planes, and the way from one to the next is no drift.
    """
    if (folder.path / VOLUME_JSON).exists():
        raise ConfigError(
            f"{folder.path}: is a volume, its frames are planes; measure each plane's run, and "
            "say take_off_drift in the plan"
        )
    from rtdecode.analysis.drift import estimate_drift

    drift = estimate_drift(good_of(folder))
    if _n_placed(drift) > 1:  # or what an earlier measurement found is left as it is
        write_drift(folder.path / DRIFT, drift)
        _note(folder, "drift", {"range_nm": [round(v, 2) for v in drift.range_nm], "in_words": drift_words(drift)})
    return drift


def measure_resolution(folder: RunFolder) -> dict[str, Any]:
    """FRC and the density's limit, the known drift taken off; written to resolution.json. Raises LogError."""
    from rtdecode.analysis.resolution import resolution

    drift = drift_of(folder)
    found = resolution(drift.undone(good_of(folder)) if drift is not None else good_of(folder))
    said: dict[str, Any] = found.as_json() | {"drift": "taken off" if drift is not None else "not known"}
    said["drift_sha256"] = _drift_sha256(folder)
    _note(folder, "resolution", said)
    if found.curve is not None:
        step = max(1, len(found.curve.frequency_per_nm) // CURVE_POINTS)
        said["curve"] = [
            np.round(found.curve.frequency_per_nm[::step], 7).tolist(),
            np.round(found.curve.correlation[::step], 4).tolist(),
        ]
    write_atomically(folder.path / RESOLUTION, json.dumps(said, indent=1) + "\n")
    return said


def drift_of(folder: RunFolder) -> Drift | None:
    """What drift.csv says; None where it was not measured. Raises FileFormatError."""
    path = folder.path / DRIFT
    found = read_drift(path) if path.exists() else None
    return found if found is not None and len(found) else None


def resolution_of(folder: RunFolder) -> dict[str, Any] | None:
    """What resolution.json says; None where it was not measured. Raises RunFolderError."""
    path = folder.path / RESOLUTION
    if not path.exists():
        return None
    try:
        said = dict(json.loads(path.read_text(encoding="utf-8")))
        return said | {"is_stale": said.get("drift_sha256", "") != _drift_sha256(folder)}
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(f"{path}: cannot be read: {error}; measure it again with `rtdecode resolution`") from error


def drift_words(drift: Drift) -> str:
    """In a sentence."""
    placed = int(np.isfinite(drift.sigma_nm).all(axis=1).sum())
    if placed < 2:
        return "not measured: too few localizations, or nothing in them that stays in place"
    x, y, z = drift.range_nm
    if not _is_seen(drift):
        error = _block_error_nm(drift)
        return f"none beyond the error of a block: {error:.1f} nm ({x:.0f} nm in x, {y:.0f} nm in y from end to end)"
    deep = f", {z:.0f} nm in z" if z else ""
    lost = f"; {len(drift) - placed} of {len(drift)} blocks could not be placed" if placed < len(drift) else ""
    return f"{x:.0f} nm in x, {y:.0f} nm in y{deep} over the run, each block to {_block_error_nm(drift):.1f} nm{lost}"


def _n_placed(drift: Drift) -> int:
    return int(np.isfinite(drift.sigma_nm).all(axis=1).sum())


def _block_error_nm(drift: Drift) -> float:
    placed = np.isfinite(drift.sigma_nm[1:]).all(axis=1)
    return float(np.median(drift.sigma_nm[1:][placed], axis=0)[:2].max())


def _is_seen(drift: Drift) -> bool:
    """Whether the blocks scatter about one place by more than their errors, which are stated a third too small."""
    placed = np.isfinite(drift.sigma_nm).all(axis=1) & (drift.sigma_nm[:, 0] > 0)
    if placed.sum() < 2:
        return False
    shift, sigma = drift.shift_nm[placed], np.maximum(drift.sigma_nm[placed], 1e-6)
    axes = [axis for axis in range(3) if np.ptp(shift[:, axis]) > 0]
    mean = np.average(shift, axis=0, weights=sigma**-2.0)
    scatter = (((shift - mean) / sigma) ** 2).sum(axis=0) / (len(shift) - 1)
    return bool(any(scatter[axis] > SEEN for axis in axes))


def _drift_sha256(folder: RunFolder) -> str:
    path = folder.path / DRIFT
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _note(folder: RunFolder, what: str, said: dict[str, Any]) -> None:
    """Also in report.json, where there is one."""
    report = folder.read_report()
    if report is not None:
        folder.write_report(report | {what: said})


def drift_verdict(drift: Drift, found: Localizations) -> str:
    """What to do about it: whether it went further than a localization's own error, and whether it is well known.

    `found`: the localizations that it was measured from.
    """
    placed = np.isfinite(drift.sigma_nm).all(axis=1)
    if placed.sum() < 2:
        return "Nothing to take off."
    sigma = np.concatenate([found.sigma_x_nm, found.sigma_y_nm])
    known = sigma[np.isfinite(sigma) & (sigma > 0)]
    own = float(np.median(known)) if len(known) else LITTLE_NM
    moved, error = max(drift.range_nm[:2]), float(np.median(drift.sigma_nm[placed][1:, :2]))
    if placed.mean() < LEAST_PLACED or error > own:
        return "Not reliable: look at it before you take it off."
    if not _is_seen(drift):
        return "Nothing to take off."
    if moved <= own / 2:
        return f"It matters little: a localization's own error is {own:.0f} nm."
    return f"It blurs the image (a localization's own error is {own:.0f} nm): take it off with `export --drift`."


def resolution_words(said: dict[str, Any]) -> str:
    """In a sentence."""
    limit = _nm_between(said.get("nyquist_nm"), said.get("nyquist_interval_nm"))
    nyquist = f"; the density allows {limit}" if limit else ""
    fine = _nm_between(said.get("frc_nm"), said.get("interval_nm"))
    if not fine:
        return f"no FRC resolution: the halves have too little in common{nyquist}"
    from rtdecode.analysis.resolution import LEAST_BLOCKS

    needed = LEAST_BLOCKS * int(said.get("block_frames", 0))
    short = "" if said.get("interval_nm") else f" (no interval below {needed:,} frames)"
    stale = "; measured with another drift, `rtdecode resolution` measures it again" if said.get("is_stale") else ""
    return f"FRC {fine}{short}, drift {said['drift']}{nyquist}{stale}"


def _nm_between(nm: float | None, interval: list[float] | None) -> str:
    """`37 nm (95 %: 35 to 40)`; empty where there is no number."""
    if nm is None:
        return ""
    return f"{nm:.0f} nm" + (f" (95 %: {interval[0]:.0f} to {interval[1]:.0f})" if interval else "")


def measured_rows(folder: RunFolder) -> list[tuple[str, str]]:
    """(what, in words) of what was measured. Raises FileFormatError, RunFolderError."""
    drift, fine = drift_of(folder), resolution_of(folder)
    rows = [("drift", drift_words(drift))] if drift is not None else []
    return rows + ([("resolution", resolution_words(fine))] if fine is not None else [])


def measure_at_end(folder: RunFolder, n_localizations: int) -> None:
    """What was not measured yet, where that takes seconds; larger runs are measured when somebody asks."""
    if not 0 < n_localizations <= AT_ONCE:
        return
    if not (folder.path / DRIFT).exists() and not (folder.path / VOLUME_JSON).exists():
        measure_drift(folder)
    if not (folder.path / RESOLUTION).exists():
        measure_resolution(folder)


def drift_path(folder: RunFolder) -> Path:
    """Of drift.csv."""
    return folder.path / DRIFT


def good_of(folder: RunFolder) -> Localizations:
    """Those that pass the model's own filter. Raises LogError."""
    quality = recommended_filter(bundle_of(RunRecord.of_run(folder)))
    return Localizations.concatenate(quality.of(part) for part in parts_of(folder))
