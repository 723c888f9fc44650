"""Acquire dies with the light on: a second process switches it off, or the report says loudly that it did not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import yaml
from runs import CAMERA, DEADLINE_S, HERE, Kit, Watched, frames_in, wait_for, worker, workers

from rtdecode import session
from rtdecode.session import safe_stop
from rtdecode.stages.safe_stop import BY_HAND

LIT = CAMERA.replace("PacedCamera", "LitCamera")
POLICY = {"use": f"{HERE / 'policies.py'}:StopAt", "frame": 10**6}  # sets Laser.Power every ten frames


def kill_acquire(run: Watched, frames: int = 10) -> session.RunResult:
    """SIGKILL once so many frames are committed, then the run's end."""
    run.wait_for_frames(frames)
    worker(run.folder.path, "acquire").kill()
    return run.end()


def test_a_killed_core_leaves_the_light_on_and_a_second_one_switches_it_off(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pymmcore_plus")
    pytest.importorskip("mm_test_adapters")
    from lamp import ADAPTERS, GREY16, install, lamp_state

    source = {
        "use": "mmcore", "frames": 100_000, "exposure_ms": 10, "region": (0, 0, 64, 48), "safe_stop_s": 60,
        "config_file": str(install(kit.folder, monkeypatch)), "adapter_folder": str(ADAPTERS),
        "properties": (GREY16, ("Laser", "State", "1")),
    }  # fmt: skip
    power = {"device": "Laser", "property": "Power", "minimum": 0, "maximum": 100}
    act = {"mode": "act", "allowed": [power]}
    run = Watched(kit.config("run", source=source, policies=[POLICY], control=act))
    run.wait_for_frames(15)
    wait_for(lambda: lamp_state()["power"] != 5, "the policy's power")
    acquire = worker(run.folder.path, "acquire")
    assert lamp_state()["open"]
    acquire.kill()
    result = run.end()
    assert lamp_state() == {"open": False, "power": 5.0}
    told = result.report["safe_stop"]
    assert told["ok"] and {"shutter Laser closed", "camera Camera idle"} <= set(told["done"])
    assert result.outcome.finish == "failed" and result.outcome.reason.startswith("acquire: killed by signal 9; safe-")
    frames = result.report["frames"]
    assert frames["received"] == frames["fitted"] + frames["lost_in_ring"] and frames["fitted"] >= 15
    assert workers(run.folder.path) == []


@pytest.mark.parametrize(
    ("rest", "seconds", "words"),
    [
        ("raises", 60.0, "the cable is cut"),
        ("hangs", 0.5, "not done within 0.5 s"),
        ("freezes", 0.5, "hung and was killed"),
        ("dies", 60.0, "killed by signal 9"),
    ],
)
def test_a_safe_stop_that_fails_is_told_loudly(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, rest: str, seconds: float, words: str
) -> None:
    monkeypatch.setattr(safe_stop, "START_S", 5.0 if rest == "freezes" else 60.0)
    camera = {"use": LIT, "hold_after": 18, "rest": rest, "safe_stop_s": seconds}
    result = kill_acquire(Watched(kit.config("run", camera)))
    assert result.outcome.finish == "failed" and result.report["reason"] == result.outcome.reason
    assert f"safe-stop FAILED: {words}" in result.outcome.reason.replace("it was ", "").replace("it ", "")
    assert result.outcome.reason.endswith(BY_HAND) and not result.report["safe_stop"]["ok"]
    assert result.report["frames"]["fitted"] >= 10 and workers(result.folder.path) == []
    assert f"rest {rest}" in kit.deeds()


def test_the_terminal_hears_of_it_and_the_exit_status_is_not_0(kit: Kit) -> None:
    config, run = kit.folder / "live.yaml", kit.folder / "run"
    fields = kit.fields("run", {"use": LIT, "hold_after": 18, "rest": "raises", "safe_stop_s": 60.0})
    config.write_text(yaml.safe_dump(fields))
    command = [sys.executable, "-m", "rtdecode", "live", str(config), "--out", str(run), "--no-view"]
    process = subprocess.Popen(command, cwd=kit.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: frames_in(run) >= 10 or process.poll() is not None, "frames")
    worker(run, "acquire").kill()
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1 and "failed" in out  # the reason is said once, below
    assert err.strip().endswith(f"safe-stop FAILED: the cable is cut; {BY_HAND}")


def test_a_camera_that_could_not_be_closed_is_brought_to_rest(kit: Kit) -> None:
    result = session.run(kit.config("run", {"use": LIT, "close_fails": True, "safe_stop_s": 60.0}))
    assert result.outcome.finish == "failed" and "the light does not answer" in result.outcome.reason
    assert result.report["safe_stop"]["done"] == ["light off", "Light.Power put back to 3"]
    assert kit.deeds()[-2:] == ["close", "rest well"]


def test_who_will_not_wait_still_gets_the_light_off(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtdecode.session.processes._CLOSE_PATIENCE_S", 0.2)
    run = Watched(kit.config("run", {"use": LIT, "hold_after": 18, "safe_stop_s": 60.0}))
    run.wait_for_frames(10)
    worker(run.folder.path, "acquire").send_signal(signal.SIGSTOP)  # it hears no Stop, it closes nothing
    for _ in range(3):
        run.interrupt.ask("Ctrl-C")
    result = run.end()
    assert result.outcome == session.Outcome("stopped", "Ctrl-C")
    assert "safe-stop: light off, Light.Power put back to 3" in result.report["warnings"]
    assert kit.deeds()[-1] == "rest well" and workers(run.folder.path) == []


def test_nothing_is_started_where_there_is_nothing_to_bring_to_rest(kit: Kit) -> None:
    run = Watched(kit.config("run", source={"use": "simulated", "frames": 100_000, "fps": 50.0}))
    result = kill_acquire(run, 3)
    assert result.outcome == session.Outcome("failed", "acquire: killed by signal 9")
    assert "safe_stop" not in result.report and not run.folder.log_file("safe-stop").exists()


def test_a_source_that_cannot_be_opened_again_is_told_as_such(kit: Kit) -> None:
    result = kill_acquire(Watched(kit.config("run", {"hold_after": 18})))
    assert "safe-stop FAILED: the source has no bring_to_rest" in result.outcome.reason
    assert not result.folder.log_file("safe-stop").exists()
