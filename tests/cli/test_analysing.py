"""drift, resolution and group on a run of a known drift; what is kept, what is taken off, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import rtdecode
from rtdecode.cli.app import run
from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import About
from rtdecode.physics.localization_scenes import drifting_tubes
from rtdecode.session.measuring import drift_verdict
from rtdecode.streams.drift_file import read_drift

Captured = pytest.CaptureFixture[str]
N_FRAMES = 3400


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
    assert run(["drift", str(place)]) == 0
    said = capsys.readouterr().out
    assert "nm in x" in said and "blurs the image" in said and "drift.png" in said
    assert Image.open(place / "drift.png").size == (1200, 760)
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
    assert late - early == pytest.approx(30 + 28, abs=5)
    assert "Drift (nm)" in (place / "report.html").read_text(encoding="utf-8")


def test_the_resolution_is_measured_and_shown(place: Path, capsys: Captured) -> None:
    assert run(["resolution", str(place)]) == 0
    said = capsys.readouterr().out
    kept = json.loads((place / "resolution.json").read_text())
    assert 20 < kept["frc_nm"] < 120 and f"FRC {kept['frc_nm']:.0f} nm" in said and "up to frame" in said
    low, high = kept["nyquist_interval_nm"]
    assert low < kept["nyquist_nm"] < high and f"the density allows {kept['nyquist_nm']:.0f} nm" in said
    assert Image.open(place / "resolution.png").size == (1200, 760)
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


def test_blinks_are_kept_in_the_run_as_picassos_link_writes_them(place: Path, capsys: Captured) -> None:
    log = (place / "locs.bin").read_bytes()
    assert run(["group", str(place), "--dark-frames", "0"]) == 0
    assert run(["group", str(place)]) == 0 and "blinks.hdf5" in capsys.readouterr().out
    assert (place / "locs.bin").read_bytes() == log
    found = rtdecode.open_run(place).localizations
    with h5py.File(place / "blinks.hdf5") as file:
        rows = file["locs"][:]
    assert rows["n"].sum() == len(found) and (rows["len"] >= rows["n"]).all() and rows["len"].max() > 3
    np.testing.assert_allclose(rows["photon_rate"], 3000, rtol=1e-5)  # each frame's, whatever the blink lasted
    assert rows["photons"].sum() == pytest.approx(found.photons.sum(dtype=float), rel=1e-6)
    assert "dark_frames: 1" in (place / "blinks.yaml").read_text()
    assert len(Localizations.concatenate(FORMATS["picasso"].open(place / "blinks.hdf5").parts)) == len(rows)


def test_what_to_do_about_a_drift_is_said() -> None:
    found, _ = drifting_tubes(1000, 1, seed=1)  # sigma 15 nm
    frame = np.arange(5.0)

    def verdict(step_nm: float, sigma_nm: float) -> str:
        shift = np.outer(frame, [step_nm, 0, 0])
        return drift_verdict(Drift(frame, shift, np.full((5, 3), sigma_nm)), found)

    assert verdict(10, 1).startswith("It blurs") and verdict(1.5, 1).startswith("It matters little")
    assert verdict(0.5, 1) == "Nothing to take off."  # no more than the errors of its blocks
    assert verdict(10, 30).startswith("Not reliable") and verdict(10, np.inf) == "Nothing to take off."
