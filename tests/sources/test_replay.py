"""Replay: every format gives exactly the frames that were written; paces, units, ranges."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from movies import counts, write_folder, write_npy, write_pages, write_raw, write_tiff
from pydantic import ValidationError
from source_contract import SourceContract, drain, read_next, slot_for

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.camera import Camera
from rtdecode.core.errors import EndOfStream, RecordingError, SourceError
from rtdecode.core.frames import FrameFlag
from rtdecode.sources.replay import ReplaySource

EMCCD = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, read_noise_e=74.4, em_gain=300, spurious_e=0.002)
FRAMES = counts()

WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "npy": lambda d, f: write_npy(d / "m.npy", f),
    "npy_fortran": lambda d, f: write_npy(d / "m.npy", np.asfortranarray(f)),
    "npy_big_endian": lambda d, f: write_npy(d / "m.npy", f.astype(f.dtype.newbyteorder(">"))),
    "raw": lambda d, f: write_raw(d / "m.raw", f),
    "raw_big_endian": lambda d, f: write_raw(d / "m.raw", f.astype(f.dtype.newbyteorder(">"))),
    "folder": lambda d, f: write_folder(d / "single", f),
    "tiff": lambda d, f: write_tiff(d / "m.tif", f),
    "tiff_pages": lambda d, f: write_pages(d / "m.tif", f),
    "tiff_one_directory": lambda d, f: write_tiff(d / "m.tif", f, truncate=True),
    "tiff_big_endian": lambda d, f: write_tiff(d / "m.tif", f, byteorder=">"),
    "tiff_zlib": lambda d, f: write_tiff(d / "m.tif", f, compression="zlib"),
    "tiff_strips": lambda d, f: write_tiff(d / "m.tif", f, rowsperstrip=5),
    "tiff_tiles": lambda d, f: write_tiff(d / "m.tif", f, tile=(16, 16)),
    "bigtiff": lambda d, f: write_tiff(d / "m.tif", f, bigtiff=True),
    "imagej": lambda d, f: write_tiff(d / "m.tif", f, imagej=True, metadata={"axes": "TYX"}),
    "imagej_one_directory": lambda d, f: write_tiff(d / "m.tif", f, imagej=True, truncate=True),
    "ome": lambda d, f: write_tiff(d / "m.ome.tif", f, metadata={"axes": "TYX"}),
    "ome_bigtiff": lambda d, f: write_tiff(d / "m.ome.tif", f, bigtiff=True, metadata={"axes": "TYX"}),
}


def played(source: ReplaySource) -> tuple[list[int], np.ndarray]:
    """Indices and all pixels of a replay from open to close."""
    source.open()
    source.start()
    frames = drain(source)
    source.close()
    return [info.index for info, _ in frames], np.array([pixels for _, pixels in frames])


class TestNpyContract(SourceContract):
    shape = (48, 37)

    def make(self, folder: Path) -> ReplaySource:
        return ReplaySource(path=write_npy(folder / "m.npy", FRAMES))


class TestPacedFolderContract(SourceContract):
    shape = (48, 37)

    def make(self, folder: Path) -> ReplaySource:
        return ReplaySource(path=write_folder(folder / "single", FRAMES), pace=400)


class TestPhotonsContract(SourceContract):
    shape, dtype = (48, 37), "float32"

    def make(self, folder: Path) -> ReplaySource:
        frames = np.random.default_rng(1).normal(50, 20, (12, 48, 37)).astype("f4")
        frames[3, 5, 5] = np.nan
        return ReplaySource(path=write_npy(folder / "m.npy", frames), units="photons", camera=EMCCD)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_frames_that_were_written(name: str, tmp_path: Path) -> None:
    indices, pixels = played(ReplaySource(path=WRITERS[name](tmp_path, FRAMES)))
    assert indices == list(range(12))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, FRAMES)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("name", ["npy", "tiff_pages"])
def test_whole_numbers_become_uint16(name: str, dtype: str, tmp_path: Path) -> None:
    if name == "tiff_pages" and dtype == "int64":
        pytest.skip("TIFF movies have no int64")
    frames = counts(4, dtype=dtype) // (2 if dtype == "int16" else 1)
    frames = np.abs(frames)
    _, pixels = played(ReplaySource(path=WRITERS[name](tmp_path, frames)))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, frames)


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_counts_below_zero_are_refused(dtype: str, tmp_path: Path) -> None:
    frames = np.zeros((5, 8, 8), dtype)
    frames[2, 1, 1] = -7
    with pytest.raises(RecordingError, match=r"frame 2 has values from -7.*--units adu"):
        ReplaySource(path=write_npy(tmp_path / "m.npy", frames)).open()


def test_counts_above_16_bits_in_a_frame_that_open_did_not_look_at(tmp_path: Path) -> None:
    frames = np.zeros((5, 8, 8), "int32")
    frames[1, 1, 1] = 70000
    source = ReplaySource(path=write_npy(tmp_path / "m.npy", frames))
    source.open()
    source.start()
    out = slot_for(source)
    assert read_next(source, out).index == 0
    with pytest.raises(RecordingError, match="frame 1 has values from 0 to 70000"):
        source.read(out)
    source.close()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_need_a_unit(dtype: str, tmp_path: Path) -> None:
    path = write_npy(tmp_path / "m.npy", np.zeros((3, 8, 8), dtype))
    with pytest.raises(RecordingError, match="--units photons"):
        ReplaySource(path=path).open()
    with pytest.raises(RecordingError, match="--camera"):
        ReplaySource(path=path, units="photons").open()


def test_floats_in_adu_stay_as_they_are(tmp_path: Path) -> None:
    frames = np.random.default_rng(2).normal(120, 9, (3, 8, 9))
    _, pixels = played(ReplaySource(path=write_npy(tmp_path / "m.npy", frames), units="adu"))
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels, frames.astype("f4"))


@pytest.mark.parametrize("name", ["npy", "imagej", "tiff_zlib"])
def test_photons_come_back_through_the_camera(name: str, tmp_path: Path) -> None:
    photons = np.random.default_rng(2).normal(40, 30, (4, 16, 17)).astype("f4")
    source = ReplaySource(path=WRITERS[name](tmp_path, photons), units="photons", camera=EMCCD)
    _, adu = played(source)
    assert adu.dtype == np.float32
    np.testing.assert_allclose(EMCCD.photons(adu), photons, atol=2e-3)
    assert abs(float(adu.mean()) - (100 + 40 * 300 / 45)) < 10  # 6.67 ADU for each photon, above the baseline


def test_whole_photons_are_converted_too(tmp_path: Path) -> None:
    photons = np.full((2, 8, 8), 30, "uint16")
    _, adu = played(ReplaySource(path=write_npy(tmp_path / "m.npy", photons), units="photons", camera=EMCCD))
    np.testing.assert_allclose(adu, (30 + 0.002) * 300 / 45 + 100, rtol=1e-6)


def test_nan_frames_are_passed_on(tmp_path: Path) -> None:
    frames = np.ones((3, 8, 8), "f4")
    frames[1] = np.nan
    _, pixels = played(ReplaySource(path=write_npy(tmp_path / "m.npy", frames), units="adu"))
    assert np.isnan(pixels[1]).all() and np.isfinite(pixels[[0, 2]]).all()


@pytest.mark.parametrize(("dtype", "full"), [("uint8", 255), ("uint16", 65535)])
def test_saturated_frames_are_flagged(dtype: str, full: int, tmp_path: Path) -> None:
    frames = np.full((2, 8, 8), 200, dtype)
    frames[1, 3, 3] = full
    source = ReplaySource(path=write_npy(tmp_path / "m.npy", frames))
    source.open()
    source.start()
    assert [info.flags for info, _ in drain(source)] == [FrameFlag.GOOD, FrameFlag.SATURATED]
    source.close()


def test_a_twelve_bit_camera_saturates_at_its_own_full_scale(tmp_path: Path) -> None:
    frames = np.full((1, 8, 8), 4095, "uint16")
    camera = EMCCD.model_copy(update={"full_scale_adu": 4095.0})
    source = ReplaySource(path=write_npy(tmp_path / "m.npy", frames), camera=camera)
    source.open()
    source.start()
    assert drain(source)[0][0].flags == FrameFlag.SATURATED
    source.close()


def test_a_single_image_is_a_movie_of_one_frame(tmp_path: Path) -> None:
    for name in ("npy", "tiff"):
        _, pixels = played(ReplaySource(path=WRITERS[name](tmp_path, FRAMES[0])))
        assert np.array_equal(pixels, FRAMES[:1])


def test_a_folder_of_stacks_is_one_movie(tmp_path: Path) -> None:
    for name, part in (("a_2.tif", FRAMES[5:9]), ("a_10.tif", FRAMES[9:]), ("a_1.tif", FRAMES[:5])):
        write_tiff(tmp_path / name, part)
    _, pixels = played(ReplaySource(path=tmp_path))
    assert np.array_equal(pixels, FRAMES)


def test_an_ome_series_over_two_files(tmp_path: Path) -> None:
    """As Micro-Manager writes it: the first file's XML names the file and page of each frame."""
    planes = "".join(
        f'<TiffData FirstT="{t}" IFD="{t % 8}"><UUID FileName="s{"" if t < 8 else "_1"}.ome.tif"/></TiffData>'
        for t in range(12)
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="37" SizeY="48" SizeC="1" SizeZ="1" '
        'SizeT="12">'
        f'<Channel ID="Channel:0:0"/>{planes}</Pixels></Image></OME>'
    )
    for name, part in (("s.ome.tif", FRAMES[:8]), ("s_1.ome.tif", FRAMES[8:])):
        with tifffile.TiffWriter(tmp_path / name) as writer:
            for frame in part:
                writer.write(frame, contiguous=False, metadata=None, description=xml)
    _, pixels = played(ReplaySource(path=tmp_path / "s.ome.tif"))
    assert np.array_equal(pixels, FRAMES)
    (tmp_path / "s_1.ome.tif").unlink()
    with pytest.raises(RecordingError, match=r"s_1\.ome\.tif is missing"):
        ReplaySource(path=tmp_path / "s.ome.tif").open()


