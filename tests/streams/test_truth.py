"""Truth files: exact round trip, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import EMITTER_DTYPE
from rtdecode.physics.structures import switch, tubes
from rtdecode.streams.truth import read_truth, write_truth

HEADER = "frame_index,x_nm,y_nm,z_nm,photons"


def test_round_trip_is_exact(tmp_path: Path) -> None:
    emitters = switch(tubes(seed=1), 400, 1.0, seed=2)
    path = tmp_path / "truth.csv"
    assert write_truth(path, emitters) == len(emitters) > 10_000
    assert path.read_text().startswith(HEADER + "\n")
    np.testing.assert_array_equal(read_truth(path), emitters)
    assert [p.name for p in tmp_path.iterdir()] == ["truth.csv"]


def test_no_emitters_is_a_header_and_back(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    write_truth(path, np.empty(0, EMITTER_DTYPE))
    assert path.read_text() == HEADER + "\n"
    assert len(read_truth(path)) == 0


def test_columns_in_another_order_and_more_of_them(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_bytes(b"\xef\xbb\xbfid,photons,z_nm,y_nm,x_nm,frame_index\r\n7,900,3,2,1,5\r\n\r\n")
    assert read_truth(path).tolist() == [(5, 1.0, 2.0, 3.0, 900.0)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("frame_index,x_nm,y_nm,z_nm\n1,2,3,4\n", r"line 1: column 'photons' is missing; found 'frame_index'"),
        (f"{HEADER}\n0,1,2,3,4\n0,1,two,3,4\n", r"line 3: 'two' is not a number"),
        (f"{HEADER}\n0,1,2,3,4\n0,1,2\n", r"line 3: found 3 values, expected at least 5"),
        (f"{HEADER}\n0,1,2,3,4\n\n0,1,2,3,4\n", r"line 3: found 1 values"),
        (f"{HEADER}\n0,1,2,3,4\n1,1,nan,3,4\n", r"line 3: expected finite numbers"),
        (f"{HEADER}\n0.5,1,2,3,4\n", r"line 2: frame_index must be a whole number from 0"),
        (f"{HEADER}\n0,1,2,3,4\n-1,1,2,3,4\n", r"line 3: frame_index must be a whole number from 0"),
    ],
)
def test_bad_files_are_refused_by_file_and_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=says) as caught:
        read_truth(path)
    assert str(path) in str(caught.value)


def test_not_a_text_file_missing_file_and_folder(tmp_path: Path) -> None:
    binary = tmp_path / "image.tif"
    binary.write_bytes(bytes(range(256)) * 20)
    for path in (binary, tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileFormatError, match=path.name):
            read_truth(path)


def test_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be written"):
        write_truth(tmp_path / "no_such_folder" / "truth.csv", np.zeros(3, EMITTER_DTYPE))
    assert list(tmp_path.iterdir()) == []
