"""Replay on real recordings of other groups' microscopes and programs, where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from source_contract import drain

from rtdecode.core.camera import Camera
from rtdecode.core.errors import RecordingError
from rtdecode.sources.replay import ReplaySource

DATA = Path(__file__).parents[2] / "../shared/data"
EMCCD = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, read_noise_e=74.4, em_gain=300)

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the shared recordings are not on this machine"),
]


def played(path: Path, **fields: object) -> np.ndarray:
    source = ReplaySource(path=path, **fields)
    source.open()
    source.start()
    pixels = np.array([pixels for _, pixels in drain(source)])
    assert source.made == source.expected == len(pixels)
    source.close()
    return pixels


def test_tetrapod_folder_in_natural_order() -> None:
    folder = DATA / "deepstorm3d_tetrapod_real_MIT/Tetrapod_demo2"
    pixels = played(folder)
    assert pixels.shape == (50, 332, 492) and pixels.dtype == np.uint16
    assert pixels.max() == 262
    for k in (0, 1, 9, 49):  # 1.tif, 2.tif, 10.tif, 50.tif
        assert np.array_equal(pixels[k], tifffile.imread(folder / f"{k + 1}.tif"))


def test_af647_movie_is_in_photons() -> None:
    path = DATA / "sptnet_AF647_real_MIT/Example_data_SA-AF647_on_SLB.tif"
    with pytest.raises(RecordingError, match="--units photons"):
        ReplaySource(path=path).open()
    adu = played(path, units="photons", camera=EMCCD)
    assert adu.shape == (30, 64, 64) and adu.dtype == np.float32
    photons = EMCCD.photons(adu)
    assert abs(float(photons.min()) + 20) < 1  # the README's minimum
    np.testing.assert_allclose(photons, tifffile.imread(path), atol=1e-2)


@pytest.mark.parametrize(("name", "n"), [("testdata.raw", 100), ("testdata_1000f.raw", 1000)])
def test_picasso_movies(name: str, n: int) -> None:
    path = DATA / "picasso_MIT/tests" / name
    pixels = played(path)
    assert np.array_equal(pixels, np.fromfile(path, "<u2").reshape(n, 32, 32))
    source = ReplaySource(path=path, pace="recorded", last=1)
    source.open()  # 300 ms of integration time stand in the .yaml
    source.close()


@pytest.mark.parametrize(
    "name",
    [
        "epfl2016_AS_beads_MIT/Beads-AS-Exp.tif",
        "deepstorm_sim_MIT/ArtificialDataset_demo1.tif",
        "deepstorm_sim_MIT/testStack_SimulatedMicrotubules.tif",
        "locan_BSD3/test_data/images.tif",
    ],
)
def test_imagej_stacks_as_tifffile_reads_them(name: str) -> None:
    assert np.array_equal(played(DATA / name), tifffile.imread(DATA / name))


def test_float_pages_of_another_library() -> None:
    path = DATA / "qnano_vectorial_MIT/example_spots.tiff"
    assert np.array_equal(played(path, units="adu"), tifffile.imread(path))


@pytest.mark.parametrize(
    "name",
    [
        "picasso_MIT/samples/raw_movie_locs.hdf5",
        "locan_BSD3/test_data/Thunderstorm_dstorm_data.csv",
        "locan_BSD3/test_data/smap_dstorm_data.mat",
        "picasso_workflow_MM_MIT/3C_30px_1kframes_shifted_MMStack_Pos0_metadata.txt",
        "picasso_workflow_MM_MIT/3C_30px_1kframes_shifted_MMStack_Pos0.ome.raw",  # its .yaml is not here
        "sdt_SPE_CC0/test_000_.SPE",
        "qnano_vectorial_MIT/results.yaml",
    ],
)
def test_what_is_no_movie_is_refused(name: str) -> None:
    assert (DATA / name).is_file()
    with pytest.raises(RecordingError):
        ReplaySource(path=DATA / name).open()
