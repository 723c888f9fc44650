"""The log: what goes in comes out, in whole frames, live or later; what is damaged is named."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams_children import localizations_of

from rtdecode.core.errors import LogError
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.streams.log import CommitFlag, LogReader, LogWriter, make_commits


def write(log: LogWriter, counts: list[int], chunks: list[int] | None = None, first: int = 0) -> None:
    """Frames first, first + 1, ... with these numbers of localizations, in appends of these sizes."""
    at = 0
    for size in chunks or [len(counts)]:
        part = counts[at : at + size]
        indices = first + np.arange(at, at + len(part))
        rows = [localizations_of(int(i), n) for i, n in zip(indices, part, strict=True)]
        log.append(make_commits(indices, n_localizations=part), Localizations.concatenate(rows))
        at += size


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    log = LogWriter.open(tmp_path)
    rows = localizations_of(7, 3)
    commits = make_commits(
        [5, 6, 7],
        [Fate.LOST_BEFORE, Fate.REJECTED, Fate.FITTED],
        [0, 0, 3],
        [0, CommitFlag.NOT_FINITE, CommitFlag.LEFT_IS_COPY],
        [0, 61, 71],
        [0, 62, 72],
        [np.nan, np.nan, 12.5],
    )
    log.append(commits, rows)
    assert (log.frames, log.localizations, log.last_index, bool(log.recovered)) == (3, 3, 7, False)
    log.close()
    got, found = LogReader.open(tmp_path).all()
    for name in ("frame_index", "fate", "flags", "n_localizations", "t_camera_ns", "t_arrival_ns", "background"):
        assert np.array_equal(got[name], commits[name], equal_nan=name == "background"), name
    assert got["end_of_localizations"].tolist() == [0, 0, 3] and (got["t_commit_ns"] > 0).all()
    assert found.records().tobytes() == rows.records().tobytes()
    assert np.fromfile(tmp_path / "locs.bin", rows.records().dtype).tobytes() == rows.records().tobytes()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_bytes_do_not_depend_on_the_chunking(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=30))
    folders = [tmp_path_factory.mktemp("log") for _ in range(2)]
    chunks = data.draw(st.lists(st.integers(1, 7), min_size=30, max_size=30))
    for folder, cut in zip(folders, (None, chunks), strict=True):
        log = LogWriter.open(folder)
        write(log, counts, cut)
        log.close()
    assert (folders[0] / "locs.bin").read_bytes() == (folders[1] / "locs.bin").read_bytes()
    a, b = (LogReader.open(folder).all()[0] for folder in folders)
    for name in ("frame_index", "fate", "n_localizations", "end_of_localizations", "localizations_crc32"):
        assert np.array_equal(a[name], b[name]), name


def test_a_reader_follows_a_growing_log(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no log here"):
        LogReader.open(tmp_path)
    reader = LogReader.open(tmp_path, missing_ok=True)
    assert len(reader.read_new()[0]) == 0
    log = LogWriter.open(tmp_path)
    seen: list[int] = []
    for step in range(5):
        write(log, [2, 0, 1], first=3 * step)
        commits, found = reader.read_new()
        seen += commits["frame_index"].tolist()
        assert len(found) == 3 and found.frame_index.tolist() == [3 * step, 3 * step, 3 * step + 2]
    assert seen == list(range(15)) and (reader.frames, reader.localizations) == (15, 15)
    assert len(reader.read_new()[0]) == 0 and len(reader.read_new()[1]) == 0


@given(st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_limits_cut_between_frames_only(
    tmp_path_factory: pytest.TempPathFactory, max_frames: int, max_localizations: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = LogWriter.open(folder)
    counts = [0, 3, 0, 7, 1, 1, 1, 0, 12, 0, 0]
    write(log, counts)
    log.close()
    reader, frames, rows = LogReader.open(folder), [], []
    while len((part := reader.read_new(max_frames, max_localizations))[0]):
        commits, found = part
        assert len(commits) <= max_frames and (
            len(found) <= max_localizations or np.count_nonzero(commits["n_localizations"]) == 1
        )
        frames += commits["n_localizations"].tolist()
        rows += found.frame_index.tolist()
    assert frames == counts and rows == np.repeat(np.arange(len(counts)), counts).tolist()


def test_reading_takes_constant_memory(tmp_path: Path) -> None:
    log = LogWriter.open(tmp_path)
    for step in range(40):
        write(log, [50] * 200, first=200 * step)
    log.close()
    assert (tmp_path / "locs.bin").stat().st_size > 19e6
    reader, total = LogReader.open(tmp_path), 0
    tracemalloc.start()
    while len((part := reader.read_new(max_frames=200))[0]):
        total += len(part[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 400000 and peak < 4e6


def test_frames_ascend_and_counts_agree(tmp_path: Path) -> None:
    log = LogWriter.open(tmp_path)
    write(log, [1, 1])
    for commits, rows in [
        (make_commits([1]), Localizations.empty()),
        (make_commits([3, 2]), Localizations.empty()),
        (make_commits([2], n_localizations=[2]), localizations_of(2, 1)),
        (make_commits([2], n_localizations=[1]), localizations_of(3, 1)),
        (make_commits([2]).view("V64"), Localizations.empty()),
    ]:
        with pytest.raises(LogError):
            log.append(commits, rows)
    assert (log.frames, log.localizations) == (2, 2)
    log.append(make_commits([]), Localizations.empty())
    write(log, [1], first=9)
    log.close()
    assert LogReader.open(tmp_path).all()[0]["frame_index"].tolist() == [0, 1, 9]


def test_reopening_goes_on(tmp_path: Path) -> None:
    for step in range(3):
        log = LogWriter.open(tmp_path)
        assert not log.recovered and log.last_index == 2 * step - 1
        assert log.last_commit["n_localizations"].tolist() == ([] if step == 0 else [4])
        write(log, [1, 4], first=2 * step)
        log.close()
        log.close()
    assert len(LogReader.open(tmp_path).all()[1]) == 15


@pytest.mark.parametrize("name", ["commits.bin", "locs.bin"])
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_in_what_was_committed_is_found_and_named(
    tmp_path_factory: pytest.TempPathFactory, name: str, position: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = LogWriter.open(folder)
    counts = [2, 0, 3, 1, 0, 4]
    write(log, counts)
    log.close()
    data = bytearray((folder / name).read_bytes())
    at = int(position * len(data))
    data[at] ^= 1 << bit
    (folder / name).write_bytes(data)
    frame = at // 64 - 1 if name == "commits.bin" else int(np.repeat(np.arange(6), counts)[at // 48])
    record = frame if name == "commits.bin" else sum(counts[:frame])
    expected = rf"{name}.*(record {record} |not a commit log)"
    with pytest.raises(LogError, match=expected):
        LogWriter.open(folder)
    reader = LogReader.open(folder)
    if frame > 0:
        assert reader.read_new()[0]["frame_index"].tolist() == list(range(frame))  # what is sound comes first
    with pytest.raises(LogError, match=expected):
        reader.read_new()
        reader.read_new()


def test_a_record_taken_out_is_noticed(tmp_path: Path) -> None:
    log = LogWriter.open(tmp_path)
    write(log, [2, 1, 3])
    log.close()
    data = (tmp_path / "commits.bin").read_bytes()
    (tmp_path / "commits.bin").write_bytes(data[:128] + data[192:])
    with pytest.raises(LogError, match="record 1 "):
        LogWriter.open(tmp_path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "commits.bin").write_bytes(b"something else entirely" * 10)
    for action in (LogWriter.open, lambda folder: LogReader.open(folder).all()):
        with pytest.raises(LogError, match="not a commit log"):
            action(tmp_path)
    with pytest.raises(LogError, match="cannot be opened"):
        LogWriter.open(tmp_path / "nowhere")
