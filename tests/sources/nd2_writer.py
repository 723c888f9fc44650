"""A small .nd2 (version 3) written by hand, as far as the library nd2 reads it: no library writes this format."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x0ABECEDA
_MAP_NAME, _MAP_END = b"ND2 FILEMAP SIGNATURE NAME 0001!", b"ND2 CHUNK MAP SIGNATURE 0000001!"
_PIXELS_NAME_BYTES = 4072  # the library expects pixels 4096 bytes behind the start of their chunk


def write_nd2(
    path: Path,
    frames: NDArray[np.generic],
    loops: Sequence[tuple[str, int]] = (),
    channels: Sequence[str] = ("GFP",),
    times_ms: Sequence[float] | None = None,
    leave_out: Sequence[int] = (),
) -> Path:
    """`frames` (n, H, W) or (n, H, W, channels); `loops` from the outermost, e.g. [("T", 10)]; default: T alone."""
    images: list[tuple[bytes, bytes, int]] = [
        (f"ImageDataSeq|{k}!".encode(), struct.pack("<d", 0.0) + frame.tobytes(), _PIXELS_NAME_BYTES)
        for k, frame in enumerate(frames)
        if k not in leave_out
    ]
    told = [
        (b"ImageAttributesLV!", _attributes(frames)),
        (b"ImageMetadataSeqLV|0!", _picture(channels)),
        (b"ImageMetadataLV!", _experiment(list(loops) or [("T", len(frames))])),
    ]
    if times_ms is not None:
        told.append((b"CustomData|AcqTimesCache!", np.array(times_ms, "<f8").tobytes()))
    _write_chunks(path, images + [(name, content, len(name) + 8) for name, content in told])
    return path


def _write_chunks(path: Path, chunks: list[tuple[bytes, bytes, int]]) -> None:
    content = bytearray(_chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32))
    table = b""
    for name, data, name_bytes in chunks:
        table += name + struct.pack("<QQ", len(content), len(data))
        content += _chunk(name, data, name_bytes)
    place = struct.pack("<Q", len(content))
    content += _chunk(_MAP_NAME, table + _MAP_END + place, 32)
    path.write_bytes(content)


def _chunk(name: bytes, data: bytes, name_bytes: int) -> bytes:
    return struct.pack("<IIQ", _MAGIC, name_bytes, len(data)) + name.ljust(name_bytes, b"\0") + data


def _attributes(frames: NDArray[np.generic]) -> bytes:
    height, width = frames.shape[1:3]
    components, item = (frames.shape[3] if frames.ndim == 4 else 1), frames.dtype.itemsize
    return _level(
        "SLxImageAttributes", uiWidth=width, uiWidthBytes=width * item * components, uiHeight=height, uiComp=components,
        uiBpcInMemory=8 * item, uiBpcSignificant=8 * item, uiSequenceCount=len(frames), eCompression=2,
    )  # fmt: skip


def _picture(channels: Sequence[str]) -> bytes:
    plane = {"uiCompCount": 1, "uiModalityMask": 0, "pFluorescentProbe": {"uiColor": 0}}
    planes = {f"a{k}": plane | {"sDescription": name} for k, name in enumerate(channels)}
    pictures = {"uiCount": len(channels), "sPlaneNew": planes}
    return _level("SLxPictureMetadata", bCalibrated=0, dCalibration=0.1, sPicturePlanes=pictures)


def _experiment(loops: list[tuple[str, int]]) -> bytes:
    return _level("SLxExperiment", **_loop(loops))


def _loop(loops: list[tuple[str, int]]) -> dict[str, object]:
    (kind, count), *inner = loops
    pars: dict[str, object]
    if kind == "T":
        pars = {"uiCount": count, "dStart": 0.0, "dPeriod": 20.0, "dDuration": 20.0 * count}
    elif kind == "P":
        points = {f"i{k:010}": {"dPosX": float(k), "dPosY": 0.0, "dPosZ": 0.0} for k in range(count)}
        pars = {"uiCount": count, "Points": points}
    else:
        pars = {"uiCount": count, "dZLow": 0.0, "dZHigh": float(count), "dZStep": 1.0}
    loop: dict[str, object] = {"eType": {"T": 1, "P": 2, "Z": 4}[kind], "uLoopPars": pars}
    return loop | ({"ppNextLevelEx": {"i0000000000": _loop(inner)}} if inner else {})


def _level(name: str, **items: object) -> bytes:
    """A named record of NIS-Elements' binary variant ("CLX lite"): type, name, number of items, length, items."""
    content = b"".join(_item(key, value) for key, value in items.items())
    head = _head(11, name)
    return head + struct.pack("<IQ", len(items), len(head) + 12 + len(content)) + content + bytes(8 * len(items))


def _item(name: str, value: object) -> bytes:
    if isinstance(value, dict):
        return _level(name, **value)
    if isinstance(value, float):
        return _head(6, name) + struct.pack("<d", value)
    if isinstance(value, str):
        return _head(8, name) + value.encode("utf-16-le") + b"\0\0"
    assert isinstance(value, int)
    return _head(3, name) + struct.pack("<I", value)


def _head(kind: int, name: str) -> bytes:
    return struct.pack("<BB", kind, len(name) + 1) + name.encode("utf-16-le") + b"\0\0"
