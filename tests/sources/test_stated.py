"""What a recording states of itself: its pixel size held against the camera's, holes in the count of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tifffile
from movies import counts, write_folder, write_npy, write_raw, write_tiff

from rtdecode.core.camera import Camera
from rtdecode.sources.replay import ReplaySource

FRAMES = counts(6, 20, 24)


def cautions(path: Path, px_nm: tuple[float, float] = (100.0, 110.0)) -> tuple[str, ...]:
    """What the replay of that movie has to say, for a camera of that pixel size."""
    source = ReplaySource(path=path, camera=Camera(px_nm=px_nm, baseline_adu=0, e_per_adu=1, read_noise_e=1))
    source.open()
    try:
        return source.cautions
    finally:
        source.close()


def _imagej(path: Path, x: float, y: float, unit: str, **options: object) -> Path:
    return write_tiff(path, FRAMES, imagej=True, resolution=(1 / x, 1 / y), metadata={"unit": unit}, **options)


def _ome(path: Path, **metadata: object) -> Path:
    return write_tiff(path, FRAMES, metadata={"axes": "TYX"} | metadata)


STATED: dict[str, Callable[[Path], Path]] = {
    "ImageJ in um": lambda d: _imagej(d / "m.tif", 0.1, 0.11, "um"),
    "ImageJ in micron": lambda d: _imagej(d / "m.tif", 0.1, 0.11, "micron"),
    "ImageJ with its escape": lambda d: _imagej(d / "m.tif", 0.1, 0.11, "\\u00B5m"),
    "ImageJ in nm, big-endian": lambda d: _imagej(d / "m.tif", 100, 110, "nm", byteorder=">"),
    "OME in um": lambda d: _ome(d / "m.ome.tif", PhysicalSizeX=0.1, PhysicalSizeY=0.11),
    "OME in nm": lambda d: _ome(
        d / "m.ome.tif", PhysicalSizeX=100, PhysicalSizeXUnit="nm", PhysicalSizeY=110, PhysicalSizeYUnit="nm"
    ),
}


@pytest.mark.parametrize("kind", STATED)
def test_a_pixel_size_is_held_against_the_cameras(kind: str, tmp_path: Path) -> None:
    path = STATED[kind](tmp_path)
    assert cautions(path) == cautions(path, (101.0, 109.0)) == ()  # 2 %: rounding
    (said,) = cautions(path, (160.0, 160.0))
    assert str(path) in said and "states pixels of 100 x 110 nm, the run's camera has 160 x 160 nm" in said
    assert cautions(path, (110.0, 100.0)), "x and y taken for each other"


def test_picassos_pixel_size_is_held_against_the_cameras(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "m.raw", FRAMES, Pixelsize=130)
    assert cautions(path, (130.0, 130.0)) == ()
    assert "states pixels of 130 x 130 nm" in cautions(path)[0]


SILENT: dict[str, Callable[[Path], Path]] = {
    "npy": lambda d: write_npy(d / "m.npy", FRAMES),
    "a printer's resolution": lambda d: write_tiff(d / "m.tif", FRAMES, resolution=(72, 72), resolutionunit=2),
    "ImageJ in pixels": lambda d: _imagej(d / "m.tif", 1, 1, "pixel"),
    "OME without a size": lambda d: _ome(d / "m.ome.tif"),
    "OME of size 0": lambda d: _ome(d / "m.ome.tif", PhysicalSizeX=0.0, PhysicalSizeY=0.0),
    "OME in pixels": lambda d: _ome(d / "m.ome.tif", PhysicalSizeX=1, PhysicalSizeXUnit="pixel", PhysicalSizeY=1),
    "Picasso without": lambda d: write_raw(d / "m.raw", FRAMES),
    "Picasso with a word": lambda d: write_raw(d / "m.raw", FRAMES, Pixelsize="unknown"),
    "a whole folder": lambda d: write_folder(d / "movie", FRAMES),
}


@pytest.mark.parametrize("kind", SILENT)
def test_what_states_nothing_is_not_cautioned(kind: str, tmp_path: Path) -> None:
    assert cautions(SILENT[kind](tmp_path)) == ()


def _folder(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for name, frame in zip(names, FRAMES, strict=False):
        tifffile.imwrite(path / name, frame)
    return path


def test_holes_in_the_count_of_a_folders_files_are_told(tmp_path: Path) -> None:
    (said,) = cautions(_folder(tmp_path / "a", [f"run2_{i}.tif" for i in (8, 9, 12, 10, 20)]))
    assert str(tmp_path / "a") in said and "8 to 20 8 are missing, 11 is the first" in said
    dated = [f"img_{second}.tif" for second in (101500, 101759, 120000)]
    assert cautions(_folder(tmp_path / "b", dated)) == ()  # times of day
    two = [f"c{channel}_t{time}.tif" for channel in (0, 2) for time in (1, 5)]
    assert cautions(_folder(tmp_path / "c", two)) == ()  # two counts: which is the movie's nobody knows
