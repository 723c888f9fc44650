"""Recordings at addresses, in fsspec's own memory: the frames of the files, one clear error for what is not read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from many_formats import write_ndtiff, write_zarr
from movies import Frames, counts, write_tiff

from rtdecode.core.errors import RecordingError, SourceError
from rtdecode.sources.addresses import Address, place_of, size_of
from rtdecode.sources.replay import ReplaySource

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory() -> Iterator[Any]:
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


def frames_of(path: str | Path, **fields: object) -> Frames:
    source = ReplaySource.model_validate({"path": path} | fields)
    source.open()
    out = np.zeros((source.n_frames, *source.roi.shape), source.dtype)
    for k, frame in enumerate(out):
        source.read_at(k, frame)
    source.close()
    return out


def refused(address: str, kind: type[Exception] = RecordingError, **fields: object) -> str:
    with pytest.raises(kind) as caught:
        frames_of(address, **fields)
    assert str(caught.value).startswith(address) and "\n" not in str(caught.value)
    return str(caught.value)


def test_every_kind_of_recording_has_the_frames_that_were_written(memory: Any, tmp_path: Path) -> None:
    pytest.importorskip("zarr"), pytest.importorskip("ndstorage")
    movie = counts(40)
    np.save(tmp_path / "m.npy", movie)
    memory.put(str(write_ndtiff(tmp_path / "nd", movie)), "/b/nd", recursive=True)
    memory.put(str(write_ndtiff(tmp_path / "Full resolution", movie)), "/b/pyramid/Full resolution", recursive=True)
    memory.put(str(write_zarr(tmp_path / "3.zarr", movie, chunk=7)), "/b/3.zarr", recursive=True)
    memory.put(str(write_zarr(tmp_path / "2.zarr", movie, zarr_format=2)), "/b/2.zarr", recursive=True)
    memory.put(str(write_zarr(tmp_path / "s.zarr", movie, chunk=2, shard=8)), "/b/s.zarr", recursive=True)
    memory.put(str(tmp_path / "m.npy"), "/b/m.npy")
    (inner,) = [name for name in memory.ls("/b/nd", detail=False) if name.endswith(".tif")]
    for name in ("nd", "nd/", "nd/NDTiff.index", inner[3:], "pyramid", "3.zarr", "2.zarr", "s.zarr", "m.npy"):
        assert np.array_equal(frames_of(f"memory://b/{name}"), movie), name


def test_one_of_several_images_is_chosen(memory: Any, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.open_group(str(tmp_path / "two.zarr"), mode="w", zarr_format=2)
    movie = counts(6)
    for name, pixels in (("a", movie), ("b", movie + 1)):
        write_zarr(tmp_path / "two.zarr" / name, pixels, zarr_format=2)
    memory.put(str(tmp_path / "two.zarr"), "/two.zarr", recursive=True)
    assert "2 positions (a, b)" in refused("memory://two.zarr")
    assert np.array_equal(frames_of("memory://two.zarr", position="b"), movie + 1)


def test_what_is_not_read_from_a_store_is_refused_with_what_is(memory: Any, tmp_path: Path) -> None:
    write_tiff(tmp_path / "m.tif", counts(3))
    np.save(tmp_path / "f.npy", np.asfortranarray(counts(3)))
    memory.put(str(tmp_path / "m.tif"), "/b/m.tif")
    memory.put(str(tmp_path / "f.npy"), "/b/f.npy")
    memory.pipe("/b/bad.npy", b"\x93NUMPY\x01\x00\xff\xff{")
    for name in ("m.tif", ""):
        assert "OME-Zarr, an NDTiff data set or a .npy" in refused(f"memory://b/{name}")
    assert "Fortran order" in refused("memory://b/f.npy")
    assert "header of this .npy is damaged" in refused("memory://b/bad.npy")
    assert "nothing of this name" in refused("memory://b/none")


def test_a_data_set_without_all_its_bytes_is_told(memory: Any, tmp_path: Path) -> None:
    pytest.importorskip("ndstorage")
    folder = write_ndtiff(tmp_path / "nd", counts(8))
    memory.put(str(folder), "/nd", recursive=True)
    (inner,) = [name for name in memory.ls("/nd", detail=False) if name.endswith(".tif")]
    content = memory.cat_file(inner)
    memory.pipe(inner, content[: len(content) // 2])
    with pytest.raises(RecordingError, match="truncated"):
        frames_of("memory://nd")
    memory.rm(inner)
    with pytest.raises(RecordingError, match=r"memory://nd.*is missing|nothing of this name"):
        frames_of("memory://nd")


def test_a_store_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert "pip install gcsfs" in refused("gs://bucket/m.zarr", SourceError)
    assert "Protocol not known" in refused("nonsense://bucket/m.zarr")


def test_addresses_of_this_machine_are_paths_and_others_stay_as_they_are(tmp_path: Path) -> None:
    assert place_of("s3://bucket/a.zarr") == Address("s3://bucket/a.zarr")
    assert place_of(f"file://{tmp_path}/m.tif") == tmp_path / "m.tif"
    assert place_of("file:///C:/m.tif") == Path("C:/m.tif") and place_of("m.tif") == "m.tif"
    address = Address("s3://bucket/a") / "b.tif"
    assert (str(address), address.name, address.suffix) == ("s3://bucket/a/b.tif", "b.tif", ".tif")
    assert str(address.parent) == "s3://bucket/a"
    movie = write_tiff(tmp_path / "m.tif", counts(3))
    assert np.array_equal(frames_of(f"file://{movie}"), counts(3)) and size_of(movie) == movie.stat().st_size


def test_paths_need_no_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ndstorage")
    folder = write_ndtiff(tmp_path / "nd", counts(3))
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert np.array_equal(frames_of(folder), counts(3))
    assert '".[cluster]"' in refused("memory://nd", SourceError)
