"""The one test class that every source passes: subclass it, say how to make the source and what to expect."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtdecode.core.actions import Stop
from rtdecode.core.contracts import Source
from rtdecode.core.errors import EndOfStream
from rtdecode.core.frames import FRAME_DTYPES, FrameArray, FrameInfo

DEADLINE_S = 60.0  # against hanging only


def slot_for(source: Source) -> FrameArray:
    """A ring slot as the acquire stage would hand it over."""
    return np.empty(source.roi.shape, source.dtype)


def read_next(source: Source, out: FrameArray) -> FrameInfo:
    """Poll until a frame comes; EndOfStream passes through."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        info = source.read(out)
        if info is not None:
            return info
        time.sleep(0.0005)
    raise AssertionError(f"no frame and no end within {DEADLINE_S} s")


def drain(source: Source) -> list[tuple[FrameInfo, NDArray[np.generic]]]:
    """All frames that are left, each with a copy of its pixels."""
    out, found = slot_for(source), []
    while True:
        try:
            info = read_next(source, out)
        except EndOfStream:
            return found
        found.append((info, out.copy()))


class SourceContract:
    """Subclasses set the class attributes and `make`."""

    n_frames: int = 12  # frames that come if nobody stops it
    shape: tuple[int, int] = (64, 64)
    dtype: str = "uint16"
    deterministic: bool = True  # a second pass gives the same pixels

    def make(self, folder: Path) -> Source:
        """A closed source of `n_frames` frames."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        source = self.make(tmp_path)
        yield source
        source.close()

    def test_it_is_a_source(self, source: Source) -> None:
        source.open()
        assert isinstance(source, Source)

    def test_shape_type_and_count_are_known_after_open(self, source: Source) -> None:
        source.open()
        assert source.roi.shape == self.shape
        assert source.dtype == self.dtype and source.dtype in FRAME_DTYPES
        assert source.expected == self.n_frames

    def test_what_the_acquire_stage_asks_for(self, source: Source) -> None:
        """Both are optional in the contract: whether a source waits for its reader, and its rate if it has one."""
        source.open()
        assert getattr(source, "can_wait", False) in (True, False)
        fps = getattr(source, "nominal_fps", None)
        assert fps is None or fps > 0

    def test_nothing_comes_before_start(self, source: Source) -> None:
        source.open()
        assert source.read(slot_for(source)) is None

    def test_all_frames_come_in_rising_order(self, source: Source) -> None:
        source.open()
        source.start()
        frames = drain(source)
        indices = [info.index for info, _ in frames]
        assert len(frames) == self.n_frames
        assert indices == sorted(set(indices))
        assert indices[-1] < source.expected
        assert all(info.flags in (0, 2) for info, _ in frames)

    def test_arrival_times_rise_and_are_monotonic_clock(self, source: Source) -> None:
        source.open()
        before = time.monotonic_ns()
        source.start()
        times = [info.t_arrival_ns for info, _ in drain(source)]
        assert times == sorted(times)
        assert before <= times[0] and times[-1] <= time.monotonic_ns()

    def test_the_end_stays_the_end(self, source: Source) -> None:
        source.open()
        source.start()
        drain(source)
        for _ in range(3):
            with pytest.raises(EndOfStream):
                source.read(slot_for(source))
        assert source.made == source.expected

    def test_made_counts_what_came(self, source: Source) -> None:
        source.open()
        source.start()
        info = read_next(source, slot_for(source))
        made = source.made
        assert made is None or info.index + 1 <= made <= source.expected

    def test_stop_drains_and_ends(self, source: Source) -> None:
        source.open()
        source.start()
        first = read_next(source, slot_for(source))
        source.apply(Stop("enough"))
        made = source.made
        rest = drain(source)
        assert [info.index for info, _ in rest] == list(range(first.index + 1, made))
        assert source.made == made
        with pytest.raises(EndOfStream):
            source.read(slot_for(source))

    def test_close_twice_and_before_open(self, source: Source) -> None:
        source.close()
        source.open()
        source.start()
        read_next(source, slot_for(source))
        source.close()
        source.close()

    def test_made_is_known_after_close(self, source: Source) -> None:
        source.open()
        source.start()
        read_next(source, slot_for(source))
        source.close()
        assert source.made is None or 1 <= source.made <= self.n_frames

    def test_a_second_pass_gives_the_same_frames(self, source: Source) -> None:
        if not self.deterministic:
            pytest.skip("a real camera's frames differ")
        passes = []
        for _ in range(2):
            source.open()
            source.start()
            passes.append(drain(source))
            source.close()
        for (a, pixels_a), (b, pixels_b) in zip(*passes, strict=True):
            assert (a.index, a.flags) == (b.index, b.flags)
            assert np.array_equal(pixels_a, pixels_b, equal_nan=True)
