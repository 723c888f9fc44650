"""A run that listens to an MDA of pymmcore-plus in this process, and what is said where that cannot be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import DEADLINE_S, Kit

from rtdecode import session
from rtdecode.core.errors import ConfigError, SourceError

pytest.importorskip("pymmcore_plus")
useq = pytest.importorskip("useq")
mm_test_adapters = pytest.importorskip("mm_test_adapters")
N_FRAMES = 100
MOVIE = useq.MDASequence(time_plan={"interval": 0, "loops": N_FRAMES})


@pytest.fixture
def core() -> Iterator[Any]:
    """The core that pymmcore-plus keeps for this process, with Micro-Manager's demo camera, as another program's."""
    from pymmcore_plus import CMMCorePlus

    adapters = Path(mm_test_adapters.device_adapter_path())
    core = CMMCorePlus.instance()
    core.setDeviceAdapterSearchPaths([str(adapters)])
    core.loadSystemConfiguration(str(adapters / "MMConfig_demo.cfg"))
    core.setProperty("Camera", "PixelType", "16bit")
    core.setROI(0, 0, 30, 20)
    core.setExposure(2.0)
    yield core
    core.unloadAllDevices()


def test_an_mda_is_fitted_beside_the_program_that_runs_it(kit: Kit, core: Any) -> None:
    run = session.listen(kit.config("run", source={"use": "mda", "frames": N_FRAMES}))
    core.run_mda(MOVIE).join(DEADLINE_S)
    result = run.result(DEADLINE_S)
    assert result.outcome.finish == "completed" and run.is_over
    frames = result.report["frames"]
    assert (frames["expected"], frames["fitted"], frames["lost_before"]) == (N_FRAMES, N_FRAMES, 0)
    assert result.report["localizations"] > 0
    core.snapImage()  # the camera is its owner's, and idle
    assert not core.isSequenceRunning()


def test_frames_that_the_mda_never_made_are_lost_before_us(kit: Kit, core: Any) -> None:
    run = session.listen(kit.config("run", source={"use": "mda", "frames": N_FRAMES + 20}))
    core.run_mda(MOVIE).join(DEADLINE_S)
    frames = run.result(DEADLINE_S).report["frames"]
    assert (frames["expected"], frames["received"], frames["lost_before"]) == (N_FRAMES + 20, N_FRAMES, 20)


def test_the_owner_may_end_the_listening(kit: Kit, core: Any) -> None:
    run = session.listen(kit.config("run", source={"use": "mda"}))
    run.stop("seen enough")
    assert run.result(DEADLINE_S).outcome == session.Outcome("stopped", "seen enough")
    core.run_mda(MOVIE).join(DEADLINE_S)  # nobody minds


def test_without_a_core_it_is_said_at_once_where_to_listen(kit: Kit, core: Any) -> None:
    core.unloadAllDevices()
    with pytest.raises(SourceError, match=r"ended before it could listen: .*rtdecode\.session\.listen in that program"):
        session.listen(kit.config("run", source={"use": "mda"}))


def test_workers_cannot_hear_an_mda_and_no_folder_is_made(kit: Kit) -> None:
    with pytest.raises(ConfigError, match=r"rtdecode\.session\.listen"):
        session.run(kit.config("run", source={"use": "mda"}))
    config = kit.folder / "mda.yaml"
    config.write_text(f"model: {kit.model}\nsource:\n  use: mda\n")
    command = [sys.executable, "-m", "rtdecode", "live", str(config), "--out", str(kit.folder / "run"), "--no-view"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode != 0 and f"{config}, line 3: the source mda listens" in done.stderr
    assert not (kit.folder / "run").exists()
