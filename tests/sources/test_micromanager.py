"""Micro-Manager over its ZMQ server: a stand-in process with a real core behind it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from bridge_runs import REGION, on, wait_until
from bridges import ROOT, Bridge
from pydantic import ValidationError
from source_contract import SourceContract, drain, read_next, slot_for

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.config import Plugin
from rtdecode.core.contracts import SafeStop, Setting
from rtdecode.core.errors import ConfigError, SourceError
from rtdecode.core.frames import FrameFlag, Roi
from rtdecode.core.plugins import build
from rtdecode.sources import BUILT_IN
from rtdecode.sources.micromanager import MicroManagerSource
from rtdecode.sources.scene import CHALLENGE_CAMERA, SimulatedScene, Specimen, load_psf

pytest.importorskip("pymmcore_plus")
pytest.importorskip("mm_test_adapters")


class OnDemo(SourceContract):
    shape, deterministic = (48, 64), False
    client = "wire"

    @pytest.fixture(autouse=True)
    def _bridge(self, demo_bridge: Bridge) -> None:
        self._demo = demo_bridge

    def make(self, folder: Path) -> MicroManagerSource:
        return on(self._demo, region=REGION, client=self.client)


class TestDemoCameraContract(OnDemo):
    pass


class TestOverPycromanagerContract(OnDemo):
    client = "pycromanager"

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("pycromanager")


class TestSpecimenContract(SourceContract):
    @pytest.fixture(autouse=True)
    def _bridge(self, specimen_bridge: Bridge) -> None:
        self._specimen = specimen_bridge

    def make(self, folder: Path) -> MicroManagerSource:
        return on(self._specimen, exposure_ms=4.0)


# what is in the frames


def test_region_of_the_demo_camera(demo_bridge: Bridge, opened: Any) -> None:
    source = opened(on(demo_bridge, region=REGION))
    assert source.roi == Roi(*REGION)
    assert isinstance(source, SafeStop)
    frames = drain(source)
    assert [info.index for info, _ in frames] == list(range(12))
    assert all(info.flags == FrameFlag.GOOD for info, _ in frames)
    assert frames[0][1].std() > 0


def test_simulated_frames_cross_the_wire_unchanged(specimen_bridge: Bridge, opened: Any) -> None:
    movie = Specimen(SimulatedScene(seed=3, density_um2=0.5), 12, load_psf(None), CHALLENGE_CAMERA)
    for info, pixels in drain(opened(on(specimen_bridge, exposure_ms=4.0))):
        assert np.array_equal(pixels, movie.frame(info.index))


def test_eight_bit_cameras_are_widened_and_saturation_is_flagged(demo_bridge: Bridge, opened: Any) -> None:
    settings = (("Camera", "PixelType", "8bit"), ("Camera", "Mode", "Color Test Pattern"))
    source = opened(on(demo_bridge, region=REGION, properties=settings))
    frames = drain(source)
    assert source.dtype == "uint16" and max(pixels.max() for _, pixels in frames) == 255
    assert [info.flags for info, _ in frames] == [FrameFlag.SATURATED] * 12
    source.close()
    assert demo_bridge.ask("getProperty", "Camera", "PixelType") == "16bit"  # put back


@pytest.mark.parametrize("window", [1, 7, 64])
def test_every_frame_has_the_number_it_was_made_with(counting_bridge: Bridge, opened: Any, window: int) -> None:
    """Whatever is under way at once, and with a check every 10 frames."""
    source = opened(on(counting_bridge, frames=60, window=window, check_every=10))
    wait_until(lambda: source.made == 60)
    frames = drain(source)
    assert [(info.index, pixels[0, 0]) for info, pixels in frames] == [(i, i) for i in range(60)]


def test_frames_left_over_from_before_are_not_ours(counting_bridge: Bridge, opened: Any) -> None:
    counting_bridge.ask("startSequenceAcquisition", 5, 0.0, True)
    wait_until(lambda: not counting_bridge.ask("isSequenceRunning"))
    source = opened(on(counting_bridge, frames=4), start=False)
    assert source.read(slot_for(source)) is None
    source.start()
    assert [pixels[0, 0] for _, pixels in drain(source)] == [0, 1, 2, 3]


# stop, close, rest


def test_stop_while_frames_come(counting_bridge: Bridge, opened: Any) -> None:
    source = opened(on(counting_bridge, frames=100_000, check_every=7))
    first = read_next(source, slot_for(source))
    source.apply(Stop("enough"))
    assert not counting_bridge.ask("isSequenceRunning")
    made = source.made
    assert [(info.index, pixels[0, 0]) for info, pixels in drain(source)] == [
        (i, i) for i in range(first.index + 1, made)
    ]
    source.close()
    assert source.made == made


@pytest.mark.parametrize("auto", [True, False])
def test_close_leaves_camera_idle_light_off_and_properties_as_they_were(demo_bridge: Bridge, auto: bool) -> None:
    with demo_bridge.other() as ask:
        ask("setAutoShutter", auto)
        ask("setShutterOpen", not auto)
        ask("setProperty", "Camera", "Gain", "2")
        source = on(demo_bridge, frames=4000, region=REGION, properties=(("Camera", "Gain", "4"),))
        told: list[Setting] = []
        source.tell_changes(told.append)
        source.open()
        source.start()
        read_next(source, slot_for(source))
        source.apply(SetProperty("Camera", "Gain", 5.0))
        source.apply(SetProperty("Emission", "State", 3))
        assert (ask("getProperty", "Camera", "Gain"), ask("getShutterOpen")) == ("5", True)
        with pytest.raises(SourceError, match=r"Camera\.Nonsense"):
            source.apply(SetProperty("Camera", "Nonsense", 1.0))
        source.close()
        assert told == [Setting("Camera", "Gain", "2"), Setting("Emission", "State", "0")]
        assert not ask("isSequenceRunning") and not ask("getShutterOpen")
        assert ask("getProperty", "Camera", "Gain") == "2"
        assert ask("getProperty", "Emission", "State") == "0"
        ask("setAutoShutter", True)
    source.close()


def test_what_cannot_be_written_down_is_not_changed(demo_bridge: Bridge, opened: Any) -> None:
    source = opened(on(demo_bridge, region=REGION), start=False)

    def refuse(_: Setting) -> None:
        raise SourceError("disk full")

    source.tell_changes(refuse)
    before = demo_bridge.ask("getProperty", "Camera", "Gain")
    with pytest.raises(SourceError, match="disk full"):
        source.apply(SetProperty("Camera", "Gain", 7.0))
    assert demo_bridge.ask("getProperty", "Camera", "Gain") == before


CRASH = """
import json, sys
import numpy as np
from rtdecode.core.actions import SetProperty
from rtdecode.core.plugins import build
from rtdecode.sources import BUILT_IN
from rtdecode.sources.micromanager import MicroManagerSource
source = MicroManagerSource(frames=4000, exposure_ms=5, port=int(sys.argv[1]), region=(0, 0, 32, 32))
source.tell_changes(lambda one: print(json.dumps([one.device, one.property, one.value]), flush=True))
source.open()
source.start()
source.apply(SetProperty("Camera", "Gain", 6.0))
print("done", flush=True)
sys.stdin.read()
"""


def test_safe_stop_after_our_process_was_killed(demo_bridge: Bridge) -> None:
    demo_bridge.ask("setProperty", "Camera", "Gain", "1")
    with subprocess.Popen(
        [sys.executable, "-c", CRASH, str(demo_bridge.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as dying:
        assert dying.stdout is not None
        before = []
        while (line := dying.stdout.readline().strip()) != b"done":
            before.append(Setting(*json.loads(line)))
        dying.kill()
    assert before == [Setting("Camera", "Gain", "1")]
    with demo_bridge.other() as ask:
        assert ask("isSequenceRunning") and ask("getShutterOpen")
        done = on(demo_bridge, frames=4000, region=(0, 0, 32, 32)).bring_to_rest(before)
        assert done == ["shutter closed", "camera idle", "Camera.Gain put back to 1"]
        assert not ask("isSequenceRunning") and not ask("getShutterOpen")
        assert ask("getProperty", "Camera", "Gain") == "1"


def test_safe_stop_tries_every_step(demo_bridge: Bridge) -> None:
    before = [Setting("Camera", "Gain", "3"), Setting("Camera", "Nonsense", "1")]
    with pytest.raises(
        SourceError, match=r"put Camera\.Nonsense back to 1.*done: shutter closed, .*Gain put back to 3"
    ):
        on(demo_bridge).bring_to_rest(before)
    assert demo_bridge.ask("getProperty", "Camera", "Gain") == "3"


def test_a_hundred_starts_and_stops_leave_nothing_behind(demo_bridge: Bridge) -> None:
    """Neither threads, files and sockets here, nor ports, a running camera or an open shutter there."""
    ports, process = demo_bridge.listening, psutil.Process()
    with demo_bridge.other() as ask:
        threads, connections, files = threading.active_count(), open_connections(), process.num_fds()
        for _ in range(100):
            source = on(demo_bridge, frames=1000, region=REGION)
            source.open()
            source.start()
            read_next(source, slot_for(source))
            assert ask("isSequenceRunning") and ask("getShutterOpen")
            source.apply(Stop("enough"))
            drain(source)
            source.close()
            assert not ask("isSequenceRunning") and not ask("getShutterOpen")
        assert threading.active_count() == threads
        wait_until(lambda: open_connections() <= connections and process.num_fds() <= files)
    wait_until(lambda: demo_bridge.listening <= ports)


def open_connections() -> int:
    return len(psutil.Process().net_connections("tcp"))


# what is refused at open


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"device": "Andor"}, "take Andor as camera: .*Andor"),
        ({"properties": (("Camera", "Gian", "3"),)}, r"read Camera\.Gian"),
        ({"properties": (("Camera", "PixelType", "purple"),)}, "set Camera PixelType purple"),
        ({"properties": (("Camera", "PixelType", "32bitRGB"),)}, r"4 component\(s\).*grey PixelType"),
        ({"properties": (("Camera", "PixelType", "32bit"),)}, "grey PixelType"),
        ({"region": (0, 0, 0, 0)}, r"camera took \(0, 0, 512, 512\)"),
    ],
)
def test_settings_that_the_core_refuses(demo_bridge: Bridge, fields: dict[str, Any], reason: str) -> None:
    source = on(demo_bridge, **fields)
    with pytest.raises(SourceError, match=reason) as caught:
        source.open()
    assert "mmcorej" not in str(caught.value)  # the words, not the stack
    source.close()
    assert demo_bridge.ask("getProperty", "Camera", "PixelType") == "16bit"


def test_pycromanager_speaks_to_this_machine_only() -> None:
    with pytest.raises(ValidationError, match="this machine only"):
        MicroManagerSource(frames=1, host="microscope", client="pycromanager")


def test_as_a_run_names_it() -> None:
    text = "use: micromanager\nframes: 5\nhost: 127.0.0.1\nregion: [1, 2, 64, 64]\nproperties: [[Andor, Gain, '3']]\n"
    source = build(Plugin(**yaml.safe_load(text)), BUILT_IN, "run.yaml", methods=("open",), camera=CHALLENGE_CAMERA)
    assert isinstance(source, MicroManagerSource)
    assert (source.region, source.port, source.camera) == ((1, 2, 64, 64), 4827, CHALLENGE_CAMERA)
    with pytest.raises(ConfigError, match="did you mean 'port'"):
        build(Plugin(use="micromanager", frames=5, prt=1), BUILT_IN, "run.yaml")
