"""Policies made of policies."""

from __future__ import annotations

from pathlib import Path

import pytest
from policy_kit import found, frame_by_frame, policy, use

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.config import Plugin
from rtdecode.core.errors import ConfigError, PluginError
from rtdecode.core.plugins import absolute

COUNT = use("frame_count.py:FrameCount")
LATE, EARLY = {"use": COUNT, "frames": 20}, {"use": COUNT, "frames": 10}


@pytest.mark.parametrize(
    ("name", "fields", "frame", "reason"),
    [
        ("Any", {"of": [LATE, EARLY]}, 9, "10 frames fitted"),
        ("All", {"of": [LATE, EARLY]}, 19, "20 frames fitted; 10 frames fitted"),
        ("AtLeastFrames", {"frames": 15, "of": EARLY}, 14, "10 frames fitted"),
        ("AtLeastFrames", {"frames": 5, "of": EARLY}, 9, "10 frames fitted"),
        ("Any", {"of": [{"use": use("combine.py:All"), "of": [EARLY, LATE]}, {"use": COUNT, "frames": 30}]}, 19, "10"),
    ],
)
def test_stops_once_at_the_right_frame(name: str, fields: dict[str, object], frame: int, reason: str) -> None:
    ((at, stop),) = frame_by_frame(policy(f"combine.py:{name}", **fields), found([]), 50)
    assert at == frame and isinstance(stop, Stop) and reason in stop.reason


def test_what_is_no_stop_is_passed_on() -> None:
    feedback = {
        "use": use("activation_feedback.py:ActivationFeedback"), "device": "L", "property": "P", "start": 1,
        "minimum": 0.1, "maximum": 10, "band": [0.5, 1], "every_frames": 10, "dry_run": False,
    }  # fmt: skip
    for name in ("Any", "All"):
        said = frame_by_frame(policy(f"combine.py:{name}", of=[feedback, EARLY]), found([]), 40)
        assert any(isinstance(action, SetProperty) for _, action in said)
    said = frame_by_frame(policy("combine.py:AtLeastFrames", frames=100, of=feedback), found([]), 40)
    assert said and all(isinstance(action, SetProperty) for _, action in said)


def test_the_inner_states_are_told_apart() -> None:
    inner = {"use": use("structure_density.py:StructureDensity"), "per_um2": 1.0}
    assert set(policy("combine.py:Any", of=[inner, inner]).state()) == {
        "1 StructureDensity per_um2", "2 StructureDensity per_um2",
    }  # fmt: skip


def test_faults_of_inner_policies_are_named() -> None:
    with pytest.raises(ConfigError, match="frame"):
        policy("combine.py:Any", of=[{"use": COUNT, "frame": 3}])
    with pytest.raises(PluginError, match="no file"):
        policy("combine.py:All", of=[{"use": "nowhere.py:Nobody"}])
    with pytest.raises(ConfigError, match="of"):
        policy("combine.py:Any", of=[])


def test_inner_paths_are_made_absolute_too(tmp_path: Path) -> None:
    origin = tmp_path / "run.yaml"
    origin.touch()
    inner = {"use": "b.py:B", "of": {"use": "c.py:C", "other": "d.py:D"}}
    made = absolute(Plugin.model_validate({"use": "a.py:A", "of": [inner], "n": 1}), origin)
    assert made.use == f"{tmp_path / 'a.py'}:A" and made.fields["n"] == 1
    (first,) = made.fields["of"]
    assert first["use"] == f"{tmp_path / 'b.py'}:B"
    assert first["of"] == {"use": f"{tmp_path / 'c.py'}:C", "other": "d.py:D"}
