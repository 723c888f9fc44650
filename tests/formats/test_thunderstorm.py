"""ThunderSTORM files: origin, frame count and units at the door, dialects in, bounded memory."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import Z_COLUMNS, About
from rtdecode.formats.thunderstorm import read_thunderstorm, write_thunderstorm

PX = (100.0, 120.0)
REAL = Path(__file__).parents[2].parent / "shared/data/locan_BSD3/test_data/Thunderstorm_dstorm_data.csv"


def localizations(n: int, seed: int = 0) -> Localizations:
    rng = np.random.default_rng(seed)
    records = np.zeros(n, LOCALIZATION_DTYPE)
    for name in LOCALIZATION_DTYPE.names or ():
        records[name] = rng.uniform(1, 5000, n)
    records["frame_index"] = np.sort(rng.integers(0, 1000, n))
    records["z_nm"] -= 2500
    records["sigma_y_nm"] = records["sigma_x_nm"]
    return Localizations.from_records(records)


def one(frame: int, x: float, y: float, z: float) -> Localizations:
    records = np.zeros(1, LOCALIZATION_DTYPE)
    records[["frame_index", "x_nm", "y_nm", "z_nm"]] = (frame, x, y, z)
    records["photons"], records["background"] = 5000, 81
    records["sigma_x_nm"], records["sigma_y_nm"], records["sigma_z_nm"] = 6, 8, 20
    return Localizations.from_records(records)


def test_of_2d_localizations_no_z_is_written(tmp_path: Path) -> None:
    records = localizations(50).records()
    records["z_nm"] = records["sigma_z_nm"] = 0
    flat = Localizations.from_records(records)
    assert write_thunderstorm(tmp_path / "2d.csv", [flat], About(PX, absent=Z_COLUMNS)) == 50
    header = (tmp_path / "2d.csv").read_text().splitlines()[0]
    assert '"y [nm]","intensity [photon]"' in header and header.endswith('"uncertainty_xy [nm]"')
    back = read_thunderstorm(tmp_path / "2d.csv", PX)
    assert back.is_2d and np.isnan(back.sigma_z_nm).all()
    for name in ("frame_index", "x_nm", "y_nm", "photons", "background", "sigma_x_nm"):
        np.testing.assert_allclose(getattr(back, name), getattr(flat, name), atol=1e-3, rtol=1e-5)
    records["z_nm"][7] = 3.0
    write_thunderstorm(tmp_path / "3d.csv", [Localizations.from_records(records)], About(PX))
    assert "z [nm]" in (tmp_path / "3d.csv").read_text().splitlines()[0]


def test_off_diagonal_emitter_as_a_person_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    # centre of the pixel in column 12, row 3, of the first frame, 250 nm up
    write_thunderstorm(path, [one(0, 12 * 100.0, 3 * 120.0, 250.0)], About(PX))
    with path.open() as file:
        (row,) = csv.DictReader(file)
    assert row["id"] == row["frame"] == "1"
    assert float(row["x [nm]"]) == pytest.approx(12.5 * 100)  # from the corner: 12 whole pixels and a half
    assert float(row["y [nm]"]) == pytest.approx(3.5 * 120)
    assert float(row["z [nm]"]) == pytest.approx(250)
    assert float(row["intensity [photon]"]) == pytest.approx(5000)
    assert (float(row["offset [photon]"]), float(row["bkgstd [photon]"])) == (81, 9)
    assert float(row["uncertainty_xy [nm]"]) == pytest.approx(np.sqrt(50), abs=1e-3)
    assert float(row["uncertainty_z [nm]"]) == pytest.approx(20)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / ("out" + FORMATS["thunderstorm"].extension)
    given = localizations(2000)
    assert FORMATS["thunderstorm"].write(path, [given[:700], given[700:]], About(PX)) == 2000
    back = Localizations.concatenate(FORMATS["thunderstorm"].open(path, PX).parts)
    np.testing.assert_array_equal(back.frame_index, given.frame_index)
    for name in ("x_nm", "y_nm", "z_nm", "photons", "background", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm"):
        np.testing.assert_allclose(getattr(back, name), getattr(given, name), atol=1.1e-3, err_msg=name)
    assert np.isnan(back.probability).all()
    with path.open() as file:
        assert [int(row["id"]) for row in csv.DictReader(file)] == list(range(1, 2001))


def test_nothing_is_a_header_and_back(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert write_thunderstorm(path, [], About(PX)) == 0
    assert len(read_thunderstorm(path, PX)) == 0


def test_dialects(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    expected = (1, 1000.0, 600.0)
    for text in (
        '"frame","x [nm]","y [nm]"\n2,1050,660\n',
        "frame;x [nm];y [nm]\n2;1050;660\n",
        "id\tframe\tx [um]\ty [µm]\n1\t2\t1.05\t0.66\n",
        '"id,""frame"",""x [nm]"",""y [nm]"""\n1.0,2.0,1050.0,660.0\n',
        "Frame,x [px],y [px]\n2,10.5,5.5\n",
        '"frame","y [nm]","x [nm]"\r\n"2","660","1050"\r\n',
    ):
        path.write_text(text, encoding="utf-8")
        got = read_thunderstorm(path, PX)
        assert (int(got.frame_index[0]), float(got.x_nm[0]), float(got.y_nm[0])) == pytest.approx(expected), text
        assert float(got.z_nm[0]) == 0


