"""Record: the raw frames as they came, also after it was killed; what it missed is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scripted import SHAPE, pixels_of

from rtdecode.core.frames import FrameFlag, FrameInfo
from rtdecode.stages.record import RecordStage
from rtdecode.streams.recording import RecordingReader
from rtdecode.streams.ring import RingWriter
from rtdecode.streams.run_folder import RunFolder


def begin(path: Path, slots: int = 32) -> tuple[RunFolder, RingWriter]:
    folder = RunFolder.create(path / "run", "model: none\n")
    folder.append_event("acquire", "source", x0_px=3, y0_px=0, width_px=SHAPE[1], height_px=SHAPE[0], binning=1)
    ring = RingWriter.create(path / "frames.ring", SHAPE, "uint16", slots)
    folder.publish_ring(ring.path)
    return folder, ring


def publish(ring: RingWriter, indices: range) -> None:
    for index in indices:
        bad = index == 4
        ring.slot()[...] = 0 if bad else pixels_of(index)
        ring.publish(FrameInfo(index, 0, index, FrameFlag.WRONG_SIZE if bad else FrameFlag.GOOD))


def run(stage: RecordStage) -> None:
    while stage.step() is not None:
        pass
    stage.close()


def test_every_frame_is_kept_over_a_crash(tmp_path: Path) -> None:
    folder, ring = begin(tmp_path)
    stage = RecordStage(folder)
    stage.step()
    publish(ring, range(8))
    for _ in range(5):
        stage.step()
    stage._recording._index.close()  # what SIGKILL leaves: nothing said, nothing unregistered
    publish(ring, range(8, 12))
    ring.finish(12, "completed")
    run(RecordStage(folder))
    recording = RecordingReader.open(folder.path)
    assert recording.indices.tolist() == list(range(12)) and recording.roi.x0_px == 3
    for i in (0, 3, 5, 11):
        assert np.array_equal(recording.read(i).pixels_adu, pixels_of(i))
    assert recording.info(4).flags & FrameFlag.WRONG_SIZE
    recording.close()
    ring.close(remove=True)


def test_what_was_overwritten_before_it_was_kept_is_told(tmp_path: Path) -> None:
    folder, ring = begin(tmp_path, slots=8)
    stage = RecordStage(folder)
    stage.step()
    publish(ring, range(5, 40))
    ring.finish(40, "completed")
    run(stage)
    recording = RecordingReader.open(folder.path)
    gaps = [event for event in folder.read_events() if event["kind"] == "gap"]
    assert recording.frames + sum(gap["frames"] for gap in gaps) == 35 and gaps[0]["frame_index"] == 5
    recording.close()
    ring.close(remove=True)
