"""Real MMCore: Micro-Manager's DemoCamera and a simulated camera written in Python, both behind the Core API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from source_contract import DEADLINE_S, SourceContract, drain, read_next, slot_for

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.errors import EndOfStream, SourceError, SourceLost
from rtdecode.core.frames import FrameFlag, FrameInfo, Roi
from rtdecode.sources.mmcore import MMCoreSource
from rtdecode.sources.mmcore_tags import Expected, ImageCount
from rtdecode.sources.scene import CHALLENGE_CAMERA, SimulatedScene, Specimen, load_psf
from rtdecode.streams.truth import read_truth

pytest.importorskip("pymmcore_plus")
mm_test_adapters = pytest.importorskip("mm_test_adapters")

ADAPTERS = Path(mm_test_adapters.device_adapter_path())
SCENE = SimulatedScene(seed=3, density_um2=0.5)
GREY16 = ("Camera", "PixelType", "16bit")


def demo(frames: int = 12, **fields: Any) -> MMCoreSource:
    """Micro-Manager's demo configuration, 64 x 48 px at (10, 20) of its sensor."""
    given = {"properties": (GREY16,), "region": (10, 20, 64, 48), "exposure_ms": 2.0} | fields
    return MMCoreSource(frames=frames, config_file=Path("MMConfig_demo.cfg"), adapter_folder=ADAPTERS, **given)


def simulated(frames: int = 12, **fields: Any) -> MMCoreSource:
    return MMCoreSource(frames=frames, **({"exposure_ms": 4.0, "simulated": SCENE} | fields))


class TestDemoCameraContract(SourceContract):
    shape, deterministic = (48, 64), False

    def make(self, folder: Path) -> MMCoreSource:
        return demo()


class TestSimulatedContract(SourceContract):
    def make(self, folder: Path) -> MMCoreSource:
        return simulated()


@pytest.fixture
def opened() -> Iterator[Any]:
    """Opens sources and closes them at the end."""
    sources: list[MMCoreSource] = []

    def opening(source: MMCoreSource, start: bool = True) -> MMCoreSource:
        sources.append(source)
        source.open()
        if start:
            source.start()
        return source

    yield opening
    for source in sources:
        source.close()


def core_of(source: MMCoreSource) -> Any:
    """The core behind an open source, to do to it what another program would."""
    return source._need().core


def wait_until(condition: Any) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "never came true"
        time.sleep(0.001)


def read_to_the_end(source: MMCoreSource) -> tuple[list[FrameInfo], str]:
    """All frames until SourceLost, and its message."""
    infos: list[FrameInfo] = []
    out = slot_for(source)
    with pytest.raises(SourceLost) as caught:
        while True:
            infos.append(read_next(source, out))
    return infos, str(caught.value)


# what is in the frames


def test_region_of_the_demo_camera(opened: Any) -> None:
    source = opened(demo())
    assert source.roi == Roi(10, 20, 64, 48)
    frames = drain(source)
    assert [info.index for info, _ in frames] == list(range(12))
    times = [info.t_camera_ns for info, _ in frames]
    assert times == sorted(times) and times[-1] > 0
    assert all(info.flags == FrameFlag.GOOD for info, _ in frames)
    assert frames[0][1].std() > 0


def test_eight_bit_cameras_are_widened(opened: Any) -> None:
    source = opened(demo(properties=(("Camera", "PixelType", "8bit"),)))
    assert source.dtype == "uint16"
    frames = drain(source)
    assert len(frames) == 12 and 0 < max(pixels.max() for _, pixels in frames) <= 255


def test_saturated_frames_are_flagged(opened: Any) -> None:
    settings = (("Camera", "PixelType", "8bit"), ("Camera", "Mode", "Color Test Pattern"))
    flags = [info.flags for info, _ in drain(opened(demo(properties=settings)))]
    assert flags == [FrameFlag.SATURATED] * 12


