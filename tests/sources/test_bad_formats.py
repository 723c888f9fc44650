"""Bad files of the formats of other programs: refused in one sentence; what is whole of a torn one can be played."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from many_formats import write_dax, write_mm_stack, write_ndtiff, write_zarr
from movies import counts, cut, write_npy, write_raw
from nd2_writer import write_nd2
from source_contract import drain

from rtdecode.core.errors import RecordingError
from rtdecode.sources.replay import ReplaySource

FRAMES = counts(12, 20, 24)


def _without(path: Path, *names: str) -> Path:
    for name in names:
        (path.with_name(name) if path.is_file() else path / name).unlink()
    return path


def _zarr_attributes(path: Path, **attributes: object) -> Path:
    mark = path / "zarr.json"
    told = json.loads(mark.read_text())
    told["attributes"]["ome"].update(attributes)
    mark.write_text(json.dumps(told))
    return path


def _plain_zarr(folder: Path, *, group: bool) -> Path:
    import zarr

    if group:
        zarr.open_group(str(folder / "m.zarr"), mode="w").create_array("0", data=FRAMES)
    else:
        zarr.create_array(str(folder / "m.zarr"), data=FRAMES)
    return folder / "m.zarr"


def _colour_zarr(folder: Path) -> Path:
    return write_zarr(folder / "m.zarr", np.zeros((4, 3, 1, 8, 8), "u2"))


def _index(path: Path, change: Callable[[bytes], bytes]) -> Path:
    index = path / "NDTiff.index"
    index.write_bytes(change(index.read_bytes()))
    return path


def _of_changing_size(folder: Path) -> Path:
    """A second data set's frames of another size, named by the first one's index."""
    path = write_ndtiff(folder / "a", FRAMES)
    other = write_ndtiff(folder / "b", FRAMES[:1, :10], [{"time": 12}])
    shutil.copy(other / "b_NDTiffStack.tif", path)
    return _index(path, lambda content: content + (other / "NDTiff.index").read_bytes())


def _later_mm_file(folder: Path) -> Path:
    return write_mm_stack(folder / "mm", FRAMES).with_name("cell_MMStack_Pos0_1.ome.tif")


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "dax without inf": (lambda d: _without(write_dax(d / "m.dax", FRAMES), "m.inf"), r"m\.inf: missing"),
    "dax without a byte order": (
        lambda d: write_dax(d / "m.dax", FRAMES, data_type="16 bit integers"), "without `data type"
    ),
    "dax of 8 bits": (
        lambda d: write_dax(d / "m.dax", FRAMES, data_type="8 bit integers (binary, big endian)"), "without `data type"
    ),
    "dax without its size": (lambda d: write_dax(d / "m.dax", FRAMES, frame_dimensions=None), "frame dimensions"),
    "dax of no frames": (lambda d: write_dax(d / "m.dax", FRAMES, number_of_frames=0), "0 frames"),
    "dax of too few frames in its inf": (
        lambda d: write_dax(d / "m.dax", FRAMES, number_of_frames=11), r"11520 bytes; expected 10560 .*\.inf belongs"
    ),
    "dax of a wrong size in its inf": (
        lambda d: write_dax(d / "m.dax", FRAMES, frame_dimensions="256 x 256"), "truncated"
    ),
    "dax cut short": (lambda d: cut(write_dax(d / "m.dax", FRAMES), 0.7), r"truncated.* --last 8\."),
    "dax of half a frame": (lambda d: cut(write_dax(d / "m.dax", FRAMES), 0.04), "truncated"),
    "npy cut short": (lambda d: cut(write_npy(d / "m.npy", FRAMES), 0.7), r"truncated.* --last 8\."),
    "raw cut short": (lambda d: cut(write_raw(d / "m.raw", FRAMES), 0.7), r"truncated.* --last 8\."),
    "zarr group without multiscales": (lambda d: _plain_zarr(d, group=True), "without the metadata 'multiscales'"),
    "zarr array without multiscales": (lambda d: _plain_zarr(d, group=False), "without the metadata 'multiscales'"),
    "zarr with a damaged description": (lambda d: _text(write_zarr(d / "m.zarr", FRAMES) / "zarr.json"), "as zarr"),
    "zarr whose level 0 is missing": (
        lambda d: _zarr_attributes(write_zarr(d / "m.zarr", FRAMES), multiscales=[{"datasets": [{"path": "7"}]}]),
        "as zarr",
    ),
    "zarr with too few axes": (
        lambda d: _zarr_attributes(
            write_zarr(d / "m.zarr", FRAMES), multiscales=[{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]
        ),
        "axes y, x of 5 dimensions",
    ),
    "zarr in colour": (_colour_zarr, "3 channels"),
    "zarr without its first chunk": (
        lambda d: _without(write_zarr(d / "m.zarr", FRAMES), "0/c/0/0/0/0/0"), "without the chunks of its first frames"
    ),
    "zarr without a chunk": (lambda d: _without(write_zarr(d / "m.zarr", FRAMES), "0/c/7/0/0/0/0"), r"--last 7\."),
    "zarr 2 without a chunk": (
        lambda d: _without(write_zarr(d / "m.zarr", FRAMES, 2, chunk=5), "0/1.0.0.0.0"), r"--last 5\."
    ),
    "zarr with a damaged chunk": (lambda d: _damaged_chunk(write_zarr(d / "m.zarr", FRAMES)), "cannot be decoded"),
    "nd2 cut short": (lambda d: cut(write_nd2(d / "m.nd2", FRAMES), 0.8), "truncated or damaged"),
    "nd2 of its head only": (lambda d: cut(write_nd2(d / "m.nd2", FRAMES), 0.002), "truncated or damaged"),
    "nd2 without a frame's pixels": (
        lambda d: write_nd2(d / "m.nd2", FRAMES, leave_out=[6]), "frame 6 has no pixels"
    ),
    "nd2 that was aborted": (
        lambda d: write_nd2(d / "m.nd2", FRAMES[:7], loops=[("T", 12)]), r"of 12 frames 7 were acquired.*--last 7\."
    ),
    "ndtiff without frames": (lambda d: _index(write_ndtiff(d / "c", FRAMES), lambda _: b""), "without a frame"),
    "ndtiff without its file": (
        lambda d: _without(write_ndtiff(d / "c", FRAMES), "c_NDTiffStack.tif"), "NDTiffStack.tif is missing"
    ),
    "ndtiff with its file cut": (lambda d: _cut_file(write_ndtiff(d / "c", FRAMES)), "truncated: frame"),
    "ndtiff with its index cut": (
        lambda d: _index(write_ndtiff(d / "c", FRAMES), lambda content: content[:-20]), r"no proper end.*--last 11\."
    ),
    "ndtiff as the Java writer leaves it when it is killed": (
        lambda d: _index(write_ndtiff(d / "c", FRAMES), lambda content: content + bytes(1000)), r"--last 12\."
    ),
    "ndtiff with a damaged index": (
        lambda d: _index(write_ndtiff(d / "c", FRAMES), lambda content: content.replace(b'"time"', b'"tim""')),
        "damaged",
    ),
    "ndtiff with a path in its index": (
        lambda d: _index(write_ndtiff(d / "c", FRAMES), lambda c: c.replace(b"c_NDTiffS", b"../../etc")),
        "damaged .the file name",
    ),
    "ndtiff in colour": (
        lambda d: _index(write_ndtiff(d / "c", FRAMES), lambda c: _pixel_type(c, 2)), "colour"
    ),
    "ndtiff of changing size": (_of_changing_size, "is 10 x 24 uint16; expected 20 x 24"),
    "ndtiff of tiles": (
        lambda d: write_ndtiff(d / "c", FRAMES, [{"time": k // 2, "row": k % 2} for k in range(12)]), "2 rows"
    ),
    "ndtiff without numbers": (
        lambda d: write_ndtiff(d / "c", FRAMES, [{"time": f"t{k}"} for k in range(12)]), "12 times"
    ),
    "later file of an OME series": (_later_mm_file, r"describes it, cell_MMStack_Pos0\.ome\.tif"),
    "OME series without a part": (
        lambda d: _without(write_mm_stack(d / "mm", FRAMES, per_file=4), "cell_MMStack_Pos0_1.ome.tif"),
        r"3 files of which cell_MMStack_Pos0_1\.ome\.tif is missing",
    ),
    "folder of an OME series without a part": (
        lambda d: _without(write_mm_stack(d / "mm", FRAMES, per_file=4), "cell_MMStack_Pos0_2.ome.tif").parent,
        r"3 files of which cell_MMStack_Pos0_2\.ome\.tif is missing",
    ),
}  # fmt: skip


def _text(path: Path) -> Path:
    path.write_text("{")
    return path.parent


def _damaged_chunk(path: Path) -> Path:
    (path / "0/c/6/0/0/0/0").write_bytes(b"not a chunk")
    return path


def _cut_file(path: Path) -> Path:
    cut(path / "c_NDTiffStack.tif", 0.9)
    return path


def _pixel_type(content: bytes, kind: int) -> bytes:
    """The index with another pixel type in its first entry."""
    at = content.index(b".tif") + 4 + 12
    return content[:at] + struct.pack("=I", kind) + content[at + 4 :]


@pytest.mark.parametrize("name", BAD)
def test_refused_with_file_and_reason(name: str, tmp_path: Path) -> None:
    make, reason = BAD[name]
    path = make(tmp_path)
    source = ReplaySource(path=path)
    with pytest.raises(RecordingError, match=reason) as caught:
        source.open()
    message = str(caught.value)
    assert str(tmp_path) in message and "; expected " in message
    assert re.search(r"\. [A-Z].*", message), "no advice"


@pytest.mark.parametrize("name", [name for name, (_, reason) in BAD.items() if "--last" in reason])
def test_what_is_whole_can_be_played(name: str, tmp_path: Path) -> None:
    make, reason = BAD[name]
    last = int(re.findall(r"--last (\d+)", reason)[0])
    source = ReplaySource(path=make(tmp_path), last=last)
    source.open()
    source.start()
    pixels = [pixels for _, pixels in drain(source)]
    source.close()
    assert np.array_equal(pixels, FRAMES[:last])


WRITERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "ndtiff": (lambda d: write_ndtiff(d / "c", FRAMES), "NDTiff.index"),
    "nd2": (lambda d: write_nd2(d / "m.nd2", FRAMES), ""),
    "zarr": (lambda d: write_zarr(d / "m.zarr", FRAMES), "0/zarr.json"),
    "dax": (lambda d: write_dax(d / "m.dax", FRAMES).with_suffix(".inf"), ""),
}


@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_else(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    """Descriptions with wrong bytes: either a movie or a RecordingError, never a crash, never much memory."""
    write, damaged = WRITERS[kind]
    path = tmp_path / kind
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    movie = write(path)
    file = movie / damaged if damaged else movie
    content = bytearray(file.read_bytes())
    near = st.one_of(
        st.integers(0, min(400, len(content) - 1)), st.integers(max(0, len(content) - 900), len(content) - 1)
    )
    for place in data.draw(st.lists(near, min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    source = ReplaySource(path=movie)
    try:
        source.open()
        source.start()
        drain(source)
    except RecordingError:
        pass
    finally:
        source.close()
