"""One emitter at a known place comes back there: simulate, replay with the shipped model, log, export, read again."""

from pathlib import Path

import numpy as np
import pytest

from rtdecode.cli.app import run
from rtdecode.core.localizations import EMITTER_DTYPE, Localizations
from rtdecode.fit.bundle import ModelBundle
from rtdecode.formats import FORMATS
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.psf import SplinePsf
from rtdecode.physics.render import expected_frames
from rtdecode.streams.log import LogReader

SHAPE = (51, 37)  # odd: padded inside, the origin kept
PLACES = [(830.0, 3970.0, 250.0), (2540.0, 1360.0, -250.0)]  # x, y, z in nm, far from the diagonal
LIT = (2, 3, 4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("off_diagonal")
    bundle = ModelBundle.load("astigmatic-light")
    emitters = np.array([(frame, *place, 8000.0) for frame in LIT for place in PLACES], EMITTER_DTYPE)
    psf = SplinePsf.load(bundle.psf_path)
    light = expected_frames(psf, emitters, 0, 7, SHAPE, bundle.camera.px_nm)
    np.save(folder / "movie.npy", adu_from_photons(bundle.camera, light + 90, np.random.default_rng(4)))
    taken = folder / "run"
    assert (
        run(["replay", str(folder / "movie.npy"), "--model", "astigmatic-light", "--out", str(taken), "--no-view"]) == 0
    )
    assert run(["export", str(taken), "--format", "thunderstorm", "--out", str(folder / "out.csv")]) == 0
    return taken, folder / "out.csv"


def assert_in_place(found: Localizations) -> None:
    for frame in LIT:
        here = found[found.frame_index == frame]
        assert len(here) == len(PLACES)
        for place in PLACES:
            nearest = int(np.argmin(np.hypot(here.x_nm - place[0], here.y_nm - place[1])))
            error = [abs(float(v[nearest]) - p) for v, p in zip((here.x_nm, here.y_nm, here.z_nm), place, strict=True)]
            assert error[0] < 50 and error[1] < 50 and error[2] < 130, (place, error)
            assert 0.7 < here.photons[nearest] / 8000 < 1.4
    assert not np.isin(found.frame_index, [0, 6]).any()


def test_the_log_has_it_where_it_was(exported: tuple[Path, Path]) -> None:
    assert_in_place(LogReader.open(exported[0]).all()[1])


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_export_has_it_where_it_was(name: str, exported: tuple[Path, Path], tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    out, again = tmp_path / f"out{FORMATS[name].extension}", tmp_path / "again"
    assert run(["export", str(exported[0]), "--out", str(out)]) == 0
    assert_in_place(Localizations.concatenate(FORMATS[name].open(out, (100.0, 100.0)).parts))
    assert run(["import", str(out), "--out", str(again), "--px-nm", "100"]) == 0
    assert_in_place(LogReader.open(again).all()[1])


def test_thunderstorm_counts_frames_from_one_and_nm_from_the_corner(exported: tuple[Path, Path]) -> None:
    lines = exported[1].read_text().splitlines()
    names = [name.strip('"') for name in lines[0].split(",")]
    rows = np.array([[float(v) for v in line.split(",")] for line in lines[1:]])
    assert set(rows[:, names.index("frame")]) >= {3.0, 4.0, 5.0}
    logged = LogReader.open(exported[0]).all()[1]
    np.testing.assert_allclose(rows[:, names.index("x [nm]")], logged.x_nm + 50, atol=0.01)
    np.testing.assert_allclose(rows[:, names.index("y [nm]")], logged.y_nm + 50, atol=0.01)
