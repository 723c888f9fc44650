"""The ring between real processes: nothing torn is believed, nothing goes uncounted, a killed reader is replaced."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streams_children import RACE_PATTERNS, RACE_SHAPE, SHAPE, pattern

from rtdecode.core.frames import FrameInfo
from rtdecode.streams.ring import RingReader, RingWriter

Start = Callable[..., "subprocess.Popen[str]"]
FRAMES = 8000


def output(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_writer_that_never_waits_and_two_readers_that_race_it(tmp_path: Path, start: Start) -> None:
    writer = RingWriter.create(tmp_path / "a.ring", RACE_SHAPE, "uint16", 3, ("localize",))
    racers = [start("ring_racer", writer.path, name) for name in ("localize", "record")]
    assert [output(racer) for racer in racers] == ["ready", "ready"]
    for index in range(FRAMES):
        writer.slot()[:] = RACE_PATTERNS[index % 16]
        writer.publish(FrameInfo(index, 2 * index, 0))
    writer.finish(FRAMES, "all there")
    for racer in racers:
        read, lost, wrong = map(int, output(racer).split())
        assert wrong == 0 and read + lost == FRAMES
    writer.close()


def test_a_polite_writer_loses_nothing(tmp_path: Path, start: Start, wait_for: Callable[..., None]) -> None:
    path = tmp_path / "a.ring"
    start("ring_writer", path, 4, 2000, "polite")
    wait_for(lambda: path.exists() and path.read_bytes()[:8] == b"RTDRING1")
    racer = start("ring_racer", path, "localize")
    assert output(racer) == "ready"
    assert output(racer).split() == ["2000", "0", "0"]


def test_a_killed_reader_is_replaced_and_looks_back(tmp_path: Path, start: Start) -> None:
    writer = RingWriter.create(tmp_path / "a.ring", SHAPE, "uint16", 200, ("localize",))
    victim = start("ring_reader", writer.path, 40)
    for index in range(100):
        writer.slot()[:] = pattern(index)
        writer.publish(FrameInfo(index, 0, 0))
    assert output(victim) == "39"
    victim.kill()
    victim.wait()
    with_restart = RingReader.open(writer.path, "localize")
    assert with_restart.waiting == 60
    assert with_restart.seek(38)
    for index in range(38, 100):
        frame = with_restart.read()
        assert frame is not None and frame.index == index and np.array_equal(frame.pixels_adu, pattern(index))


def test_a_killed_writer_is_noticed_and_what_it_wrote_is_drained(
    tmp_path: Path, start: Start, wait_for: Callable[..., None]
) -> None:
    path = tmp_path / "a.ring"
    process = start("ring_writer", path, 64, 50, "live")
    assert output(process) == "done"
    reader = RingReader.open(path, "localize")
    assert reader.writer_is_alive()
    process.kill()  # and nobody waits for it: a zombie does not count as alive
    wait_for(lambda: not reader.writer_is_alive())
    assert [frame.index for _ in range(50) if (frame := reader.read())] == list(range(50))
    assert reader.drained


@pytest.mark.parametrize("name", ["localize", None])
def test_a_reader_that_leaves_does_not_take_the_ring_away(tmp_path: Path, start: Start, name: str | None) -> None:
    """What `multiprocessing.shared_memory` does before Python 3.13."""
    writer = RingWriter.create(tmp_path / "a.ring", SHAPE, "uint16", 8)
    racer = start("ring_racer", writer.path, name or "")
    assert output(racer) == "ready"
    writer.finish(0, "nothing to see")
    assert output(racer) == "0 0 0" and racer.wait() == 0
    assert writer.path.exists()
    RingReader.open(writer.path).close()
