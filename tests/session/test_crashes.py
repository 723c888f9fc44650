"""Who dies, what the others do: each row of the table, with real processes and SIGKILL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from runs import DEADLINE_S, HERE, N_FRAMES, Kit, Watched, bytes_of, frames_in, wait_for, worker, workers

from rtdecode import session
from rtdecode.core.errors import RunFolderError
from rtdecode.core.interrupt import Interrupt
from rtdecode.streams.run_folder import RunFolder
from rtdecode.view.window import screen_problem

POLICIES = f"{HERE / 'policies.py'}"


def rtdecode(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """The command line as a process of its own, like a user's."""
    command = [sys.executable, "-m", "rtdecode", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True)


def start_live(kit: Kit, frames: int, **fields: object) -> tuple[subprocess.Popen[str], Path]:
    """`rtdecode live` on a camera that holds after 18 frames, once `frames` are committed."""
    config, run = kit.folder / "live.yaml", kit.folder / "run"
    config.write_text(yaml.safe_dump(kit.fields("run", {"hold_after": 18}, **fields)))
    process = rtdecode("live", str(config), "--out", str(run), "--no-view", cwd=kit.folder)
    wait_for(lambda: frames_in(run) >= frames or process.poll() is not None, "frames")
    assert process.poll() is None, process.communicate()
    return process, run


def test_acquire_dies_what_it_wrote_is_fitted_and_the_run_fails_with_its_data(kit: Kit) -> None:
    run = Watched(kit.config("run", {"hold_after": 18}))
    run.wait_for_frames(5)
    worker(run.folder.path, "acquire").kill()
    result = run.end()
    frames = result.report["frames"]
    assert result.outcome.finish == "failed" and "acquire: killed by signal 9" in result.outcome.reason
    assert frames["received"] == frames["fitted"] >= 5 and result.report["localizations"] > 0
    assert run.folder.ring_path is not None and not run.folder.ring_path.exists()
    assert workers(run.folder.path) == []


def test_decide_dies_its_decisions_are_those_of_a_run_without_the_crash(kit: Kit) -> None:
    marker = kit.folder / "died"
    stop = {"use": f"{POLICIES}:StopAt", "frame": 16}
    dies = {"use": f"{POLICIES}:DiesOnce", "frame": 12, "marker": str(marker)}
    power = {"device": "Laser", "property": "Power", "minimum": 0, "maximum": 100}
    act = {"mode": "act", "allowed": [power]}
    result = session.run(kit.config("run", {"hold_after": 18}, policies=[stop, dies], control=act))
    assert marker.exists() and result.outcome.finish == "stopped"
    assert result.report["stop"]["by"] == "decide" and result.report["stop"]["decision_to_camera_ms"] > 0
    assert result.outcome.reason == "enough (StopAt, frame 16)"
    done = [event["action"] for event in result.folder.read_events() if event["kind"] == "action"]
    assert [action.get("value") for action in done] == [0.0, 10.0, None]  # each once, in order
    assert kit.deeds() == ["open", "start", "set 0", "set 10", "stop", "close"]
    assert any("decide was restarted" in words for words in result.report["warnings"])


def test_the_session_dies_nobody_is_left_and_the_camera_is_closed(kit: Kit) -> None:
    process, run = start_live(kit, 10, record=True)
    assert len(workers(run)) == 4  # acquire, localize, record, check
    process.kill()
    process.wait()
    assert RunFolder.open(run).read_report() is None
    wait_for(lambda: workers(run) == [], "the orphans to end by themselves")
    assert kit.deeds() == ["open", "start", "close"] and frames_in(run) == 18
    folder = RunFolder.open(run)
    assert folder.ring_path is not None and not folder.ring_path.exists() and not folder.is_running
    assert not (run / ".reserve").exists()  # localize gave it back
    folder.take_reserve()  # as if localize had been killed, too
    made = rtdecode("report", str(run), cwd=kit.folder)
    out, _ = made.communicate(timeout=DEADLINE_S)
    report = json.loads((run / "report.json").read_text())
    assert made.returncode == 0 and "the session died" in out and (run / "picture.png").exists()
    assert not (run / ".reserve").exists()
    assert report["finish"] == "failed" and report["frames"]["fitted"] == report["frames"]["expected"] == 18


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "rtdecode stop"])
def test_stopped_as_asked_is_complete_readable_and_exit_status_0(kit: Kit, how: str) -> None:
    process, run = start_live(kit, 10)
    if how == "rtdecode stop":
        stop = rtdecode("stop", str(run), cwd=kit.folder)
        assert stop.communicate(timeout=DEADLINE_S)[0].startswith("stopped") and stop.returncode == 0
    else:
        os.kill(process.pid, getattr(signal, how))
    out, err = process.communicate(timeout=DEADLINE_S)
    report = json.loads((run / "report.json").read_text())
    assert process.returncode == 0, err
    assert report["finish"] == "stopped" and report["reason"] == ("Ctrl-C" if how == "SIGINT" else how)
    assert report["frames"]["fitted"] == report["frames"]["expected"] == 18
    assert kit.deeds() == ["open", "start", "stop", "close"] and workers(run) == []
    assert (run / "picture.png").exists() and "stopped" in out
    assert report["stop"]["by"] != "decide" and report["stop"]["decision_to_camera_ms"] > 0
    assert "ms after the decision" in out


