"""`rtdecode check-model` on a recording: words, JSON, a page, an exit status; and a live run that warns."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from rtdecode.cli.app import run
from rtdecode.fit.bundle import ModelBundle
from rtdecode.physics.psf import SplinePsf
from rtdecode.physics.simulate import SimulationConfig, simulate_movie

BUNDLE = ModelBundle.load("astigmatic-light")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with movie.tif (its camera is the model's) and wrong.yaml (gain wrong by 2)."""
    folder = tmp_path_factory.mktemp("check")
    config = SimulationConfig(density_um2=(0.6, 0.6), shape_px=(64, 64))
    psf = SplinePsf.load(BUNDLE.psf_path)
    tifffile.imwrite(folder / "movie.tif", simulate_movie(psf, BUNDLE.camera, config, 300, 5).frames_adu[0])
    camera = BUNDLE.camera.model_dump(mode="json")
    (folder / "right.yaml").write_text(yaml.safe_dump(camera))
    (folder / "wrong.yaml").write_text(yaml.safe_dump(camera | {"e_per_adu": 22.5}))
    return folder


def test_a_recording_that_fits(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = recording / "page.png"
    words = ["check-model", str(recording / "movie.tif"), "--camera", str(recording / "right.yaml"), "--json"]
    status = run([*words, "--page", str(page)])
    told = json.loads(capsys.readouterr().out)
    assert status == 0
    assert told["fits"] is True and told["warnings"] == [] and told["cautions"] == []
    assert "z_mirrored" in told["unknown"] and "gain" not in told["unknown"]
    names = [
        "gain",
        "baseline",
        "pixel_size",
        "transposed",
        "mirrored",
        "z_mirrored",
        "background",
        "photons",
        "density",
        "sigma",
    ]
    assert [finding["check"] for finding in told["findings"]] == names
    assert told["numbers"]["adu_per_electron"] == pytest.approx(300 / 45, rel=0.1)
    assert set(told["numbers"]["reduced_chi2"]) >= {"as_is", "transposed", "mirrored_x", "scaled_0.8", "scaled_1.25"}
    with Image.open(page) as image:
        assert image.width > 1000 and len(set(np.asarray(image).reshape(-1, 3)[::97].tobytes())) > 20


def test_a_wrong_gain_is_status_2_and_said_in_words(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check-model", str(recording / "movie.tif"), "--camera", str(recording / "wrong.yaml"), "--frames", "150"]
    assert run(words) == 2
    told = capsys.readouterr().out
    assert "warning  gain" in told and "wrong by a factor of 2" in told
    assert "this model does not fit the recording: gain" in told.rstrip().splitlines()[-1]


def test_faults_are_told(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(recording / "two.npy", np.full((2, 32, 32), 700, np.uint16))
    assert run(["check-model", str(recording / "two.npy")]) == 1
    assert "2 frames are too few" in capsys.readouterr().err
    assert run(["check-model", str(recording / "two.npy"), "--frames", "2"]) == 2  # of typer's
    assert run(["check-model", str(recording / "none.tif")]) == 1
    assert "none.tif" in capsys.readouterr().err


def test_a_run_warns_while_it_runs_and_in_its_report(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Through the processes of a live run: terminal, events, report."""
    shutil.rmtree(recording / "run", ignore_errors=True)
    words = ["replay", str(recording / "movie.tif"), "--camera", str(recording / "wrong.yaml"), "--no-view"]
    assert run([*words, "--allow-camera-mismatch", "--pace", "60", "--out", str(recording / "run")]) == 0
    events = [json.loads(line) for line in (recording / "run" / "events.jsonl").read_text().splitlines()]
    warned = [event for event in events if event["kind"] == "warning" and event["worker"] == "check"]
    assert [event["check"] for event in warned] == ["gain"], sys.stderr
    report = json.loads((recording / "run" / "report.json").read_text())
    (said,) = [words for words in report["warnings"] if words.startswith("gain: ")]
    assert "wrong by a factor of 2" in said and "(seen at frame " in said
    assert "gain: the noise has" in capfd.readouterr().out