def test_simulated_frames_pass_the_core_unchanged(opened: Any, tmp_path: Path) -> None:
    source = opened(simulated(truth=tmp_path / "truth.csv"))
    frames = drain(source)
    specimen = Specimen(SCENE, 12, load_psf(None), CHALLENGE_CAMERA)
    for info, pixels in frames:
        assert np.array_equal(pixels, specimen.frame(info.index))
    source.close()
    assert np.array_equal(read_truth(tmp_path / "truth.csv"), specimen.truth(12))


def test_simulated_camera_keeps_its_own_pace(opened: Any) -> None:
    source = opened(simulated(frames=10, exposure_ms=15.0), start=False)
    begin = time.monotonic_ns()
    source.start()
    for info, _ in drain(source):
        assert info.t_arrival_ns - begin >= 15_000_000 * (info.index + 1)


def test_truth_of_a_stopped_run_ends_with_it(opened: Any, tmp_path: Path) -> None:
    source = opened(simulated(frames=5000, truth=tmp_path / "truth.csv"))
    read_next(source, slot_for(source))
    source.apply(Stop("enough"))
    n = 1 + len(drain(source))
    source.close()
    assert source.made == n < 5000
    assert set(read_truth(tmp_path / "truth.csv")["frame_index"]) <= set(range(n))


# what goes wrong


@pytest.mark.parametrize("make", [demo, simulated])
def test_overflow_is_reported_after_the_kept_frames(make: Any, opened: Any) -> None:
    source = opened(make(frames=4000, buffer_mb=1, exposure_ms=1.0))
    wait_until(lambda: not core_of(source).isSequenceRunning())  # nobody reads
    infos, message = read_to_the_end(source)
    assert [info.index for info in infos] == list(range(len(infos)))  # no gap before the end
    assert f"overflowed and the camera stopped after {len(infos)} of 4000" in message
    assert source.made == len(infos)
    with pytest.raises(SourceLost):
        source.read(slot_for(source))


@pytest.mark.parametrize("make", [demo, simulated])
def test_a_camera_that_another_program_stopped(make: Any, opened: Any) -> None:
    source = opened(make(frames=4000))
    read_next(source, slot_for(source))
    core_of(source).stopSequenceAcquisition()
    infos, message = read_to_the_end(source)
    assert "stopped by itself" in message and f"after {len(infos) + 1} of 4000" in message


@pytest.mark.parametrize("size", [32, 256])
def test_a_size_that_changes_in_mid_run_never_gives_wrong_pixels(size: int, opened: Any) -> None:
    """A popped frame is shaped by the core's current size; with a larger one a pop would copy foreign memory."""
    source = opened(demo(frames=40, region=None, properties=(GREY16, ("Camera", "OnCameraCCDXSize", "64"))))
    core = core_of(source)
    out = slot_for(source)
    read_next(source, out)
    wait_until(lambda: core.getRemainingImageCount() >= 5)
    core.stopSequenceAcquisition()
    made = source.made
    core.setProperty("Camera", "OnCameraCCDXSize", str(size))
    out[...] = 7
    infos, _ = read_to_the_end(source)
    assert [info.index for info in infos] == list(range(1, made))
    assert {info.flags for info in infos} == {FrameFlag.WRONG_SIZE}
    assert (out == 7).all()


def test_another_region_ends_the_run(opened: Any) -> None:
    """setROI stops the camera and throws the queue away, without an error."""
    source = opened(demo(frames=4000))
    read_next(source, slot_for(source))
    core_of(source).setROI(0, 0, 32, 32)
    _, message = read_to_the_end(source)
    assert "changed its region" in message


def test_a_region_that_only_moved_gives_no_pixels(opened: Any) -> None:
    """Of the same size the camera goes on, elsewhere on the sensor: only the tags tell."""
    source = opened(demo(frames=100))
    out = slot_for(source)
    read_next(source, out)
    core_of(source).setROI(0, 0, 64, 48)
    out[...] = 7
    flags = []
    with pytest.raises((EndOfStream, SourceLost)):  # lost where frames were in the queue just then
        while True:
            flags.append(read_next(source, out).flags)
    assert set(flags) == {FrameFlag.WRONG_SIZE}
    assert (out == 7).all()