def test_range_of_frames_is_numbered_from_zero(tmp_path: Path) -> None:
    source = ReplaySource(path=write_npy(tmp_path / "m.npy", FRAMES), first=3, last=8)
    indices, pixels = played(source)
    assert indices == [0, 1, 2, 3, 4]
    assert np.array_equal(pixels, FRAMES[3:8])
    with pytest.raises(RecordingError, match=r"12 frames; expected the range \[10, 13\)"):
        ReplaySource(path=tmp_path / "m.npy", first=10, last=13).open()


def test_recorded_pace_uses_the_times_of_the_movie(tmp_path: Path) -> None:
    interval_s = 0.02
    ome = {"axes": "TYX", "TimeIncrement": 20.0, "TimeIncrementUnit": "ms"}
    paths = [
        write_tiff(tmp_path / "ij.tif", FRAMES[:5], imagej=True, metadata={"finterval": interval_s}),
        write_tiff(tmp_path / "o.ome.tif", FRAMES[:5], metadata=ome),
        write_raw(tmp_path / "m.raw", FRAMES[:5], **{"Camera.Integration Time": 20}),
        _micro_manager_stack(tmp_path / "mm.tif", [3.0, 23.0, 43.0, 63.0, 83.0]),
    ]
    for path in paths:
        source = ReplaySource(path=path, pace="recorded")
        source.open()
        begin = time.monotonic_ns()
        source.start()
        infos = [info for info, _ in drain(source)]
        source.close()
        assert [info.t_camera_ns for info in infos] == [i * 20_000_000 for i in range(5)]
        for info in infos:
            assert info.t_arrival_ns - begin >= info.t_camera_ns


