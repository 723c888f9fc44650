"""`rtdecode engine check`: the table and its JSON, read from the cache; a bundle that cannot be checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rtdecode.cli.app import run
from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import EngineError
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.nvidia import first_gpu
from rtdecode.stages import admission
from rtdecode.stages.admission_lines import NAME, Line


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which OpenVINO is admitted and ONNX Runtime refused; other engines are not asked for."""
    monkeypatch.setenv("RTDECODE_CACHE", str(tmp_path))
    monkeypatch.setattr(engines, "VARIANTS", (("openvino", "fp32"), ("onnxruntime", "fp32")))
    bundle = ModelBundle.load("astigmatic-light")
    figures = {
        "n_frames": 384, "jaccard_change_points": -0.04, "added_lateral_nm": 0.123, "added_axial_nm": 0.45,
        "lateral_over_sigma": 0.0123, "axial_over_sigma": 0.0234, "sigma_ratio": [1.001, 0.988, 1.0, 1.0],
        "sigma_spread": [0.001, 0.002, 0.009, 0.001],
    }  # fmt: skip
    lines = []
    for (use, precision), faults in zip(engines.VARIANTS, [(), ("sigma off by 3 % (allowed 2 %)",)], strict=True):
        config = EngineConfig.model_validate({"use": use, "precision": precision})
        lines.append(Line.made(admission.keys_of(config, bundle), figures, faults, 412.3).text())
    (place := tmp_path / "bundles" / bundle.sha256[:32]).mkdir(parents=True)
    (place / NAME).write_text("\n".join(lines))
    return tmp_path


def test_the_table_shows_figures_and_verdicts(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engine", "check", "astigmatic-light"]) == 0
    said = capsys.readouterr().out
    assert "checking" not in said  # all was known
    (row,) = [line for line in said.splitlines() if "onnxruntime" in line]
    for cell in ("412", "-0.04", "0.12", "0.45", "0.012 / 0.023", "1.2 ± 0.9", "refused: sigma off by 3"):
        assert cell in row
    assert "admitted" in said


def test_json_has_every_figure(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engine", "check", "astigmatic-light", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["admitted"] for one in said["engines"]] == [True, False]
    assert said["engines"][1]["figures"]["added_lateral_nm"] == 0.123
    assert said["identity"] == ModelBundle.load("astigmatic-light").sha256


def test_what_the_machine_lacks_is_a_row_that_says_so(
    known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "VARIANTS", (("onnxruntime", "fp32"), ("onnxruntime", "bf16")))
    monkeypatch.setattr(admission, "CLIPS", 1)
    assert run(["engine", "check", "astigmatic-light", "--json"]) == 0
    missing = json.loads(capsys.readouterr().out)["engines"][1]
    assert "cannot be had on the CPU" in missing["missing"] and "admitted" not in missing


def test_a_bundle_without_psf_is_an_error(tiny_bundle: ModelBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engine", "check", str(tiny_bundle.folder)]) == 1
    assert "holds no psf.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("use", engines.ON_GPU)
def test_without_a_gpu_its_engines_are_rows_and_a_run_with_one_is_refused_before_it_begins(
    known: Path, use: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    without_a_gpu()
    monkeypatch.setattr(engines, "VARIANTS", (("openvino", "fp32"), (use, "fp32"), (use, "bf16")))
    assert run(["engine", "check", "astigmatic-light"]) == 0
    (shown,) = [line for line in capsys.readouterr().out.splitlines() if use in line]
    assert shown.startswith(f"{use} fp32, bf16: not here: engine.use {use}: ") and "no NVIDIA GPU" in shown
    assert run(["engine", "check", "astigmatic-light", "--json"]) == 0
    _, row, other = json.loads(capsys.readouterr().out)["engines"]
    assert (row["precision"], other["precision"]) == ("fp32", "bf16") and row["missing"] == other["missing"]
    assert row["missing"].startswith(f"engine.use {use}: ") and "no NVIDIA GPU" in row["missing"]
    out = tmp_path / "run"
    assert run(["demo", "--frames", "5", "--no-view", "--engine", use, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "no NVIDIA GPU" in said and not out.exists()


@pytest.mark.parametrize("use", engines.ON_GPU)
@pytest.mark.parametrize("command", ["replay", "live", "doctor", "bench"])
def test_every_command_refuses_it_in_one_sentence_that_names_the_key(
    command: str, use: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    without_a_gpu()
    np.save(movie := tmp_path / "movie.npy", np.full((3, 16, 16), 300, np.uint16))
    (yaml := tmp_path / "run.yaml").write_text(
        f"source: {{use: replay, path: {movie}}}\nmodel: astigmatic-light\nengine:\n  use: {use}\n"
    )
    out = tmp_path / "run"
    words = {
        "replay": [str(movie), "--engine", use, "--no-view", "--out", str(out)],
        "live": [str(yaml), "--no-view", "--out", str(out)],
        "doctor": ["--camera", "16x16@1", "--engine", use],
        "bench": ["--engine", use],
    }[command]
    assert run([command, *words]) == 1
    said = capsys.readouterr().err
    place = f"{yaml}, line 4: key 'engine.use': " if command == "live" else ""
    assert said.startswith(f"rtdecode: {place}engine.use {use}: it needs an NVIDIA GPU, and no NVIDIA GPU can be used")
    assert said.count("\n") == 1 and "openvino or onnxruntime" in said and not out.exists()


def without_a_gpu() -> None:
    """Skips where there is what must be missing."""
    try:
        first_gpu()
    except EngineError:
        return
    pytest.skip("this machine has what must be missing")
