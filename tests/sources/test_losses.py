"""Injected losses: the same frames each time, gaps in the count, and a ledger that says lost before us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from movies import counts, write_npy
from pydantic import ValidationError
from source_contract import drain
from test_run_recording import INDICES, write_run

from rtdecode import session
from rtdecode.core.config import RunConfig
from rtdecode.core.errors import RecordingError
from rtdecode.fit.bundle import ModelBundle
from rtdecode.sources.losses import Losses
from rtdecode.sources.replay import MISSING, ON_PURPOSE, ReplaySource

FRAMES = counts(30)


def indices(path: Path, **fields: Any) -> list[int]:
    source = ReplaySource(path=path, **fields)
    source.open()
    source.start()
    found = [(info.index, pixels) for info, pixels in drain(source)]
    assert source.expected == source.made
    source.close()
    return [index for index, _ in found]


@pytest.mark.parametrize(
    ("losses", "lost"),
    [
        ({"every": 10}, [9, 19, 29]),
        ({"frames": [[3, 5], 17]}, [3, 4, 5, 17]),
        ({"frames": [0, [28, 29]]}, [0, 28, 29]),
    ],
)
def test_the_frames_that_were_named_do_not_come(losses: dict[str, Any], lost: list[int], tmp_path: Path) -> None:
    path = write_npy(tmp_path / "m.npy", FRAMES)
    for pace in ("max", 2000):
        assert indices(path, losses=losses, pace=pace) == [k for k in range(30) if k not in lost]


def test_frames_keep_their_pixels_and_numbers(tmp_path: Path) -> None:
    source = ReplaySource(path=write_npy(tmp_path / "m.npy", FRAMES), losses={"every": 3}, first=2)
    source.open()
    assert source.expected == 28
    source.start()
    for info, pixels in drain(source):
        assert info.index % 3 != 2 and np.array_equal(pixels, FRAMES[2 + info.index])
    source.close()


def test_a_share_is_the_same_each_time_and_another_for_another_seed(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "m.npy", np.zeros((2000, 2, 2), "u2"))
    first, again, other = (indices(path, losses={"share": 0.1, "seed": seed}) for seed in (3, 3, 4))
    assert first == again != other
    assert 130 < 2000 - len(first) < 270  # 200, 5 standard deviations of 13.4


@given(share=st.floats(0.01, 0.99), seed=st.integers(0, 9), n=st.integers(1, 200), more=st.integers(0, 50))
def test_whether_a_frame_is_lost_does_not_depend_on_the_others(share: float, seed: int, n: int, more: int) -> None:
    losses = Losses(share=share, seed=seed)
    assert np.array_equal(losses.of(np.arange(n + more))[:n], losses.of(np.arange(n)))
    assert np.array_equal(losses.of(np.arange(n))[::2], losses.of(np.arange(0, n, 2)))


def test_losses_of_a_recorded_run_count_as_its_camera_did(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    assert indices(path, losses={"frames": [[5, 8]]}) == [index for index in INDICES if not 5 <= index <= 8]


@pytest.mark.parametrize(
    "losses",
    [
        {}, {"every": 1}, {"share": 0.0}, {"share": 1.0}, {"every": 3, "share": 0.1}, {"every": 3, "seed": 2},
        {"frames": [[5, 3]]}, {"frames": [-1]}, {"frames": [[1, 2, 3]]}, {"frames": ["3-5"]}, {"evry": 3},
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused(losses: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Losses.model_validate(losses)


def test_losing_frames_that_do_not_exist_is_refused(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "m.npy", FRAMES)
    with pytest.raises(RecordingError, match=r"frames up to 29; expected the frames \[25, 30\]"):
        ReplaySource(path=path, losses={"frames": [[25, 30]]}).open()


def test_the_ledger_says_lost_before_us(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    """A whole run in one process: expected by the camera's count, each lost frame in its range."""
    path = write_npy(tmp_path / "m.npy", counts(30, 20, 30) // 50)
    source = {"use": "replay", "path": str(path), "losses": {"frames": [[4, 6], 12, 29]}}
    fields = {"source": source, "model": str(tiny_bundle.folder), "out": str(tmp_path / "run")}
    result = session.run(RunConfig.model_validate(fields), inline=True)
    assert result.outcome.finish == "completed"
    told = result.report["frames"]
    assert (told["expected"], told["received"], told["lost_before"]) == (30, 25, 5)
    assert told["fitted"] + told["rejected"] == 25 and told["lost_in_ring"] == 0
    lost = [(part["first"], part["last"], part["why"]) for part in result.report["lost"]]
    assert lost == [(first, last, ON_PURPOSE) for first, last in ((4, 6), (12, 12), (29, 29))]


def test_a_run_that_lost_all_its_frames_on_purpose_says_so(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    source = {
        "use": "replay",
        "path": str(write_npy(tmp_path / "m.npy", counts(8, 20, 30))),
        "losses": {"frames": [[0, 7]]},
    }
    fields = {"source": source, "model": str(tiny_bundle.folder), "out": str(tmp_path / "run")}
    outcome = session.run_inline(RunConfig.model_validate(fields)).outcome
    assert outcome == session.Outcome("failed", f"none of 8 frames could be fitted: {ON_PURPOSE}")


def test_gaps_of_the_recording_are_not_taken_for_losses_on_purpose(tmp_path: Path) -> None:
    """Nor does an old run's replay blame a camera, a buffer or a wire for them."""
    gaps, whole = write_run(tmp_path / "run"), write_npy(tmp_path / "m.npy", FRAMES)
    told: list[str | None] = []
    for path, losses in ((gaps, None), (gaps, {"every": 5}), (whole, None), (whole, {"every": 5})):
        source = ReplaySource(path=path, losses=losses)
        source.open()
        told.append(source.lost_because)
        source.close()
    assert told == [MISSING, f"{ON_PURPOSE}, or {MISSING}", None, ON_PURPOSE]
