"""Out to each format and in again by the commands; the filter; refusals; the run from Python, as documented."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import rtdecode
from rtdecode.cli.app import run
from rtdecode.core.localizations import EMITTER_DTYPE, LOCALIZATION_DTYPE, Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.fit.bundle import ModelBundle
from rtdecode.formats import FORMATS
from rtdecode.session import import_order
from rtdecode.session.run_overview import overview
from rtdecode.streams.run_folder import RunFolder
from rtdecode.streams.truth import write_truth
from rtdecode.view.canvas import Region
from rtdecode.view.points import Points

Captured = pytest.CaptureFixture[str]
DOCS = Path(__file__).parents[2] / "docs"
ENDS = {name: form.extension for name, form in FORMATS.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: ModelBundle) -> Path:
    """A finished run of 12 frames with many localizations."""
    folder = tmp_path_factory.mktemp("exchange")
    model = ["--model", str(tiny_bundle.folder)]
    assert (
        run(["simulate", "--out", str(folder / "sim"), "--frames", "12", "--width", "32", "--height", "24", *model])
        == 0
    )
    options = ["--camera", str(folder / "sim/camera.yaml"), "--inline", "--no-view", "--out", str(folder / "run")]
    assert run(["replay", str(folder / "sim/movie.tif"), *model, *options]) == 0
    return folder / "run"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_out_and_in_again(name: str, place: Path, tmp_path: Path, capsys: Captured) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    out, back = tmp_path / f"x{ENDS[name]}", tmp_path / "back"
    assert run(["export", str(place), "--out", str(out)]) == 0  # the format by the file's name
    size = ["--px-nm", "100,110"] if name == "thunderstorm" else []
    assert run(["import", str(out), "--out", str(back), *size]) == 0
    said = capsys.readouterr().out
    mine, theirs = rtdecode.open_run(place), rtdecode.open_run(back)
    assert theirs.px_nm == pytest.approx(mine.px_nm) and len(theirs.localizations) == len(mine.localizations) > 10
    for column in ("frame_index", "x_nm", "y_nm", "z_nm", "photons"):
        values = (getattr(one.localizations, column) for one in (theirs, mine))
        np.testing.assert_allclose(*values, rtol=1e-4, atol=0.01, err_msg=column)
    assert (back / "report.html").exists() and f"{len(mine.localizations)} localizations" in said
    assert theirs.report is not None and theirs.report["rate_fps"] is None
    assert any("that program's" in words for words in theirs.report["warnings"])
    assert run(["report", str(back)]) == 0 and "another program" in capsys.readouterr().out


def test_rows_in_any_order_are_put_in_order_of_frames(tmp_path: Path) -> None:
    table, back = tmp_path / "t.csv", tmp_path / "back"
    table.write_text(
        '"frame","x [nm]","y [nm]"\n' + "".join(f"{f},{100 * k + 50},250\n" for k, f in enumerate((7, 2, 9, 2)))
    )
    assert run(["import", str(table), "--px-nm", "100", "--out", str(back)]) == 0
    found = rtdecode.open_run(back)
    assert found.localizations.frame_index.tolist() == [1, 1, 6, 8]
    assert found.localizations.x_nm.tolist() == [100, 300, 0, 200]
    assert len(found.frames) == 9 and found.shape_px == (3, 4)


def test_a_filter_leaves_out_and_says_so(place: Path, tmp_path: Path, capsys: Captured) -> None:
    everything = rtdecode.open_run(place)
    least = float(np.median(everything.localizations.probability))
    out = tmp_path / "some.csv"
    assert run(["export", str(place), "--out", str(out), "--min-probability", str(least), "--z-nm", "-5000,5000"]) == 0
    said = capsys.readouterr().out
    quality = QualityFilter(None, None, probability=least, z_nm=(-5000, 5000))
    assert f"{len(everything.filtered(quality))} localizations" in said and "probability from" in said
    assert 0 < len(everything.filtered(quality)) < len(everything.localizations)


def test_what_cannot_be_is_said_before_anything_is_written(place: Path, tmp_path: Path, capsys: Captured) -> None:
    def refused(*arguments: str) -> str:
        capsys.readouterr()
        assert run([*arguments]) == 1
        return capsys.readouterr().err

    assert "which format" in refused("export", str(place), "--out", str(tmp_path / "x.xyz"))
    assert "500,20000" in refused("export", str(place), "--out", str(tmp_path / "x.csv"), "--photons", "9,3")
    assert "no folder" in refused("export", str(place), "--out", str(tmp_path / "no/x.csv"))
    assert "no such file" in refused("import", str(tmp_path / "no.csv"), "--out", str(tmp_path / "r"))
    (tmp_path / "e.csv").write_text("frame,x [nm],y [nm]\n")
    assert "--px-nm" in refused("import", str(tmp_path / "e.csv"), "--out", str(tmp_path / "r"))
    assert "no localization" in refused(
        "import", str(tmp_path / "e.csv"), "--px-nm", "100", "--out", str(tmp_path / "r")
    )
    (tmp_path / "b.csv").write_text("frame,x [nm],y [nm]\n1,5,5\n0,5,5\n")
    assert "line 3" in refused("import", str(tmp_path / "b.csv"), "--px-nm", "100", "--out", str(tmp_path / "r"))
    assert {path.name for path in tmp_path.iterdir()} == {"e.csv", "b.csv"}


def test_a_file_beside_is_never_replaced_unasked(place: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "cell.yaml").write_text("precious: 1\n")
    assert run(["export", str(place), "--out", str(tmp_path / "cell.hdf5")]) == 1
    assert "cell.yaml beside it would be replaced" in capsys.readouterr().err
    assert (tmp_path / "cell.yaml").read_text() == "precious: 1\n" and len(list(tmp_path.iterdir())) == 1
    assert run(["export", str(place), "--out", str(place / "drift.csv"), "--overwrite"]) == 1
    assert "drift.csv is a file of the run itself" in capsys.readouterr().err
    before = (place / "run.yaml").read_bytes()
    assert run(["export", str(place), "--out", str(place / "run.hdf5"), "--overwrite"]) == 1
    assert (
        "run.yaml is a file of the run itself" in capsys.readouterr().err
        and (place / "run.yaml").read_bytes() == before
    )


def test_a_table_without_sigmas_is_drawn_and_goes_on_as_it_came(tmp_path: Path, capsys: Captured) -> None:
    table, back = tmp_path / "t.csv", tmp_path / "back"
    rows = [f"{1 + k // 3},{1050 + 700 * (k % 5)},{3050 - 300 * (k % 7)},{500 + k}\n" for k in range(30)]
    table.write_text("frame,x [nm],y [nm],intensity [photon]\n" + "".join(rows))
    assert run(["import", str(table), "--px-nm", "100", "--out", str(back)]) == 0
    assert "no background, sigma_x_nm" in capsys.readouterr().out
    page = (back / "report.html").read_text(encoding="utf-8")
    assert "30 of 30 localizations are drawn" in page and "drawn 20 nm wide" in page
    assert "Imported: 30 localizations of another program in 10 frames" in page and "fitted" not in page
    assert run(["report", str(back), str(back)]) == 0
    assert "another program" in (said := capsys.readouterr().out) and "nan" not in said
    picture = overview(RunFolder.open(back), Region(0, 0, 5000, 5000), SHOW_ALL).whole
    assert picture is not None and np.asarray(Image.open(io.BytesIO(picture.png))).max() > 100
    points = Points()
    points.append(rtdecode.open_run(back).localizations)  # as the viewer keeps them, with its filter on
    assert QualityFilter().passes(next(points.blocks())).all()
    out = tmp_path / "again.hdf5"
    assert run(["export", str(back), "--out", str(out)]) == 0
    opened = FORMATS["picasso"].open(out)
    assert {"background", "sigma_x_nm", "probability", "z_nm"} <= set(opened.missing)
    came = opened.about.provenance["picasso"][1]["imported"]
    assert came["file"] == "t.csv" and came["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()


def test_evaluate_takes_an_imported_run(place: Path, tmp_path: Path, capsys: Captured) -> None:
    out, back = tmp_path / "x.hdf5", tmp_path / "back"
    assert run(["export", str(place), "--out", str(out)]) == 0
    assert run(["import", str(out), "--out", str(back)]) == 0
    found = rtdecode.open_run(place).localizations
    emitters = np.zeros(len(found), EMITTER_DTYPE)
    for name in EMITTER_DTYPE.names or ():
        emitters[name] = getattr(found, name)
    emitters["x_nm"] += 7
    write_truth(tmp_path / "truth.csv", emitters)
    for folder in (place, back):
        capsys.readouterr()
        assert run(["evaluate", str(folder), "--truth", str(tmp_path / "truth.csv"), "--json"]) == 0
        scores = json.loads(capsys.readouterr().out)
        assert scores["jaccard"] == 1 and scores["n_matched"] > 3
        assert scores["mean_error_x_nm"] == pytest.approx(-7, abs=0.01)
        assert scores["mean_error_y_nm"] == pytest.approx(0, abs=0.01)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.integers(0, 200_000), min_size=1, max_size=60), bucket=st.integers(1, 20))
def test_rows_come_in_order_of_frames_whatever_the_buckets(frames: list[int], bucket: int, tmp_path: Path) -> None:
    records = np.zeros(len(frames), LOCALIZATION_DTYPE)
    records["frame_index"], records["x_nm"] = frames, np.arange(len(frames))
    n_frames = max(frames) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_order, "BUCKET_ROWS", bucket)
        spooled = import_order.spool(tmp_path / "rows", iter([Localizations.from_records(records)]))
        pieces = list(import_order.in_order(spooled, n_frames))
    assert [p[0] for p in pieces] == [0, *(p[1] for p in pieces[:-1])] and pieces[-1][1] == n_frames
    assert all(((p[2].frame_index >= p[0]) & (p[2].frame_index < p[1])).all() for p in pieces)
    found = Localizations.concatenate(p[2] for p in pieces)
    expected = records[np.argsort(records["frame_index"], kind="stable")]
    assert found.records().tobytes() == expected.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_run_from_python(place: Path) -> None:
    opened = rtdecode.open_run(place)
    assert isinstance(opened.localizations, Localizations) and opened.shape_px == (24, 32)
    assert opened.frames["fate"].tolist() == [0] * 12 and opened.widefield_adu is not None
    assert opened.record.model_name and opened.report is not None
    pandas = pytest.importorskip("pandas")
    frame = opened.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == list(LOCALIZATION_DTYPE.names or ())
    assert len(frame) == len(opened.localizations)


def test_importing_rtdecode_loads_nothing_heavy() -> None:
    code = "import sys, rtdecode; print([m for m in ('numpy', 'numba', 'h5py', 'pandas', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_documented_example_runs(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    code = code.replace('"runs/cell3"', repr(str(place)))
    where = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cell3.png").stat().st_size > 5000 and "completed" in done.stdout


def test_a_limit_on_what_a_table_does_not_know_is_refused(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "t.csv").write_text('"frame","x [nm]","y [nm]"\n1,150,250\n')
    assert run(["import", str(tmp_path / "t.csv"), "--px-nm", "100", "--out", str(tmp_path / "r")]) == 0
    out = ["--out", str(tmp_path / "o.hdf5")]
    for limit, word in ((["--min-probability", "0.5"], "probability"), (["--filter", "recommended"], "no model")):
        capsys.readouterr()
        assert run(["export", str(tmp_path / "r"), *out, *limit]) == 1 and word in capsys.readouterr().err
    assert not (tmp_path / "o.hdf5").exists()
