"""What we write, opened by the peers' own packages, and what they write, by us; too heavy for the test extra.

python -m venv peers && peers/bin/pip install picassosr locan pytest hypothesis pytest-timeout .
peers/bin/python -m pytest --noconftest tests/formats/test_peers.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.formats import FORMATS
from rtdecode.formats.about import Z_COLUMNS, About

PX = (100.0, 120.0)
ABOUT = About(PX, (40, 60), 1000, {"model": {"name": "tiny", "sha256": "ab" * 32}})
DATA = Path(__file__).parents[2].parent / "shared/data/locan_BSD3/test_data"
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


@pytest.fixture(scope="module")
def picasso() -> Any:
    """Picasso's `io`."""
    return pytest.importorskip("picasso.io", exc_type=ImportError)


@pytest.fixture(scope="module")
def locan() -> Any:
    """Locan."""
    return pytest.importorskip("locan", exc_type=ImportError)


def two() -> Localizations:
    """Centres of pixels (column 12, row 3) and (20, 5), in frames 4 and 7 from 0."""
    records = np.zeros(2, LOCALIZATION_DTYPE)
    records[0] = (4, 12 * PX[0], 3 * PX[1], 250, 5000, 81, 6, 9, 20, 90, 0.9)
    records[1] = (7, 20 * PX[0], 5 * PX[1], -100, 4000, 80, 6, 9, 20, 80, 0.8)
    return Localizations.from_records(records)


def written(name: str, folder: Path, found: Localizations | None = None, about: About = ABOUT) -> Path:
    path = folder / f"x{FORMATS[name].extension}"
    FORMATS[name].write(path, [two() if found is None else found], about)
    return path


def values(table: Any, *columns: str) -> list[list[float]]:
    return [[float(v) for v in table[name]] for name in columns]


@pytest.mark.parametrize("beside", [True, False])
def test_picasso_opens_ours(picasso: Any, tmp_path: Path, beside: bool) -> None:
    path = written("picasso", tmp_path)
    if not beside:  # Picasso from 0.11 on finds the words inside
        path.with_suffix(".yaml").unlink()
    table, info = picasso.load_locs(str(path))
    assert values(table, "frame", "x", "y", "z") == [[4, 7], [12, 20], [3, 5], [250, -100]]
    assert np.ravel(values(table, "lpx", "lpy", "lpz")) == pytest.approx([0.06, 0.06, 0.075, 0.075, 20, 20])
    assert (info[0]["Width"], info[0]["Height"], info[0]["Frames"], info[0]["Pixelsize"]) == (60, 40, 1000, 100)
    assert info[1]["model"]["sha256"] == "ab" * 32


def test_picasso_draws_ours_in_their_pixels(picasso: Any, tmp_path: Path) -> None:
    from picasso import render

    table, info = picasso.load_locs(str(written("picasso", tmp_path)))
    count, image = render.render(table, info, disp_px_size=100.0)
    assert count == 2 and image.shape == (40, 60)
    assert np.argwhere(image).tolist() == [[3, 12], [5, 20]]
    for blur in ("gaussian", "smooth", "convolve"):  # they need columns of their own
        assert render.render(table, info, disp_px_size=100.0, blur_method=blur)[0] == 2


def test_picasso_keeps_every_row_of_a_table_that_lacks_columns(picasso: Any, tmp_path: Path) -> None:
    records = two().records()
    lacking = frozenset({"background", "probability", "sigma_photons"})
    for name in lacking:
        records[name] = np.nan
    about = About(PX, (40, 60), 1000, absent=lacking | Z_COLUMNS)
    table, _ = picasso.load_locs(str(written("picasso", tmp_path, Localizations.from_records(records), about)))
    assert len(table) == 2 and not {"z", "bg", "probability"} & set(table.columns)


