"""The formats of other programs: the same movie in each gives the same frames; what must be chosen; their times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from many_formats import write_dax, write_mm_stack, write_ndtiff, write_zarr
from movies import Frames, counts, write_npy, write_raw, write_tiff
from nd2_writer import write_nd2
from source_contract import SourceContract, drain

from rtdecode.core.errors import RecordingError, SourceError
from rtdecode.core.frames import FrameInfo
from rtdecode.sources.replay import ReplaySource

FRAMES = counts()
OTHER = counts()[::-1].copy()

SAME: dict[str, Callable[[Path, Frames], Path]] = {
    "npy": lambda d, f: write_npy(d / "m.npy", f),
    "raw": lambda d, f: write_raw(d / "m.raw", f),
    "tiff": lambda d, f: write_tiff(d / "m.tif", f),
    "ome_series": lambda d, f: write_mm_stack(d / "mm", f, per_file=5),
    "ome_series_by_folder": lambda d, f: write_mm_stack(d / "mm", f, per_file=5).parent,
    "dax_big": lambda d, f: write_dax(d / "m.dax", f, "big"),
    "dax_little": lambda d, f: write_dax(d / "m.dax", f, "little"),
    "dax_by_inf": lambda d, f: write_dax(d / "m.dax", f).with_suffix(".inf"),
    "ndtiff": lambda d, f: write_ndtiff(d / "cell", f),
    "ndtiff_by_file": lambda d, f: next(write_ndtiff(d / "cell", f).glob("*.tif")),
    "zarr_3": lambda d, f: write_zarr(d / "m.ome.zarr", f),
    "zarr_3_tyx": lambda d, f: write_zarr(d / "m.ome.zarr", f, axes="tyx", chunk=5),
    "zarr_3_shards": lambda d, f: write_zarr(d / "m.ome.zarr", f, chunk=2, shard=8),
    "zarr_2": lambda d, f: write_zarr(d / "m.ome.zarr", f, zarr_format=2),
    "zarr_2_chunks": lambda d, f: write_zarr(d / "m.ome.zarr", f, zarr_format=2, axes="tcyx", chunk=40),
    "nd2": lambda d, f: write_nd2(d / "m.nd2", f),
}


def played(path: Path, **fields: object) -> tuple[list[FrameInfo], Frames]:
    """All of a replay from open to close."""
    source = ReplaySource(path=path, **fields)
    try:
        source.open()
        source.start()
        frames = drain(source)
    finally:
        source.close()
    return [info for info, _ in frames], np.array([pixels for _, pixels in frames])


def indices(infos: list[FrameInfo]) -> list[int]:
    return [info.index for info in infos]


@pytest.mark.parametrize("name", SAME)
def test_the_same_movie_in_every_format_gives_the_same_frames(name: str, tmp_path: Path) -> None:
    infos, pixels = played(SAME[name](tmp_path, FRAMES))
    assert indices(infos) == list(range(12))
    assert pixels.dtype == np.uint16 and pixels.tobytes() == FRAMES.tobytes()


@pytest.mark.parametrize("name", ["ndtiff", "zarr_3", "zarr_2", "nd2"])
def test_eight_bits_are_widened(name: str, tmp_path: Path) -> None:
    frames = counts(dtype="uint8")
    _, pixels = played(SAME[name](tmp_path, frames))
    assert pixels.dtype == np.uint16 and np.array_equal(pixels, frames)


class FormatContract(SourceContract):
    """Each format as a source; `name` is one of SAME."""

    name = "npy"
    shape = (48, 37)

    def make(self, folder: Path) -> ReplaySource:
        return ReplaySource(path=SAME[self.name](folder, FRAMES))


class TestOmeSeriesContract(FormatContract):
    name = "ome_series"


class TestDaxContract(FormatContract):
    name = "dax_big"


class TestNdtiffContract(FormatContract):
    name = "ndtiff"


class TestZarrContract(FormatContract):
    name = "zarr_3_shards"


class TestNd2Contract(FormatContract):
    name = "nd2"


# several channels, positions, z


def _channels(folder: Path) -> list[dict[str, int | str]]:
    return [{"time": t, "channel": name} for t in range(12) for name in ("DAPI", "GFP")]


def interleaved() -> Frames:
    """(24, H, W): FRAMES and OTHER by turns."""
    return np.stack([FRAMES, OTHER], axis=1).reshape(24, *FRAMES.shape[1:])


def both() -> Frames:
    """(12, 2, H, W)."""
    return np.stack([FRAMES, OTHER], axis=1)


TWO: dict[str, tuple[Callable[[Path], Path], str, tuple[object, ...]]] = {
    "ndtiff": (lambda d: write_ndtiff(d / "c", interleaved(), _channels(d)), "channel", ("GFP", 1)),
    "zarr": (lambda d: write_zarr(d / "m.zarr", both(), axes="tcyx"), "channel", (1, "1")),
    "zarr_z": (lambda d: write_zarr(d / "m.zarr", both(), axes="tzyx", chunk=4), "z", (1,)),
    "nd2": (lambda d: write_nd2(d / "m.nd2", np.moveaxis(both(), 1, 3), channels=("DAPI", "GFP")),
            "channel", ("GFP", 1)),
    "nd2_position": (lambda d: write_nd2(d / "m.nd2", interleaved(), loops=[("T", 12), ("P", 2)]), "position", (1,)),
    "nd2_z": (lambda d: write_nd2(d / "m.nd2", interleaved(), loops=[("T", 12), ("Z", 2)]), "z", (1,)),
    "ome": (lambda d: write_tiff(d / "m.ome.tif", both(), metadata={"axes": "TCYX"}), "channel", (1,)),
    "ome_z": (lambda d: write_tiff(d / "m.ome.tif", both(), metadata={"axes": "TZYX"}), "z", (1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO)
def test_one_of_several_must_be_chosen_and_is_played(name: str, tmp_path: Path) -> None:
    write, key, choices = TWO[name]
    path = write(tmp_path)
    with pytest.raises(RecordingError, match=rf"2 {key}.*`{key}: "):
        ReplaySource(path=path).open()
    with pytest.raises(RecordingError, match="found 'blue'"):
        ReplaySource(path=path, **{key: "blue"}).open()
    for choice in choices:
        infos, pixels = played(path, **{key: choice})
        assert indices(infos) == list(range(12)) and np.array_equal(pixels, OTHER)


def test_images_of_several_positions_in_one_zarr(tmp_path: Path) -> None:
    for name, frames in (("0", FRAMES), ("1", OTHER)):
        write_zarr(tmp_path / "cells.zarr" / name, frames)
    (tmp_path / "cells.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(RecordingError, match="2 positions"):
        ReplaySource(path=tmp_path / "cells.zarr").open()
    assert np.array_equal(played(tmp_path / "cells.zarr", position="1")[1], OTHER)


def test_positions_of_one_ome_tiff_in_several_files(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "m.ome.tif", ome=True) as writer:
        for frames in (FRAMES, OTHER):
            writer.write(frames, photometric="minisblack", metadata={"axes": "TYX"})
    with pytest.raises(RecordingError, match="2 positions"):
        ReplaySource(path=tmp_path / "m.ome.tif").open()
    assert np.array_equal(played(tmp_path / "m.ome.tif", position=1)[1], OTHER)


@pytest.mark.parametrize("name", ["npy", "raw", "tiff", "dax_big", "ndtiff", "zarr_3_tyx", "nd2"])
def test_a_choice_where_there_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="channel"):
        ReplaySource(path=SAME[name](tmp_path, FRAMES), channel="blue").open()


@pytest.mark.parametrize(
    "write",
    [
        lambda d: write_ndtiff(d / "c", FRAMES, [{"time": 0, "z": z} for z in range(12)]),
        lambda d: write_zarr(d / "m.zarr", FRAMES[None], axes="tzyx"),
        lambda d: write_nd2(d / "m.nd2", FRAMES, loops=[("Z", 12)]),
    ],
    ids=["ndtiff", "zarr", "nd2"],
)
def test_a_stack_without_times_is_a_movie_along_z(write: Callable[[Path], Path], tmp_path: Path) -> None:
    assert np.array_equal(played(write(tmp_path))[1], FRAMES)


# times, gaps


def _texts(**own: Callable[[int], object]) -> list[dict[str, object]]:
    return [{name: value(k) for name, value in own.items()} for k in range(12)]


TIMED: dict[str, Callable[[Path], Path]] = {
    "ndtiff_elapsed": lambda d: write_ndtiff(
        d / "c", FRAMES, texts=_texts(**{"ElapsedTime-ms": lambda k: 3.0 + 5 * k})
    ),
    "ndtiff_of_the_python_engine": lambda d: write_ndtiff(
        d / "c",
        FRAMES,
        texts=_texts(
            **{
                "ElapsedTime-ms": lambda k: 0.0,
                "TimeReceivedByCore": lambda k: (
                    f"2026-11-23 22:59:59.{970000 + 5000 * k:06d}"
                    if k < 6
                    else f"2026-11-23 23:00:00.{5000 * (k - 6):06d}"
                ),
            }
        ),
    ),
    "ome_series": lambda d: write_mm_stack(d / "mm", FRAMES, per_file=5, delay_ms=5.0),
    "nd2": lambda d: write_nd2(d / "m.nd2", FRAMES, times_ms=[1000.0 + 5 * k for k in range(12)]),
    "zarr": lambda d: write_zarr(d / "m.zarr", FRAMES, interval_ms=5.0),
}


@pytest.mark.parametrize("name", TIMED)
def test_recorded_pace_and_camera_times(name: str, tmp_path: Path) -> None:
    path = TIMED[name](tmp_path)
    infos, pixels = played(path, pace="recorded")
    assert np.diff([info.t_camera_ns for info in infos]).tolist() == [5_000_000] * 11
    assert infos[-1].t_arrival_ns - infos[0].t_arrival_ns > 0 and np.array_equal(pixels, FRAMES)
    at_once, _ = played(path)  # times written with each frame are passed on at any pace, an interval is not one
    same = name != "zarr"
    assert [info.t_camera_ns for info in at_once] == [info.t_camera_ns * same for info in infos]


@pytest.mark.parametrize("name", ["dax_big", "ndtiff", "zarr_3", "nd2"])
def test_recorded_pace_without_times_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="neither times nor a frame interval"):
        ReplaySource(path=SAME[name](tmp_path, FRAMES), pace="recorded").open()


def test_times_left_out_of_an_ndtiff_are_lost_frames(tmp_path: Path) -> None:
    times = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 20]
    path = write_ndtiff(tmp_path / "c", FRAMES, [{"time": t} for t in times])
    source = ReplaySource(path=path)
    source.open()
    assert source.expected == 21
    source.close()
    assert indices(played(path)[0]) == times
    assert indices(played(path, first=3, last=6)[0]) == [0, 1, 2]


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("ndtiff", "zarr_3", "nd2"):
        (tmp_path / name).mkdir()
        played(SAME[name](tmp_path / name, FRAMES))
    assert capfd.readouterr() == ("", "")


# a library that is not installed


@pytest.mark.parametrize(("name", "library"), [("zarr_3", "zarr"), ("nd2", "nd2")])
def test_an_absent_library_is_named_with_its_extra(
    name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SAME[name](tmp_path, FRAMES)
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(SourceError, match=rf"{library} is needed; run `pip install -e \"\.\[formats\]\"`"):
        ReplaySource(path=path).open()


def _pages(path: Path, frames: Frames) -> None:
    with tifffile.TiffWriter(path, ome=False) as writer:
        for frame in frames:
            writer.write(frame, contiguous=False, metadata=None)


def test_pages_of_one_micro_manager_file_without_its_xml(tmp_path: Path) -> None:
    """An acquisition that was killed: its files do not say how they belong together, the folder is played in order."""
    _pages(tmp_path / "x_MMStack_Pos0.ome.tif", FRAMES[:8])
    assert len(played(tmp_path / "x_MMStack_Pos0.ome.tif")[0]) == 8
    _pages(tmp_path / "x_MMStack_Pos0_1.ome.tif", FRAMES[8:])
    with pytest.raises(RecordingError, match="one of 2 files"):
        ReplaySource(path=tmp_path / "x_MMStack_Pos0.ome.tif").open()
    assert np.array_equal(played(tmp_path)[1], FRAMES)
