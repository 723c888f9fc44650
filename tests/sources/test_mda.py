"""Listening to an MDA: pymmcore-plus' real runner with a real core, run by somebody else in this process."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_contract import SourceContract, drain, read_next, slot_for

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.errors import EndOfStream, SourceError
from rtdecode.sources.mda import MDASource
from rtdecode.sources.mmcore_connect import load_simulated
from rtdecode.sources.scene import CHALLENGE_CAMERA, SimulatedScene, Specimen, load_psf

pytest.importorskip("pymmcore_plus")
useq = pytest.importorskip("useq")

SPECIMEN = Specimen(SimulatedScene(seed=3, density_um2=0.5), 1000, load_psf(None, CHALLENGE_CAMERA), CHALLENGE_CAMERA)


class Owner:
    """The other program: it has the core, and runs MDAs in a thread of its own."""

    def __init__(self) -> None:
        self.core, _ = load_simulated(SPECIMEN, 2.0)
        self._threads: list[threading.Thread] = []

    def run(self, **sequence: Any) -> None:
        self._threads.append(self.core.run_mda(useq.MDASequence(**sequence)))

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def close(self) -> None:
        self.core.mda.cancel()
        self.wait()
        self.core.unloadAllDevices()


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner()
    yield owner
    owner.close()


def movie(n: int) -> dict[str, Any]:
    return {"time_plan": {"interval": 0, "loops": n}}


class Listened(MDASource):
    """For the contract test: as soon as it listens, the owner begins."""

    _owner: Any = None

    def start(self) -> None:
        super().start()
        self._owner.run(**movie(12))


class TestMDAContract(SourceContract):
    deterministic = False

    @pytest.fixture(autouse=True)
    def _someone(self, owner: Owner) -> None:
        self.owner = owner

    def make(self, folder: Path) -> MDASource:
        source = Listened(frames=12)
        object.__setattr__(source, "_owner", self.owner)
        source.attach(self.owner.core)
        return source


def listening(owner: Owner, **fields: Any) -> MDASource:
    source = MDASource(**fields)
    source.attach(owner.core)
    source.open()
    source.start()
    return source


def test_the_frames_are_the_cameras_and_nothing_is_popped(owner: Owner) -> None:
    source = listening(owner)
    owner.run(**movie(9))
    frames = drain(source)
    assert [info.index for info, _ in frames] == list(range(9))
    for number, (_, pixels) in enumerate(frames):
        assert np.array_equal(pixels, SPECIMEN.frame(number))
    assert all(a[0].t_camera_ns <= b[0].t_camera_ns for a, b in itertools.pairwise(frames))


def test_a_full_queue_drops_counts_and_never_makes_the_camera_wait(owner: Owner) -> None:
    source = listening(owner, queue_mb=1)  # 122 frames of 64 x 64
    owner.run(**movie(200))
    owner.wait()
    frames = drain(source)
    assert source.made == 200
    assert len(frames) == 122
    owner.run(**movie(5))  # a second MDA is not ours
    owner.wait()
    assert source.made == 200


def test_a_stop_leaves_the_mda_to_its_owner_unless_it_may_cancel(owner: Owner) -> None:
    source = listening(owner)
    owner.run(**movie(400))
    read_next(source, slot_for(source))
    source.apply(Stop("enough"))
    drain(source)
    assert owner.core.mda.is_running()
    owner.wait()
    bold = listening(owner, may_cancel=True)
    owner.run(**movie(1000))
    read_next(bold, slot_for(bold))
    bold.apply(Stop("enough"))
    owner.wait()
    drain(bold)
    assert bold.made is not None and bold.made < 1000


def test_an_mda_over_channels_is_refused_with_the_key_that_narrows_it(owner: Owner) -> None:
    z_stack = {**movie(3), "z_plan": {"range": 2, "step": 1}}
    source = listening(owner)
    source._begins(useq.MDASequence(**z_stack))
    with pytest.raises(SourceError, match=r"varies z: 3 besides time.*keep: \{c: 0, z: 0\}"):
        source.read(slot_for(source))
    narrow = listening(owner, keep={"z": 1})
    narrow._begins(useq.MDASequence(**z_stack))
    owner.core.mda.events.frameReady.emit(SPECIMEN.frame(0), useq.MDAEvent(index={"t": 0, "z": 0}), {})
    owner.core.mda.events.frameReady.emit(SPECIMEN.frame(1), useq.MDAEvent(index={"t": 0, "z": 1}), {})
    out = slot_for(narrow)
    assert read_next(narrow, out).index == 0
    assert np.array_equal(out, SPECIMEN.frame(1))
    assert narrow.made == 1


def test_properties_belong_to_the_owner_and_a_closed_source_says_so(owner: Owner) -> None:
    source = listening(owner)
    with pytest.raises(SourceError, match="belongs to the program that runs the MDA"):
        source.apply(SetProperty("Laser", "Power", 1.0))
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read(np.empty((64, 64), np.uint16))
    owner.run(**movie(3))
    owner.wait()
    assert source.made == 0


def test_a_cancelled_mda_ends_the_stream(owner: Owner) -> None:
    source = listening(owner)
    owner.run(**movie(1000))
    read_next(source, slot_for(source))
    owner.core.mda.cancel()
    owner.wait()
    with pytest.raises(EndOfStream, match="the MDA is over"):
        while True:
            source.read(slot_for(source))