def test_we_open_what_picasso_saves(picasso: Any, tmp_path: Path) -> None:
    table, info = picasso.load_locs(str(written("picasso", tmp_path)))
    again = tmp_path / "again.hdf5"
    picasso.save_locs(str(again), table, info)
    opened = FORMATS["picasso"].open(again)
    assert opened.about.px_nm == PX and opened.about.shape_px == (40, 60)
    np.testing.assert_allclose(Localizations.concatenate(opened.parts).x_nm, two().x_nm)


def test_picasso_opens_our_smap_file(picasso: Any, tmp_path: Path) -> None:
    table, _ = picasso.import_smap(str(written("smap", tmp_path)), 100.0)
    assert values(table, "frame", "x", "z") == [[0, 3], [12, 20], [250, -100]]  # it begins with its first frame
    assert np.ravel(values(table, "y", "lpx")) == pytest.approx([3.6, 6, 0.075, 0.075])  # one pixel size for both


def test_locan_opens_ours(locan: Any, tmp_path: Path) -> None:
    table = locan.load_thunderstorm_file(written("thunderstorm", tmp_path)).data
    assert values(table, "frame", "position_x", "position_y", "position_z", "intensity") == [
        [5, 8], [1250, 2050], [420, 660], [250, -100], [5000, 4000],
    ]  # fmt: skip
    table = locan.load_SMAP_file(written("smap", tmp_path)).data
    assert values(table, "frame", "position_x", "position_y", "uncertainty_x", "uncertainty_y") == [
        [5, 8], [1200, 2000], [360, 600], [6, 6], [9, 9],
    ]  # fmt: skip
    table = locan.load_decode_file(written("decode", tmp_path)).data
    assert values(table, "frame", "position_x", "position_y") == [[4, 7], [3, 5], [12, 20]]  # x along rows
    assert values(table, "position_z", "intensity", "local_background") == [[250, -100], [5000, 4000], [81, 80]]


def test_we_open_what_locan_saves(locan: Any, tmp_path: Path) -> None:
    data = locan.load_thunderstorm_file(written("thunderstorm", tmp_path))
    locan.save_thunderstorm_csv(data, tmp_path / "again.csv")
    back = Localizations.concatenate(FORMATS["thunderstorm"].open(tmp_path / "again.csv", PX).parts)
    np.testing.assert_allclose(back.x_nm, two().x_nm, atol=1e-3)
    np.testing.assert_allclose(back.y_nm, two().y_nm, atol=1e-3)
    assert back.frame_index.tolist() == [4, 7]


@pytest.mark.shared_data
@pytest.mark.skipif(not DATA.is_dir(), reason="the peers' own files are not here")
def test_locan_and_we_read_the_same_in_others_files(locan: Any) -> None:
    ours = Localizations.concatenate(FORMATS["thunderstorm"].open(DATA / "Thunderstorm_dstorm_data.csv", PX).parts)
    theirs = locan.load_thunderstorm_file(DATA / "Thunderstorm_dstorm_data.csv").data
    np.testing.assert_allclose(ours.x_nm + PX[0] / 2, theirs["position_x"], rtol=1e-6)
    np.testing.assert_allclose(ours.y_nm + PX[1] / 2, theirs["position_y"], rtol=1e-6)
    np.testing.assert_array_equal(ours.frame_index + 1, theirs["frame"])
    ours = Localizations.concatenate(FORMATS["smap"].open(DATA / "smap_dstorm_data.mat").parts)
    theirs = locan.load_SMAP_file(DATA / "smap_dstorm_data.mat").data
    for column, name in (("x_nm", "position_x"), ("y_nm", "position_y"), ("photons", "intensity")):
        np.testing.assert_allclose(getattr(ours, column), theirs[name], rtol=1e-6)
    table = FORMATS["decode"].open(DATA / "decode_dstorm_data.h5")
    ours, theirs = Localizations.concatenate(table.parts), locan.load_decode_file(DATA / "decode_dstorm_data.h5").data
    np.testing.assert_allclose(ours.y_nm / table.about.px_nm[1], theirs["position_x"], rtol=1e-6)
    np.testing.assert_allclose(ours.x_nm / table.about.px_nm[0], theirs["position_y"], rtol=1e-6)
