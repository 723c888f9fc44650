"""The run folder: taken paths are refused, events of many processes stay whole, owner and clock are known."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rtdecode.core.errors import RunFolderError
from rtdecode.streams.memory import remove_abandoned
from rtdecode.streams.run_folder import EventReader, RunFolder, append_event, read_events

Start = Callable[..., "subprocess.Popen[str]"]
CONFIG = "# as resolved\nmodel: astigmatic\nsource:\n  use: replay\n"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs" / "cell3", CONFIG)


def test_the_configuration_stays_and_the_run_adds_its_own_block(folder: RunFolder) -> None:
    again = RunFolder.open(folder.path)
    assert again.config_fields() == {"model": "astigmatic", "source": {"use": "replay"}}
    assert folder.run_yaml.read_text().startswith(CONFIG)
    assert again.name == "cell3" and again.logs.is_dir() and again.log_file("decide").parent == again.logs
    assert again.ring_path is None and again.door_endpoint is None and again.read_report() is None


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may grow beyond 100 bytes, as if the disk were full; nor may pytest's own output."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_one_sentence_and_leaves_no_half_files(folder: RunFolder) -> None:
    before = sorted(folder.path.rglob("*"))
    with no_room(), pytest.raises(RunFolderError, match=r"report.json cannot be written: only \d+ kB free in"):
        folder.write_report({"reason": "x" * 200})
    with no_room(), pytest.raises(RunFolderError, match=r"needs a megabyte .* only \d+ kB free"):
        folder.take_reserve()
    with no_room(), pytest.raises(RunFolderError, match=r"cannot be made: .* only \d+ kB free"):
        RunFolder.create(folder.path.parent / "next", CONFIG)
    assert sorted(folder.path.rglob("*")) == before and not (folder.path.parent / "next").exists()


def test_a_run_that_cannot_begin_takes_nothing_but_its_own_with_it(folder: RunFolder) -> None:
    (folder.path / "note.txt").write_text("mine")
    folder.discard()
    assert [path.name for path in folder.path.iterdir()] == ["note.txt"]


def test_an_empty_folder_may_be_used_and_a_taken_one_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty", CONFIG)
    with pytest.raises(RunFolderError, match="is not empty"):
        RunFolder.create(tmp_path / "empty", CONFIG)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"is not empty \(thesis.tex\)"):
        RunFolder.create(tmp_path / "taken", CONFIG)
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("a file")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunFolderError, match="cannot be made"):
            RunFolder.create(path, CONFIG)


@pytest.mark.parametrize("text", ["- a list\n", "run: mine\n", "a: [\n"])
def test_a_configuration_that_cannot_be_one_makes_no_folder(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunFolderError):
        RunFolder.create(tmp_path / "r", text)
    assert not (tmp_path / "r").exists()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.yaml").write_text("model: astigmatic\n")
    with pytest.raises(RunFolderError, match="not a run of this version"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(RunFolderError):
        RunFolder.open(tmp_path)


def test_the_clock_anchor_turns_monotonic_into_wall_time(folder: RunFolder) -> None:
    difference_s = (folder.unix_ns(time.monotonic_ns()) - time.time_ns()) / 1e9
    assert abs(difference_s) < 1
    assert folder.unix_ns(10**9) - folder.unix_ns(0) == 10**9


def test_running_means_the_owner_lives_and_has_not_reported(tmp_path: Path, start: Start) -> None:
    owner = start("run_owner", tmp_path / "run")
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    run = RunFolder.open(tmp_path / "run")
    assert run.is_running and run.owner_pid == pid == owner.pid
    run.write_report({"finish": "completed"})
    assert not run.is_running
    run.report.unlink()
    assert run.is_running
    owner.kill()
    owner.wait()
    assert not run.is_running


def test_a_process_that_got_the_owners_number_is_not_the_owner(folder: RunFolder) -> None:
    assert folder.is_running
    text = folder.run_yaml.read_text()
    started = folder.fields()["run"]["owner"]["started"]
    folder.run_yaml.write_text(text.replace(str(started), str(started - 1000)))
    assert not folder.is_running


def test_a_ring_outlives_its_maker_as_long_as_the_session_lives(folder: RunFolder) -> None:
    """Acquire makes the ring and ends first; another session's clean-up must not take it from localize."""
    code = "import sys; from pathlib import Path; from rtdecode.streams.run_folder import RunFolder; "
    code += "run = RunFolder.open(Path(sys.argv[1])); (run.path / run.ring_place()).touch()"
    subprocess.run([sys.executable, "-c", code, str(folder.path)], check=True)
    assert remove_abandoned(folder.path) == []
    assert len(list(folder.path.glob("rtdecode-*.ring"))) == 1


def test_ring_door_and_report_are_published(folder: RunFolder) -> None:
    ring = folder.path / folder.ring_place()
    assert folder.ring_place() != folder.ring_place()
    folder.publish_ring(ring)
    folder.publish_door("tcp://127.0.0.1:5555#key")
    folder.write_report({"rate_fps": np.float32(12.5), "latency_ms": {"p99": float("nan")}, "frames": np.int64(3)})
    again = RunFolder.open(folder.path)
    assert (again.ring_path, again.door_endpoint) == (ring, "tcp://127.0.0.1:5555#key")
    assert again.read_report() == {"rate_fps": 12.5, "latency_ms": {"p99": None}, "frames": 3}
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".")]  # no drafts left
    folder.report.write_text("{")
    with pytest.raises(RunFolderError, match=r"report\.json: not valid JSON"):
        folder.read_report()


def test_events_are_lines_that_a_person_can_read(folder: RunFolder) -> None:
    assert folder.read_events() == []
    folder.append_event("localize", "gap", 41, lost=np.int64(3), text="zwei\nZeilen", where=folder.path, ratio=np.nan)
    append_event(folder.path, "decide", "action")
    first, second = read_events(folder.path)
    assert (first["worker"], first["kind"], first["frame_index"]) == ("localize", "gap", 41)
    assert (first["lost"], first["text"], first["where"]) == (3, "zwei\nZeilen", str(folder.path))
    assert first["ratio"] is None and second["frame_index"] is None
    assert second["t_monotonic_ns"] >= first["t_monotonic_ns"]
    assert folder.events.read_text().count("\n") == 2


def test_events_are_followed_and_an_unfinished_line_waits(folder: RunFolder) -> None:
    reader = EventReader(folder)
    assert reader.read_new() == []
    folder.append_event("a", "one")
    assert [event["kind"] for event in reader.read_new()] == ["one"]
    with folder.events.open("ab") as file:
        file.write(b'{"kind": "torn')
    assert reader.read_new() == []
    folder.append_event("a", "two")  # after a full disk had cut a line
    assert [event["kind"] for event in reader.read_new()] == ["unreadable", "two"]
    with folder.events.open("ab") as file:
        file.write(b"[1, 2]\n\xff\xfe\n")
    assert [event["kind"] for event in reader.read_new()] == ["unreadable", "unreadable"]


def test_many_processes_append_at_the_same_time(folder: RunFolder, start: Start) -> None:
    writers = [start("event_writer", folder.path, f"w{i}", 200) for i in range(3)]
    assert [writer.wait() for writer in writers] == [0] * 3
    events = [json.loads(line) for line in folder.events.read_text().splitlines()]
    assert len(events) == 600
    for i in range(3):
        mine = [event for event in events if event["worker"] == f"w{i}"]
        assert [event["frame_index"] for event in mine] == list(range(200))
        assert all(len(event["text"]) == n * 37 % 3000 for n, event in enumerate(mine))
