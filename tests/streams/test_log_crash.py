"""The log after a crash at any byte, a killed writer, a power failure, a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams_children import fill_log, fill_recording, localizations_of

from rtdecode.core.errors import LogError
from rtdecode.streams.log import LogReader, LogWriter, Recovered, make_commits
from rtdecode.streams.recording import RecordingReader, RecordingWriter

Start = Callable[..., "subprocess.Popen[str]"]
COUNTS = [2, 0, 3, 1, 0, 0, 4, 1]
ENDS = np.cumsum(COUNTS)


def write(folder: Path, first: int = 0) -> None:
    log = LogWriter.open(folder)
    for index in range(first, len(COUNTS)):
        log.append(make_commits([index], n_localizations=[COUNTS[index]]), localizations_of(index, COUNTS[index]))
    log.close()


def whole_frames(found: list[bytes], written: list[bytes]) -> int:
    """How many frames from the start have every byte that was written of them."""
    for i, end in enumerate(ENDS):
        commit, rows = slice(64 * (i + 1), 64 * (i + 2)), slice(48 * (end - COUNTS[i]), 48 * end)
        if found[0][commit] != written[0][commit] or found[1][rows] != written[1][rows]:
            return i
    return len(COUNTS)


@given(commit_bytes=st.integers(0, 64 * 9), localization_bytes=st.integers(0, 48 * 11), zeros=st.booleans())
@settings(max_examples=100, deadline=None)
def test_cut_at_any_byte_of_both_files(
    tmp_path_factory: pytest.TempPathFactory, commit_bytes: int, localization_bytes: int, zeros: bool
) -> None:
    """`zeros`: a power failure kept the lengths and whole commit records, but not the bytes beyond the cut."""
    folder = tmp_path_factory.mktemp("log")
    write(folder)
    files = folder / "commits.bin", folder / "locs.bin"
    written = [file.read_bytes() for file in files]
    cuts = [max(64, commit_bytes // 64 * 64) if zeros else commit_bytes, localization_bytes]
    lengths = [len(data) if zeros else cut for data, cut in zip(written, cuts, strict=True)]
    found = [data[:cut].ljust(length, b"\0") for data, cut, length in zip(written, cuts, lengths, strict=True)]
    for file, data in zip(files, found, strict=True):
        file.write_bytes(data)
    log = LogWriter.open(folder)
    frames = whole_frames(found, written)
    end = int(ENDS[frames - 1]) if frames else 0
    assert (log.frames, log.localizations) == (frames, end)
    assert log.recovered.localization_bytes == lengths[1] - 48 * end
    assert log.recovered.commit_bytes == max(64, lengths[0]) - 64 * (frames + 1)
    log.close()
    write(folder, frames)
    assert (folder / "locs.bin").read_bytes() == written[1]
    assert LogReader.open(folder).all()[0]["frame_index"].tolist() == list(range(len(COUNTS)))


def test_what_was_cut_is_said(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / "locs.bin").open("ab") as file:
        file.write(bytes(70))
    with (tmp_path / "commits.bin").open("ab") as file:
        file.write(bytes(10))
    log = LogWriter.open(tmp_path)
    assert log.recovered and log.recovered == Recovered(0, 10, 70)
    assert "10 bytes of commits and 70 bytes of localizations" in str(log.recovered)


def test_a_writer_killed_again_and_again_leaves_what_an_unkilled_one_leaves(tmp_path: Path, start: Start) -> None:
    frames = 1500
    killed, quiet = tmp_path / "killed", tmp_path / "quiet"
    killed.mkdir()
    quiet.mkdir()
    reader = LogReader.open(killed, missing_ok=True)
    seen: list[int] = []
    for after in (3, 8):
        process = start("log_writer", killed, frames)
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.kill()
        process.wait()
        seen += reader.all()[0]["frame_index"].tolist()
    for folder in (killed, quiet):
        assert start("log_writer", folder, frames).wait() == 0
    assert (killed / "locs.bin").read_bytes() == (quiet / "locs.bin").read_bytes()
    seen += reader.all()[0]["frame_index"].tolist()
    assert seen == list(range(frames))


def test_a_reader_beside_a_busy_writer_sees_whole_frames_only(tmp_path: Path, start: Start) -> None:
    process = start("log_writer", tmp_path, 1500)
    reader = LogReader.open(tmp_path, missing_ok=True)
    frames = rows = 0
    while frames < 1500:
        assert process.poll() in (None, 0)
        commits, found = reader.read_new()
        if not len(commits):
            time.sleep(0.001)
        assert commits["frame_index"].tolist() == list(range(frames, frames + len(commits)))
        assert found.frame_index.tolist() == np.repeat(commits["frame_index"], commits["n_localizations"]).tolist()
        frames, rows = frames + len(commits), rows + len(found)
    assert rows == sum(i % 4 for i in range(1500))


def test_two_writers_of_one_log_are_refused(tmp_path: Path, start: Start) -> None:
    holder = start("log_holder", tmp_path)
    assert holder.stdout is not None and holder.stdout.readline().strip() == "0"
    with pytest.raises(LogError, match="another process writes this log"):
        LogWriter.open(tmp_path)
    holder.kill()
    holder.wait()
    LogWriter.open(tmp_path).close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 kB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a tiny disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def check_full_log(folder: Path, said: str) -> None:
    frames = int(said.split(":")[0])
    assert frames > 50 and f"the {frames} frames committed so far are safe" in said
    commits, found = LogReader.open(folder).all()
    assert len(commits) == frames and len(found) == 3 * frames


def test_a_full_disk_loses_nothing_committed(tiny_disk: Path) -> None:
    log_dir = tiny_disk / "run"
    log_dir.mkdir()
    said = fill_log(log_dir)
    assert "No space left" in said
    check_full_log(log_dir, said)
    log = LogWriter.open(log_dir)  # still full: opens, and knows what it has
    with pytest.raises(LogError, match="cannot grow"):
        log.append(make_commits([10**6], n_localizations=[2000]), localizations_of(10**6, 2000))
    log.close()


def test_after_making_room_the_same_writer_goes_on(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    log = LogWriter.open(tiny_disk)
    ballast.write_bytes(bytes(180 << 10))
    rows = localizations_of(0, 3000)
    with pytest.raises(LogError, match="No space left"):
        log.append(make_commits([0], n_localizations=[3000]), rows)
    assert (log.frames, log.localizations) == (0, 0)
    ballast.unlink()
    log.append(make_commits([0], n_localizations=[3000]), rows)
    log.close()
    assert len(LogReader.open(tiny_disk).all()[1]) == 3000


def test_a_full_disk_and_a_recording(tiny_disk: Path) -> None:
    said = fill_recording(tiny_disk)
    frames = int(said.split(":")[0])
    assert frames > 20 and "No space left" in said
    RecordingWriter.open(tiny_disk).close()
    reader = RecordingReader.open(tiny_disk)
    assert reader.frames == frames and reader.truncated is None and reader.read(frames - 1).index == frames - 1
    reader.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path, start: Start) -> None:
    log_dir, recording_dir = tmp_path / "log", tmp_path / "recording"
    for kind, folder in (("log", log_dir), ("recording", recording_dir)):
        folder.mkdir()
        said, _ = start("limited", kind, folder, 100_001).communicate()
        assert "cannot grow" in said
        if kind == "log":
            check_full_log(folder, said)
        else:
            assert RecordingReader.open(folder).frames == int(said.split(":")[0]) == 16


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_an_append_that_fails_half_way_is_taken_back_and_may_be_repeated(tmp_path: Path, start: Start) -> None:
    log_dir, recording_dir = tmp_path / "log", tmp_path / "recording"
    log_dir.mkdir()
    recording_dir.mkdir()
    said, _ = start("log_out_of_commits", log_dir).communicate()
    assert said.split() == ["25", str(64 * 101), str(48 * 100)]
    commits, found = LogReader.open(log_dir).all()
    assert commits["frame_index"].tolist() == found.frame_index.tolist() == list(range(104))
    said, _ = start("recording_out_of_index", recording_dir).communicate()
    assert said.split() == ["10", "400", "80"]
    reader = RecordingReader.open(recording_dir)
    assert reader.truncated is None and [int(frame.pixels_adu[0, 0]) for frame in reader] == list(range(11))
    reader.close()
