"""Acquire: starts only with its readers, publishes, ends in every way with the source closed first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scripted import SHAPE, ScriptedCamera, pixels_of

from rtdecode.core.actions import Action, SetProperty, Stop
from rtdecode.core.config import LimitsConfig, RingConfig
from rtdecode.core.contracts import Setting
from rtdecode.core.errors import RunFolderError, SourceError
from rtdecode.stages.acquire import KEPT_SLOTS, AcquireStage
from rtdecode.stages.safe_stop import changes, left_open
from rtdecode.streams.memory import remove_memory
from rtdecode.streams.ring import RingReader
from rtdecode.streams.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "model: none\n")


def acquire(
    camera: ScriptedCamera, folder: RunFolder, limits: LimitsConfig | None = None, ring: RingConfig | None = None
) -> tuple[AcquireStage, RingReader]:
    """The stage opened, and a registered reader: it may start now."""
    stage = AcquireStage(camera, folder, ring or RingConfig(), limits or LimitsConfig(), frozenset({"localize"}))
    assert stage.step()
    path = folder.ring_path
    assert path is not None
    reader = RingReader.open(path, "localize")
    remove_memory(path)  # the mappings stay; nothing is left behind whatever a test does
    return stage, reader


def drain(stage: AcquireStage, reader: RingReader) -> list[int]:
    """Step to the end; indices that came."""
    while stage.step() is not None:
        pass
    indices = []
    while (frame := reader.read()) is not None:
        indices.append(frame.index)
    return indices


def test_the_camera_is_not_started_before_its_readers_are_there(folder: RunFolder) -> None:
    camera = ScriptedCamera(range(3))
    stage = AcquireStage(camera, folder, RingConfig(), LimitsConfig(), frozenset({"localize", "record"}))
    assert stage.step()
    assert folder.ring_path is not None
    readers = [RingReader.open(folder.ring_path, "localize")]
    assert [stage.step() for _ in range(3)] == [False, False, False] and camera.deeds == ["open"]
    readers.append(RingReader.open(folder.ring_path, "record"))
    remove_memory(folder.ring_path)
    assert stage.step() and camera.deeds == ["open", "start"]
    stage.close()


def test_frames_arrive_whole_with_the_cameras_count_and_the_run_completes(folder: RunFolder) -> None:
    camera = ScriptedCamera([0, 1, 4, 5], expected=8)
    stage, reader = acquire(camera, folder)
    while stage.step() is not None:
        pass
    for index in (0, 1, 4, 5):
        frame = reader.read()
        assert frame is not None and frame.index == index and np.array_equal(frame.pixels_adu, pixels_of(index))
    ended = reader.finished
    assert ended is not None and (ended.expected, ended.received, ended.reason) == (8, 4, "completed")
    assert camera.deeds == ["open", "start", "close"]
    source = next(event for event in folder.read_events() if event["kind"] == "source")
    assert (source["x0_px"], source["height_px"], source["dtype"]) == (5, SHAPE[0], "uint16")


def test_a_lost_camera_ends_the_run_as_failed_with_what_came(folder: RunFolder) -> None:
    camera = ScriptedCamera(range(10), expected=10, breaks_after=4)
    stage, reader = acquire(camera, folder)
    assert drain(stage, reader) == [0, 1, 2, 3]
    ended = reader.finished
    assert ended is not None and ended.reason == "failed: the cable was pulled" and ended.expected == 4
    assert camera.deeds[-1] == "close"


def test_a_stop_reaches_the_camera_and_counts_what_it_made(folder: RunFolder) -> None:
    camera = ScriptedCamera(range(100), expected=100, made=7)
    stage, reader = acquire(camera, folder)
    for _ in range(6):
        stage.step()  # the first starts, five read
    stage.order(Stop("Ctrl-C"))
    assert drain(stage, reader) == [0, 1, 2, 3, 4]
    ended = reader.finished
    assert ended is not None and (ended.expected, ended.reason) == (7, "stopped: Ctrl-C")
    assert camera.deeds == ["open", "start", "stop", "close"]


def test_a_stop_before_the_start_never_starts_the_camera(folder: RunFolder) -> None:
    camera = ScriptedCamera(range(5))
    stage, reader = acquire(camera, folder)
    stage.order(Stop("changed my mind"))
    assert drain(stage, reader) == [] and camera.deeds == ["open", "close"]
    assert reader.finished is not None and reader.finished.reason == "stopped: changed my mind"


def test_the_frame_limit_holds_to_the_frame(folder: RunFolder) -> None:
    stage, reader = acquire(ScriptedCamera(range(100)), folder, LimitsConfig(frames=6))
    assert drain(stage, reader) == list(range(6))
    assert reader.finished is not None and reader.finished.reason.startswith("stopped: limits.frames")


def test_when_the_session_is_gone_the_camera_is_closed_at_once(folder: RunFolder) -> None:
    camera = ScriptedCamera(range(100))
    stage, reader = acquire(camera, folder)
    stage.step()
    stage.step()
    stage.abandon("no answer")
    assert camera.deeds[-1] == "close" and stage.step() is None
    assert reader.finished is not None and reader.finished.reason == "failed: no answer"


def test_a_source_that_cannot_open_refuses_the_run(folder: RunFolder) -> None:
    class Absent(ScriptedCamera):
        def open(self) -> None:
            raise SourceError("no camera called Andor")

    camera = Absent(range(3))
    stage = AcquireStage(camera, folder, RingConfig(), LimitsConfig(), frozenset({"localize"}))
    with pytest.raises(SourceError, match="Andor"):
        stage.step()
    stage.close()
    assert camera.deeds == ["close"] and folder.ring_path is None


def test_a_source_that_can_wait_never_overruns_its_slowest_reader_nor_what_a_restart_needs(
    folder: RunFolder,
) -> None:
    camera = ScriptedCamera(range(300))
    camera.can_wait = True
    stage, reader = acquire(camera, folder, ring=RingConfig(seconds=0.1))
    read: list[int] = []
    while (did := stage.step()) is not None:
        if did:
            continue
        assert reader.received - len(read) + KEPT_SLOTS <= reader.slots
        frame = reader.read()
        assert frame is not None
        read.append(frame.index)
        if frame.index >= 2:
            assert reader.seek(frame.index - 2)  # the frame that a restarted localize looks back to
            while (again := reader.read()) is not None and again.index < frame.index:
                pass
    assert read + drain(stage, reader) == list(range(300))


class LitCamera(ScriptedCamera):
    """Has a light that must be put to rest."""

    safe_stop_s = 3.0
    close_fails = False

    def tell_changes(self, tell: Callable[[Setting], None]) -> None:
        self.tell = tell

    def apply(self, action: Action) -> None:
        if isinstance(action, SetProperty):
            self.tell(Setting(action.device, action.property, "5"))
        super().apply(action)

    def close(self) -> None:
        super().close()
        if self.close_fails:
            raise SourceError("no answer")

    def bring_to_rest(self, before: Sequence[Setting]) -> list[str]:
        raise NotImplementedError


def test_hardware_stands_in_the_events_from_before_it_is_opened_until_it_is_closed(folder: RunFolder) -> None:
    seen: list[object] = []

    class Watching(LitCamera):
        def open(self) -> None:
            seen.append(left_open(folder))
            super().open()

    camera = Watching(range(3))
    assert left_open(folder) is None
    stage, reader = acquire(camera, folder)
    stage.order(SetProperty("Laser", "Power", 40))
    assert seen[0] is not None and left_open(folder)["safe_stop_s"] == 3.0
    assert changes(folder) == [Setting("Laser", "Power", "5")] and camera.deeds == ["open", "set"]
    drain(stage, reader)
    assert camera.deeds[-1] == "close" and left_open(folder) is None


def test_hardware_that_did_not_close_stays_open_in_the_events(folder: RunFolder) -> None:
    camera = LitCamera(range(3))
    camera.close_fails = True
    drain(*acquire(camera, folder))
    assert left_open(folder) is not None


def test_a_recording_leaves_nothing_open(folder: RunFolder) -> None:
    camera = ScriptedCamera(range(3))
    camera.has_hardware = False
    stage, _ = acquire(camera, folder)
    assert left_open(folder) is None
    stage.close()


def test_nothing_is_touched_that_could_not_be_written_down_first(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object, **__: object) -> None:
        raise RunFolderError("disk full")

    camera = LitCamera(range(3))
    stage, _ = acquire(camera, folder)
    monkeypatch.setattr(RunFolder, "append_event", disk_full)
    stage.order(SetProperty("Laser", "Power", 40))
    stage.close()
    assert camera.deeds == ["open", "close"]
    second = LitCamera(range(3))
    with pytest.raises(RunFolderError):
        AcquireStage(second, folder, RingConfig(), LimitsConfig(), frozenset({"localize"})).step()
    assert second.deeds == []


class Expected(ScriptedCamera):
    """A source that has to wait for its frames, as for a sender."""

    ready = False

    def prepare(self) -> bool:
        return self.ready

    def status(self) -> dict[str, str]:
        return {"why": "no sender yet"}


def test_a_source_that_waits_is_opened_when_it_is_ready_and_says_what_it_waits_for(folder: RunFolder) -> None:
    camera = Expected(range(3))
    stage = AcquireStage(camera, folder, RingConfig(), LimitsConfig(), frozenset({"localize"}))
    assert [stage.step() for _ in range(3)] == [False, False, False] and camera.deeds == []
    assert stage.status()["why"] == "no sender yet" and stage.status()["state"] == "opening"
    camera.ready = True
    assert stage.step() and camera.deeds == ["open"]
    assert folder.ring_path is not None
    remove_memory(folder.ring_path)
    stage.close()


def test_a_stop_ends_the_wait(folder: RunFolder) -> None:
    camera = Expected(range(3))
    stage = AcquireStage(camera, folder, RingConfig(), LimitsConfig(), frozenset({"localize"}))
    assert stage.step() is False
    stage.order(Stop("not tonight"))
    assert stage.step() and stage.step() is None
    assert stage.outcome is not None and stage.outcome.as_text() == "stopped: not tonight"
    assert camera.deeds == ["close"] and folder.ring_path is None
