"""Every format, both ways: what goes out comes back; an off-diagonal emitter as a person reads it; damage is named."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_rows import ABOUT, NAMES, PX, flat, needs, off_diagonal, some

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import Z_COLUMNS, About

DATA = Path(__file__).parents[2].parent / "shared/data"
KEPT = {  # what each format has room for, beside frame and position
    "picasso": {"photons", "background", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm", "probability", "sigma_photons"},
    "thunderstorm": {"photons", "background", "sigma_z_nm"},
    "smap": {"photons", "background", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm", "probability", "sigma_photons"},
    "decode": {"photons", "background", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm", "probability", "sigma_photons"},
    "parquet": {"photons", "background", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm", "probability", "sigma_photons"},
}


@pytest.mark.parametrize("name", NAMES)
def test_what_goes_out_comes_back(name: str, tmp_path: Path) -> None:
    needs(name)
    path, sent = tmp_path / f"out{FORMATS[name].extension}", some(2000)
    assert FORMATS[name].write(path, [sent[:700], sent[700:700], sent[700:]], ABOUT) == 2000
    table = FORMATS[name].open(path, PX if name == "thunderstorm" else None)
    assert table.about.px_nm == pytest.approx(PX)
    back = Localizations.concatenate(table.parts)
    np.testing.assert_array_equal(back.frame_index, sent.frame_index)
    for column in ("x_nm", "y_nm", "z_nm", *KEPT[name]):
        np.testing.assert_allclose(getattr(back, column), getattr(sent, column), rtol=1e-5, atol=2e-3, err_msg=column)
        assert column not in table.missing
    assert {p.name for p in tmp_path.iterdir()} <= {path.name, "out.yaml"}


@pytest.mark.parametrize("name", NAMES)
def test_a_2d_table_comes_back_as_one(name: str, tmp_path: Path) -> None:
    needs(name)
    path, sent = tmp_path / f"out{FORMATS[name].extension}", flat(some(300))
    FORMATS[name].write(path, [sent], replace(ABOUT, absent=Z_COLUMNS))
    back = Localizations.concatenate(FORMATS[name].open(path, PX).parts)
    assert back.is_2d and len(back) == 300


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_a_file_too(name: str, tmp_path: Path) -> None:
    needs(name)
    path = tmp_path / f"out{FORMATS[name].extension}"
    assert FORMATS[name].write(path, [], ABOUT) == 0
    assert sum(len(part) for part in FORMATS[name].open(path, PX).parts) == 0


def test_picasso_has_it_in_column_12_row_3_of_frame_4(tmp_path: Path) -> None:
    FORMATS["picasso"].write(tmp_path / "a.hdf5", [off_diagonal()], ABOUT)
    with h5py.File(tmp_path / "a.hdf5") as file:
        row = file["locs"][0]
    assert [row[name] for name in ("frame", "x", "y", "z")] == pytest.approx([4, 12, 3, 250])
    assert [row[name] for name in ("lpx", "lpy", "lpz")] == pytest.approx([0.06, 0.075, 20])
    movie, made = yaml.safe_load_all((tmp_path / "a.yaml").read_text())
    assert [movie[name] for name in ("Width", "Height", "Frames", "Pixelsize")] == [60, 40, 1000, 100.0]
    assert made["model"]["sha256"] == "ab" * 32 and made["filter"] == {"sigma_xy_nm": 40.0}


def test_decode_has_its_row_first(tmp_path: Path) -> None:
    FORMATS["decode"].write(tmp_path / "a.h5", [off_diagonal()], ABOUT)
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["data", "decode", "meta"] and list(file["meta"].attrs) == ["xy_unit", "px_size"]
        assert file["data/xyz"][0].tolist() == pytest.approx([3, 12, 250])  # DECODE's x runs along rows
        assert file["data/xyz_sig"][0].tolist() == pytest.approx([0.075, 0.06, 20])
        assert file["meta"].attrs["px_size"].tolist() == [120, 100] and file["data/frame_ix"][0] == 4
        assert file["data/xyz_cr"].shape is None


def test_smap_has_nm_and_frame_5(tmp_path: Path) -> None:
    FORMATS["smap"].write(tmp_path / "a_sml.mat", [off_diagonal()], ABOUT)
    head = (tmp_path / "a_sml.mat").read_bytes()[:128]
    assert head.startswith(b"MATLAB 7.3 MAT-file") and head[124:] == b"\x00\x02IM"
    with h5py.File(tmp_path / "a_sml.mat") as file:
        found = {name: float(data[0, 0]) for name, data in file["saveloc/loc"].items()}
        said = "".join(chr(c) for c in file["saveloc/rtdecode"][:, 0])
        assert file["saveloc"].attrs["MATLAB_class"] == b"struct"
        assert file["saveloc/loc/frame"].attrs["MATLAB_class"] == b"double"
    assert [found[name] for name in ("xnm", "ynm", "znm", "frame")] == [1200, 360, 250, 5]
    assert [found[name] for name in ("xnmerr", "ynmerr", "locprecnm", "locprecznm")] == [6, 9, 7.5, 20]
    assert json.loads(said)["model"]["sha256"] == "ab" * 32


def test_parquet_has_our_own_columns(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    FORMATS["parquet"].write(tmp_path / "a.parquet", [off_diagonal()], ABOUT)
    frame = pandas.read_parquet(tmp_path / "a.parquet")
    assert list(frame.columns) == list(LOCALIZATION_DTYPE.names or ())
    assert frame.loc[0, ["frame_index", "x_nm", "y_nm", "z_nm"]].tolist() == [4, 1200, 360, 250]
    about = FORMATS["parquet"].open(tmp_path / "a.parquet").about
    assert (about.shape_px, about.n_frames, about.provenance) == ((40, 60), 1000, ABOUT.provenance)


def first_row(name: str, path: Path) -> list[float]:
    """Frame, x and y as they stand in the file, without our reader."""
    if name == "thunderstorm":
        with path.open() as file:
            row = next(csv.DictReader(file))
        return [float(row[column]) for column in ("frame", "x [nm]", "y [nm]")]
    if name == "parquet":
        row = pytest.importorskip("pandas").read_parquet(path).iloc[0]
        return [float(row[column]) for column in ("frame_index", "x_nm", "y_nm")]
    with h5py.File(path) as file:
        match name:
            case "picasso":
                return [float(file["locs"][column][0]) for column in ("frame", "x", "y")]
            case "smap":
                return [float(file["saveloc/loc"][column][0, 0]) for column in ("frame", "xnm", "ynm")]
            case _:
                return [float(file["data/frame_ix"][0]), *map(float, file["data/xyz"][0, :2])]


@pytest.mark.parametrize("name", NAMES)
def test_the_documented_table_of_coordinates_is_true(name: str, tmp_path: Path) -> None:
    needs(name)
    lines = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8").splitlines()
    cells = [cell.strip() for line in lines if line.startswith(f"| `{name}` | `") for cell in line.split("|")]
    told = [float(number) for number in cells[9].split(",")]  # of the first table; its last column
    path = tmp_path / f"a{FORMATS[name].extension}"
    FORMATS[name].write(path, [off_diagonal()], ABOUT)
    assert first_row(name, path) == pytest.approx(told)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "thunderstorm"])  # it has a test of its own
def test_memory_stays_bounded(name: str, tmp_path: Path) -> None:
    needs(name)
    path = tmp_path / f"out{FORMATS[name].extension}"
    block, blocks = some(50_000), 12

    def parts() -> Iterator[Localizations]:
        for _ in range(blocks):
            yield block

    tracemalloc.start()
    try:
        FORMATS[name].write(path, parts(), ABOUT)
        rows = sum(len(part) for part in FORMATS[name].open(path, PX).parts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == blocks * 50_000
    assert peak < 0.6 * rows * 11 * 8  # all of it as float64 would be 53 MB


def test_picasso_says_the_same_inside_and_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    FORMATS["picasso"].write(path, [off_diagonal()], ABOUT)
    beside = FORMATS["picasso"].open(path).about
    (tmp_path / "a.yaml").unlink()  # lost on the way to another computer
    inside = FORMATS["picasso"].open(path).about
    assert inside == beside and inside.px_nm == PX and inside.shape_px == (40, 60) and inside.n_frames == 1000
    assert inside.provenance["picasso"][1]["model"]["sha256"] == "ab" * 32


def test_picassos_tags_of_python_objects_are_read_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    FORMATS["picasso"].write(path, [off_diagonal()], ABOUT)
    touched = tmp_path / "touched"
    text = f"Width: !!python/tuple [60]\nPixelsize: 130\nx: !!python/object/apply:os.mkdir [{touched}]\n"
    (tmp_path / "a.yaml").write_text(text)
    about = FORMATS["picasso"].open(path).about
    assert about.px_nm == (130, 130) and about.shape_px is None and not touched.exists()


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_knows_is_left_out(name: str, tmp_path: Path) -> None:
    """Picasso drops each row with a NaN: a column of them would empty the table."""
    needs(name)
    path, records = tmp_path / f"out{FORMATS[name].extension}", some(50).records()
    absent = {"background", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm", "sigma_photons", "probability"}
    for column in absent:
        records[column] = np.nan
    known = Localizations.from_records(records)
    FORMATS[name].write(path, [known], replace(ABOUT, absent=frozenset(absent)))
    table = FORMATS[name].open(path, PX)
    back = Localizations.concatenate(table.parts)
    for column in absent:
        assert np.isnan(getattr(back, column)).all(), column
    np.testing.assert_allclose(back.x_nm, known.x_nm, atol=2e-3)
    np.testing.assert_allclose(back.z_nm, known.z_nm, atol=2e-3)
    if name in ("picasso", "smap", "thunderstorm"):
        assert absent <= set(table.missing)


def test_a_number_that_one_row_lacks_is_written_as_java_reads_it(tmp_path: Path) -> None:
    records = some(3).records()
    records["sigma_z_nm"][1] = np.nan
    FORMATS["thunderstorm"].write(tmp_path / "a.csv", [Localizations.from_records(records)], ABOUT)
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert [row.endswith(",NaN") for row in rows] == [False, False, True, False]
    back = Localizations.concatenate(FORMATS["thunderstorm"].open(tmp_path / "a.csv", PX).parts)
    assert np.isnan(back.sigma_z_nm).tolist() == [False, True, False]


def test_smap_gives_its_field_frames_and_our_provenance_back(tmp_path: Path) -> None:
    FORMATS["smap"].write(tmp_path / "a_sml.mat", [off_diagonal()], ABOUT)
    about = FORMATS["smap"].open(tmp_path / "a_sml.mat").about
    assert (about.shape_px, about.n_frames, about.provenance) == ((40, 60), 1000, ABOUT.provenance)
    with h5py.File(tmp_path / "a_sml.mat") as file:
        named = [b"".join(name).decode() for name in file["saveloc/loc"].attrs["MATLAB_fields"]]
        assert named == list(file["saveloc/loc"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["picasso", "smap", "decode"]),
    px=st.tuples(st.floats(20, 400), st.floats(20, 400)),
    seed=st.integers(0, 1000),
)
def test_any_pixel_size_comes_back(tmp_path: Path, name: str, px: tuple[float, float], seed: int) -> None:
    path, sent = tmp_path / f"x{FORMATS[name].extension}", some(20, seed)
    FORMATS[name].write(path, [sent], About(px))
    table = FORMATS[name].open(path)
    back = Localizations.concatenate(table.parts)
    assert table.about.px_nm == pytest.approx(px, rel=1e-5)
    for column in ("x_nm", "y_nm", "sigma_x_nm", "sigma_y_nm"):
        np.testing.assert_allclose(getattr(back, column), getattr(sent, column), rtol=2e-6)


@pytest.mark.skipif(not DATA.is_dir(), reason="the peers' own files are not here")
def test_the_peers_own_files_are_read() -> None:
    table = FORMATS["decode"].open(DATA / "locan_BSD3/test_data/decode_dstorm_data.h5")
    found = Localizations.concatenate(table.parts)
    assert table.about.px_nm == (117.0, 127.0) and len(found) == 96 and np.isfinite(found.sigma_x_nm).all()
    empty = FORMATS["decode"].open(DATA / "locan_BSD3/test_data/decode_dstorm_data_empty.h5")
    assert sum(map(len, empty.parts)) == 0 and "sigma_x_nm" in empty.missing
    table = FORMATS["smap"].open(DATA / "locan_BSD3/test_data/smap_dstorm_data.mat")
    found = Localizations.concatenate(table.parts)
    assert table.about.px_nm == pytest.approx((104.0, 104.0)) and len(found) == 4884 and found.frame_index.min() == 0
    picasso = DATA / "picasso_MIT/tests/testdata_locs.hdf5"
    found = Localizations.concatenate(FORMATS["picasso"].open(picasso, (130.0, 130.0)).parts)
    assert len(found) == 564 and found.x_nm.max() < 32 * 130


@pytest.mark.shared_data
@pytest.mark.skipif(not DATA.is_dir(), reason="the peers' own files are not here")
def test_picassos_positions_are_where_the_light_is_in_its_own_movie() -> None:
    """No half pixel between Picasso and us: measured on its movie, not taken from its documentation."""
    folder = DATA / "picasso_MIT/tests"
    movie = np.fromfile(folder / "testdata_1000f.raw", "<u2").reshape(-1, 32, 32).astype(np.float64)
    found = Localizations.concatenate(FORMATS["picasso"].open(folder / "testdata_locs.hdf5", (130.0, 130.0)).parts)
    off, around = [], np.arange(-3, 4)
    for k in np.flatnonzero(found.photons > 3000):
        column, row = round(float(found.x_nm[k]) / 130), round(float(found.y_nm[k]) / 130)
        if min(column, row) >= 4 and max(column, row) < 28:
            light = movie[found.frame_index[k], row - 3 : row + 4, column - 3 : column + 4]
            light = np.clip(light - np.median(light), 0, None)
            x, y = (light.sum(axis=a) @ around / light.sum() for a in (0, 1))
            off.append((column + x - found.x_nm[k] / 130, row + y - found.y_nm[k] / 130))
    assert len(off) > 300
    assert np.abs(np.median(off, axis=0)).max() < 0.05  # of a pixel
