"""The recording: raw frames come back bit for bit; a torn tail is cut and announced, other damage is an error."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams_children import SHAPE, pattern

from rtdecode.core.errors import RecordingError
from rtdecode.core.frames import Frame, FrameFlag, FrameInfo, Roi
from rtdecode.streams.recording import RecordingReader, RecordingWriter

Start = Callable[..., "subprocess.Popen[str]"]
ROI = Roi(100, 50, SHAPE[1], SHAPE[0], 2)
NO_PIXELS = np.empty((0, 0), np.uint16)


def record(folder: Path, indices: list[int], wrong_size: tuple[int, ...] = ()) -> None:
    writer = RecordingWriter.create(folder, ROI, "uint16")
    for index in indices:
        flags = FrameFlag.WRONG_SIZE if index in wrong_size else FrameFlag.GOOD
        pixels = NO_PIXELS if flags else pattern(index)
        writer.append(Frame(FrameInfo(index, 10 * index, 20 * index, flags), pixels))
    writer.close()
    writer.close()


def test_frames_come_back_with_their_facts(tmp_path: Path) -> None:
    record(tmp_path, [2, 3, 7, 8], wrong_size=(3,))
    reader = RecordingReader.open(tmp_path)
    assert (len(reader), reader.frames, reader.roi, reader.shape, reader.dtype) == (4, 4, ROI, SHAPE, "uint16")
    assert reader.indices.tolist() == [2, 3, 7, 8] and reader.truncated is None
    assert reader.info(2) == FrameInfo(7, 70, 140)
    for frame in reader:
        if frame.index == 3:
            assert frame.info.flags == FrameFlag.WRONG_SIZE and frame.pixels_adu.shape == (0, 0)
        else:
            assert np.array_equal(frame.pixels_adu, pattern(frame.index))
    out = np.empty(SHAPE, np.uint16)
    assert reader.read(3, out).pixels_adu is out and np.array_equal(out, pattern(8))
    with pytest.raises(RecordingError, match="contiguous"):
        reader.read(3, np.empty((SHAPE[0], 2 * SHAPE[1]), np.uint16)[:, ::2])
    reader.close()
    reader.close()


def test_float_frames_that_lie_strided_in_memory(tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path, Roi(0, 0, 4, 3), "float32")
    pixels = np.arange(24, dtype=np.float32).reshape(3, 8)[:, ::2]
    writer.append(Frame(FrameInfo(0, 0, 0), pixels))
    writer.close()
    reader = RecordingReader.open(tmp_path)
    assert np.array_equal(reader.read(0).pixels_adu, pixels)
    reader.close()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path, ROI, "uint16")
    for pixels in (np.zeros((3, 3), np.uint16), np.zeros(SHAPE, np.float32)):
        with pytest.raises(RecordingError, match=r"frame 0 is \("):
            writer.append(Frame(FrameInfo(0, 0, 0), pixels))
    with pytest.raises(RecordingError, match="another process"):
        RecordingWriter.open(tmp_path)
    writer.close()
    with pytest.raises(RecordingError, match="already"):
        RecordingWriter.create(tmp_path, ROI, "uint16")
    with pytest.raises(RecordingError, match="not uint8"):
        RecordingWriter.create(tmp_path / "x", ROI, "uint8")
    with pytest.raises(RecordingError, match="no recording here"):
        RecordingReader.open(tmp_path / "x")


@given(index_bytes=st.integers(0, 200), pixel_bytes=st.integers(0, 3 * 6144), wrong=st.booleans())
@settings(max_examples=60, deadline=None)
def test_cut_at_any_byte_of_both_files(
    tmp_path_factory: pytest.TempPathFactory, index_bytes: int, pixel_bytes: int, wrong: bool
) -> None:
    folder = tmp_path_factory.mktemp("recording")
    record(folder, [0, 1, 2], wrong_size=(1,) if wrong else ())
    for name, size in (("frames.idx", index_bytes), ("frames.bin", pixel_bytes)):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:size])
    needed = np.cumsum([1, not wrong, 1]) * 6144
    whole = min(index_bytes // 40, int(np.searchsorted(needed, pixel_bytes, side="right")))
    reader = RecordingReader.open(folder)
    assert reader.frames == whole and [frame.index for frame in reader] == list(range(whole))
    sizes = min(index_bytes, 120), min(pixel_bytes, needed[-1])
    tidy = sizes == (40 * whole, needed[whole - 1] if whole else 0)
    assert (reader.truncated is None) == tidy
    assert tidy or f"{whole} whole frames" in str(reader.truncated)
    reader.close()
    writer = RecordingWriter.open(folder)
    assert writer.truncated == reader.truncated and writer.frames == whole
    writer.append(Frame(FrameInfo(9, 0, 0), pattern(9)))
    writer.close()
    again = RecordingReader.open(folder)
    assert [frame.index for frame in again] == [*range(whole), 9] and again.truncated is None
    assert np.array_equal(again.read(whole).pixels_adu, pattern(9))
    again.close()


def test_a_killed_recorder_leaves_whole_frames(tmp_path: Path, start: Start) -> None:
    RecordingWriter.create(tmp_path, ROI, "uint16").close()
    for _ in range(2):
        process = start("recorder", tmp_path)
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.kill()
        process.wait()
    reader = RecordingReader.open(tmp_path)
    assert reader.frames > 60 and reader.indices.tolist() == list(range(reader.frames))
    for i in (0, reader.frames // 2, reader.frames - 1):
        assert np.array_equal(reader.read(i).pixels_adu, pattern(i))
    reader.close()


def test_damage_before_the_end_is_an_error(tmp_path: Path) -> None:
    record(tmp_path, [0, 1, 2])
    index = bytearray((tmp_path / "frames.idx").read_bytes())
    index[45] ^= 1
    (tmp_path / "frames.idx").write_bytes(index)
    for action in (RecordingReader.open, RecordingWriter.open):
        with pytest.raises(RecordingError, match="record 1 is damaged; the 1 frames before it are sound"):
            action(tmp_path)
    header = (tmp_path / "frames.yaml").read_text()
    for old, new, said in [
        ("uint16", "int8", "dtype"),
        ("width_px: 64", "width_px: 0", "none"),
        ("height", "hight", "hight"),
    ]:
        (tmp_path / "frames.yaml").write_text(header.replace(old, new))
        with pytest.raises(RecordingError, match=said):
            RecordingReader.open(tmp_path)
