"""A worker that lives and says nothing: found, killed, told; its work goes on or the run ends in order."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from runs import CAMERA, HERE, N_FRAMES, Kit, Watched, bytes_of, wait_for, worker, workers

from rtdecode import session
from rtdecode.session import children

POLICIES = f"{HERE / 'policies.py'}"
LIT = CAMERA.replace("PacedCamera", "LitCamera")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of silence instead of a minute."""
    monkeypatch.setattr(children, "SILENT_AFTER_S", dict.fromkeys(children.SILENT_AFTER_S, 2.0))


def warnings_of(report: dict[str, Any]) -> str:
    return "\n".join(report["warnings"])


@pytest.mark.parametrize(("policy", "how"), [("Hangs", "hung: said nothing for"), ("DiesAlways", "killed by signal 9")])
def test_a_policy_that_never_answers_is_named_and_the_others_are_heard(kit: Kit, policy: str, how: str) -> None:
    bad, good = {"use": f"{POLICIES}:{policy}", "frame": 12}, {"use": f"{POLICIES}:StopAt", "frame": 16}
    power = {"device": "Laser", "property": "Power", "minimum": 0, "maximum": 100}
    act = {"mode": "act", "allowed": [power]}
    result = session.run(kit.config("run", {"hold_after": 18}, policies=[bad, good], control=act))
    assert result.outcome == session.Outcome("stopped", "enough (StopAt, frame 16)")
    assert f"policy {policy} failed and was asked no more: gave no answer about frame 12" in warnings_of(result.report)
    assert f"decide was restarted: {how}" in warnings_of(result.report)
    assert kit.deeds() == ["open", "start", "set 0", "set 10", "stop", "close"]  # each wish once
    assert result.report["frames"]["fitted"] == 18 and workers(result.folder.path) == []


def test_localize_hangs_and_not_one_byte_differs(kit: Kit) -> None:
    run = Watched(kit.config("run", {"hold_after": 18}))
    run.wait_for_frames(10)
    worker(run.folder.path, "localize").send_signal(signal.SIGSTOP)
    kit.go.touch()
    result = run.end()
    assert result.outcome.finish == "completed" and result.report["frames"]["fitted"] == N_FRAMES
    assert "localize was restarted: hung: said nothing for 2 s" in warnings_of(result.report)
    kit.go.touch()
    assert bytes_of(run.folder.path) == bytes_of(session.run(kit.config("again")).folder.path)


def test_acquire_hangs_and_a_second_process_switches_the_light_off(kit: Kit) -> None:
    run = Watched(kit.config("run", {"use": LIT, "hold_after": 18}))
    run.wait_for_frames(10)
    worker(run.folder.path, "acquire").send_signal(signal.SIGSTOP)
    result = run.end()
    assert result.outcome.finish == "failed" and "acquire: hung: said nothing for 2 s" in result.outcome.reason
    assert kit.deeds()[-1] == "rest well" and result.report["safe_stop"]["ok"]
    assert result.report["frames"]["fitted"] >= 10 and workers(run.folder.path) == []
    assert (run.folder.path / "report.json").exists()


def test_the_recorder_hangs_and_the_run_goes_on(kit: Kit) -> None:
    run = Watched(kit.config("run", {"hold_after": 18}, record=True))
    run.wait_for_frames(10)
    worker(run.folder.path, "record").send_signal(signal.SIGSTOP)
    kit.go.touch()
    result = run.end()
    assert result.outcome.finish == "completed" and result.report["frames"]["fitted"] == N_FRAMES
    assert "record was restarted: hung" in warnings_of(result.report)


def test_the_checker_hangs_and_the_run_ends_with_a_word_about_it(kit: Kit) -> None:
    run = Watched(kit.config("run", {"hold_after": 18}))
    run.wait_for_frames(10)
    worker(run.folder.path, "check").send_signal(signal.SIGSTOP)
    wait_for(lambda: "hangs" in run.folder.events.read_text(), "the session to notice")
    kit.go.touch()
    result = run.end()
    assert result.outcome.finish == "completed" and result.report["frames"]["fitted"] == N_FRAMES
    assert "check: hung: said nothing for 2 s" in warnings_of(result.report)
