"""The report in rows of words: whether the line kept up with its camera, and which engine served and why."""

from __future__ import annotations

from typing import Any

import pytest
from runs import Kit

from rtdecode import session
from rtdecode.fit.bundle import ModelBundle
from rtdecode.session.summary import summary_rows

KEPT_UP = "  kept up with the camera"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: ModelBundle) -> dict[str, Any]:
    """Of a camera that does not wait."""
    kit = Kit(tmp_path_factory.mktemp("kit"), tiny_bundle.folder)
    found = session.run_inline(kit.config("run", {"fps": 200}, check=False)).report
    assert found["source"]["can_wait"] is False
    return found


def test_p99_is_held_against_two_frame_periods_and_15_ms(report: dict[str, Any]) -> None:
    assert report["latency_bound_ms"] > 15
    for p99_ms, words in ((34.9, "yes: p99 within two frame periods + 15 ms (35.0 ms)"), (35.1, "no: p99 is beyond")):
        figures = {"latency_bound_ms": 35.0, "latency_ms": report["latency_ms"] | {"p99": p99_ms}}
        assert dict(summary_rows(report | figures))[KEPT_UP].startswith(words)


def test_where_the_source_waits_nothing_is_said_of_keeping_up(report: dict[str, Any]) -> None:
    assert KEPT_UP in dict(summary_rows(report))
    assert KEPT_UP not in dict(summary_rows(report | {"latency_bound_ms": None}))


def test_the_engine_is_told_with_what_the_gate_said(report: dict[str, Any]) -> None:
    rows = dict(summary_rows(report))
    assert rows["engine"] == report["engine_check"] and rows["engine"].startswith("openvino fp32: the reference")
    older = {key: value for key, value in report.items() if key != "engine_check"}
    assert "engine" not in dict(summary_rows(older))