def test_a_stop_before_anything_began_ends_as_stopped(kit: Kit) -> None:
    interrupt = Interrupt()
    interrupt.ask("Ctrl-C")
    result = session.run(kit.config("run"), interrupt=interrupt)
    assert result.outcome == session.Outcome("stopped", "Ctrl-C")
    assert result.report["frames"]["expected"] == 0 and kit.deeds() == []


def test_who_will_not_wait_is_not_told_that_the_run_failed(kit: Kit) -> None:
    run = Watched(kit.config("run", {"hold_after": 18}))
    run.wait_for_frames(10)
    for _ in range(3):
        run.interrupt.ask("Ctrl-C")
    result = run.end()
    assert result.outcome == session.Outcome("stopped", "Ctrl-C")
    assert kit.deeds()[-1] == "close" and workers(run.folder.path) == []
    frames = result.report["frames"]
    assert frames["expected"] == 18 == frames["fitted"] + frames["lost_in_ring"] + frames["lost_before"]


def test_a_camera_that_is_not_there_fails_the_run_with_its_own_words(kit: Kit) -> None:
    result = session.run(kit.config("run", {"absent": True}))
    assert result.outcome.finish == "failed" and "no camera answers" in result.outcome.reason
    assert workers(result.folder.path) == []


def test_the_recorder_dies_for_good_and_the_run_goes_on_with_a_warning(kit: Kit) -> None:
    run = Watched(kit.config("run", {"hold_after": 18}, record=True, limits={"restarts": 0}))
    run.wait_for_frames(10)
    worker(run.folder.path, "record").kill()
    kit.go.touch()
    result = run.end()
    assert result.outcome.finish == "completed" and result.report["frames"]["fitted"] == N_FRAMES
    assert any(words.startswith("record: killed by signal 9") for words in result.report["warnings"])


def test_the_viewer_is_started_and_nobody_notices_its_death(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    if problem := screen_problem():
        pytest.skip(problem)
    run = Watched(kit.config("run", {"hold_after": 18}, view=True))
    run.wait_for_frames(10)
    viewer = next(
        p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[3:] == ["view", str(run.folder.path)]
    )
    viewer.kill()
    kit.go.touch()
    result = run.end()
    assert result.outcome.finish == "completed" and result.report["frames"]["fitted"] == N_FRAMES
    assert not {"died", "restart", "warning", "error"} & {event["kind"] for event in result.folder.read_events()}


def test_the_sessions_own_time_limit_holds(kit: Kit) -> None:
    result = session.run_inline(kit.config("run", {"hold_after": 18}, limits={"minutes": 0.01}))
    assert result.outcome == session.Outcome("stopped", "limits.minutes: 0.01 minutes")
    assert 0 < result.report["frames"]["fitted"] <= 18 and kit.deeds()[-2:] == ["stop", "close"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB; only root can make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def leave_free(disk: Path, n_bytes: int) -> None:
    """Fill the disk up to so much."""
    with (disk / "filler").open("wb") as filler:
        filler.write(bytes(shutil.disk_usage(disk).free - n_bytes))


@pytest.mark.parametrize("free_kb", [0, 8, 500, 1024])
def test_a_run_for_which_the_disk_has_no_room_is_refused_and_leaves_nothing(
    kit: Kit, small_disk: Path, free_kb: int
) -> None:
    leave_free(small_disk, free_kb * 1024)
    config = kit.config("x").model_copy(update={"out": small_disk / "run"})
    with pytest.raises(RunFolderError, match=f"only {free_kb} kB free|only {max(0, free_kb - 4)} kB free"):
        session.run(config)
    assert [path.name for path in small_disk.iterdir()] == ["filler"] and kit.deeds() == []


@pytest.mark.parametrize("beyond_kb", [4, 8, 12])
def test_a_disk_that_is_full_as_the_run_begins_leaves_a_readable_run(
    kit: Kit, small_disk: Path, beyond_kb: int
) -> None:
    leave_free(small_disk, (1024 + beyond_kb) * 1024)  # for the reserve and run.yaml; then door, events and ring
    result = session.run(kit.config("x").model_copy(update={"out": small_disk / "run"}))
    assert result.outcome.finish == "failed" and "space left" in result.outcome.reason
    assert RunFolder.open(small_disk / "run").read_report() == result.report
    assert not list(Path("/dev/shm").glob(f"rtdecode-{os.getpid()}-*"))


def test_a_full_disk_ends_the_run_as_failed_with_what_was_committed(kit: Kit, small_disk: Path) -> None:
    config = kit.config("x", {"hold_after": 18}).model_copy(update={"out": small_disk / "run"})
    run = Watched(config)
    run.wait_for_frames(10)
    wait_for(lambda: frames_in(run.folder.path) == 17, "all frames but the last, which waits for its neighbour")
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(bytes(4096))
    kit.go.touch()
    result = run.end()
    frames = result.report["frames"]
    assert result.outcome.finish == "failed" and "cannot grow" in result.outcome.reason
    assert frames["fitted"] >= 17 and frames["received"] <= N_FRAMES and kit.deeds()[-1] == "close"
    assert json.loads((run.folder.path / "report.json").read_text())["frames"] == frames
    assert len(bytes_of(run.folder.path)[0]) == 48 * result.report["localizations"]
