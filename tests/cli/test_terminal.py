"""A terminal that goes away takes nothing of the run with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from rtdecode.cli.bench_line import Line
from rtdecode.cli.terminal import status_line
from rtdecode.core.config import EngineConfig
from rtdecode.core.frames import FrameInfo
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.session.status import FALLS_BEHIND, LOSES, RunStatus, Watch

DEADLINE_S = 120


def replay(folder: Path, model: Path, *more: str, **streams: int) -> subprocess.Popen[bytes]:
    """A short replay whose output goes where `streams` say."""
    frames = np.random.default_rng(3).normal(900, 80, (12, 16, 16)).clip(0).astype(np.uint16)
    np.save(folder / "frames.npy", frames)
    options = ["--model", str(model), "--inline", *(more or ["--no-view"]), "--out", str(folder / "run")]
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


def test_a_report_whose_reader_left_ends_without_a_word(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    assert replay(tmp_path, tiny_bundle.folder, stdout=subprocess.DEVNULL).wait(DEADLINE_S) == 0
    words = [sys.executable, "-m", "rtdecode", "report", str(tmp_path / "run")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # `rtdecode report RUN | head -2`
    assert process.stderr.read() == b"" and process.wait(DEADLINE_S) == 141


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals of this kind")
def test_a_closed_terminal_silences_a_run_and_does_not_end_it(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    ours, theirs = os.openpty()
    process = replay(tmp_path, tiny_bundle.folder, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    assert process.wait(DEADLINE_S) == 0
    assert is_complete(tmp_path / "run")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is a screen")
def test_that_there_is_no_viewer_is_told_of_runs_and_not_of_refusals(
    tmp_path: Path, tiny_bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    out, _ = replay(tmp_path, tiny_bundle.folder, "--pace", "max", **pipes).communicate(timeout=DEADLINE_S)
    assert b"no viewer: " in out
    out, told = replay(tmp_path, tiny_bundle.folder, "--pace", "max", **pipes).communicate(timeout=DEADLINE_S)
    assert b"not empty" in told and out == b""


def test_why_a_run_failed_is_said_once(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    movie = tmp_path / "frames.npy"
    movie.mkdir()
    for i in range(5):
        tifffile.imwrite(movie / f"{i}.tif", np.full((16, 16), i, np.uint16), compression="zlib")
    content = (movie / "1.tif").read_bytes()
    with tifffile.TiffFile(movie / "1.tif") as tiff:
        at = tiff.pages[0].dataoffsets[0]  # type: ignore[union-attr]
    (movie / "1.tif").write_bytes(content[:at] + b"\xff" * 8 + content[at + 8 :])
    words = [sys.executable, "-m", "rtdecode", "replay", str(movie), "--model", str(tiny_bundle.folder)]
    words += ["--inline", "--no-view", "--out", str(tmp_path / "run")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 1 and done.stderr.startswith("rtdecode: the run failed: ")
    assert "failed: " not in done.stdout and "failed" in done.stdout and "Traceback" not in done.stderr


def test_a_fitter_that_falls_behind_is_told_before_frames_are_lost_and_when_they_are(
    tmp_path: Path, tiny_bundle: ModelBundle
) -> None:
    engine = engines.build(EngineConfig(threads=1), tiny_bundle)
    with Line.open(tiny_bundle, engine, tmp_path / "run", (16, 16)) as line:

        def camera_sends(first: int, end: int) -> RunStatus:
            for i in range(first, end):
                line.ring.slot()[...] = line.frames[i % 16]
                line.ring.publish(FrameInfo(i, 0, 0))
            return Watch().status("running", {"received": end}, line.stage.status())

        line.one(0)
        assert camera_sends(1, 4).warnings == () and "queue" not in status_line(camera_sends(4, 4))
        behind = camera_sends(4, 14)
        assert behind.warnings == (FALLS_BEHIND,) and behind.lost == 0
        assert "of the queue" in status_line(behind)
        camera_sends(14, 60)  # more than the ring holds
        for _ in range(3):
            line.stage.step()
        losing = camera_sends(60, 61)
        assert losing.warnings == (FALLS_BEHIND, LOSES) and losing.lost > 0


def test_a_recording_that_fills_its_queue_on_purpose_is_no_alarm() -> None:
    said = {"behind": 15, "fill": 1.0, "source_waits": True, "lost_in_ring": 0}
    status = Watch().status("running", {"received": 20}, said)
    assert status.warnings == () and "of the queue" not in status_line(status)
