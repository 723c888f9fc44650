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
from rtdecode.stages.arbiter import Verdict
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.decide import signed
from rtdecode.stages.ledger import Ledger, Tally, latency_bound_ms, latency_ms, lost_ranges, rate_fps
from rtdecode.stages.notes import read_can_wait, read_lost_because, read_roi
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import IMPORTED, RunRecord
from rtdecode.stages.safe_stop import told
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
    imported = record.source.use == IMPORTED
    commits, localizations = _log_of(folder, keep=not imported or folder.truth_csv.exists())
    lost = lost_ranges(commits, read_lost_because(folder))
    timed = commits if commits["t_arrival_ns"].any() else commits[:0]  # imported, or fitted out of order by a batch
    report: dict[str, Any] = {
        "format": FORMAT,
        "finish": outcome.finish,
        "reason": outcome.reason,
        "frames": Ledger.of(commits).as_json(),
        "lost": lost[:MAX_RANGES],
        "localizations": int(commits["n_localizations"].sum()),
        "rate_fps": rate_fps(timed),
        "latency_ms": latency_ms(timed),
        "latency_bound_ms": None if read_can_wait(folder) else latency_bound_ms(commits),
        "source": {"use": record.source.use, "can_wait": read_can_wait(folder), "camera_from": record.camera_from},
        "decisions": _decisions(folder),
        "policies": _states(folder),
        "engine": record.engine.model_dump(),
        "engine_check": record.engine_check,
        "model": {"name": record.model_name, "sha256": record.model_sha256},
        "versions": record.versions,
        "warnings": cautions(folder, record, commits, localizations, outcome),
    }
    safe_stop, stop = told(folder), stop_latency(folder.read_events())
    report |= ({"safe_stop": safe_stop} if safe_stop else {}) | ({"stop": stop} if stop else {})
    return report | _score(folder, record, commits, localizations)


def _log_of(folder: RunFolder, *, keep: bool) -> tuple[Commits, Localizations]:
    """The whole log; without its localizations where nothing asks for them: 10 million take 1 GB on the way."""
    reader = LogReader.open(folder.path)
    if keep:
        return reader.all()
    parts = [reader.read_new()[0]]
    while len(parts[-1]):
        parts.append(reader.read_new()[0])
    return np.concatenate(parts), Localizations.empty()


def judge(folder: RunFolder, outcome: Outcome) -> Outcome:
    """A run that came to its end without one fitted frame has failed, whatever its camera says of it."""
    if outcome.finish != "completed" or (tally := Tally.of_log(folder.path)).fitted:
        return outcome
    commits, _ = LogReader.open(folder.path).all()
    reasons = dict.fromkeys(part["why"] for part in lost_ranges(commits, read_lost_because(folder)))
    n_frames = tally.rejected + tally.lost_before + tally.lost_in_ring
    return Outcome.failed(f"none of {n_frames} frames could be fitted: {'; '.join(reasons)}") if n_frames else outcome


def stop_latency(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Who stopped the camera, and ms from the decision (a policy's, or a person's order) to its standstill."""
    halted = next((event for event in events if event.get("kind") == "camera_stopped"), None)
    stops = [event for event in events if dict(event.get("action") or {}).get("kind") == "stop"]
    ordered = next((event for event in stops if event.get("verdict") == Verdict.DONE.value), None)
    if halted is None or ordered is None:
        return {}
    reason = str(ordered["action"]["reason"])  # a policy's is signed with its name and frame
    begun = next((event for event in stops if event["kind"] == "decision" and _is_signed(reason, event)), ordered)
    waited_ms = (halted["t_monotonic_ns"] - begun["t_monotonic_ns"]) / 1e6
    return {"by": ordered["worker"], "decision_to_camera_ms": round(waited_ms, 1)}


def _is_signed(reason: str, decision: dict[str, Any]) -> bool:
    """Whether this decision of a policy is the one that a Stop of this reason carries out."""
    return reason == signed(decision["action"]["reason"], decision["policy"], decision["frame_index"])


def _decisions(folder: RunFolder) -> list[dict[str, Any]]:
    """The first decision of each kind of each policy, whether or not it was acted on; all are in events.jsonl."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for event in folder.read_events():
        if event.get("kind") == "decision":
            policy, action = str(event["policy"]), dict(event["action"])
            what = str(action.get("property", action["kind"]))
            first.setdefault((policy, what), {"policy": policy, "frame_index": event["frame_index"], "action": action})
    return list(first.values())


def _states(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """How each policy that speaks of itself stood at the end: its own figures, and the frame it said them at."""
    said = [event for event in folder.read_events() if event.get("kind") == "state"]
    return {str(event["policy"]): {"frame_index": event["frame_index"], **dict(event["state"])} for event in said}


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
        rules = Rules(dims=2 if localizations.is_2d else 3, field=field)
        found = score(emitters, localizations, frames=np.asarray(fitted, np.int64), rules=rules)
    except RtdecodeError as error:
        return {"score": {"error": str(error)}}
    return {"score": {name: _rounded(value) for name, value in found.as_dict().items()}}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
