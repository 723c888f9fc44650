"""drift, resolution and group on a run of a known drift; what is kept, what is taken off, what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))

from drifting import drifting_tubes

import rtdecode
from rtdecode.cli.app import run
from rtdecode.core.localizations import Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import About
from rtdecode.streams.drift_file import read_drift

Captured = pytest.CaptureFixture[str]
N_FRAMES = 3000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported run of tubes that drift by 30 nm and jump by 30 more."""
    folder = tmp_path_factory.mktemp("drifting")
    found, _ = drifting_tubes(N_FRAMES, 8, seed=11)
    FORMATS["picasso"].write(folder / "t.hdf5", [found], About((100.0, 100.0), (64, 64), N_FRAMES))
    assert run(["import", str(folder / "t.hdf5"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_the_drift_is_measured_kept_and_taken_off(place: Path, tmp_path: Path, capsys: Captured) -> None:
    assert run(["export", str(place), "--drift", "--out", str(tmp_path / "no.csv")]) == 1
    assert "not measured yet" in capsys.readouterr().err
    assert run(["drift", str(place)]) == 0 and "nm in x" in capsys.readouterr().out
    _, truth = drifting_tubes(N_FRAMES, 8, seed=11)
    frames = np.arange(N_FRAMES)
    error = read_drift(place / "drift.csv").at(frames) - truth(frames)
    assert np.sqrt(((error - error.mean(axis=0)) ** 2).mean(axis=0)).max() < 5
    assert run(["export", str(place), "--drift", "--out", str(tmp_path / "still.parquet")]) == 0
    table = FORMATS["parquet"].open(tmp_path / "still.parquet")
    told = table.about.provenance["drift"]
    assert told["taken_off"] is True and told["range_nm"][0] == pytest.approx(30 + 30, abs=8)
    still = Localizations.concatenate(table.parts)
    moved = rtdecode.open_run(place).localizations.x_nm - still.x_nm
    late, early = moved[still.frame_index > 2500].mean(), moved[still.frame_index < 300].mean()
    assert late - early == pytest.approx(30 + 26, abs=5)
    assert "Drift (nm)" in (place / "report.html").read_text(encoding="utf-8")


def test_the_resolution_is_measured_and_shown(place: Path, capsys: Captured) -> None:
    assert run(["resolution", str(place)]) == 0
    said = capsys.readouterr().out
    kept = json.loads((place / "resolution.json").read_text())
    assert 20 < kept["frc_nm"] < 120 and f"FRC {kept['frc_nm']:.0f} nm" in said and "up to frame" in said
    assert "Fourier ring correlation" in (place / "report.html").read_text(encoding="utf-8")
    assert run(["report", str(place)]) == 0 and "resolution" in capsys.readouterr().out
    (place / "resolution.json").write_text("{")
    assert run(["report", str(place)]) == 1 and "measure it again" in capsys.readouterr().err
    (place / "resolution.json").unlink()


def test_blinks_are_counted_and_written(place: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "blinks.csv"
    assert run(["group", str(place), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    n = int(said.split()[0])
    found = rtdecode.open_run(place).localizations
    assert 0.4 * len(found) < n < 0.7 * len(found) and f"{n} blinks in" in said
    assert len(Localizations.concatenate(FORMATS["thunderstorm"].open(out, (100.0, 100.0)).parts)) == n
    options = ["--dark-frames", "2", "--out", str(tmp_path / "blinks.parquet")]
    assert run(["group", str(place), *options]) == 0
    said_of = FORMATS["parquet"].open(tmp_path / "blinks.parquet").about.provenance
    assert said_of["grouped"] == {"radius_nm": None, "dark_frames": 2} and said_of["drift"] == {"taken_off": False}
    assert run(["group", str(place), "--out", str(out)]) == 1 and "exists already" in capsys.readouterr().err
