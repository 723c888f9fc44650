"""Maps of a camera: saved and read back, cut to a region, refused when they are no maps, used pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CAMERA_MAPS_FORMAT, CameraMaps
from rtdecode.core.errors import ConfigError
from rtdecode.core.frames import Roi

CAMERA = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.5, qe=0.8)


@pytest.fixture
def maps() -> CameraMaps:
    rng = np.random.default_rng(0)
    values = (rng.uniform(low, high, (20, 30)).astype("f4") for low, high in ((90, 110), (1, 3), (0.4, 0.6)))
    return CameraMaps(*values)


def test_maps_come_back_cut_to_the_region(maps: CameraMaps, tmp_path: Path) -> None:
    maps.save(tmp_path / "maps.safetensors")
    camera = CAMERA.model_copy(update={"maps": Path("maps.safetensors")}).with_maps_in(tmp_path)
    cut = camera.load_maps(Roi(x0_px=5, y0_px=2, width_px=8, height_px=4))
    assert cut is not None
    assert np.array_equal(cut.e_per_adu, maps.e_per_adu[2:6, 5:13])
    assert np.array_equal(cut.read_noise_e, maps.read_noise_e[2:6, 5:13])
    whole = camera.load_maps(Roi(x0_px=512, y0_px=100, width_px=30, height_px=20))  # measured in this region itself
    assert whole is not None and np.array_equal(whole.baseline_adu, maps.baseline_adu)
    assert CAMERA.load_maps(Roi(0, 0, 8, 4)) is None


@pytest.mark.parametrize("roi", [Roi(25, 0, 8, 4), Roi(0, 18, 8, 4), Roi(0, 0, 8, 4, binning=2)])
def test_a_region_beyond_the_maps_is_refused(maps: CameraMaps, roi: Roi) -> None:
    with pytest.raises(ConfigError, match=r"m\.safetensors: maps of 30 x 20 px do not hold"):
        maps.cut(roi, Path("m.safetensors"))


def test_foreign_and_senseless_files_are_refused(maps: CameraMaps, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(ConfigError, match="cannot be read"):
        CameraMaps.load(path)
    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(ConfigError, match=CAMERA_MAPS_FORMAT):
        CameraMaps.load(path)
    save_file({"baseline_adu": np.zeros((3, 3))}, path, {"format": CAMERA_MAPS_FORMAT})
    with pytest.raises(ConfigError, match="read_noise_e"):
        CameraMaps.load(path)
    CameraMaps(maps.baseline_adu, maps.read_noise_e[:3], maps.e_per_adu).save(path)
    with pytest.raises(ConfigError, match="three of one"):
        CameraMaps.load(path)
    CameraMaps(maps.baseline_adu, maps.read_noise_e, 0 * maps.e_per_adu).save(path)
    with pytest.raises(ConfigError, match="e_per_adu not above 0"):
        CameraMaps.load(path)


def test_photons_are_each_pixels_own(maps: CameraMaps) -> None:
    adu = np.full((2, 20, 30), 300, np.uint16)
    expected = (300 - maps.baseline_adu) * maps.e_per_adu / 0.8
    assert CAMERA.photons(adu, maps)[1] == pytest.approx(expected, rel=1e-5)


def test_maps_make_no_other_camera() -> None:
    assert CAMERA.differences(CAMERA.model_copy(update={"maps": Path("maps.safetensors")})) == {}
