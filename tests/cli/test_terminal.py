"""A terminal that goes away takes nothing of the run with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtdecode.fit.bundle import ModelBundle

DEADLINE_S = 120


def replay(folder: Path, model: Path, **streams: int) -> subprocess.Popen[bytes]:
    """A short replay whose output goes where `streams` say."""
    frames = np.random.default_rng(3).normal(900, 80, (12, 16, 16)).clip(0).astype(np.uint16)
    np.save(folder / "frames.npy", frames)
    options = ["--model", str(model), "--inline", "--no-view", "--out", str(folder / "run")]
    words = [sys.executable, "-m", "rtdecode", "replay", str(folder / "frames.npy"), *options]
    return subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, **streams)  # type: ignore[call-overload,no-any-return]


def is_complete(run: Path) -> bool:
    """Report and picture are there, and nothing is missing in them."""
    report = json.loads((run / "report.json").read_text())
    return report["finish"] == "completed" and report["frames"]["fitted"] == 12 and (run / "picture.png").exists()


def test_a_broken_pipe_silences_a_run_and_does_not_end_it(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    process = replay(tmp_path, tiny_bundle.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # `rtdecode replay ... | head`
    told = process.stderr.read().decode()
    assert process.wait(DEADLINE_S) == 0, told
    assert is_complete(tmp_path / "run")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals of this kind")
def test_a_closed_terminal_silences_a_run_and_does_not_end_it(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    ours, theirs = os.openpty()
    process = replay(tmp_path, tiny_bundle.folder, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    assert process.wait(DEADLINE_S) == 0
    assert is_complete(tmp_path / "run")
