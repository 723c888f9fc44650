"""report.json: the ledger and the figures of a run, from its folder alone, so that it can be made again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rtdecode.core.errors import RtdecodeError
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.session.books import close_books
from rtdecode.session.cautions import cautions
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.ledger import Ledger, latency_ms, lost_ranges, rate_fps
from rtdecode.stages.notes import read_roi
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.log import Commits, LogReader
from rtdecode.streams.run_folder import RunFolder

FORMAT = 1
MAX_RANGES = 1000  # lost ranges listed one by one, from the first; the counts are whole in any case


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
        "source": {"use": record.source.use, "can_wait": _can_wait(folder)},
        "decisions": _decisions(folder),
        "engine": record.engine.model_dump(),
        "model": {"name": record.model_name, "sha256": record.model_sha256},
        "versions": record.versions,
        "warnings": cautions(folder, record, commits, localizations, outcome),
    }
    return report | _score(folder, record, commits, localizations)


def _can_wait(folder: RunFolder) -> bool:
    """Whether frames waited for us: latency then is mostly time in the ring, and says nothing of a live run."""
    return any(event.get("kind") == "source" and bool(event.get("can_wait")) for event in folder.read_events())


def _decisions(folder: RunFolder) -> list[dict[str, Any]]:
    """The first decision of each kind of each policy, whether or not it was acted on; all are in events.jsonl."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for event in folder.read_events():
        if event.get("kind") == "decision":
            policy, action = str(event["policy"]), dict(event["action"])
            what = str(action.get("property", action["kind"]))
            first.setdefault((policy, what), {"policy": policy, "frame_index": event["frame_index"], "action": action})
    return list(first.values())


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
