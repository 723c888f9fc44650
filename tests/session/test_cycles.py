"""A hundred runs in a row on one real core leave nothing behind: no thread, file, socket, memory or running camera."""

from __future__ import annotations

import gc
import logging
import os
import threading
from pathlib import Path

import psutil
import pytest
from runs import Kit, workers

from rtdecode import session

pytest.importorskip("pymmcore_plus")
CYCLES = 100
WARM = 10  # the first ones load libraries and start their thread pools
STOP = {"use": f"{Path(__file__).parent / 'policies.py'}:StopAt", "frame": 2}
SCENE = {"density_um2": 0.2, "width_px": 16, "height_px": 16, "structure": "random"}
CAMERA = {"use": "mmcore", "frames": 300, "exposure_ms": 1.0, "simulated": SCENE}


def left_behind() -> dict[str, object]:
    """What a process can forget to give back."""
    gc.collect()
    process = psutil.Process()
    return {
        "threads": threading.active_count(),
        "system threads": process.num_threads(),
        "files and sockets": process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        "children": len(process.children(recursive=True)),
        "shared memory": sorted(path.name for path in Path("/dev/shm").glob(f"rtdecode-{os.getpid()}-*")),
    }


def test_a_hundred_starts_and_stops_leave_nothing_behind(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "pymmcore-plus")  # pytest keeps what was logged, and with it every core

    def cycle(number: int) -> None:
        act = {"mode": "act"}
        result = session.run_inline(kit.config(f"run{number}", source=CAMERA, policies=[STOP], control=act))
        frames = result.report["frames"]
        assert result.outcome.finish == "stopped"
        assert 3 <= frames["fitted"] == frames["expected"] < 300

    for number in range(WARM):
        cycle(number)
    before = left_behind()
    for number in range(WARM, WARM + CYCLES):
        cycle(number)
    assert left_behind() == before


def test_runs_with_worker_processes_leave_nothing_behind_either(kit: Kit) -> None:
    def cycle(number: int) -> None:
        result = session.run(kit.config(f"run{number}", source=CAMERA, policies=[STOP], control={"mode": "act"}))
        assert result.outcome.finish == "stopped"
        assert result.report["frames"]["fitted"] == result.report["frames"]["expected"] >= 3
        ring = result.folder.ring_path
        assert ring is not None and not ring.exists() and workers(result.folder.path) == []

    cycle(0)
    before = left_behind()
    for number in range(1, 6):
        cycle(number)
    assert left_behind() == before
