"""The check beside the line warns by name when data stop fitting the model, and takes it back when they fit again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtdecode.analysis.doubts import Trained
from rtdecode.core.actions import Stop
from rtdecode.core.camera import Camera
from rtdecode.core.frames import Fate, FrameInfo
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.physics.camera import adu_from_photons
from rtdecode.stages import check
from rtdecode.stages.check import CheckStage
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.ring import RingWriter
from rtdecode.streams.run_folder import RunFolder

CAMERA = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, read_noise_e=74.4, em_gain=300)
TRAINED = Trained(photons=(100, 25000), background=(30, 225), density_per_um2=(0, 2.5), z_nm=(-750, 750))
SHAPE = (96, 96)


class Bench:
    """A run folder with ring and log that a test fills, and the stage that reads them."""

    def __init__(self, place: Path, shape: tuple[int, int] = SHAPE, slots: int = 64, every: int = 300) -> None:
        place.mkdir(exist_ok=True)
        self.shape = shape
        self.folder = RunFolder.create(place / "run", "format: test\n")
        self.ring = RingWriter.create(place / "frames.ring", shape, "uint16", slots=slots)
        self.folder.publish_ring(place / "frames.ring")
        self.log = LogWriter.open(self.folder.path)
        self.stage = CheckStage(self.folder, CAMERA, None, TRAINED, every=every, rest_s=0)
        self.random, self.next = np.random.default_rng(1), 0

    def give(self, n: int, background: float, camera: Camera = CAMERA, found: Localizations | None = None) -> None:
        """So many frames with uneven light, each committed, the stage stepped after each."""
        light = background * (1 + 2 * np.clip(np.sin(np.arange(self.shape[1]) / 12), 0, 1) ** 4)
        for _ in range(n):
            self.ring.slot()[:] = adu_from_photons(camera, np.broadcast_to(light, self.shape), self.random)
            self.ring.publish(FrameInfo(self.next, 0, 0))
            here = found or Localizations.empty()
            here = here[here.frame_index == self.next]
            self.log.append(make_commits([self.next], fate=[Fate.FITTED], n_localizations=[len(here)]), here)
            self.next += 1
            self.stage.step()

    def events(self) -> list[tuple[str, str]]:
        told = [event for event in self.folder.read_events() if event["worker"] == "check"]
        return [(event["kind"], event["check"]) for event in told if event["check"] != "localizations"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.stage.close()
    made.log.close()
    made.ring.close(remove=True)


def test_warns_once_when_it_begins_and_takes_it_back_when_it_is_over(bench: Bench) -> None:
    bench.give(check.WINDOW, background=60)
    assert bench.events() == []
    bench.give(600, background=5)
    assert bench.events() == [("warning", "background")]
    (standing,) = [words for words in bench.stage.status()["warnings"] if not words.startswith("localizations")]
    assert standing.startswith("background: the background is at most")
    bench.give(700, background=60, camera=CAMERA.model_copy(update={"e_per_adu": 22.5}))
    assert bench.events() == [("warning", "background"), ("warning", "gain"), ("warning_over", "background")]
    assert bench.stage.status()["looks"] == 3


def test_a_short_run_is_judged_at_its_end_and_a_very_short_one_not_at_all(tmp_path: Path) -> None:
    for n, said in ((check.FEWEST + 20, [("warning", "background")]), (check.FEWEST - 20, [])):
        bench = Bench(tmp_path / str(n))
        bench.give(n, background=5)
        bench.stage.order(Stop("the log is complete"))
        while bench.stage.step() is not None:
            pass
        assert bench.events() == said
        assert bench.stage.status()["state"] == "finished"
        bench.stage.close()
        bench.log.close()
        bench.ring.close(remove=True)


def test_each_window_has_frames_and_localizations_of_the_same_time(tmp_path: Path) -> None:
    """The ring holds more than a window, and twice as much goes by between two looks."""
    bench = Bench(tmp_path, slots=300, every=600)
    every = np.zeros(1200, LOCALIZATION_DTYPE)
    every["frame_index"], every["x_nm"], every["y_nm"], every["photons"] = np.arange(1200), 4000, 5000, 3000
    bench.give(1200, background=60, found=Localizations.from_records(every))
    assert bench.stage.status()["looks"] == 2
    assert not any(event.get("check") == "localizations" for event in bench.folder.read_events())
    bench.stage.close()
    bench.log.close()
    bench.ring.close(remove=True)


def test_localizations_of_the_middle_are_counted_from_its_corner(tmp_path: Path) -> None:
    """Of frames larger than the middle that is looked at: positions and frames of the crop's own."""
    side = check.SIDE_PX + 40
    bench = Bench(tmp_path, (side, side))
    every = np.zeros(4, LOCALIZATION_DTYPE)
    every["frame_index"] = [0, 1, 1, 2]
    every["x_nm"], every["y_nm"] = [2500, 2500, 100, 2500], [3000, 3000, 3000, 100 * (side - 3)]
    bench.give(3, background=60, found=Localizations.from_records(every))
    found = bench.stage._localizations_of_window()
    assert found.frame_index.tolist() == [0, 1]
    np.testing.assert_allclose(found.x_nm, [500, 500])  # the middle begins 20 px = 2000 nm from the rim
    np.testing.assert_allclose(found.y_nm, [1000, 1000])
    assert bench.stage._frames[0].shape == (check.SIDE_PX, check.SIDE_PX)
    bench.stage.close()
    bench.log.close()
    bench.ring.close(remove=True)
