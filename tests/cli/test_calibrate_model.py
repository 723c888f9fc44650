"""`rtdecode calibrate-model`: a calibrated copy, where torch is not installed; the bundle itself stays as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rtdecode.cli.app import run
from rtdecode.fit.bundle import ModelBundle

PROGRAM = """
import sys
sys.modules["torch"] = None
from rtdecode.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def test_a_shipped_model_is_calibrated_into_a_new_folder_without_torch(tmp_path: Path) -> None:
    before, out = ModelBundle.load("astigmatic-light"), tmp_path / "new"
    command = ["calibrate-model", before.name, "--out", str(out), "--engine", "onnxruntime", "--quick", "0.01"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    made = ModelBundle.load(out)
    assert made.calibration is not None and made.sha256 != before.sha256
    assert f"accept {made.detection.accept:g}: " in done.stderr
    assert (out / "calibration.png").stat().st_size > 5000
    assert ModelBundle.load(before.name) == before
    assert {path.name for path in out.iterdir()} == {*made.card.files, "bundle.yaml", "calibration.png"}


def test_what_cannot_be_calibrated_leaves_no_folder(
    tiny_bundle: ModelBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, sentence in (
        ([str(tiny_bundle.folder)], "no key `simulation` there"),
        (["astigmatic-light", "--engine", "cuda"], "--engine: key 'use'"),
    ):
        assert run(["calibrate-model", *arguments, "--out", str(tmp_path / "new")]) == 1
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