def test_somebody_else_who_pops_does_no_harm(opened: Any) -> None:
    """Two poppers steal each other's frames: seen as a gap."""
    source = opened(demo())
    wait_until(lambda: core_of(source).getRemainingImageCount() == 12)
    for _ in range(3):
        core_of(source).popNextImage()
    assert [info.index for info, _ in drain(source)] == list(range(3, 12))


# stop and close


def test_stop_is_prompt_at_a_long_exposure(opened: Any) -> None:
    source = opened(simulated(exposure_ms=3_600_000.0))
    assert source.read(slot_for(source)) is None
    source.apply(Stop("enough"))
    assert not core_of(source).isSequenceRunning()
    with pytest.raises(EndOfStream):
        source.read(slot_for(source))


@pytest.mark.parametrize("auto", [True, False])
def test_close_leaves_camera_idle_and_light_off(auto: bool) -> None:
    core = loaded_demo()
    core.setAutoShutter(auto)
    if not auto:
        core.setShutterOpen(True)
    source = MMCoreSource(frames=4000, exposure_ms=2.0)
    source.attach(core)
    source.open()
    source.start()
    read_next(source, slot_for(source))
    assert core.getShutterOpen()
    source.close()
    assert not core.isSequenceRunning() and not core.getShutterOpen()
    assert "Camera" in core.getLoadedDevices()  # it is not ours to unload
    source.close()


def loaded_demo(kind: str = "plus") -> Any:
    """A core that somebody else has set up."""
    import pymmcore
    import pymmcore_plus

    core = pymmcore_plus.CMMCorePlus() if kind == "plus" else pymmcore.CMMCore()
    load_demo(core)
    return core


def load_demo(core: Any) -> None:
    core.setDeviceAdapterSearchPaths([str(ADAPTERS)])
    core.loadSystemConfiguration(str(ADAPTERS / "MMConfig_demo.cfg"))
    core.setProperty(*GREY16)
    core.setROI(0, 0, 32, 32)


def test_close_goes_on_after_a_step_that_fails() -> None:
    """A device that is gone must neither keep the camera running nor the light on, nor be passed over in silence."""
    core = loaded_demo()
    source = MMCoreSource(frames=4000, exposure_ms=2.0)
    source.attach(core)
    source.open()
    source.start()
    source.apply(SetProperty("Emission", "State", 3))
    source.apply(SetProperty("Camera", "Gain", 5))
    core.unloadDevice("Emission")
    with pytest.raises(SourceError, match=r"put Emission\.State back"):
        source.close()
    assert not core.isSequenceRunning() and not core.getShutterOpen()
    assert core.getProperty("Camera", "Gain") == "0"
    assert source.made is not None
    source.close()


def test_plain_pymmcore_works_too(opened: Any) -> None:
    source = MMCoreSource(frames=8, exposure_ms=1.0)
    source.attach(loaded_demo("plain"))
    assert len(drain(opened(source))) == 8


def test_own_cores_are_unloaded(opened: Any) -> None:
    source = opened(demo())
    core = core_of(source)
    source.close()
    assert tuple(core.getLoadedDevices()) in ((), ("Core",))


def test_properties_are_set_and_put_back(opened: Any) -> None:
    source = MMCoreSource(frames=100, exposure_ms=2.0)
    core = loaded_demo()
    core.setProperty("Camera", "Gain", "2")
    source.attach(core)
    opened(source)
    source.apply(SetProperty("Camera", "Gain", 5.0))
    source.apply(SetProperty("Camera", "Gain", 3.0))
    assert core.getProperty("Camera", "Gain") == "3"
    with pytest.raises(SourceError, match=r"Camera\.Nonsense"):
        source.apply(SetProperty("Camera", "Nonsense", 1.0))
    source.close()
    assert core.getProperty("Camera", "Gain") == "2"


