"""pycromanager as the client: its Core over the wire, with its server killed, and its Core in this process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from bridges import ROOT, Bridge
from source_contract import DEADLINE_S, drain

pytest.importorskip("pymmcore_plus")
mm_test_adapters = pytest.importorskip("mm_test_adapters")


# through pycromanager's own client

THROUGH_PYCROMANAGER = """
import json, sys, time
import numpy as np
from rtdecode.core.actions import Stop
from rtdecode.core.errors import ConfigError, EndOfStream, SourceError, SourceLost
from rtdecode.core.plugins import build
from rtdecode.sources import BUILT_IN
from rtdecode.sources.micromanager import MicroManagerSource
source = MicroManagerSource(frames=int(sys.argv[2]), exposure_ms=2, port=int(sys.argv[1]), client="pycromanager",
                            check_every=10, patience_s=5)
source.open()
source.start()
out, numbers, end = np.empty(source.roi.shape, "u2"), [], None
while end is None:
    try:
        info = source.read(out)
    except (EndOfStream, SourceLost) as error:
        end = f"{type(error).__name__}: {error}"
        continue
    if info is None:
        time.sleep(0.001)
        continue
    numbers.append([info.index, int(out[0, 0])])
    if len(numbers) == 5:
        print("five", flush=True)
try:
    source.close()
    closed = "well"
except SourceError as error:
    closed = str(error)
print(json.dumps([numbers, end, closed]), flush=True)
"""


def through_pycromanager(bridge: Bridge, frames: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", THROUGH_PYCROMANAGER, str(bridge.port), str(frames)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def test_pycromanager_as_the_client(counting_bridge: Bridge) -> None:
    pytest.importorskip("pycromanager")
    said, _ = through_pycromanager(counting_bridge, 30).communicate(timeout=DEADLINE_S)
    numbers, end, closed = json.loads(said.splitlines()[-1])
    assert numbers == [[i, i] for i in range(30)]
    assert end.startswith("EndOfStream") and closed == "well"


def test_pycromanager_as_the_client_of_a_server_that_is_killed(mortal_bridge: Bridge) -> None:
    """Its calls would hang for ever, and so would the end of the process."""
    pytest.importorskip("pycromanager")
    process = through_pycromanager(mortal_bridge, 100_000)
    assert process.stdout is not None
    assert process.stdout.readline() == "five\n"
    mortal_bridge.kill()
    said, _ = process.communicate(timeout=DEADLINE_S)
    numbers, end, closed = json.loads(said.splitlines()[-1])
    assert numbers == [[i, i] for i in range(len(numbers))]
    assert "is gone" in end and "camera and light may be as they were" in closed


def test_pycromanagers_python_core_is_one_for_mmcore() -> None:
    """`start_headless(python_backend=True)`: its Core is in this process, so no wire is needed."""
    mmpycorex = pytest.importorskip("mmpycorex")
    from rtdecode.sources.mmcore import MMCoreSource

    mmpycorex.create_core_instance(mm_app_path=str(mm_test_adapters.device_adapter_path()), buffer_size_mb=16)
    try:
        core = mmpycorex.Core()
        core.set_property("Camera", "PixelType", "16bit")
        source = MMCoreSource(frames=8, exposure_ms=1.0)
        source.attach(core)
        source.open()
        source.start()
        assert [info.index for info, _ in drain(source)] == list(range(8))
        source.close()
    finally:
        mmpycorex.terminate_core_instances()
