"""A run's report in rows of words, for the terminal and the page."""

from __future__ import annotations

from typing import Any

from rtdecode.stages.run_record import IMPORTED


def summary_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, its figures) of a report.json: ledger, rates, latency, score, policies, model, warnings."""
    frames, latency = report["frames"], report["latency_ms"]
    if report["source"]["use"] == IMPORTED:
        return _imported_rows(report)
    rows = [("finish", ": ".join(part for part in (report["finish"], report["reason"]) if part))]
    rows += [
        (
            "frames expected",
            f"{frames['expected']} = received {frames['received']} + lost before us {frames['lost_before']}",
        )
    ]
    rows += [
        (
            "frames received",
            f"{frames['received']} = fitted {frames['fitted']} + rejected {frames['rejected']}"
            f" + lost in ring {frames['lost_in_ring']}",
        )
    ]
    rows += [("frames late", f"{frames['late']} of the fitted")] if frames.get("late") else []
    rows += [
        (f"  {lost['reason'].replace('_', ' ')}", f"{lost['first']} to {lost['last']}: {lost['why']}")
        for lost in report["lost"][:8]
    ]
    rows += [("localizations", f"{report['localizations']}")]
    if report["rate_fps"] is not None:
        rows += _timing(report, latency)
    if "stop" in report:
        rows += [("camera stopped", f"{report['stop']['decision_to_camera_ms']:.0f} ms after the decision")]
    if "score" in report:
        rows += _score_rows(report["score"])
    rows += [(f"policy, at frame {said['frame_index']}", _decision(said)) for said in report.get("decisions", [])]
    taken = report.get("source", {}).get("camera_from")
    rows += [("camera", f"of the recorded run: {taken}")] if taken else []
    rows += [(f"policy {name}", _standing(said)) for name, said in report.get("policies", {}).items()]
    model, engine = report["model"], report["engine"]
    rows += [("model", f"{model['name']} ({model['sha256'][:12]}), {engine['use']} {engine['precision']}")]
    rows += [("engine", words)] if (words := report.get("engine_check")) else []
    return rows + [("warning", warning) for warning in report["warnings"]]


def _timing(report: dict[str, Any], latency: dict[str, Any]) -> list[tuple[str, str]]:
    waits = report.get("source", {}).get("can_wait")  # a recording: most of it is time in the ring
    return [
        ("rate", f"{_number(report['rate_fps'], 1)} frames/s"),
        ("latency, arrival to log" + (", with the time in the ring" if waits else ""), _latency(latency)),
        ("  without the wait for the next frame", _latency(latency["without_context"])),
        *_pace(latency["p99"], report.get("latency_bound_ms")),
    ]


def _imported_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Of a table that another program made: no frame was received or fitted here, and nothing was timed."""
    made_by = str(report.get("made_by", "another program"))  # a volume says who it is, and its planes
    rows = [("made by", made_by), ("frames", f"{report['frames']['expected']}")]
    rows += [("localizations", f"{report['localizations']}")]
    rows += [(str(name), str(words)) for name, words in report.get("planes", [])]
    rows += _score_rows(report["score"]) if "score" in report else []
    return rows + [("warning", warning) for warning in report["warnings"]]


def _pace(p99_ms: float | None, bound_ms: float | None) -> list[tuple[str, str]]:
    """Whether the line kept up with its camera; nothing where that cannot be said."""
    if p99_ms is None or bound_ms is None:
        return []
    kept = p99_ms <= bound_ms
    words = (
        f"p99 within two frame periods + 15 ms ({bound_ms:.1f} ms)"
        if kept
        else (f"no: p99 is beyond two frame periods + 15 ms ({bound_ms:.1f} ms); see `rtdecode doctor --camera`")
    )
    return [("  kept up with the camera", f"yes: {words}" if kept else words)]


def _decision(said: dict[str, Any]) -> str:
    """`name: stop: reason` or `name: device.property = value`."""
    action = said["action"]
    what = f"stop: {action['reason']}" if action["kind"] == "stop" else f"{action['device']}.{action['property']}"
    return f"{said['policy']}: {what}" + (f" = {action['value']:g}" if "value" in action else "")


def _standing(said: dict[str, Any]) -> str:
    """A policy's own figures at the end: `coverage 0.97, lower 0.95, ...`."""
    figures = {name: value for name, value in said.items() if name != "frame_index"}
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )


def _score_rows(score: dict[str, Any]) -> list[tuple[str, str]]:
    if "error" in score:
        return [("score", str(score["error"]))]
    found = ", ".join(f"{name} {_number(score[name], 3)}" for name in ("jaccard", "precision", "recall"))
    errors = f"lateral {_number(score['rmse_lateral_nm'], 1)} nm"
    if score["rmse_axial_nm"] is not None:  # a 2D model has none
        errors += f", axial {_number(score['rmse_axial_nm'], 1)} nm"
    return [("score against truth", found), ("  RMSE", errors)]


def _latency(figures: dict[str, Any]) -> str:
    return "  ".join(f"{name} {_number(figures[name], 1)} ms" for name in ("p50", "p99", "max"))


def _number(value: float | None, digits: int) -> str:
    return "--" if value is None else f"{value:.{digits}f}"
