"""Writers of the formats that need a library of their own, or a second file: each by the format's own library."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile
from movies import Frames


def write_dax(path: Path, frames: Frames, order: str = "big", **about: object) -> Path:
    """The pair of files as the Zhuang lab's storm-control writes it; `about` replaces lines of the .inf."""
    n, height, width = frames.shape
    path.write_bytes(frames.astype(">u2" if order == "big" else "<u2").tobytes())
    lines = {
        "information file for": path,
        "machine name": "microscope",
        "binning": "1 x 1",
        "data type": f"16 bit integers (binary, {order} endian)",
        "frame dimensions": f"{width} x {height}",
        "number of frames": n,
        "frame size": width * height,
        "x_start": 1,
    } | {key.replace("_", " "): value for key, value in about.items()}
    text = "\n".join(f"{key} = {value}" for key, value in lines.items() if value is not None)
    path.with_suffix(".inf").write_text(text + "\n")
    return path


def write_ndtiff(
    folder: Path,
    frames: Frames,
    axes: Sequence[dict[str, int | str]] | None = None,
    texts: Sequence[dict[str, Any]] | None = None,
) -> Path:
    """By ndstorage, in this process and to its end; `axes` default: time alone."""
    from ndstorage import NDTiffDataset

    with contextlib.redirect_stdout(io.StringIO()):
        data = NDTiffDataset(str(folder.parent), name=folder.name, summary_metadata={}, writable=True)
        for k, frame in enumerate(frames):
            place = dict(axes[k]) if axes is not None else {"time": k}
            data.put_image(place, frame, texts[k] if texts is not None else {"Axes": place})
        data.finish()
        data.close()
    return Path(data.path)


def write_zarr(
    path: Path,
    frames: Frames,
    zarr_format: int = 3,
    axes: str = "tczyx",
    chunk: int = 1,
    shard: int | None = None,
    interval_ms: float | None = None,
) -> Path:
    """An OME-Zarr of version 0.5 (zarr 3) or 0.4 (zarr 2); `frames` with one dimension for each letter of `axes`,
    or (n, H, W) with the others of size 1."""
    import zarr

    shape = frames.shape if frames.ndim == len(axes) else _filled(frames, axes)
    chunks = tuple(
        chunk if axis == "t" else 1 if axis in "cz" else size for axis, size in zip(axes, shape, strict=True)
    )
    shards = None if shard is None else (shard, *chunks[1:])
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    array = group.create_array("0", shape=shape, chunks=chunks, shards=shards, dtype=frames.dtype)
    array[...] = frames.reshape(shape)
    about = _multiscales(axes, interval_ms)
    if zarr_format == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [about]}
    else:
        group.attrs["multiscales"] = [about | {"version": "0.4"}]
    return path


def _filled(frames: Frames, axes: str) -> tuple[int, ...]:
    sizes = {"t": len(frames), "c": 1, "z": 1, "y": frames.shape[-2], "x": frames.shape[-1]}
    return tuple(sizes[axis] for axis in axes)


def _multiscales(axes: str, interval_ms: float | None) -> dict[str, Any]:
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    scale = [1.0] * len(axes)
    if interval_ms is not None:
        named[axes.index("t")]["unit"] = "millisecond"
        scale[axes.index("t")] = interval_ms
    return {
        "axes": named,
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }


def write_mm_stack(folder: Path, frames: Frames, per_file: int = 8, delay_ms: float | None = None) -> Path:
    """As Micro-Manager writes a movie above 4 GB: `_MMStack_Pos0.ome.tif`, `_1.ome.tif`, ...; returns the first.

    The first file's OME-XML names file and page of each frame, the others' only says where that is.
    """
    parts = [frames[start : start + per_file] for start in range(0, len(frames), per_file)]
    names = [f"cell_MMStack_Pos0{f'_{k}' if k else ''}.ome.tif" for k in range(len(parts))]
    whole = ome_xml(frames.shape, [(names[t // per_file], t % per_file) for t in range(len(frames))], delay_ms)
    rest = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<BinaryOnly MetadataFile="{names[0]}" UUID="urn:uuid:0"/></OME>'
    )
    folder.mkdir(exist_ok=True)
    for k, part in enumerate(parts):
        with tifffile.TiffWriter(folder / names[k]) as writer:
            for frame in part:
                writer.write(frame, contiguous=False, metadata=None, description=rest if k else whole)
    return folder / names[0]


def ome_xml(shape: Sequence[int], pages: Sequence[tuple[str, int]], delay_ms: float | None = None) -> str:
    """OME-XML of one channel whose frames lie on these (file, page)."""
    n, height, width = shape
    blocks = "".join(
        f'<TiffData FirstC="0" FirstT="{t}" FirstZ="0" IFD="{page}" PlaneCount="1"><UUID FileName="{name}"/></TiffData>'
        for t, (name, page) in enumerate(pages)
    )
    times = "".join(
        f'<Plane DeltaT="{3 + t * delay_ms}" DeltaTUnit="ms" TheC="0" TheT="{t}" TheZ="0"/>'
        for t in range(n) if delay_ms is not None
    )  # fmt: skip
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0" Name="cell_MMStack_Pos0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="{width}" SizeY="{height}" SizeC="1" '
        f'SizeZ="1" SizeT="{n}"><Channel ID="Channel:0:0"/>{blocks}{times}</Pixels></Image></OME>'
    )
