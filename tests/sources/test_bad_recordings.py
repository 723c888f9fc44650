"""What is not a usable movie is refused in one sentence that names the file, what was found and what to do."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from movies import counts, cut, write_folder, write_npy, write_pages, write_raw, write_tiff
from source_contract import drain

from rtdecode.core.errors import RecordingError
from rtdecode.sources.replay import ReplaySource

FRAMES = counts(6, 20, 24)


def _text(path: Path, content: str = "frame,x,y\n1,2,3\n") -> Path:
    path.write_text(content)
    return path


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    return path


def _raw_without_yaml(folder: Path) -> Path:
    path = write_raw(folder / "m.raw", FRAMES)
    path.with_suffix(".yaml").unlink()
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _mixed_folder(folder: Path, last: Callable[[Path], object]) -> Path:
    path = write_folder(folder / "single", FRAMES)
    last(path / "7.tif")
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "folder of two movies": (
        lambda d: _mixed_folder(d, lambda last: write_tiff(last.with_name("bright_field.tif"), FRAMES)),
        r"1\.tif and bright_field\.tif, which look like different recordings",
    ),
    "missing": (lambda d: d / "nothing.tif", "nothing of this name"),
    "empty file": (lambda d: _empty(d / "m.tif"), "an empty file"),
    "empty folder": (lambda d: d, "without TIFF files"),
    "empty npy": (lambda d: write_npy(d / "m.npy", np.zeros((0, 8, 8), "u2")), "an empty array"),
    "npy of one dimension": (lambda d: write_npy(d / "m.npy", np.zeros(8, "u2")), r"shape \(8,\)"),
    "npy in colour": (lambda d: write_npy(d / "m.npy", np.zeros((9, 8, 3), "u1")), "colour"),
    "npy of complex": (lambda d: write_npy(d / "m.npy", np.zeros((9, 8, 8), "c8")), "complex64"),
    "npy of structs": (lambda d: write_npy(d / "m.npy", np.zeros((9, 8, 8), [("x", "f4")])), "elements of type"),
    "npy cut short": (lambda d: cut(write_npy(d / "m.npy", FRAMES), 0.7), "truncated"),
    "npy cut in its header": (lambda d: cut(write_npy(d / "m.npy", FRAMES), 0.01), "damaged"),
    "zip": (lambda d: _zip(d / "m.tif"), "zip archive"),
    "text named tif": (lambda d: _text(d / "m.tif"), "text, not a movie"),
    "localizations": (lambda d: _text(d / "locs.csv"), "a text table"),
    "hdf5": (lambda d: _bytes(d / "m.hdf5"), "HDF5"),
    "raw without yaml": (_raw_without_yaml, "missing; expected Picasso's description"),
    "raw shorter than its yaml": (lambda d: cut(write_raw(d / "m.raw", FRAMES), 0.9), "truncated"),
    "raw longer than its yaml": (lambda d: write_raw(d / "m.raw", FRAMES, Frames=5), "belongs to another movie"),
    "raw of foreign type": (lambda d: write_raw(d / "m.raw", FRAMES, **{"Data Type": "pixel"}), "cannot be read"),
    "raw of no frames": (lambda d: write_raw(d / "m.raw", FRAMES, Frames=0), "at least one frame"),
    "raw with a broken yaml": (
        lambda d: _described(write_raw(d / "m.raw", FRAMES), "Frames: [3\nHeight: 5\n"),
        "m.yaml: not valid YAML in line 2: ",
    ),
    "raw with an impossible date in its yaml": (
        lambda d: _described(write_raw(d / "m.raw", FRAMES), "Frames: 2026-13-45\n"),
        "m.yaml: not valid YAML: month",
    ),
    "raw with an empty yaml": (lambda d: _described(write_raw(d / "m.raw", FRAMES), ""), "Frames, Height, Width"),
    "colour tiff": (lambda d: write_tiff(d / "m.tif", np.zeros((9, 8, 3), "u1"), photometric="rgb"), "colour"),
    "two channels": (
        lambda d: write_tiff(d / "m.tif", FRAMES.reshape(3, 2, 20, 24), imagej=True, metadata={"axes": "TCYX"}),
        "2 channels",
    ),
    "two channels of OME": (
        lambda d: write_tiff(d / "m.ome.tif", FRAMES.reshape(3, 2, 20, 24), metadata={"axes": "TCYX"}),
        "2 channels",
    ),
    "pages of changing size": (
        lambda d: write_pages(d / "m.tif", [*FRAMES[:3], FRAMES[3][:10]]),
        "page 3 is 10 x 24 uint16; expected 20 x 24",
    ),
    "pages of changing type": (
        lambda d: write_pages(d / "m.tif", [*FRAMES[:3], FRAMES[3].astype("u1")]),
        "page 3 is 20 x 24 uint8",
    ),
    "files of changing size": (
        lambda d: _mixed_folder(d, lambda p: tifffile.imwrite(p, FRAMES[0][:, :10])),
        r"7\.tif: page 0 is 20 x 10",
    ),
    "text among the files": (lambda d: _mixed_folder(d, lambda p: _text(p)), r"7\.tif: not a TIFF file"),
    "empty among the files": (lambda d: _mixed_folder(d, lambda p: p.touch()), r"7\.tif: an empty file"),
    "unknown compression": (lambda d: _odd_compression(write_tiff(d / "m.tif", FRAMES)), "cannot be decoded"),
}


def _bytes(path: Path) -> Path:
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    return path


def _described(path: Path, text: str) -> Path:
    path.with_suffix(".yaml").write_text(text)
    return path


def _odd_compression(path: Path) -> Path:
    """Say LZW (5) in the compression tag of every page of a little-endian file."""
    content = path.read_bytes().replace(
        b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00", b"\x03\x01\x03\x00\x01\x00\x00\x00\x05\x00"
    )
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", BAD)
def test_refused_with_file_and_reason(name: str, tmp_path: Path) -> None:
    make, reason = BAD[name]
    path = make(tmp_path)
    with pytest.raises(RecordingError, match=reason) as caught:
        ReplaySource(path=path).open()
    message = str(caught.value)
    assert str(tmp_path) in message and "; expected " in message and "\n" not in message
    assert re.search(r"\. [A-Z].*", message), "no advice"


KINDS: dict[str, dict[str, object]] = {
    "plain": {},
    "imagej": {"imagej": True},
    "one directory": {"imagej": True, "truncate": True},
    "shaped in one directory": {"truncate": True},
    "ome": {"ome": True},
    "bigtiff": {"bigtiff": True},
    "zlib": {"compression": "zlib"},
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(share=st.floats(0.0, 0.995))
def test_a_tiff_cut_anywhere_is_refused(kind: str, share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is missing, a shorter movie must never be taken for the whole."""
    path = tmp_path_factory.mktemp("cut") / "m.tif"
    cut(write_tiff(path, FRAMES, **KINDS[kind]), share)
    with pytest.raises(RecordingError):
        ReplaySource(path=path).open()


WRITERS: dict[str, Callable[[Path], Path]] = {
    **{kind: lambda d, o=options: write_tiff(d / "m.tif", FRAMES, **o) for kind, options in KINDS.items()},
    "npy": lambda d: write_npy(d / "m.npy", FRAMES),
}


@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_else(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    """Headers and lists of frames with wrong bytes: either a movie or a RecordingError, never a crash."""
    content = bytearray(WRITERS[kind](tmp_path).read_bytes())
    near = st.one_of(st.integers(0, 400), st.integers(len(content) - 900, len(content) - 1))
    for place in data.draw(st.lists(near, min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    source = ReplaySource(path=path)
    try:
        source.open()
        source.start()
        drain(source)
    except RecordingError:
        pass
    finally:
        source.close()


def test_an_unreadable_file_is_a_recording_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop.tif"
    try:
        loop.symlink_to(loop)
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(RecordingError):
        ReplaySource(path=loop).open()
