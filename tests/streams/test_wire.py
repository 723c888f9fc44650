"""The frame wire: what others encode is read, what no sender means is refused, and nothing crashes it."""

from __future__ import annotations

import json
import re
import struct
from datetime import UTC, datetime
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtdecode.core.errors import StreamError
from rtdecode.core.frames import FrameFlag
from rtdecode.streams import cbor
from rtdecode.streams.wire import End, Image, ImageHeads, Start, end_message, read_message, start_message

PIXELS = np.arange(12, dtype="u2").reshape(3, 4) * 5000
COMPRESSED = cbor2.CBORTag(56500, ["bslz4", 2, b"x"])
SERIES = {"series_id": 7, "series_unique_id": "01GRXX5AEGDK0H95FQA1W4FCJ5"}


def tagged(pixels: np.ndarray, tag: int, order: int = 40) -> cbor2.CBORTag:
    """RFC 8746: shape and typed array."""
    return cbor2.CBORTag(order, [list(pixels.shape), cbor2.CBORTag(tag, pixels.tobytes("C" if order == 40 else "F"))])


def image(data: Any, **more: Any) -> bytes:
    """A CBOR image as a detector makes it, by another program's encoder."""
    times = {"real_time": [1, 1000], "start_time": [123, 50_000_000], "stop_time": [124, 50_000_000]}
    when = cbor2.CBORTag(0, datetime(2026, 11, 23, tzinfo=UTC).isoformat())
    fields = {"type": "image", **SERIES, "image_id": 5, **times, "series_date": when, "user_data": {"x": [1]}}
    return cbor2.dumps(cbor2.CBORTag(55799, fields | {"data": data} | more))


def json_image(pixels: np.ndarray, **more: Any) -> list[bytes]:
    """pyzmq's recipe, with a number."""
    header = {"frame": 5, "dtype": str(pixels.dtype), "shape": pixels.shape}
    return [json.dumps(header | more).encode(), pixels.tobytes()]


# what others send


def test_an_image_of_another_encoder_is_read_with_its_time_and_tag() -> None:
    read = read_message([image({"threshold_1": tagged(PIXELS, 69)})])
    assert isinstance(read, Image) and read.problem is None
    assert (read.series, read.index, read.t_camera_ns) == (SERIES["series_unique_id"], 5, 2460)
    assert np.array_equal(read.pixels, PIXELS)


@pytest.mark.parametrize(("dtype", "tag"), [("u1", 64), ("u1", 68), ("<u2", 69), (">u2", 65), ("<f4", 85), (">f4", 81)])
def test_types_and_byte_orders(dtype: str, tag: int) -> None:
    pixels = (PIXELS / 300).astype(dtype)
    read = read_message([image({"a": tagged(pixels, tag)})])
    assert isinstance(read, Image) and np.array_equal(read.pixels, pixels)
    assert read.pixels.dtype.name == pixels.dtype.name


def test_column_major_arrays_and_data_without_channels() -> None:
    read = read_message([image(tagged(PIXELS, 69, order=1040))])
    assert isinstance(read, Image) and np.array_equal(read.pixels, PIXELS)


def test_pixels_are_views_not_copies() -> None:
    message = image({"a": tagged(PIXELS, 69)})
    read = read_message([message])
    assert isinstance(read, Image) and read.pixels is not None
    assert np.shares_memory(read.pixels, np.frombuffer(message, np.uint8))


def test_a_detectors_start_and_end() -> None:
    about = {"image_size_x": 1030, "image_size_y": 514, "image_dtype": "uint16", "number_of_images": 10}
    more = {"frame_time": 0.01, "saturation_value": 65534, "goniometer": {"chi": {"start": 0.0, "increment": 0.1}},
            "channels": ["threshold_1"], "beam_center_x": 512.5, "user_data": None}  # fmt: skip
    read = read_message([cbor2.dumps({"type": "start", **SERIES, **about, **more})])
    assert read == Start(SERIES["series_unique_id"], (514, 1030), "uint16", 10, pytest.approx(100.0), 65534.0)
    assert read_message([cbor2.dumps({"type": "end", **SERIES})]) == End(SERIES["series_unique_id"])


