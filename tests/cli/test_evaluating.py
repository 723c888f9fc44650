"""evaluate's options on a run of known localizations: rules, parts, what is written, what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtdecode.cli.app import run
from rtdecode.core.localizations import EMITTER_DTYPE, Emitters, Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import About
from rtdecode.physics.localization_scenes import localized
from rtdecode.physics.structures import Field
from rtdecode.streams.truth import write_truth

Captured = pytest.CaptureFixture[str]
N_FRAMES, SHAPE = 300, (64, 64)
FIELD = Field.of_shape(*SHAPE, (100.0, 100.0))


def scattered() -> Emitters:
    """Half of the frames with 5 emitters, half with 60."""
    rng = np.random.default_rng(1)
    frame = np.concatenate([np.repeat(np.arange(150), 5), np.repeat(np.arange(150, 300), 60)])
    out = np.zeros(len(frame), EMITTER_DTYPE)
    out["frame_index"], out["photons"] = frame, rng.uniform(1000, 9000, len(frame))
    out["x_nm"], out["y_nm"] = rng.uniform(-50, 6350, (2, len(frame)))
    out["z_nm"] = rng.uniform(-700, 700, len(frame))
    return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, its table as CSV and its truth; of those with many neighbours some are missed."""
    folder, rng = tmp_path_factory.mktemp("judged"), np.random.default_rng(2)
    truth = scattered()
    write_truth(folder / "truth.csv", truth)
    kept = truth[(truth["frame_index"] < 150) | (rng.random(len(truth)) < 0.6)]
    about = About((100.0, 100.0), SHAPE, N_FRAMES)
    records = localized(kept, rng).records()
    records["x_nm"] += rng.normal(0, 120, len(records)) * (records["frame_index"] >= 150)  # pairs may be mistaken
    found = Localizations.from_records(records)
    FORMATS["picasso"].write(folder / "t.hdf5", [found], about)
    FORMATS["thunderstorm"].write(folder / "t.csv", [found], about)
    assert run(["import", str(folder / "t.hdf5"), "--out", str(folder / "run")]) == 0
    return folder


def scores(place: Path, capsys: Captured, *options: str, what: str = "run") -> dict:
    capsys.readouterr()
    assert run(["evaluate", str(place / what), "--truth", str(place / "truth.csv"), "--json", *options]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(place: Path, capsys: Captured, *arguments: str) -> str:
    capsys.readouterr()
    assert run(["evaluate", *arguments, "--truth", str(place / "truth.csv")]) == 1
    return capsys.readouterr().err


def test_options_change_what_they_name_and_nothing_else(place: Path, capsys: Captured) -> None:
    plain = scores(place, capsys)
    assert "by_z_nm" not in plain and plain["n_emitters"] == len(scattered())
    same = ["--matching", "optimal", "--tolerance-nm", "250,500", "--border-nm", "0", "--min-photons", "100"]
    assert scores(place, capsys, *same) == plain
    truth = scattered()
    inside = FIELD.holds(np.column_stack([truth["x_nm"], truth["y_nm"]]), -450.0)
    assert scores(place, capsys, "--border-nm", "450")["n_emitters"] == inside.sum()
    assert scores(place, capsys, "--min-photons", "5000")["n_emitters"] == (truth["photons"] >= 5000).sum()
    assert scores(place, capsys, "--tolerance-nm", "15,500")["n_matched"] < 0.8 * plain["n_matched"]
    flat = scores(place, capsys, "--dims", "2")
    assert "rmse_axial_nm" not in flat and flat["n_matched"] >= plain["n_matched"]
    greedy = scores(place, capsys, "--dims", "2", "--matching", "greedy")
    assert greedy["n_matched"] < flat["n_matched"] and greedy["rmse_lateral_nm"] < flat["rmse_lateral_nm"]


def test_a_table_with_the_shape_of_its_frames_is_judged_as_the_run(place: Path, capsys: Captured) -> None:
    options = ["--border-nm", "450"]
    of_table = scores(place, capsys, "--px-nm", "100", "--shape-px", "64,64", *options, what="t.csv")
    of_run = scores(place, capsys, *options)
    assert of_table["n_emitters"] == of_run["n_emitters"]
    assert of_table["jaccard"] == pytest.approx(of_run["jaccard"], abs=2e-3)
    said = refused(place, capsys, str(place / "t.csv"), "--px-nm", "100", *options)
    assert "--shape-px ROWS,COLUMNS" in said


def test_parts_add_up_and_are_written(place: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "new" / "judged"
    whole = scores(place, capsys, "--parts", "--out", str(out))
    for name in ("by_density_um2", "by_z_nm"):
        assert sum(part["n_matched"] for part in whole[name]) == whole["n_matched"]
        assert sum(part["n_emitters"] for part in whole[name]) == whole["n_emitters"]
    lone, crowded = whole["by_density_um2"][0], whole["by_density_um2"][3]
    assert lone["recall"] > 0.85 and 0.5 < crowded["recall"] < 0.75
    assert json.loads((out / "scores.json").read_text())["rules"]["tolerance_nm"] == [250.0, 500.0]
    with (out / "by_z.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["n_matched"]) for row in rows] == [part["n_matched"] for part in whole["by_z_nm"]]
    assert Image.open(out / "evaluation.png").size == (1200, 1120)
    flat = scores(place, capsys, "--dims", "2", "--out", str(out))
    assert "by_z_nm" not in flat and not (out / "by_z.csv").exists()
    assert Image.open(out / "evaluation.png").size == (1200, 760)


def test_parts_are_readable(place: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert run(["evaluate", str(place / "run"), "--truth", str(place / "truth.csv"), "--parts"]) == 0
    _, density, z = capsys.readouterr().out.split("\n\n")
    assert density.startswith("emitters per um² around") and z.splitlines()[0].split()[0] == "z,"
    for table in (density, z):
        assert len({len(line) for line in table.splitlines()}) == 1


def test_what_does_not_go_together_is_refused(place: Path, capsys: Captured) -> None:
    run_folder = str(place / "run")
    assert "two numbers above 0" in refused(place, capsys, run_folder, "--tolerance-nm", "250")
    assert "a run knows the shape" in refused(place, capsys, run_folder, "--shape-px", "64,64")
    assert "benchmark-accuracy" in refused(place, capsys, "--model", "astigmatic-light", "--parts")
    assert "cannot be written" in refused(place, capsys, run_folder, "--out", str(place / "t.csv"))
