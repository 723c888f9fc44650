"""report.json: the ledger and the figures of a run, from its folder alone, so that it can be made again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rtdecode.core.errors import BundleError, RtdecodeError
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import ModelBundle
from rtdecode.session.books import close_books
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.ledger import Ledger, latency_ms, lost_ranges, rate_fps
from rtdecode.stages.notes import read_roi
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import RunRecord
from rtdecode.stages.widefield import FINAL_NAME as WIDEFIELD
from rtdecode.streams.log import CommitFlag, Commits, LogReader
from rtdecode.streams.run_folder import RunFolder

FORMAT = 1
MAX_RANGES = 1000  # lost ranges listed one by one; the counts are whole in any case


def close_run(folder: RunFolder, outcome: Outcome) -> dict[str, Any]:
    """Close the books, write report.json, give it; the run is over from here on."""
    close_books(folder)
    report = build_report(folder, outcome)
    folder.write_report(report)
    return report


def build_report(folder: RunFolder, outcome: Outcome) -> dict[str, Any]:
    """The report of a run whose log covers every frame; raises LogError when the log is damaged."""
    record = RunRecord.of_run(folder)
    commits, localizations = LogReader.open(folder.path).all()
    lost = lost_ranges(commits)
    report: dict[str, Any] = {
        "format": FORMAT,
        "finish": outcome.finish,
        "reason": outcome.reason,
        "frames": Ledger.of(commits).as_json(),
        "lost": lost[:MAX_RANGES],
        "localizations": len(localizations),
        "rate_fps": rate_fps(commits),
        "latency_ms": latency_ms(commits),
        "engine": record.engine.model_dump(),
        "model": {"name": record.model_name, "sha256": record.model_sha256},
        "versions": record.versions,
        "warnings": warnings(folder, record, commits, outcome),
    }
    return report | _score(folder, record, commits, localizations)


def warnings(folder: RunFolder, record: RunRecord, commits: Commits, outcome: Outcome) -> list[str]:
    """What a person should know before trusting the numbers, one sentence each."""
    sentences = []
    if unfitted := int(np.sum(commits["fate"] != Fate.FITTED)):
        sentences.append(f"{unfitted} frames were not fitted; see `lost`")
    if (ranges := len(lost_ranges(commits))) > MAX_RANGES:
        sentences.append(f"only the first {MAX_RANGES} of {ranges} lost ranges are listed")
    if saturated := int(np.count_nonzero(commits["flags"] & CommitFlag.SATURATED)):
        sentences.append(f"{saturated} frames have saturated pixels: photons and positions there are biased")
    if record.allow_camera_mismatch:
        sentences.append("allow_camera_mismatch: the camera was not held against the model's")
    if record.camera_assumed:
        sentences.append("no camera was given: gain, baseline and pixel size are assumed to be the model's")
    sentences += model_fits(folder, record, int(np.sum(commits["fate"] == Fate.FITTED)))
    return sentences + [told for told in _told(folder) if not (outcome.reason and outcome.reason in told)]


def model_fits(folder: RunFolder, record: RunRecord, n_fitted: int) -> list[str]:
    """A sentence where the frames' background lies outside what the model was trained on; empty where it fits.

    Background: median pixel of the mean frame, in photons by the run's camera. The model may be gone: empty, too.
    """
    widefield = folder.path / WIDEFIELD
    if not widefield.exists() or not n_fitted or record.camera is None:
        return []
    try:
        low, high = ModelBundle.load(record.model).card.ranges.background
    except BundleError:
        return []
    mean_adu = np.load(widefield, allow_pickle=False) / n_fitted
    background = float(np.median(record.camera.photons(mean_adu)))
    if low / 1.5 <= background <= high * 1.5:
        return []
    return [
        f"the frames' background is about {background:.3g} photons per pixel, the model was trained for {low:g} to "
        f"{high:g}: it does not fit these data (or the camera's values are wrong), and what it found means little"
    ]


def _told(folder: RunFolder) -> list[str]:
    """Warnings that stand in the events: restarts, failed policies, errors."""
    sentences = []
    for event in folder.read_events():
        match event:
            case {"kind": "restart", "of": of, "reason": why}:
                sentences.append(f"{of} was restarted: {why}")
            case {"kind": "policy_error", "policy": policy, "reason": error}:
                sentences.append(f"policy {policy} failed and was asked no more: {str(error).strip().splitlines()[-1]}")
            case {"kind": "error", "worker": worker, "reason": error}:
                sentences.append(f"{worker}: {error}")
            case {"kind": "warning", "reason": warning}:
                sentences.append(str(warning))
    return list(dict.fromkeys(sentences))


def _score(
    folder: RunFolder, record: RunRecord, commits: Commits, localizations: Localizations
) -> dict[str, dict[str, Any]]:
    """`score` where the truth is known, over the frames that were fitted (loss is told in `frames`)."""
    fitted = commits["frame_index"][commits["fate"] == Fate.FITTED]
    roi = read_roi(folder)
    if not folder.truth_csv.exists() or roi is None or not len(fitted):
        return {}
    from rtdecode.analysis.evaluate import Rules, score
    from rtdecode.physics.structures import Field
    from rtdecode.streams.truth import read_truth

    field = Field.of_shape(roi.height_px, roi.width_px, camera_px_nm(record))
    try:
        emitters = read_truth(folder.truth_csv)
        found = score(emitters, localizations, frames=np.asarray(fitted, np.int64), rules=Rules(field=field))
    except RtdecodeError as error:
        return {"score": {"error": str(error)}}
    return {"score": {name: _rounded(value) for name, value in found.as_dict().items()}}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
