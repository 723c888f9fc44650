"""Files that are no such file, cut short or damaged, or cannot be written: each is named, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from table_rows import ABOUT, NAMES, PX, needs, off_diagonal, some

from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import Localizations
from rtdecode.formats import FORMATS


@pytest.mark.parametrize("name", NAMES)
def test_a_write_that_fails_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    needs(name)
    path = tmp_path / f"out{FORMATS[name].extension}"
    path.write_text("precious")

    def parts() -> Iterator[Localizations]:
        yield some(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FORMATS[name].write(path, parts(), ABOUT)
    assert path.read_text() == "precious" and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_such_a_file_is_named(name: str, tmp_path: Path) -> None:
    needs(name)
    path = tmp_path / "text"
    path.write_text("hello\nworld\n")
    with pytest.raises(FileFormatError, match="text"):
        list(FORMATS[name].open(path, PX).parts)


def test_missing_columns_and_pixel_sizes_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["locs"] = np.zeros(3, [("frame", "u4"), ("x", "f4")])
    with pytest.raises(FileFormatError, match="no column 'y'; it has frame, x"):
        FORMATS["picasso"].open(tmp_path / "a.hdf5", PX)
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["locs"] = np.zeros(3, [("frame", "u4"), ("x", "f4"), ("y", "f4")])
    with pytest.raises(FileFormatError, match="no Pixelsize in nm; give --px-nm"):
        FORMATS["picasso"].open(tmp_path / "b.hdf5")
    assert set(FORMATS["picasso"].open(tmp_path / "b.hdf5", PX).missing) == {
        "z_nm", "photons", "background", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm", "sigma_photons", "probability",
    }  # fmt: skip
    with h5py.File(tmp_path / "c.hdf5", "w") as file:
        file["locs"] = np.array([(0, 1, 2), (1, np.nan, 2)], [("frame", "u4"), ("x", "f4"), ("y", "f4")])
    with pytest.raises(FileFormatError, match="row 1: frame 1, x nan"):
        list(FORMATS["picasso"].open(tmp_path / "c.hdf5", PX).parts)


def test_of_two_files_both_appear_or_neither(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()  # cannot be replaced by a file
    with pytest.raises(FileFormatError, match=r"a\.yaml: cannot be written"):
        FORMATS["picasso"].write(tmp_path / "a.hdf5", [off_diagonal()], ABOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize("name", ["picasso", "smap", "decode", "parquet"])
def test_a_file_cut_short_or_damaged_is_named(name: str, tmp_path: Path) -> None:
    needs(name)
    path = tmp_path / f"out{FORMATS[name].extension}"
    FORMATS[name].write(path, [some(70_000), some(70_000)], ABOUT)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(FileFormatError, match="out"):
            list(FORMATS[name].open(path, PX).parts)


def test_columns_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    (tmp_path / "old_sml.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(200))
    with pytest.raises(FileFormatError, match=r"expected 7\.3"):
        FORMATS["smap"].open(tmp_path / "old_sml.mat")
    FORMATS["smap"].write(tmp_path / "a_sml.mat", [some(9)], ABOUT)
    with h5py.File(tmp_path / "a_sml.mat", "r+") as file:
        del file["saveloc/loc/xnm"]
        file["saveloc/loc/xnm"] = np.zeros((1, 8))
    with pytest.raises(FileFormatError, match=r"saveloc/loc/xnm' has 8 rows, others 9"):
        FORMATS["smap"].open(tmp_path / "a_sml.mat")
    FORMATS["decode"].write(tmp_path / "a.h5", [some(9)], ABOUT)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["data/phot"]
        file["data/phot"] = "many"
    with pytest.raises(FileFormatError, match=r"data/phot' holds no table of numbers"):
        FORMATS["decode"].open(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["locs"] = np.zeros(3, [("frame", "S4"), ("x", "f4"), ("y", "f4")])
    with pytest.raises(FileFormatError, match="column 'frame' of table 'locs' holds no numbers"):
        FORMATS["picasso"].open(tmp_path / "a.hdf5", PX)


def test_a_data_frame_of_words_or_halves_is_refused(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    frame = pandas.DataFrame({"frame_index": [0, 1], "x_nm": [1, 2.5], "y_nm": [3, 4]})
    frame.to_parquet(path)
    assert Localizations.concatenate(FORMATS["parquet"].open(path, PX).parts).x_nm.tolist() == [1, 2.5]
    frame.assign(x_nm=["a", "b"]).to_parquet(path)
    with pytest.raises(FileFormatError, match="column 'x_nm' is of type"):
        FORMATS["parquet"].open(path, PX)
    frame.assign(frame_index=[0, 1.5]).to_parquet(path)
    with pytest.raises(FileFormatError, match=r"row 1: .*expected a whole frame"):
        list(FORMATS["parquet"].open(path, PX).parts)
