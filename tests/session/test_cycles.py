"""Many runs in a row at real cores leave nothing behind: no thread, file, socket, memory, process or running camera."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from pathlib import Path

import psutil
import pytest
from runs import Kit, wait_for, workers

from rtdecode import session

sys.path.insert(0, str(Path(__file__).parents[1] / "sources"))
from bridges import Bridge

pytest.importorskip("pymmcore_plus")
mm_test_adapters = pytest.importorskip("mm_test_adapters")
GREY16 = ("Camera", "PixelType", "16bit")
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


def test_a_hundred_runs_on_another_programs_core_leave_it_idle_and_dark(kit: Kit) -> None:
    """As beside napari-micromanager: the core outlives the runs and is asked after each."""
    from pymmcore_plus import CMMCorePlus

    core = CMMCorePlus.instance()
    core.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    core.loadSystemConfiguration("MMConfig_demo.cfg")
    core.setAutoShutter(False)  # nobody but the run closes what is open
    camera = {
        "use": "mmcore",
        "frames": 10_000,
        "exposure_ms": 1.0,
        "region": (10, 20, 30, 20),
        "properties": (GREY16,),
    }

    def cycle(number: int) -> None:
        core.setShutterOpen(True)
        result = session.run_inline(kit.config(f"run{number}", source=camera, policies=[STOP], control={"mode": "act"}))
        assert result.outcome.finish == "stopped"
        assert 3 <= result.report["frames"]["fitted"] == result.report["frames"]["expected"] < 10_000
        assert not core.isSequenceRunning() and not core.getShutterOpen()

    try:
        for number in range(WARM):
            cycle(number)
        before = left_behind()
        for number in range(WARM, WARM + CYCLES):
            cycle(number)
        assert left_behind() == before
    finally:
        core.unloadAllDevices()
        core.setAutoShutter(True)


def test_runs_with_worker_processes_leave_neither_us_nor_the_microscope_anything(kit: Kit) -> None:
    """The camera outlives the runs: it is asked after each."""
    with Bridge("demo") as bridge, bridge.other() as ask:
        camera = {"use": "micromanager", "port": bridge.port, "exposure_ms": 5.0, "buffer_mb": 16}
        camera |= {"frames": 10_000, "region": (10, 20, 30, 20)}

        ask("setAutoShutter", False)  # nobody but the run closes what is open

        def cycle(number: int) -> None:
            ask("setShutterOpen", True)
            result = session.run(kit.config(f"run{number}", source=camera, policies=[STOP], control={"mode": "act"}))
            assert result.outcome.finish == "stopped"
            assert 3 <= result.report["frames"]["fitted"] == result.report["frames"]["expected"] < 10_000
            ring = result.folder.ring_path
            assert ring is not None and not ring.exists() and workers(result.folder.path) == []
            assert not ask("isSequenceRunning") and not ask("getShutterOpen")

        cycle(0)
        before = left_behind() | {"ports there": bridge.listening}
        for number in range(1, 6):
            cycle(number)
        wait_for(lambda: left_behind() | {"ports there": bridge.listening} == before, f"{before} again")