def test_one_channel_of_several_must_be_named() -> None:
    message = image({"threshold_1": tagged(PIXELS, 69), "threshold_2": tagged(PIXELS + 1, 69)})
    read = read_message([message])
    assert isinstance(read, Image) and read.pixels is None and "threshold_2" in (read.problem or "")
    read = read_message([message], channel="threshold_2")
    assert isinstance(read, Image) and np.array_equal(read.pixels, PIXELS + 1)
    read = read_message([message], channel="difference")
    assert isinstance(read, Image) and "threshold_1" in (read.problem or "")


def test_json_in_two_parts_and_its_start_and_end() -> None:
    read = read_message(json_image(PIXELS, series="a", start_time=0.5, exposure="unknown keys are tolerated"))
    assert isinstance(read, Image) and np.array_equal(read.pixels, PIXELS)
    assert (read.series, read.index, read.t_camera_ns) == ("a", 5, 500_000_000)
    start = {"type": "start", "series": "a", "frames": 9, "dtype": ">u2", "shape": [3, 4]}
    assert read_message([json.dumps(start).encode()]) == Start("a", (3, 4), "uint16", 9)
    assert read_message([b'{"type": "start"}']) == Start(None, None, None)
    assert read_message([b'{"type": "end", "series": "a", "frames": 9}', b""]) == End("a", 9)


# what cannot be taken, and why


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"a": tagged(PIXELS.astype("<u4"), 70)}, "uint32.*16 bits.*float32"),
        ({"a": tagged(PIXELS.astype("<f8"), 86)}, "'float64'; rtdecode takes uint8, uint16 and float32"),
        ({"a": cbor2.CBORTag(40, [[3, 4], cbor2.CBORTag(69, COMPRESSED)])}, "'bslz4'.*switch compression off"),
        ({"a": cbor2.CBORTag(40, [[3, 4], cbor2.CBORTag(69, bytes(20))])}, "20 bytes of pixels; 3 x 4 uint16 are 24"),
        ({"a": cbor2.CBORTag(40, [[3, 4], cbor2.CBORTag(69, [1, 2])])}, "holds list, expected bytes"),
        ({"a": cbor2.CBORTag(40, [[2**40, 2**40], cbor2.CBORTag(69, b"")])}, "a shape .*1099511627776"),
        ({"a": cbor2.CBORTag(40, [[-3, -4], cbor2.CBORTag(69, bytes(24))])}, "a shape"),
        ({"a": cbor2.CBORTag(40, [[3, 4, 1], cbor2.CBORTag(69, bytes(24))])}, "a shape"),
        ({"a": cbor2.CBORTag(40, 3)}, "does not hold"),
        ({"a": bytes(24)}, "memoryview, expected a tag 40"),
        ({}, "0 channels"),
        (None, "missing"),
    ],
)  # fmt: skip
def test_pixels_that_cannot_be_used_are_named_and_the_number_is_kept(data: Any, words: str) -> None:
    read = read_message([image(data)])
    assert isinstance(read, Image) and read.pixels is None and read.index == 5
    assert re.search(words, read.problem or "")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "empty"),
        ([b""], "empty"),
        ([b"hello"], "CBOR"),
        ([b"{"], "not JSON"),
        ([b'{"frame": NaN, "dtype": "uint16", "shape": [3, 4]}', bytes(24)], "NaN is no JSON"),
        ([b'{"dtype": "uint16", "shape": [3, 4]}', bytes(24)], "without 'image_id'"),
        ([b'{"frame": -1}'], "image_id -1, expected a whole number"),
        ([b'{"frame": 1e3}'], "image_id 1000.0"),
        ([b'{"frame": true}'], "image_id True"),
        ([b'{"frame": 1' + b"0" * 5000 + b"}"], "not JSON|whole number"),
        ([b'{"type": "shutdown"}'], "type 'shutdown'"),
        ([b"[1]"], "CBOR|list"),
        ([cbor2.dumps([1])], "a list"),
        ([cbor2.dumps({"type": "end"}), b"more"], "2 parts"),
        ([b'{"series": "' + b"x" * 200 + b'", "frame": 1}'], "1 to 128 characters"),
        ([b'{"x": "' + b"x" * 70000 + b'"}'], "at most 65536"),
        ([b'{"a":' + b"[" * 30000], "not JSON"),
    ],
)
def test_what_is_no_event_is_refused_with_words(parts: list[bytes], words: str) -> None:
    with pytest.raises(StreamError, match=words):
        read_message(parts)


