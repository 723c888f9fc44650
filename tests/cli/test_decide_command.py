"""`rtdecode decide`: the decisions of a live run again, to the byte; other policies; what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from rtdecode.cli.app import run
from rtdecode.core.config import RunConfig
from rtdecode.fit.bundle import ModelBundle
from rtdecode.session import run_inline

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
sys.path.insert(0, str(ROOT / "tests" / "session"))
FRAMES = 60
POLICIES: list[dict[str, Any]] = [
    {"use": f"{PLUGINS}/frame_count.py:FrameCount", "frames": 25},
    {
        "use": f"{PLUGINS}/activation_feedback.py:ActivationFeedback", "device": "Laser", "property": "Power",
        "start": 1, "minimum": 0.1, "maximum": 9, "band": [1e-4, 2e-4], "every_frames": 10, "dry_run": False,
    },
    {"use": f"{PLUGINS}/combine.py:Any", "of": [{"use": f"{PLUGINS}/frame_count.py:FrameCount", "frames": 40}]},
    {"use": f"{PLUGINS}/localization_count.py:LocalizationCount", "per_um2": 0.5, "min_frames": 5, "max_sigma_nm": 1e9},
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tiny_bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A live run of a simulated camera with policies, which only advise."""
    fields = {
        "source": {
            "use": "simulated", "frames": FRAMES, "fps": 1000, "paced": False, "width_px": 32, "height_px": 24,
        },
        "model": str(tiny_bundle.folder),
        "detection": {"peak": 0.02, "accept": 0.1},
        "policies": POLICIES,
        "out": str(tmp_path_factory.mktemp("decide") / "run"),
    }  # fmt: skip
    result = run_inline(RunConfig.model_validate(fields))
    assert result.outcome.as_asked, result.outcome
    return result.folder.path


def live_decisions(folder: Path) -> list[dict[str, Any]]:
    """As they stand in events.jsonl, without the time of day."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    keys = ("frame_index", "policy", "number", "action")
    return [{key: event[key] for key in keys} for event in events if event["kind"] == "decision"]


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = run(["decide", *arguments])
    out = capsys.readouterr()
    return status, out.out, out.err


def test_the_same_decisions_as_live_to_the_byte(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = told([str(finished), "--json"], capsys)
    again = json.loads(out)
    live = live_decisions(finished)
    assert status == 0 and again["frames"] == FRAMES and again["errors"] == []
    assert json.dumps(again["decisions"]).encode() == json.dumps(live).encode()
    assert {said["policy"] for said in live} == {"FrameCount", "ActivationFeedback", "Any", "LocalizationCount"}
    assert {said["action"]["kind"] for said in live} == {"stop", "set"}


def test_states_are_those_of_the_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = json.loads(told([str(finished), "--json"], capsys)[1])["states"]
    events = [json.loads(line) for line in (finished / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    last = {event["policy"]: event["state"] for event in events if event["kind"] == "state"}
    assert states == last and states["ActivationFeedback"]["property_value"] < 0.5


def test_another_policy_from_a_file_and_from_a_word(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(f"policies:\n- use: {PLUGINS}/frame_count.py:FrameCount\n  frames: 7\n", encoding="utf-8")
    one = tmp_path / "one.yaml"
    one.write_text(f"use: {PLUGINS}/frame_count.py:FrameCount\nframes: 9\n", encoding="utf-8")
    status, out, _ = told([str(finished), "--policy", str(file), "--policy", str(one)], capsys)
    assert status == 0 and out.splitlines() == [
        "frame 6: FrameCount: stop: 7 frames fitted",
        "frame 8: FrameCount 2: stop: 9 frames fitted",
    ]
    status, out, _ = told([str(finished), "--policy", f"{PLUGINS}/density_stop.py:DensityStop"], capsys)
    assert status == 0 and out.splitlines()[0] == f"no decision in {FRAMES} frames" and "cannot tell" in out


def test_the_report_says_how_policies_stood(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((finished / "report.json").read_text(encoding="utf-8"))
    assert 0 < report["policies"]["ActivationFeedback"]["frame_index"] < FRAMES
    assert run(["report", str(finished)]) == 0
    assert "policy ActivationFeedback" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policies:\n- use: {plugins}/frame_count.py:FrameCount\n  frame: 7\n", "line 3: unknown key 'frame'"),
        ("source: nothing\n", "neither `policies:`"),
        ("policies: []\n", "neither `policies:`"),
        ("use: nowhere.py:Nobody\n", "there is no file"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    text: str, words: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text.format(plugins=PLUGINS), encoding="utf-8")
    status, _, err = told([str(finished), "--policy", str(file)], capsys)
    assert status == 1 and words in err


def test_a_policy_that_fails_is_told_of(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text("class Bad:\n    def update(self, localizations, progress):\n        return [1 / 0]\n")
    status, out, _ = told([str(finished), "--policy", f"{plugin}:Bad"], capsys)
    assert status == 0 and "frame 0: Bad failed" in out and "ZeroDivisionError" in out
