"""Parts of the Micro-Manager source: counting, tags, words of Java, replies."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.core.errors import SourceError, SourceLost
from rtdecode.core.frames import Roi
from rtdecode.sources.micromanager_frames import COUNT, POP, RUNNING, TAGGED, CheckedCount, Popped, Popper, Region
from rtdecode.sources.micromanager_line import Answer
from rtdecode.sources.micromanager_wire import decode, java_words


class CoreInMemory:
    """A line whose other end is a buffer of numbered frames; every second look finds no answer yet."""

    def __init__(self) -> None:
        self.waiting: deque[int] = deque()
        self.made = self.empty_pops = self._looks = 0
        self.running = True
        self._asked: deque[str] = deque()

    def make(self, n: int) -> None:
        self.waiting.extend(range(self.made, self.made + n))
        self.made += n

    def ask(self, method: str, *_: object) -> None:
        self._asked.append(method)

    def answer(self, wait_s: float = 0.0) -> Answer | None:
        self._looks += 1
        if not self._asked or self._looks % 2:
            return None
        method = self._asked.popleft()
        if method in (COUNT, RUNNING):
            return Answer(method, len(self.waiting) if method == COUNT else self.running)
        if not self.waiting:
            self.empty_pops += 1
            return Answer(method, fault="Circular buffer is empty.")
        pixels = np.array([self.waiting.popleft()], "u2")
        return Answer(method, {"pix": pixels, "tags": {}} if method == TAGGED else pixels)

    def close(self) -> None:
        pass


def all_of(popper: Popper, last: int, looks: int) -> list[Popped]:
    taken = (popper.take(last) for _ in range(looks))
    return [popped for popped in taken if popped is not None]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), max_size=20), st.integers(1, 16), st.integers(1, 9))
def test_pops_are_those_that_were_counted(steps: list[tuple[int, int]], window: int, check_every: int) -> None:
    """However frames come and however often one looks: all of them, in order, and no pop of an empty buffer."""
    line = CoreInMemory()
    popper = Popper(line, window, check_every, 0.0, lambda: True)
    found: list[Popped] = []
    for n_made, looks in steps:
        line.make(n_made)
        found += all_of(popper, 10_000, looks)
    assert len(found) + popper.settle(1.0) == line.made
    line.running = False
    found += all_of(popper, 10_000, 6 * line.made + 20)
    assert popper.is_dry and line.empty_pops == 0
    assert [int(popped.pixels[0]) for popped in found] == list(range(line.made))
    checked = [i for i, popped in enumerate(found) if popped.tags is not None]
    assert not found or {0, *range(0, len(found), check_every)} <= set(checked)


def test_frames_that_another_took_are_counted_again() -> None:
    line = CoreInMemory()
    popper = Popper(line, 8, 100, 0.0, lambda: True)
    line.make(6)
    popper.settle(1.0)
    line.waiting.clear()
    assert all_of(popper, 100, 40) == []
    line.make(2)
    assert [int(popped.pixels[0]) for popped in all_of(popper, 100, 40)] == [6, 7]


def test_a_core_that_counts_and_never_gives_is_given_up() -> None:
    class Liar(CoreInMemory):
        def answer(self, wait_s: float = 0.0) -> Answer | None:
            answer = super().answer(wait_s)
            return Answer(COUNT, 3) if answer is not None and answer.method == COUNT else answer

    popper = Popper(Liar(), 4, 100, 0.0, lambda: True)
    with pytest.raises(SourceLost, match="counts frames and does not give them: Circular buffer is empty"):
        all_of(popper, 100, 5000)


@pytest.mark.parametrize(
    ("method", "value", "reason"),
    [
        (COUNT, "many", "expected a whole number"),
        (COUNT, -1, "expected a whole number"),
        (POP, "pixels", "gave str for a frame"),
        (POP, None, "gave NoneType for a frame"),
        (TAGGED, {"pix": np.zeros(1, "u2"), "tags": "none"}, "for a frame"),
        (TAGGED, {}, "for a frame"),
    ],
)
def test_answers_that_cannot_be(method: str, value: object, reason: str) -> None:
    class Mad(CoreInMemory):
        def answer(self, wait_s: float = 0.0) -> Answer | None:
            answer = super().answer(wait_s)
            mad = answer is not None and (answer.method == method or {method, answer.method} <= {POP, TAGGED})
            return Answer(answer.method, value) if mad and answer is not None else answer

    line = Mad()
    line.make(5)
    with pytest.raises(SourceLost, match=reason):
        all_of(Popper(line, 4, 100, 0.0, lambda: True), 100, 100)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_counted_indices_rise_and_are_right_where_they_were_checked(frames: list[tuple[int, bool]]) -> None:
    """Each frame: how many were stolen before it, and whether it has its tags."""
    count, number, indices = CheckedCount(), -1, []
    for stolen, with_tags in frames:
        number += 1 + stolen
        indices.append(count.index(number if with_tags else None))
        assert not with_tags or indices[-1] == number
        assert indices[-1] <= number
    assert indices == sorted(set(indices))


def test_a_new_count_of_the_core_goes_on_with_ours() -> None:
    count = CheckedCount()
    assert [count.index(0), count.index(), count.index()] == [0, 1, 2]
    assert count.index(1) == 3 and count.restarts == 1  # the third frame of ours was the first of a new count
    assert [count.index(), count.index(3)] == [4, 5]
    assert count.index(9) == 11 and count.lost == 5


def test_tags_that_tell_of_a_change() -> None:
    region = Region("Andor", Roi(10, 20, 64, 48), 2)
    tags = {
        "Camera": "Andor",
        "Width": 64,
        "Height": "48",
        "ROI": "10-20-64-48",
        "ROI-X-start": "10",
        "PixelType": "GRAY16",
    }
    assert region.differs(tags) is None and region.differs({}) is None
    changes = (("Camera", "Other"), ("Width", 32), ("ROI", "0-20-64-48"), ("ROI-X-start", "0"), ("PixelType", "GRAY8"))
    for name, other in changes:
        assert region.differs(tags | {name: other}) == f"{name} is {other}, was {tags[name]}"
    assert region.fits(np.zeros(64 * 48, "u2"))
    assert not region.fits(np.zeros(64 * 47, "u2")) and not region.fits(np.zeros(64 * 48, "u1"))


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        (
            'java.lang.Exception: No device with label "A (B)"\nmmcorej.MMCoreJJNI.x(Native Method)\n',
            'No device with label "A (B)"',
        ),
        ("java.lang.RuntimeException: Unknown Command\n\tat org.x.Y(Z.java:1)\n", "Unknown Command"),
        (
            "java.lang.Exception: Cannot set (twice)\n[ because ]\nsun.reflect.A.b(A.java:3)",
            "Cannot set (twice) [ because ]",
        ),
        ("java.lang.NullPointerException\n\tat a.b(C.java)", "java.lang.NullPointerException"),
        ("", "an exception without a word"),
    ],
)
def test_words_of_java(trace: str, words: str) -> None:
    assert java_words(trace) == words


def test_arrays_of_a_reply() -> None:
    reply = decode(
        [b"", b'{"type":"short-array","value":"[B@6af41732"}', b"\x00\x00\x00\x01", np.arange(4, dtype="u2").tobytes()]
    )
    assert reply.value.dtype == np.uint16 and list(reply.value) == [0, 1, 2, 3]
    with pytest.raises(SourceError, match="not understood"):
        decode([b"", b'{"type":"short-array","value":"[B@6af41732"}', b"\x00\x00\x00\x01", b"odd"])