def test_both_versions_names_for_the_uncertainty(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    for name in ("uncertainty [nm]", "uncertainty_xy [nm]"):
        path.write_text(f'"frame","x [nm]","y [nm]","{name}","uncertainty_z [nm]"\n1,50,60,7,21\n')
        got = read_thunderstorm(path, PX)
        assert (got.sigma_x_nm[0], got.sigma_y_nm[0], got.sigma_z_nm[0]) == (7, 7, 21)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("frame,x [nm],z [nm]\n1,2,3\n", "line 1: column 'y' is missing"),
        ("x [nm],y [nm]\n1,2\n", "line 1: column 'frame' is missing"),
        ("frame,x [mm],y [nm]\n1,2,3\n", r"column 'x \[mm\]': expected nm, um or px"),
        ("frame,x,y\n1,2,3\n", "column 'x': expected nm"),
        ("frame,x [nm],y [nm],intensity [ADU]\n1,2,3,4\n", "expected photons"),
        ("frame,x [nm],y [nm]\n1,2,3\n0,2,3\n", "line 3: frame must be a whole number from 1, found 0"),
        ("frame,x [nm],y [nm]\n1,2,3\n1,2,abc\n", "line 3: 'abc\\\\n' is not a number|line 3: 'abc' is not"),
        ("frame,x [nm],y [nm]\n1,2,3\n1,2\n", "line 3: found 2 values, expected at least 3"),
        ("frame,x [nm],y [nm]\n1,inf,3\n", "line 2: x is not finite"),
    ],
)
def test_bad_files_are_refused_by_file_and_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=says) as caught:
        read_thunderstorm(path, PX)
    assert str(path) in str(caught.value)


def test_a_bad_line_far_down_is_named(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("frame,x [nm],y [nm]\n" + "1,2,3\n" * 150_000 + "1,2,x\n")
    with pytest.raises(FileFormatError, match="line 150002"):
        read_thunderstorm(path, PX)


def test_memory_stays_bounded_while_a_long_run_is_written(tmp_path: Path) -> None:
    block = localizations(4_000)

    def run(blocks: int) -> Iterator[Localizations]:
        for _ in range(blocks):
            yield block

    def peak(blocks: int) -> int:
        tracemalloc.start()
        write_thunderstorm(tmp_path / "out.csv", run(blocks), About(PX))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(10) < 1.2 * peak(2)


@pytest.mark.shared_data
@pytest.mark.skipif(not REAL.exists(), reason="the real recordings are not beside this checkout")
def test_a_real_file() -> None:
    got = read_thunderstorm(REAL, (130.0, 130.0))
    assert len(got) == 19
    assert got.frame_index[0] == 2000
    assert got.x_nm[0] == pytest.approx(1320.1097 - 65, abs=1e-2)
    assert got.y_nm[0] == pytest.approx(26344.7125 - 65, abs=1e-2)
    assert got.photons[0] == pytest.approx(296.5584, abs=1e-3)
    assert got.background[0] == pytest.approx(31.3024, abs=1e-3)
    assert got.sigma_x_nm[0] == got.sigma_y_nm[0] == pytest.approx(22.93255, abs=1e-3)
