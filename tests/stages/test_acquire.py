"""Acquire: starts only with its readers, publishes, ends in every way with the source closed first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scripted import SHAPE, ScriptedCamera, pixels_of

from rtdecode.core.actions import Stop
from rtdecode.core.config import LimitsConfig, RingConfig
from rtdecode.core.errors import SourceError
from rtdecode.stages.acquire import KEPT_SLOTS, AcquireStage
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