def test_types_are_looked_up_never_evaluated() -> None:
    for dtype in ("object", "O", "V8", "u2,u2", "__import__('os')", ["u2"], {"a": 1}, None, "uint32", "int16"):
        read = read_message(json_image(PIXELS, dtype=dtype))
        assert isinstance(read, Image) and read.pixels is None and read.problem


def test_a_start_of_a_type_that_is_not_taken_says_so() -> None:
    read = read_message([b'{"type": "start", "dtype": "uint32", "shape": [3, 4]}'])
    assert isinstance(read, Start) and "16 bits" in (read.problem or "")


# what we send is what others read


@given(
    index=st.integers(0, 2**53 - 1),
    t_camera_ns=st.integers(0, 2**62),
    flags=st.sampled_from([0, 2]),
    dtype=st.sampled_from(["uint16", "float32", "uint8"]),
)
@settings(max_examples=50, deadline=None)
def test_our_images_are_read_by_another_decoder_and_by_us(index: int, t_camera_ns: int, flags: int, dtype: str) -> None:
    pixels = (PIXELS / 300).astype(dtype)
    message = ImageHeads("cell 3", (3, 4), dtype).of(index, t_camera_ns, flags) + pixels.tobytes()
    theirs = cbor2.loads(message)
    assert theirs["type"] == "image" and theirs["image_id"] == index
    shape, typed = theirs["data"]["camera"].value
    assert list(shape) == [3, 4] and typed.value == pixels.tobytes()
    ours = read_message([message])
    assert isinstance(ours, Image) and np.array_equal(ours.pixels, pixels)
    assert (ours.series, ours.index, ours.flags) == ("cell 3", index, flags)
    assert ours.t_camera_ns == (t_camera_ns if t_camera_ns < 10**18 else 0)


def test_our_start_end_and_unusable_images_come_back() -> None:
    start = Start("a", (20, 30), "uint16", 100, 50.0, None, can_wait=True, origin=(5, 6, 2))
    assert read_message([start_message(start)]) == start
    end = End("a", 99, 3, "enough", None)
    assert read_message([end_message(end)]) == end
    assert read_message([end_message(End("a", 9, fault="it burns"))]) == End("a", 9, fault="it burns")
    lost = read_message([ImageHeads("a", (20, 30), "uint16").unusable(8, 5, FrameFlag.WRONG_SIZE)])
    assert isinstance(lost, Image) and lost.pixels is None
    assert (lost.index, lost.flags, lost.t_camera_ns) == (8, 1, 5)


# CBOR

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(0, 99), inner, max_size=4),
    max_leaves=12,
)


def as_bytes(item: Any) -> Any:
    """Views as the bytes that they are, for comparison."""
    if isinstance(item, memoryview):
        return bytes(item)
    if isinstance(item, list):
        return [as_bytes(value) for value in item]
    return {key: as_bytes(value) for key, value in item.items()} if isinstance(item, dict) else item


@given(plain)
@settings(max_examples=150, deadline=None)
def test_cbor_both_ways_against_another_library(item: Any) -> None:
    assert as_bytes(cbor.decode(cbor2.dumps(item))) == item
    assert cbor2.loads(cbor.encode(item)) == item


