"""The follower on run folders written by the real ring, log and run folder: before, during and after a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from view_runs import RUN_YAML, SHAPE, WrittenRun, localizations_at, wait_until

from rtdecode.core.actions import Stop
from rtdecode.core.errors import LogError
from rtdecode.core.frames import Fate, Frame, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.streams.door import Door
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.recording import RecordingWriter
from rtdecode.streams.run_folder import RunFolder
from rtdecode.view import follow
from rtdecode.view.canvas import Region
from rtdecode.view.follow import Follower
from rtdecode.view.numbers import Numbers, Tally
from rtdecode.view.stopping import StopRequest


@pytest.fixture(autouse=True)
def _look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LOOK_AGAIN_S", 0.0)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[WrittenRun]:
    run = WrittenRun(tmp_path / "run")
    yield run
    run.close()


@pytest.fixture
def follower(run: WrittenRun) -> Iterator[Follower]:
    follower = Follower(run.folder.path)
    yield follower
    follower.close()


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "later")
    update = follower.poll()
    assert (update.numbers.state, len(update.localizations), follower.field, follower.raw()) == (
        "waiting",
        0,
        None,
        None,
    )
    run = WrittenRun(tmp_path / "later")
    run.frame(0)
    run.commit(0, localizations_at(1000.0, 500.0))
    update = follower.poll()
    assert (update.numbers.state, update.numbers.localizations) == ("running", 1)
    assert follower.field == Region(-50.0, -50.0, 3200.0, 2400.0)
    follower.close()
    run.close()


def test_each_localization_comes_once_and_numbers_follow(run: WrittenRun, follower: Follower) -> None:
    seen = []
    for index in range(6):
        run.frame(index)
        run.commit(index, localizations_at(np.arange(index) * 10.0, 500.0))
        seen.append(follower.poll().localizations)
    joined = Localizations.concatenate(seen)
    assert [len(part) for part in seen] == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(joined.frame_index, np.repeat(np.arange(6), np.arange(6)))
    numbers = follower.poll().numbers
    assert (numbers.frame_index, numbers.expected, numbers.received, numbers.fitted) == (5, 100, 6, 6)
    assert (numbers.localizations, numbers.per_frame) == (15, 2.5)
    assert numbers.density_um2 == pytest.approx(2.5 / (3.2 * 2.4))
    assert numbers.lag_frames == 0 and numbers.latency_ms is not None and numbers.latency_ms < 60_000


def test_lost_and_rejected_frames_are_told_apart(run: WrittenRun, follower: Follower) -> None:
    for index, fate in enumerate((Fate.FITTED, Fate.LOST_BEFORE, Fate.LOST_IN_RING, Fate.LOST_IN_RING, Fate.REJECTED)):
        run.commit(index, Localizations.empty(), fate)
    numbers = follower.poll().numbers
    assert (numbers.fitted, numbers.lost_before, numbers.lost_in_ring, numbers.rejected) == (1, 1, 2, 1)
    assert numbers.lost == 3


def test_a_queue_that_fills_turns_red_before_a_frame_is_lost(run: WrittenRun, follower: Follower) -> None:
    health = []
    for index in range(15):
        run.frame(index)
        numbers = follower.poll().numbers
        health.append(numbers.health)
        assert (numbers.lag_frames, numbers.lost) == (index + 1, 0)
    assert health[0] == "good" and "watch" in health and health[-1] == "danger"
    assert health.index("danger") < 9  # of 16 slots


def test_a_replay_fills_its_queue_on_purpose() -> None:
    assert Numbers(state="running", ring_fill=0.98, source_waits=True).health == "good"
    assert Numbers(state="running", ring_fill=0.98).health == "danger"
    assert Numbers(state="finished", ring_fill=0.98).health == "good"


@pytest.mark.parametrize(("use", "waits"), [("replay", True), ("mmcore", False)])
def test_whether_the_source_waits_is_read_from_event_or_configuration(tmp_path: Path, use: str, waits: bool) -> None:
    folder = RunFolder.create(tmp_path / "run", f"source:\n  use: {use}\n")
    follower = Follower(folder.path)
    assert follower.poll().numbers.source_waits is waits
    folder.append_event("acquire", "source", width_px=4, height_px=4, can_wait=not waits)
    assert follower.poll().numbers.source_waits is not waits


def test_the_raw_frame_is_the_last_fitted_one_with_its_own_localizations(run: WrittenRun, follower: Follower) -> None:
    for index in range(5):
        run.frame(index, brightest=(3, 10 + index))
    for index in range(3):
        run.commit(index, localizations_at([1000.0 + 100 * index, 50.0], 300.0))
    follower.poll()
    raw = follower.raw()
    assert raw is not None and "Frame 2" in raw.title
    assert np.argwhere(raw.pixels == 1000).tolist() == [[3, 12]]
    assert raw.localizations.x_nm.tolist() == [1200.0, 50.0]
    for index in range(5, 40):  # lapped: frame 2 is gone
        run.frame(index)
    assert follower.raw() is None


def test_a_finished_run_tells_how_it_ended_and_shows_the_recorded_frame(run: WrittenRun) -> None:
    recording = RecordingWriter.create(run.folder.path, Roi(0, 0, SHAPE[1], SHAPE[0]), "uint16")
    for index in (4, 5, 7):
        recording.append(Frame(FrameInfo(index, 0, 0), np.full(SHAPE, 100 + index, np.uint16)))
        run.commit(index, localizations_at(index * 100.0, 0.0))
    recording.close()
    run.end("stopped")
    run.close()
    follower = Follower(run.folder.path)
    update = follower.poll()
    assert (update.numbers.state, update.numbers.finish, len(update.localizations)) == ("finished", "stopped", 3)
    assert update.numbers.ring_fill is None and update.numbers.received == 3
    raw = follower.raw()
    assert raw is not None and (raw.pixels == 107).all() and raw.localizations.x_nm.tolist() == [700.0]


def test_without_raw_frames_the_wide_field_image_is_shown(run: WrittenRun) -> None:
    run.commit(0, localizations_at(1.0, 2.0))
    run.end()
    run.close()
    np.save(run.folder.path / "widefield.npy", np.eye(5))
    follower = Follower(run.folder.path)
    follower.poll()
    raw = follower.raw()
    assert raw is not None and "wide-field" in raw.title and raw.pixels.shape == (5, 5)


def test_a_run_whose_session_died_is_called_interrupted(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", RUN_YAML)
    text = folder.run_yaml.read_text(encoding="utf-8")
    folder.run_yaml.write_text(text.replace(f"pid: {os.getpid()}", "pid: 1"), encoding="utf-8")
    log = LogWriter.open(folder.path)
    log.append(make_commits([0], n_localizations=[2]), localizations_at([1510.0, 20.0], [380.0, 700.0]))
    log.close()
    follower = Follower(folder.path)
    assert (follower.poll().numbers.state, follower.shape) == ("interrupted", None)
    follower.poll()  # the log is read through: now its extent is known
    assert follower.shape == (8, 16)


def test_an_unknown_pixel_size_is_assumed_and_said(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", "source: {use: x}\n")
    follower = Follower(folder.path)
    assert follower.px_nm == (100.0, 100.0) and not follower.px_is_known
    known = Follower(RunFolder.create(tmp_path / "other", "camera: {px_nm: [90, 110.5]}\n").path)
    assert known.px_nm == (90.0, 110.5) and known.px_is_known


def test_a_damaged_log_is_an_error_that_names_the_file(run: WrittenRun, follower: Follower) -> None:
    run.commit(0, localizations_at([1.0, 2.0], 3.0))
    run.log.close()
    with run.folder.localizations.open("r+b") as file:
        file.seek(10)
        file.write(b"\xff")
    with pytest.raises(LogError, match=r"locs\.bin"):
        follower.poll()


def test_rates_come_from_arrival_times() -> None:
    tally = Tally()
    assert tally.fps_now(0) is None and tally.fps_of_all() is None
    arrivals = 10**12 + (np.arange(300) * 1e7).astype(np.int64)  # 100 a second for 3 s
    tally.add(make_commits(np.arange(300), t_arrival_ns=arrivals))
    assert tally.fps_now(int(arrivals[-1])) == pytest.approx(100.0)
    assert tally.fps_of_all() == pytest.approx(100.0)
    assert tally.fps_now(int(arrivals[-1]) + 10**10) == 0.0  # nothing for 10 s


def test_the_stop_button_reaches_the_session_once(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", RUN_YAML)
    without = StopRequest(folder.path)
    without.ask()
    assert "no open door" in without.words
    door = Door()
    folder.publish_door(door.endpoint)
    request = StopRequest(folder.path)
    request.ask()
    request.ask()
    heard = []

    def round_trip() -> None:
        heard.extend(door.poll(timeout_ms=20))
        request.tick()

    wait_until(lambda: "is stopping" in request.words, round_trip)
    assert [message.worker for message in heard if message.actions] == ["view"]
    assert [action for message in heard for action in message.actions] == [Stop("stopped by hand in the viewer")]
    request.close()
    door.close()