def _micro_manager_stack(path: Path, elapsed_ms: list[float]) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for frame, ms in zip(FRAMES, elapsed_ms, strict=False):
            text = f'{{"Camera": "Andor", "ElapsedTime-ms": {ms}, "ImageNumber": 0}}'
            writer.write(frame, contiguous=False, metadata=None, extratags=[(51123, 2, 0, text, True)])
    return path


def test_recorded_pace_without_times_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"neither times nor a frame interval.*--pace 100"):
        ReplaySource(path=write_npy(tmp_path / "m.npy", FRAMES), pace="recorded").open()


def test_stated_pace_is_an_open_loop(tmp_path: Path) -> None:
    """A reader that comes late finds all frames that a camera would have made meanwhile."""
    source = ReplaySource(path=write_npy(tmp_path / "m.npy", FRAMES), pace=200)
    source.open()
    source.start()
    out = slot_for(source)
    while source.made < 6:
        time.sleep(0.001)
    assert [source.read(out).index for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    source.apply(Stop("test"))
    made = source.made
    assert 6 <= made < 12 or made == 12
    assert [info.index for info, _ in drain(source)] == list(range(6, made))
    source.close()


def test_slow_pace_returns_at_once(tmp_path: Path) -> None:
    source = ReplaySource(path=write_npy(tmp_path / "m.npy", FRAMES), pace=0.001)
    source.open()
    source.start()
    assert source.read(slot_for(source)) is None  # due in 1000 s
    source.apply(Stop("test"))
    with pytest.raises(EndOfStream):
        source.read(slot_for(source))
    source.close()


@pytest.mark.parametrize("pace", [0, -5, "fast", float("nan")])
def test_a_pace_that_is_none_is_refused(pace: object, tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        ReplaySource(path=tmp_path, pace=pace)


def test_only_stop_can_be_carried_out(tmp_path: Path) -> None:
    source = ReplaySource(path=write_npy(tmp_path / "m.npy", FRAMES))
    source.open()
    with pytest.raises(SourceError, match="no device"):
        source.apply(SetProperty("Laser", "Power", 1.0))
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.read(np.empty((48, 37), "uint16"))
