"""The ledger closes whatever happens at a real Micro-Manager core: each fault is injected, each counter rises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import Kit

from rtdecode import session
from rtdecode.session.report import build_report

pytest.importorskip("pymmcore_plus")
mm_test_adapters = pytest.importorskip("mm_test_adapters")
FAULTY = f"{Path(__file__).parent / 'faulty_core.py'}:FaultyCore"


def run(kit: Kit, fault: str, **fields: Any) -> dict[str, Any]:
    """The report of a run of 40 frames, 30 x 20 px, with this fault after the fifth."""
    source = {
        "use": FAULTY, "fault": fault, "frames": 40, "exposure_ms": 2.0, "config_file": "MMConfig_demo.cfg",
        "adapter_folder": mm_test_adapters.device_adapter_path(), "region": [10, 20, 30, 20],
        "properties": [["Camera", "PixelType", "16bit"]],
    }  # fmt: skip
    result = session.run_inline(kit.config("run", source=source | fields))
    frames = result.report["frames"]
    assert frames["expected"] == frames["received"] + frames["lost_before"]
    assert frames["received"] == frames["fitted"] + frames["rejected"] + frames["lost_in_ring"]
    assert sum(part["frames"] for part in result.report["lost"]) == frames["expected"] - frames["fitted"]
    assert build_report(result.folder, result.outcome)["frames"] == frames
    return result.report


@pytest.mark.parametrize("fault", ["none", "stall"])
def test_a_stall_loses_nothing_and_ends_nothing(kit: Kit, fault: str) -> None:
    report = run(kit, fault)
    assert (report["finish"], report["frames"]["fitted"], report["frames"]["lost_before"]) == ("completed", 40, 0)


def test_overflow_stops_the_camera_and_is_told_with_what_was_kept(kit: Kit) -> None:
    report = run(kit, "nobody reads", frames=4000, buffer_mb=1, exposure_ms=1.0)
    assert report["finish"] == "failed"
    assert "overflowed and the camera stopped after" in report["reason"]
    assert 5 < report["frames"]["fitted"] < 4000
    assert report["frames"]["lost_before"] == 0  # the camera stopped: it made none that is not here


@pytest.mark.parametrize("fault", ["cleared", "stolen"])
def test_frames_that_vanish_from_the_buffer_are_lost_before_us(kit: Kit, fault: str) -> None:
    report = run(kit, fault)
    assert report["frames"]["lost_before"] >= 3
    first = report["lost"][0]
    assert (first["reason"], first["first"]) == ("lost_before", 5)
    assert "the camera's count went past them" in first["why"]


@pytest.mark.parametrize("fault", ["stopped", "other region"])
def test_a_camera_that_was_stopped_from_outside_fails_the_run_with_its_frames(kit: Kit, fault: str) -> None:
    report = run(kit, fault, frames=4000)
    assert report["finish"] == "failed"
    assert "stopped by itself after" in report["reason"]
    assert report["frames"]["fitted"] >= 5


@pytest.mark.parametrize("fault", ["region moved", "resized"])
def test_frames_of_another_place_or_size_are_rejected_never_fitted(kit: Kit, fault: str) -> None:
    report = run(kit, fault)
    assert report["frames"]["fitted"] <= 5 + 6  # those that were queued before a move may still be right
    bad = report["frames"]["rejected"]
    assert bad >= 6
    assert any(part["why"] == "of another size than the run's" for part in report["lost"])
