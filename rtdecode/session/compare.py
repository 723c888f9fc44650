"""Runs side by side: the figures that differ between recordings, settings or models, in one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rtdecode.core.localizations import Localizations
from rtdecode.session.measuring import measured_rows
from rtdecode.session.run_overview import sample_of
from rtdecode.stages.run_record import IMPORTED
from rtdecode.streams.run_folder import RunFolder

NONE = "-"
Row = tuple[str, tuple[str, ...]]


def comparison(runs: Sequence[tuple[RunFolder, dict[str, Any]]]) -> list[Row]:
    """Rows of (what, its figure in each run); what no run has is left out. Raises LogError."""
    columns = [dict(_figures(folder, report)) for folder, report in runs]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return [(name, tuple(column.get(name, NONE) for column in columns)) for name in names]


def _figures(folder: RunFolder, report: dict[str, Any]) -> Iterable[tuple[str, str]]:
    frames, latency = report["frames"], report["latency_ms"]
    if report["source"]["use"] == IMPORTED:
        yield "model", "another program's"
        yield "frames", f"{frames['expected']:,}"
    else:
        yield "finish", str(report["finish"])
        yield "model", f"{report['model']['name']} ({report['model']['sha256'][:12]})"
        yield "engine", f"{report['engine']['use']} {report['engine']['precision']}"
        yield "frames fitted", f"{frames['fitted']:,} of {frames['expected']:,}"
        yield "frames lost", f"{frames['lost_before'] + frames['lost_in_ring']:,}"
        yield "frames rejected", f"{frames['rejected']:,}"
        yield "frames/s", _number(report["rate_fps"], 1)
        yield "latency p50, p99 (ms)", f"{_number(latency['p50'], 1)}, {_number(latency['p99'], 1)}"
    yield "localizations", f"{report['localizations']:,}"
    if frames["fitted"]:
        yield "localizations in a frame", f"{report['localizations'] / frames['fitted']:.2f}"
    yield from _medians(sample_of(folder)[1])
    yield from _scores(report.get("score", {}))
    yield from measured_rows(folder)
    yield "warnings", str(len(report["warnings"]))


def _medians(found: Localizations) -> Iterable[tuple[str, str]]:
    if not len(found):
        return
    for name, values, digits in (
        ("photons", found.photons, 0),
        ("background", found.background, 1),
        ("sigma x, y (nm)", (found.sigma_x_nm + found.sigma_y_nm) / 2, 1),
        ("sigma z (nm)", found.sigma_z_nm, 1),
    ):
        if np.isfinite(values).any() and not ("z" in name and found.is_2d):
            yield f"median {name}", f"{np.nanmedian(values):.{digits}f}"


def _scores(score: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, words, digits in (
        ("jaccard", "Jaccard", 3),
        ("rmse_lateral_nm", "RMSE lateral (nm)", 1),
        ("rmse_axial_nm", "RMSE axial (nm)", 1),
    ):
        if score.get(name) is not None:
            yield words, _number(score[name], digits)


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
