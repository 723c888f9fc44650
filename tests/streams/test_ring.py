"""The ring in one process: what a reader gets, what it is told it lost, what is refused."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.core.errors import RingError, RingLapped
from rtdecode.core.frames import FrameFlag, FrameInfo
from rtdecode.streams import memory
from rtdecode.streams.memory import place_for_memory, remove_abandoned
from rtdecode.streams.ring import FinishedInfo, RingReader, RingWriter, slots_for
from rtdecode.streams.ring_layout import Layout


def publish(writer: RingWriter, *indices: int, flags: int = 0) -> None:
    for index in indices:
        writer.slot()[:] = index
        writer.publish(FrameInfo(index, 10 * index, 20 * index, flags))


@pytest.fixture
def ring(tmp_path: Path) -> RingWriter:
    return RingWriter.create(tmp_path / "a.ring", (5, 7), "uint16", 8)


def test_frames_come_out_as_they_went_in(ring: RingWriter) -> None:
    reader = RingReader.open(ring.path, "localize")
    assert reader.read() is None
    ring.slot()[:] = np.arange(35).reshape(5, 7)
    ring.publish(FrameInfo(3, 111, 222, FrameFlag.SATURATED))
    frame = reader.read()
    assert frame is not None and frame.info == FrameInfo(3, 111, 222, FrameFlag.SATURATED)
    assert np.array_equal(frame.pixels_adu, np.arange(35).reshape(5, 7))
    assert reader.read() is None
    assert (ring.received, ring.first_index, ring.last_index, ring.lost_before) == (1, 3, 3, 3)
    ring.slot()[:] = 9
    assert frame.pixels_adu[0, 1] == 1  # a private copy


def test_float_frames_and_a_given_array(tmp_path: Path) -> None:
    writer = RingWriter.create(tmp_path / "f.ring", (3, 3), "float32", 4)
    writer.slot()[:] = 1.25
    writer.publish(FrameInfo(0, 0, 0))
    reader = RingReader.open(writer.path)
    out = np.empty((3, 3), np.float32)
    frame = reader.read(out)
    assert frame is not None and frame.pixels_adu is out and (out == 1.25).all()
    assert (reader.shape, reader.dtype, reader.slots) == ((3, 3), "float32", 4)


def test_two_readers_have_their_own_cursors(ring: RingWriter) -> None:
    a, b = RingReader.open(ring.path, "localize"), RingReader.open(ring.path, "record")
    publish(ring, 0, 1, 2)
    assert [a.read().index, a.read().index, b.read().index] == [0, 1, 0]  # type: ignore[union-attr]
    assert (a.waiting, b.waiting) == (1, 2) and b.fill == 2 / 7 == ring.fill
    newest = a.peek_newest()
    assert newest is not None and newest.index == 2 and a.waiting == 1


def test_a_lapped_reader_is_told_exactly_what_it_lost(ring: RingWriter) -> None:
    reader = RingReader.open(ring.path, "localize")
    publish(ring, 0, 1)
    assert reader.read().index == 0  # type: ignore[union-attr]
    publish(ring, *range(5, 17))  # 2, 3, 4 were lost before the ring
    with pytest.raises(RingLapped) as lapped:
        reader.read()
    following = reader.read()
    assert following is not None
    assert lapped.value.indices == (1, *range(5, following.index))
    assert (lapped.value.count, lapped.value.first_index) == (len(lapped.value.indices), 1)
    assert lapped.value.last_index == following.index - 1
    assert (following.pixels_adu == following.index).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=40), st.integers(2, 9))
def test_every_frame_is_read_or_counted_lost_whatever_the_pace(steps: list[tuple[bool, int]], slots: int) -> None:
    """Random turns of publishing (with gaps in the camera's count) and reading."""
    with tempfile.TemporaryDirectory() as folder:
        writer = RingWriter.create(Path(folder) / "r.ring", (2, 2), "uint16", slots)
        reader = RingReader.open(writer.path, "localize")
        published: list[int] = []
        accounted: list[int] = []
        for is_write, count in steps:
            for _ in range(count):
                if is_write:
                    published.append(writer.last_index + 1 + count % 3)
                    publish(writer, published[-1])
                else:
                    accounted += _read_or_lost(reader)
        while reader.waiting:
            accounted += _read_or_lost(reader)
        assert accounted == published
        reader.close()
        writer.close()


def _read_or_lost(reader: RingReader) -> list[int]:
    try:
        frame = reader.read()
    except RingLapped as lapped:
        assert lapped.indices is not None and lapped.count == len(lapped.indices)
        return list(lapped.indices)
    if frame is None:
        return []
    assert (frame.pixels_adu == frame.index).all()
    return [frame.index]


def test_a_frame_overwritten_while_copied_is_not_believed(ring: RingWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = RingReader.open(ring.path, "localize")
    publish(ring, 0)
    header = reader._header
    copy_pixels = header._copy_pixels

    def slow_copy(*arguments: object) -> object:
        pixels = copy_pixels(*arguments)  # type: ignore[arg-type]
        publish(ring, *range(1, 8))
        ring.slot()  # the writer takes the slot that is being copied
        return pixels

    monkeypatch.setattr(header, "_copy_pixels", slow_copy)
    with pytest.raises(RingLapped) as lapped:
        reader.read()
    monkeypatch.undo()
    assert lapped.value.indices is not None and lapped.value.indices[0] == 0
    assert reader.read().index == lapped.value.last_index + 1  # type: ignore[union-attr]


def test_the_slot_in_the_writers_hands_is_never_read(ring: RingWriter) -> None:
    reader = RingReader.open(ring.path)
    publish(ring, *range(8))
    ring.slot()[:] = 99  # half-made frame 8 lies where frame 0 was
    with pytest.raises(RingLapped):
        reader.read()
    assert reader.seek(0) is False and reader.read().index == 1  # type: ignore[union-attr]


def test_a_frame_of_wrong_size_counts_but_has_no_pixels(ring: RingWriter) -> None:
    reader = RingReader.open(ring.path)
    publish(ring, 0)
    ring.publish(FrameInfo(1, 0, 0, FrameFlag.WRONG_SIZE))  # without asking for the slot
    publish(ring, 2)
    frames = [reader.read() for _ in range(3)]
    assert [f.index for f in frames if f] == [0, 1, 2]
    assert frames[1] is not None and frames[1].pixels_adu.shape == (0, 0) and ring.received == 3


def test_a_reader_of_the_same_name_goes_on_and_can_look_back(ring: RingWriter) -> None:
    first = RingReader.open(ring.path, "localize")
    publish(ring, 0, 1, 4, 5, 6)
    for _ in range(4):
        first.read()
    again = RingReader.open(ring.path, "localize")  # the first one died without a word
    assert again.waiting == 1
    assert again.seek(4) and [again.read().index for _ in range(3)] == [4, 5, 6]  # type: ignore[union-attr]
    assert again.seek(3) is False
    publish(ring, *range(7, 30))
    assert again.seek(4) is False and again.read().index == 23  # type: ignore[union-attr]
    indices = again.published_indices(1, 9)
    assert indices is not None and indices.tolist() == [4, 5, 6, 7, 8]


def test_a_reader_expected_by_the_writer_misses_nothing(tmp_path: Path) -> None:
    writer = RingWriter.create(tmp_path / "r.ring", (2, 2), "uint16", 4, readers=("localize",))
    while writer.wait_for_readers(0.0):
        publish(writer, writer.received)
    assert writer.fill == 1.0
    reader = RingReader.open(writer.path, "localize")
    assert [reader.read().index for _ in range(writer.received)] == list(range(writer.received))  # type: ignore[union-attr]


def test_a_polite_writer_waits_for_the_slowest_registered_reader_only(ring: RingWriter) -> None:
    fast, slow = RingReader.open(ring.path, "localize"), RingReader.open(ring.path, "record")
    viewer = RingReader.open(ring.path)
    for index in range(8):
        assert ring.wait_for_readers(0.0)
        publish(ring, index)
        fast.read()
    assert not ring.wait_for_readers(0.01)
    assert slow.read().index == 0 and ring.wait_for_readers(0.0)  # type: ignore[union-attr]
    publish(ring, 8)
    assert not ring.wait_for_readers(0.0)
    slow.close()
    assert ring.wait_for_readers(0.0) and viewer.waiting == 9


def test_how_it_ended(ring: RingWriter) -> None:
    reader = RingReader.open(ring.path)
    publish(ring, 0)
    assert reader.finished is None and not reader.drained
    ring.finish(20, "stopped by policy: dichte erreicht, größer 3 µm⁻²")
    assert reader.finished == FinishedInfo(20, 1, "stopped by policy: dichte erreicht, größer 3 µm⁻²")
    assert not reader.drained
    reader.read()
    assert reader.drained
    ring.finish(None, "ß" * 5000)
    assert reader.finished.expected is None and set(reader.finished.reason) == {"ß"}


def test_the_cameras_count_must_grow(ring: RingWriter) -> None:
    publish(ring, 4)
    with pytest.raises(RingError, match="4 came after 4"):
        publish(ring, 4)
    assert ring.received == 1


def test_facts_stay_readable_after_close_and_close_is_repeatable(ring: RingWriter) -> None:
    reader = RingReader.open(ring.path, "localize")
    publish(ring, 0, 1)
    reader.close()
    reader.close()
    ring.close(remove=True)
    ring.close(remove=True)
    assert ring.received == reader.received == 2 and not ring.path.exists()


def test_readers_keep_the_ring_when_the_file_is_removed(ring: RingWriter) -> None:
    reader = RingReader.open(ring.path, "localize")
    publish(ring, 0)
    ring.close(remove=True)
    assert reader.read().index == 0  # type: ignore[union-attr]
    with pytest.raises(RingError, match="no ring here"):
        RingReader.open(ring.path)


def test_a_foreign_cut_or_damaged_file_is_refused(ring: RingWriter, tmp_path: Path) -> None:
    publish(ring, 0)
    ring.close()
    whole = ring.path.read_bytes()
    cases = {
        "empty": b"",
        "foreign": b"not a ring at all" * 1000,
        "cut": whole[:-1],
        "header only": whole[:100],
        "unready": bytes(8) + whole[8:],
        "type": whole[:32] + (77).to_bytes(8, "little") + whole[40:],
        "slots": whole[:40] + (0).to_bytes(8, "little") + whole[48:],
        "height": whole[:16] + (6).to_bytes(8, "little") + whole[24:],
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RingError, match=name):  # the path is named
            RingReader.open(tmp_path / name)
    RingReader.open(ring.path).close()


def test_there_is_room_for_eight_registered_readers(ring: RingWriter) -> None:
    readers = [RingReader.open(ring.path, f"r{i}") for i in range(8)]
    with pytest.raises(RingError, match="8 readers already"):
        RingReader.open(ring.path, "ninth")
    RingReader.open(ring.path).close()  # a viewer is not registered
    readers[3].close()
    RingReader.open(ring.path, "ninth").close()


def test_the_same_path_twice_is_refused(ring: RingWriter) -> None:
    with pytest.raises(RingError, match="exists already"):
        RingWriter.create(ring.path, (5, 7), "uint16", 8)


def test_no_room_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(RingError, match=r"needs .* MB, only .* MB are free"):
        RingWriter.create(tmp_path / "big.ring", (65536, 65536), "float32", 1 << 20)
    assert not (tmp_path / "big.ring").exists()
    with pytest.raises(RingError, match="cannot be made: No such file"):
        RingWriter.create(tmp_path / "nowhere" / "a.ring", (5, 7), "uint16", 8)


def test_size_is_seconds_with_a_cap() -> None:
    assert slots_for(10, 100, (64, 64), "uint16") == 1001
    capped = slots_for(10, 100, (2048, 2048), "uint16", max_mb=500)
    assert capped * 2048 * 2048 * 2 <= 500e6 < (capped + 2) * 2048 * 2048 * 2
    assert slots_for(0.001, 1, (8, 8), "float32") == 8
    with pytest.raises(RingError, match="uint8"):
        slots_for(1, 1, (8, 8), "uint8")


def test_slots_lie_on_cache_lines() -> None:
    layout = Layout.of((5, 7), "uint16", 3)
    assert layout.stride % 64 == 0 and layout.slots_start % 64 == 0
    assert layout.size == layout.slots_start + 3 * layout.stride


def test_the_place_is_shared_memory_or_else_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_for_memory(1 << 60, "x.ring", tmp_path) == tmp_path / "x.ring"
    roomy = tmp_path / "shm"
    roomy.mkdir()
    monkeypatch.setattr(memory, "_SHM", roomy)
    assert place_for_memory(1000, "x.ring", tmp_path) == roomy / "x.ring"


def test_rings_of_dead_processes_are_cleared_away(tmp_path: Path) -> None:
    mine, dead, other = (tmp_path / f"rtdecode-{n}-1.ring" for n in (os.getpid(), 2**22 + 1, "x"))
    for path in (mine, dead, other):
        path.touch()
    assert remove_abandoned(tmp_path) == [dead]
    assert mine.exists() and other.exists()
