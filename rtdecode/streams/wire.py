"""Frames on a wire: start, image and end of a series, in CBOR (DECTRIS Stream V2) or JSON with a raw buffer.

CBOR: one message for each event, a map with the field names of DECTRIS Stream V2; pixels are an RFC 8746 array
(tag 40 around a typed array). JSON: one part for start and end, two parts (header, raw buffer) for an image, as in
pyzmq's recipe; `series`, `frame` and `frames` are short for `series_unique_id`, `image_id` and `number_of_images`.
Unknown keys are tolerated. What cannot be understood at all is a StreamError; an image whose number is known but whose
pixels cannot be used is an Image with `problem`. Names of types are looked up in a table, never evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import StreamError
from rtdecode.core.frames import FrameFlag
from rtdecode.streams.cbor import Tag, decode, encode, head

Buffer = bytes | bytearray | memoryview
Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

MAX_SIDE_PX = 65536
MAX_INDEX = 1 << 53  # beyond it JSON numbers are no longer whole
MAX_JSON_BYTES = 1 << 16
MAX_NAME = 128  # characters of a series' identity
PLAIN_TAGS = {"uint8": 64, "uint16": 69, "float32": 85}  # RFC 8746, little-endian

_ROW_MAJOR, _COLUMN_MAJOR, _COMPRESSED = 40, 1040, 56500
_TAGS = {64: "u1", 68: "u1", 65: ">u2", 69: "<u2", 81: ">f4", 85: "<f4"}
_REFUSED_TAGS = {
    66: "uint32", 70: "uint32", 67: "uint64", 71: "uint64", 72: "int8", 73: "int16", 77: "int16", 74: "int32",
    78: "int32", 75: "int64", 79: "int64", 80: "float16", 84: "float16", 82: "float64", 86: "float64",
}  # fmt: skip
_NAMES = {
    "uint8": "u1", "u1": "u1", "|u1": "u1", "uint16": "<u2", "<u2": "<u2", ">u2": ">u2", "float32": "<f4",
    "<f4": "<f4", ">f4": ">f4",
}  # fmt: skip
_JSON_STARTS = b"{ \t\r\n"  # a CBOR map never begins with one of these


@dataclass(frozen=True, slots=True)
class Start:
    """A series begins. `shape` and `dtype` None: the first image tells. `dtype` uint8, uint16 or float32."""

    series: str | None
    shape: tuple[int, int] | None
    dtype: str | None
    frames: int | None = None  # that will come
    fps: float | None = None
    saturation: float | None = None  # largest valid value of a pixel
    can_wait: bool = False  # the sender's frames stay where they are until they are taken
    can_stop: bool = False  # the sender obeys a receiver's Stop
    origin: tuple[int, int, int] = (0, 0, 1)  # x0_px, y0_px on the sensor, binning
    problem: str | None = None  # why the frames of this series cannot be taken


@dataclass(frozen=True, slots=True)
class Image:
    """One frame. `pixels` (H, W) is a view of the message, of its own byte order; None with a `problem`."""

    series: str | None
    index: int
    pixels: Pixels | None
    t_camera_ns: int = 0
    flags: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """A series is over: `frames` were made in all (None: not told); `fault` is why the camera ended too early."""

    series: str | None
    frames: int | None = None
    lost: int = 0  # frames made that the sender could not keep until they were taken
    reason: str = ""
    fault: str | None = None


Message = Start | Image | End


def read_message(parts: Sequence[Buffer], channel: str | None = None) -> Message:
    """The event that the parts of one ZeroMQ message tell; `channel` names the one to take where an image has several.

    Pixels are views of the given buffers: copy them before those are gone. Raises StreamError for what is no event.
    """
    if not parts or not len(parts[0]):
        raise StreamError("an empty message: neither CBOR nor JSON")
    first = memoryview(parts[0]).cast("B")
    if first[0] in _JSON_STARTS:
        fields, raw = _json(first), [memoryview(part).cast("B") for part in parts[1:] if len(part)]
    else:
        fields, raw = decode(first), []
        if len(parts) > 1:
            raise StreamError(f"a CBOR message of {len(parts)} parts, expected one")
    if not isinstance(fields, dict):
        raise StreamError(f"a message that is a {type(fields).__name__}, expected a map of keys to values")
    kind = fields.get("type", "image")
    if kind == "image":
        return _image(fields, raw, channel)
    if kind == "start":
        return _start(fields)
    if kind == "end":
        return _end(fields)
    raise StreamError(f"a message of type {str(kind)[:40]!r}, expected start, image or end")


def start_message(start: Start) -> bytes:
    """CBOR of a start that has shape and dtype."""
    fields: dict[str, Any] = {"type": "start", "series_id": 1, "series_unique_id": start.series}
    if start.shape is not None:
        fields |= {"image_size_y": start.shape[0], "image_size_x": start.shape[1], "image_dtype": start.dtype}
    if start.frames is not None:
        fields["number_of_images"] = start.frames
    if start.fps:
        fields["frame_time"] = 1.0 / start.fps
    if start.saturation is not None:
        fields["saturation_value"] = start.saturation
    return encode(fields | {"origin": list(start.origin), "can_wait": start.can_wait, "can_stop": start.can_stop})


class ImageHeads:
    """CBOR of images of one series up to their pixels; what is the same in each is made once.

    A head and the bytes of the C-ordered little-endian array are the message: so a frame is written once, behind
    room for its head, and goes out as it lies there.
    """

    def __init__(self, series: str, shape: tuple[int, int], dtype: str) -> None:
        self._series = series
        fields = _image_fields(series)
        self._begin = b"".join(encode(item) for pair in fields.items() for item in pair) + encode("image_id")
        self._pairs = len(fields) + 2  # and image_id, and data
        array = [encode("data"), head(5, 1), encode("camera"), head(6, _ROW_MAJOR), head(4, 2), encode(list(shape))]
        n_bytes = shape[0] * shape[1] * np.dtype(dtype).itemsize
        self._end = b"".join([*array, head(6, PLAIN_TAGS[dtype]), head(2, n_bytes)])

    def of(self, index: int, t_camera_ns: int = 0, flags: int = 0) -> bytes:
        """The head of one image."""
        more = _image_extras(t_camera_ns, flags)
        between = b"".join(encode(item) for pair in more.items() for item in pair)
        return head(5, self._pairs + len(more)) + self._begin + head(0, index) + between + self._end

    def unusable(self, index: int, t_camera_ns: int, flags: int) -> bytes:
        """A whole image without pixels: of a frame of wrong size, of which only the number is known."""
        return encode(_image_fields(self._series) | {"image_id": index} | _image_extras(t_camera_ns, flags))


def end_message(end: End) -> bytes:
    """CBOR of an end."""
    told = {"number_of_images": end.frames, "reason": end.reason or None, "fault": end.fault}
    fields = {"type": "end", "series_id": 1, "series_unique_id": end.series, "lost": end.lost}
    return encode(fields | {key: value for key, value in told.items() if value is not None})


def _image_fields(series: str) -> dict[str, Any]:
    return {"type": "image", "series_id": 1, "series_unique_id": series}


def _image_extras(t_camera_ns: int, flags: int) -> dict[str, Any]:
    time_s = {"start_time": [t_camera_ns, 10**9]} if t_camera_ns > 0 else {}
    return time_s | ({"flags": flags} if flags else {})


def _json(text: memoryview) -> Any:
    if len(text) > MAX_JSON_BYTES:
        raise StreamError(f"a JSON header of {len(text)} bytes, at most {MAX_JSON_BYTES} are taken")
    try:
        return json.loads(bytes(text), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise StreamError(f"not JSON: {str(error)[:200]}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _start(fields: Mapping[Any, Any]) -> Start:
    series, problem, dtype = _series(fields), None, None
    named = fields.get("image_dtype", fields.get("dtype"))
    try:
        dtype = None if named is None else _dtype_of_name(named).name
    except StreamError as error:
        problem = str(error)
    shape = fields.get("shape")
    if shape is None and "image_size_x" in fields:
        shape = [fields.get("image_size_y"), fields["image_size_x"]]
    return Start(
        series,
        None if shape is None else _shape(shape),
        dtype,
        frames=_count(fields, "number_of_images", "frames") or None,
        fps=_rate(fields.get("frame_time")),
        saturation=_number(fields.get("saturation_value")),
        can_wait=fields.get("can_wait") is True,
        can_stop=fields.get("can_stop") is True,
        origin=_origin(fields.get("origin")),
        problem=problem,
    )


def _image(fields: Mapping[Any, Any], raw: list[memoryview], channel: str | None) -> Image:
    index = _count(fields, "image_id", "frame")
    if index is None:
        raise StreamError("an image without 'image_id' (in JSON 'frame'): without its number no loss could be told")
    series, t_camera_ns = _series(fields), _nanoseconds(fields.get("start_time"))
    flags = _known_flags(fields.get("flags"))
    try:
        pixels = _from_parts(fields, raw) if raw or "shape" in fields else _from_cbor(fields.get("data"), channel)
    except StreamError as error:
        return Image(series, index, None, t_camera_ns, flags, str(error))
    return Image(series, index, pixels, t_camera_ns, flags)


def _end(fields: Mapping[Any, Any]) -> End:
    fault = fields.get("fault")
    return End(
        _series(fields),
        frames=_count(fields, "number_of_images", "frames"),
        lost=_count(fields, "lost", "lost") or 0,
        reason=str(fields.get("reason") or "")[:500],
        fault=None if fault is None else str(fault)[:500],
    )


def _from_parts(fields: Mapping[Any, Any], raw: list[memoryview]) -> Pixels:
    """(H, W) of a JSON header and the one raw buffer behind it."""
    if len(raw) != 1:
        raise StreamError(f"an image of {len(raw)} raw parts, expected one behind the header")
    return _array(raw[0], _dtype_of_name(fields.get("dtype")), _shape(fields.get("shape")), "C")


def _from_cbor(content: Any, channel: str | None) -> Pixels:
    """(H, W) of the `data` of a CBOR image: a map of channels to arrays, or one array."""
    array = _channel(content, channel) if isinstance(content, dict) else content
    if not isinstance(array, Tag) or array.number not in (_ROW_MAJOR, _COLUMN_MAJOR):
        raise StreamError(f"an image whose data is {_what(array)}, expected a tag 40 array (RFC 8746)")
    match array.value:
        case [shape, Tag() as typed]:
            order = "C" if array.number == _ROW_MAJOR else "F"
            return _array(_bytes_of(typed), _dtype_of_tag(typed.number), _shape(shape), order)
    raise StreamError("a tag 40 array that does not hold a shape and a typed array")


def _channel(channels: Mapping[Any, Any], wanted: str | None) -> Any:
    names = ", ".join(str(name)[:40] for name in list(channels)[:8])
    if wanted is not None:
        if wanted not in channels:
            raise StreamError(f"an image without the channel {wanted!r}; it has: {names}")
        return channels[wanted]
    if len(channels) != 1:
        raise StreamError(f"an image of {len(channels)} channels ({names}): say which one with `channel:`")
    return next(iter(channels.values()))


def _bytes_of(typed: Tag) -> memoryview:
    if isinstance(typed.value, memoryview):
        return typed.value
    if isinstance(typed.value, Tag) and typed.value.number == _COMPRESSED:
        name = typed.value.value[0] if isinstance(typed.value.value, list) and typed.value.value else "?"
        raise StreamError(
            f"pixels compressed with {str(name)[:40]!r}; rtdecode takes them uncompressed: "
            "switch compression off at the sender (DECTRIS: detector config `compression` to `none`)"
        )
    raise StreamError(f"a typed array that holds {_what(typed.value)}, expected bytes")


def _array(raw: memoryview, dtype: np.dtype[Any], shape: tuple[int, int], order: str) -> Pixels:
    expected = shape[0] * shape[1] * dtype.itemsize
    if len(raw) != expected:
        raise StreamError(f"{len(raw)} bytes of pixels; {shape[0]} x {shape[1]} {dtype.name} are {expected}")
    pixels: Pixels = np.frombuffer(raw, dtype).reshape(shape, order="C" if order == "C" else "F")
    return pixels


def _dtype_of_name(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or name not in _NAMES:
        raise StreamError(_refusal(str(name)[:40]))
    return np.dtype(_NAMES[name])


def _dtype_of_tag(number: int) -> np.dtype[Any]:
    if number not in _TAGS:
        raise StreamError(_refusal(_REFUSED_TAGS.get(number, f"tag {number}")))
    return np.dtype(_TAGS[number])


def _refusal(name: str) -> str:
    if name in ("uint32", "<u4", ">u4"):
        return "frames of uint32: more than 16 bits would be cut; set the sender to 16 bits, or send float32"
    return f"frames of type {name!r}; rtdecode takes uint8, uint16 and float32"


def _shape(shape: Any) -> tuple[int, int]:
    match shape:
        case [int(height), int(width)] if 0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX:
            return (height, width)
    raise StreamError(f"a shape {str(shape)[:80]}, expected [height, width] from 1 to {MAX_SIDE_PX}")


def _series(fields: Mapping[Any, Any]) -> str | None:
    name = fields.get("series_unique_id", fields.get("series"))
    if name is None and _is_count(fields.get("series_id")):
        name = f"series {fields['series_id']}"
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= MAX_NAME):
        raise StreamError(f"a series called {str(name)[:80]!r}, expected a text of 1 to {MAX_NAME} characters")
    return name


def _count(fields: Mapping[Any, Any], name: str, short: str) -> int | None:
    value = fields.get(name, fields.get(short))
    if value is None:
        return None
    if not _is_count(value):
        raise StreamError(f"{name} {str(value)[:40]}, expected a whole number from 0")
    return int(value)


def _known_flags(value: Any) -> int:
    known = int(FrameFlag.WRONG_SIZE | FrameFlag.SATURATED)
    return value & known if isinstance(value, int) else 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_INDEX


def _number(value: Any) -> float | None:
    """A number of no consequence for the frames: where it is none, it is not known."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_INDEX
    return float(value) if known else None


def _rate(frame_time_s: Any) -> float | None:
    seconds = _number(frame_time_s)
    return 1.0 / seconds if seconds is not None and 1e-7 < seconds < 1e5 else None


def _nanoseconds(time_s: Any) -> int:
    """Of a rational (numerator, denominator) or a number of seconds; 0 where it is neither."""
    if isinstance(time_s, Tag):
        time_s = time_s.value
    match time_s:
        case [int(numerator), int(denominator)] if denominator > 0 and 0 <= numerator < denominator * 10**9:
            return numerator * 10**9 // denominator
    seconds = _number(time_s)
    return round(seconds * 1e9) if seconds is not None and 0 <= seconds < 1e9 else 0


def _origin(fields: Any) -> tuple[int, int, int]:
    match fields:
        case [int(x0), int(y0), int(binning)] if min(x0, y0) >= 0 and max(x0, y0, binning) < MAX_INDEX and binning > 0:
            return (x0, y0, binning)
    return (0, 0, 1)


def _what(value: Any) -> str:
    return f"tag {value.number}" if isinstance(value, Tag) else "missing" if value is None else type(value).__name__
