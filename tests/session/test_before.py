"""What is found out before a run begins: whose camera it is, and what a recording says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from runs import Kit, bytes_of

from rtdecode import session
from rtdecode.core.config import Plugin, RunConfig
from rtdecode.core.errors import CameraMismatch
from rtdecode.fit.bundle import ModelBundle


def replay_of(kit: Kit, path: Path, name: str, **fields: object) -> RunConfig:
    """A replay of what lies there."""
    return kit.config(name, **fields).model_copy(update={"source": Plugin(use="replay", path=str(path))})


def test_a_recorded_runs_camera_is_taken_from_its_run_yaml_and_said_so(kit: Kit) -> None:
    camera = ModelBundle.load(kit.model).camera.model_copy(update={"baseline_adu": 120.0})
    stated = {"camera": camera.model_dump(), "allow_camera_mismatch": True}
    first = session.run_inline(kit.config("first", record=True, **stated)).folder
    with pytest.raises(CameraMismatch) as caught:
        session.run_inline(replay_of(kit, first.path, "refused"))
    assert str(first.run_yaml) in str(caught.value) and "baseline_adu: model 100.0, run 120.0" in str(caught.value)
    again = session.run_inline(replay_of(kit, first.path, "again", allow_camera_mismatch=True))
    assert bytes_of(again.folder.path) == bytes_of(first.path)
    assert again.report["source"]["camera_from"] == str(first.run_yaml)
    assert not any("no camera was given" in words for words in again.report["warnings"])


def test_a_camera_that_was_only_assumed_is_not_taken_for_known(kit: Kit) -> None:
    first = session.run_inline(kit.config("first", record=True)).folder
    again = session.run_inline(replay_of(kit, first.path, "again"))
    assert any("no camera was given" in words for words in again.report["warnings"])
    assert again.report["source"]["camera_from"] == ""


def test_what_a_recording_says_against_the_camera_is_in_the_report(kit: Kit) -> None:
    movie, frames = kit.folder / "movie", np.load(kit.frames)
    movie.mkdir()
    for i in (1, 2, 4, 7):
        stated = {"resolution": (1 / 0.16, 1 / 0.11), "metadata": {"unit": "um"}}
        tifffile.imwrite(movie / f"img_{i:04}.tif", frames[i], imagej=True, **stated)
    report = session.run_inline(replay_of(kit, movie, "run")).report
    told = [words for words in report["warnings"] if words.startswith(str(movie))]
    assert len(told) == 2 and report["frames"]["fitted"] == 4
    assert "of the files' numbers 1 to 7 3 are missing, 3 is the first" in told[0]
    assert "states pixels of 160 x 110 nm, the run's camera has 100 x 110 nm" in told[1]
