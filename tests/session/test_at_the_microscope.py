"""Whole runs at a real core and at a stand-in for Micro-Manager's server: stopped, killed, shared, flooded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from runs import DEADLINE_S, HERE, N_FRAMES, Kit, Watched, commits_of, worker, workers

from rtdecode import session

sys.path.insert(0, str(HERE.parent / "sources"))
from bridges import Bridge

pytest.importorskip("pymmcore_plus")
mm_test_adapters = pytest.importorskip("mm_test_adapters")
ROOT = HERE.parents[1]
STOP = {"use": f"{ROOT / 'plugins' / 'frame_count.py'}:FrameCount", "frames": 20}

PROMISED_NS = 2 * 10**9  # from the last frame of a server that dies to a source that was closed and said so


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    """Frames of 32 x 32 every 5 ms."""
    with Bridge("counting", period_ms=5.0) as bridge:
        yield bridge


def at(bridge: Bridge, frames: int = 100_000) -> dict[str, Any]:
    return {"use": "micromanager", "port": bridge.port, "frames": frames, "exposure_ms": 5.0, "buffer_mb": 16}


def closed_ledger(report: dict[str, Any]) -> dict[str, int]:
    """The counts, both equations checked."""
    frames: dict[str, int] = report["frames"]
    assert frames["expected"] == frames["received"] + frames["lost_before"]
    assert frames["received"] == frames["fitted"] + frames["rejected"] + frames["lost_in_ring"]
    return frames


def demo_camera() -> dict[str, Any]:
    adapters = mm_test_adapters.device_adapter_path()
    region, grey = (10, 20, 30, 20), (("Camera", "PixelType", "16bit"),)
    return {
        "use": "mmcore", "frames": 100_000, "exposure_ms": 5.0, "config_file": "MMConfig_demo.cfg",
        "adapter_folder": adapters, "region": region, "properties": grey,
    }  # fmt: skip


@pytest.mark.parametrize("where", ["mmcore", "micromanager"])
def test_a_policys_stop_reaches_the_camera_and_its_time_is_told(kit: Kit, bridge: Bridge, where: str) -> None:
    source = demo_camera() if where == "mmcore" else at(bridge)
    result = session.run(kit.config("run", source=source, policies=[STOP], control={"mode": "act"}))
    assert result.outcome.finish == "stopped" and "(FrameCount, frame 19)" in result.outcome.reason
    stop = result.report["stop"]
    assert stop["by"] == "decide" and 0 < stop["decision_to_camera_ms"] < 5000  # benchmark: tools/bench_stop.py
    frames = closed_ledger(result.report)
    assert 20 <= frames["expected"] < 100_000 and frames["fitted"] == frames["expected"]
    if where == "micromanager":
        assert not bridge.ask("isSequenceRunning")


def test_a_server_that_is_killed_fails_the_run_with_its_data_and_says_who_must_look_at_the_light(
    kit: Kit, bridge: Bridge
) -> None:
    run = Watched(kit.config("run", source=at(bridge)))
    run.wait_for_frames(10)
    bridge.kill()
    result = run.end()
    assert result.outcome.finish == "failed" and "is gone" in result.outcome.reason
    assert not result.report["safe_stop"]["ok"] and "switch the light off by hand" in result.outcome.reason
    frames = closed_ledger(result.report)
    assert frames["fitted"] >= 10 and result.report["localizations"] > 0 and workers(run.folder.path) == []
    told = next(event for event in run.folder.read_events() if event["kind"] == "acquisition")
    last_ns = int(commits_of(run.folder.path)["t_arrival_ns"].max())  # a frame came every 5 ms until the kill
    assert told["finish"] == "failed" and 0 < told["t_monotonic_ns"] - last_ns < PROMISED_NS


def test_a_second_run_on_the_same_camera_is_refused_and_the_first_does_not_notice(kit: Kit, bridge: Bridge) -> None:
    first = Watched(kit.config("first", source=at(bridge)))
    first.wait_for_frames(10)
    second = session.run(kit.config("second", source=at(bridge)))
    assert second.outcome.finish == "failed" and "running already" in second.outcome.reason
    first.wait_for_frames(40)
    first.interrupt.ask("Ctrl-C")
    result = first.end()
    assert result.outcome == session.Outcome("stopped", "Ctrl-C")
    frames = closed_ledger(result.report)
    assert frames["fitted"] == frames["expected"] >= 40
    assert not bridge.ask("isSequenceRunning")


def test_strangers_who_flood_the_door_stop_nobody(kit: Kit) -> None:
    run = Watched(kit.config("run", {"hold_after": 18}))
    run.wait_for_frames(10)
    endpoint = run.folder.door_endpoint
    assert endpoint is not None
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    flood = context.socket(zmq.DEALER)
    flood.setsockopt(zmq.SNDHWM, 0)
    flood.connect(endpoint.partition("#")[0])
    for _ in range(30_000):
        flood.send(b'{"worker": "localize", "action": {"kind": "stop"}}')
    kit.go.touch()
    result = run.end()
    context.destroy(linger=0)
    assert result.outcome.finish == "completed" and closed_ledger(result.report)["fitted"] == N_FRAMES
    assert not {"restart", "died"} & {event["kind"] for event in result.folder.read_events()}


def test_localize_killed_with_too_short_a_ring_is_a_counted_gap(kit: Kit) -> None:
    frames = np.tile(np.load(kit.frames), (15, 1, 1))  # 600 at 200 a second; 32 fit into the ring
    np.save(kit.folder / "long.npy", frames)
    camera = {"path": str(kit.folder / "long.npy"), "fps": 200.0}
    run = Watched(kit.config("run", camera, ring={"seconds": 0.1}))
    run.wait_for_frames(20)
    worker(run.folder.path, "localize").kill()
    result = run.end()
    counts = closed_ledger(result.report)
    assert result.outcome.finish == "completed" and counts["expected"] == 600
    assert counts["lost_in_ring"] > 0 and counts["fitted"] > 20
    lost = [part for part in result.report["lost"] if part["reason"] == "lost_in_ring"]
    assert sum(part["frames"] for part in lost) == counts["lost_in_ring"]
    assert any("localize was restarted" in words for words in result.report["warnings"])


def test_the_shipped_live_configuration_is_rehearsed_as_the_guide_says(tmp_path: Path) -> None:
    """docs/first-live-session.md §3, on the demo camera: copied, a few values changed, both lines add up."""
    text = (ROOT / "configs" / "live-storm-micromanager.yaml").read_text()
    mine, run = tmp_path / "my-session.yaml", tmp_path / "rehearsal"
    with Bridge("demo") as bridge:
        changes = {
            "frames: 30000": "frames: 50", "use: micromanager": f"use: micromanager\n  port: {bridge.port}",
            "../plugins": str(ROOT / "plugins"),
        }  # fmt: skip
        for found, wanted in changes.items():
            assert text.count(found) == 1
            text = text.replace(found, wanted)
        mine.write_text(text)
        command = [sys.executable, "-m", "rtdecode", "live", str(mine), "--out", str(run), "--no-view"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0, done.stderr
        assert not bridge.ask("isSequenceRunning") and not bridge.ask("getShutterOpen")
    assert re.search(r"50 = received 50 \+ lost before us 0", done.stdout), done.stdout
    report = json.loads((run / "report.json").read_text())
    counts = closed_ledger(report)
    assert (report["finish"], counts["expected"], counts["received"]) == ("completed", 50, 50)
    assert (run / "picture.png").exists()