# what is refused at open


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"config_file": Path("nothing.cfg")}, "no such Micro-Manager configuration"),
        ({"device": "Andor"}, "take Andor as camera"),
        ({"properties": (("Camera", "Gian", "3"),)}, "set Camera Gian 3"),
        ({"properties": (("Camera", "PixelType", "32bitRGB"),)}, r"4 component\(s\).*grey PixelType"),
        ({"properties": (("Camera", "PixelType", "32bit"),)}, "grey PixelType"),
        ({"region": (0, 0, 0, 0)}, r"camera took \(0, 0, 512, 512\)"),
    ],
)
def test_settings_that_the_core_refuses(fields: dict[str, Any], reason: str) -> None:
    given = {"config_file": Path("MMConfig_demo.cfg"), "properties": (GREY16,)} | fields
    source = MMCoreSource(frames=5, adapter_folder=ADAPTERS, **given)
    with pytest.raises(SourceError, match=reason):
        source.open()
    source.close()


def test_a_damaged_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.cfg"
    path.write_text("Device,Camera,NoSuchAdapter,Camera\n")
    with pytest.raises(SourceError, match=r"load .*bad\.cfg"):
        MMCoreSource(frames=5, config_file=path, adapter_folder=ADAPTERS).open()


def test_one_origin_only() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        demo(simulated=SCENE, region=None, properties=())
    with pytest.raises(ValidationError, match="belong to config_file"):
        simulated(region=(0, 0, 8, 8))


def test_the_core_of_this_process_is_found(opened: Any) -> None:
    """As in napari-micromanager: neither a configuration nor a scene, the core is there already."""
    import pymmcore_plus

    core = pymmcore_plus.CMMCorePlus.instance()
    core.unloadAllDevices()
    with pytest.raises(SourceError, match="no Micro-Manager core with a camera"):
        MMCoreSource(frames=5).open()
    load_demo(core)
    assert len(drain(opened(MMCoreSource(frames=5)))) == 5
    core.unloadAllDevices()


# tags


def test_image_numbers_across_resets() -> None:
    count = ImageCount()
    assert [count.index(n) for n in (0, 1, 2, 5)] == [0, 1, 2, 5]  # 3 and 4 were lost
    assert not count.is_estimated
    assert [count.index(n) for n in (0, 1, 3)] == [6, 7, 9]  # the buffer was cleared: a new count follows
    assert count.is_estimated
    assert [count.index(None), count.index(None)] == [10, 11]
    assert count.index(11) == 17  # 6 + 11, on the same base


def test_the_cameras_clock_tells_how_many_frames_a_reset_threw_away() -> None:
    count = ImageCount()
    assert [count.index(n, t) for n, t in ((0, 1_000), (1, 11_000), (3, 31_000))] == [0, 1, 3]
    assert [count.index(n, t) for n, t in ((0, 82_000), (1, 91_000))] == [8, 9]  # 51 us at 10 us: four are missing
    assert count.index(0, 92_000) == 10  # none fits into 1 us


def test_every_tag_that_tells_of_a_change() -> None:
    expected = Expected(Roi(10, 20, 64, 48), 2)
    tags = {"Width": "64", "Height": "48", "PixelType": "GRAY16", "ROI-X-start": "10", "ROI-Y-start": "20"}
    pixels = np.zeros((48, 64), "uint16")
    assert expected.fits(pixels, tags) and expected.fits(pixels, {})
    for name, other in (("Width", "32"), ("Height", "96"), ("PixelType", "GRAY8"), ("ROI-X-start", "0")):
        assert not expected.fits(pixels, tags | {name: other})
    assert not expected.fits(pixels[:, :32], tags)
    assert not expected.fits(pixels.astype("uint8"), tags)
