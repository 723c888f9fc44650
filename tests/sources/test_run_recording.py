"""Replay of what an earlier run recorded: indices with their gaps, times, flags, a torn end."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from movies import counts, cut
from source_contract import SourceContract, drain

from rtdecode.core.errors import RecordingError
from rtdecode.core.frames import Frame, FrameFlag, FrameInfo, Roi
from rtdecode.sources.replay import ReplaySource
from rtdecode.streams.recording import RecordingWriter

FRAMES = counts(8)
INDICES = (2, 3, 4, 7, 8, 9, 10, 14)
ROI = Roi(100, 60, 37, 48)


def write_run(
    folder: Path, indices: tuple[int, ...] = INDICES, wrong: int | None = None, dtype: str = "uint16"
) -> Path:
    folder.mkdir(exist_ok=True)
    writer = RecordingWriter.create(folder, ROI, dtype)
    for k, index in enumerate(indices):
        flags = FrameFlag.WRONG_SIZE if index == wrong else FrameFlag.GOOD
        info = FrameInfo(index, 10_000_000 * index, 5_000_000_000 + 10_000_000 * index, flags)
        writer.append(Frame(info, FRAMES[k].astype(dtype)))
    writer.close()
    return folder


class TestRunContract(SourceContract):
    n_frames, shape = 8, (48, 37)

    def make(self, folder: Path) -> ReplaySource:
        return ReplaySource(path=write_run(folder / "run", tuple(range(8))))


def opened(path: Path, **fields: object) -> ReplaySource:
    source = ReplaySource(path=path, **fields)
    source.open()
    source.start()
    return source


def test_gaps_times_and_region_come_back(tmp_path: Path) -> None:
    source = opened(write_run(tmp_path))
    assert source.roi == ROI
    assert source.expected == 15  # seven of them were lost
    frames = drain(source)
    assert tuple(info.index for info, _ in frames) == INDICES
    assert [info.t_camera_ns for info, _ in frames] == [10_000_000 * i for i in INDICES]
    assert np.array_equal([pixels for _, pixels in frames], FRAMES)
    source.close()


def test_frames_of_wrong_size_stay_announced(tmp_path: Path) -> None:
    source = opened(write_run(tmp_path, wrong=7))
    infos = [info for info, _ in drain(source)]
    assert [info.flags for info in infos] == [1 if i == 7 else 0 for i in INDICES]
    source.close()


def test_float_runs_know_that_they_are_adu(tmp_path: Path) -> None:
    source = opened(write_run(tmp_path, dtype="float32"))
    assert source.dtype == "float32" and len(drain(source)) == 8
    source.close()
    with pytest.raises(RecordingError, match="frames in adu"):
        ReplaySource(path=tmp_path, units="photons").open()


def test_recorded_pace_keeps_the_rhythm(tmp_path: Path) -> None:
    source = ReplaySource(path=write_run(tmp_path), pace="recorded")
    source.open()
    begin = time.monotonic_ns()
    source.start()
    for info, _ in drain(source):
        assert info.t_arrival_ns - begin >= 10_000_000 * (info.index - 2)
    source.close()


def test_a_range_of_a_run_is_numbered_from_zero_with_its_gaps(tmp_path: Path) -> None:
    source = opened(write_run(tmp_path), first=2, last=6)
    assert [info.index for info, _ in drain(source)] == [0, 3, 4, 5]
    source.close()


def test_a_torn_run_gives_its_whole_frames(tmp_path: Path) -> None:
    cut(write_run(tmp_path) / "frames.bin", 0.8)
    source = opened(tmp_path)
    frames = drain(source)
    assert tuple(info.index for info, _ in frames) == INDICES[:6]
    source.close()


def test_a_run_without_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("run: {}\n")
    with pytest.raises(RecordingError, match="not recorded"):
        ReplaySource(path=tmp_path).open()
    cut(write_run(tmp_path) / "frames.idx", 0.0)
    with pytest.raises(RecordingError, match="without a whole frame"):
        ReplaySource(path=tmp_path).open()