def test_indefinite_lengths_and_short_floats() -> None:
    assert cbor.decode(bytes.fromhex("bf61610161629f0203ffff")) == {"a": 1, "b": [2, 3]}
    assert bytes(cbor.decode(bytes.fromhex("5f42010243030405ff"))) == bytes([1, 2, 3, 4, 5])
    assert cbor.decode(bytes.fromhex("7f657374726561646d696e67ff")) == "streaming"
    assert cbor.decode(bytes.fromhex("83f93c00fa47c35000fb7e37e43c8800759c")) == [1.0, 100000.0, 1e300]
    assert cbor.decode(bytes.fromhex("82f7f8ff")) == [None, None]


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x81" * 100_000 + b"\x01",  # lists in lists
        b"\xa1\x61\x61" * 50_000 + b"\x01",  # maps in maps
        b"\xc1" * 100_000 + b"\x01",  # tags in tags
        b"\x9f" * 100_000,  # indefinite lists
        b"\x9b" + b"\xff" * 8,  # a list of 2^64 items
        b"\xbb" + b"\xff" * 8,
        b"\x5b" + b"\x7f" + b"\xff" * 7,  # a byte string of 2^63 bytes
        b"\x9a\x00\x02\x00\x00" + b"\x01" * 0x20000,  # more items than anybody needs
        b"\xa2\x61\x61\x01\x61\x61\x02",  # a key twice
        b"\xa1\x80\x01",  # a list as a key
        b"\x5f\x61\x61\xff",  # text among bytes
        b"\x5f\x5f\x41\x61\xff\xff",  # pieces of pieces
        b"\xff",  # a break alone
        b"\xc1\xff",
        b"\x82\x01\xff",
        b"\x1c",  # a reserved length
        b"\xfc",
        b"\x01\x01",  # more after the end
        b"\x62\xff\xfe",  # not UTF-8
        b"\xa1\x61\x61",  # a key without its value
    ],
)
def test_bombs_and_nonsense_are_refused(bomb: bytes) -> None:
    with pytest.raises(StreamError, match="not CBOR"):
        cbor.decode(bomb)


@given(st.binary(max_size=300))
@settings(max_examples=400, deadline=None)
@example(b"\xd9\xd9\xf7")
@example(b"\xc4\x82\x3b\xff\xff\xff\xff\xff\xff\xff\xff\x01")
def test_random_bytes_are_an_event_or_a_stream_error(message: bytes) -> None:
    for parts in ([message], [message, message], [b'{"frame": 1}', message]):
        try:
            read_message(parts)
        except StreamError:
            pass


@given(st.integers(0, 400), st.integers(0, 255), st.booleans())
@settings(max_examples=400, deadline=None)
def test_a_damaged_image_is_an_event_or_a_stream_error(at: int, byte: int, cut: bool) -> None:
    message = bytearray(image({"a": tagged(PIXELS, 69)}))
    at %= len(message)
    message[at] = byte
    try:
        read = read_message([bytes(message[:at]) if cut else bytes(message)])
    except StreamError:
        return
    if isinstance(read, Image) and read.pixels is not None:
        assert read.pixels.size * read.pixels.itemsize <= len(message)


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5),
       st.sampled_from(["type", "image_id", "frame", "series", "series_id", "shape", "dtype", "frames", "data", "flags",
                        "start_time", "frame_time", "saturation_value", "origin", "image_size_x", "image_dtype", "lost",
                        "reason", "fault"]),
       st.sampled_from(["start", "image", "end"]))  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_any_value_under_any_key_is_an_event_or_a_stream_error(value: Any, key: str, kind: str) -> None:
    fields = {"type": kind, "series": "a", "frame": 1, "dtype": "uint16", "shape": [3, 4], key: value}
    for parts in ([json.dumps(fields).encode(), bytes(24)], [cbor2.dumps(fields)]):
        try:
            read_message(parts)
        except StreamError:
            pass


def test_a_length_that_lies_costs_no_memory() -> None:
    """The bytes announced are held against the bytes there are before anything is made."""
    for length in (2**32, 2**40, 2**62):
        with pytest.raises(StreamError, match="cut short"):
            cbor.decode(b"\x5b" + struct.pack(">Q", length) + b"x")
