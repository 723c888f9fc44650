"""CBOR (RFC 8949) in bounds: what comes from a socket is read without copies, without recursion bombs, never run.

Written here rather than taken from a library because a stranger's message must cost no more than its own bytes:
byte strings are views of the message, lengths are held against what is there before anything is made, depth and
count of items are bounded, and a tag is only a number with a value (libraries build dates, expressions and cycles).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple, NoReturn

from rtdecode.core.errors import StreamError

MAX_DEPTH = 16
MAX_ITEMS = 65536
SELF_DESCRIBED = 55799  # a tag that only says "this is CBOR"

_INDEFINITE = -1
_BREAK = object()
_FLOATS = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}
_CONSTANTS: dict[int, Any] = {20: False, 21: True, 22: None, 23: None}


class Tag(NamedTuple):
    """A tagged item, as it stands in the message."""

    number: int
    value: Any


def decode(message: bytes | bytearray | memoryview) -> Any:
    """The one data item of a message: dict, list, str, int, float, bool, None, memoryview (byte string), Tag.

    Byte strings are views into `message` (joined where they came in pieces). Raises StreamError for anything
    that is cut short, too deep, of too many items, not UTF-8, or followed by more.
    """
    reader = _Reader(memoryview(message).cast("B"))
    item = reader.item(0)
    if item is _BREAK:
        _fail("a break where an item must be")
    if reader.at != len(reader.message):
        _fail(f"{len(reader.message) - reader.at} bytes follow after its end")
    while isinstance(item, Tag) and item.number == SELF_DESCRIBED:
        item = item.value
    return item


def encode(item: Any) -> bytes:
    """The shortest CBOR of plain Python: dict, list, tuple, str, int (64 bits), float, bool, None, bytes, Tag."""
    parts: list[bytes] = []
    _write(item, parts)
    return b"".join(parts)


def head(major: int, argument: int) -> bytes:
    """The first bytes of an item: its major type (0 to 7) and a length, count or value below 2^64."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    for code, form, size in ((24, ">BB", 1), (25, ">BH", 2), (26, ">BI", 4), (27, ">BQ", 8)):
        if argument < 1 << 8 * size:
            return struct.pack(form, major << 5 | code, argument)
    raise ValueError(f"{argument} does not fit into 64 bits")


class _Reader:
    """Reads items from the front; every length is checked against the bytes that are left."""

    def __init__(self, message: memoryview) -> None:
        self.message, self.at, self._items = message, 0, 0

    def item(self, depth: int) -> Any:
        """The next item, or the mark that ends an indefinite one. The commonest kinds first: it is done per frame."""
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            _fail(f"nested deeper than {MAX_DEPTH}, or more than {MAX_ITEMS} items")
        first = self._byte()
        major, code = first >> 5, first & 31
        if major == 7:
            return self._simple(code)
        argument = code if code < 24 else self._argument(major, code)
        if major == 0:
            return argument
        if major == 3:
            return self._text(argument)
        if major == 2:
            return self._take(argument) if argument >= 0 else self._pieces(major)
        if major == 6:
            return Tag(argument, self._whole(depth))
        if major == 4:
            return self._list(argument, depth)
        return self._map(argument, depth) if major == 5 else -1 - argument

    def _byte(self) -> int:
        try:
            byte = self.message[self.at]
        except IndexError:
            _fail("cut short")
        self.at += 1
        return byte

    def _take(self, count: int) -> memoryview:
        start, self.at = self.at, self.at + count
        if self.at > len(self.message):
            _fail(f"cut short: {count} bytes announced, {len(self.message) - start} there")
        return self.message[start : self.at]

    def _argument(self, major: int, code: int) -> int:
        if code <= 27:
            return int.from_bytes(self._take(1 << (code - 24)), "big")
        if code == 31 and major in (2, 3, 4, 5):
            return _INDEFINITE
        _fail(f"first byte {major << 5 | code:#x}")

    def _whole(self, depth: int) -> Any:
        item = self.item(depth + 1)
        if item is _BREAK:
            _fail("a break where an item must be")
        return item

    def _simple(self, code: int) -> Any:
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _FLOATS:
            form, size = _FLOATS[code]
            return struct.unpack(form, self._take(size))[0]
        if code == 31:
            return _BREAK
        if code <= 24:  # values that nobody has given a meaning
            self._take(code == 24)
            return None
        _fail(f"first byte {7 << 5 | code:#x}")

    def _text(self, length: int) -> str:
        piece = self._take(length) if length >= 0 else self._pieces(3)
        try:
            return str(piece, "utf-8")
        except UnicodeDecodeError as error:
            raise StreamError(f"not CBOR that is taken here: text that is not UTF-8: {error}") from error

    def _pieces(self, major: int) -> memoryview:
        """A string of unknown length, joined."""
        pieces = []
        while (first := self._byte()) != 0xFF:
            code = first & 31
            if first >> 5 != major or code == 31:
                _fail("a string of pieces of another kind")
            pieces.append(self._take(code if code < 24 else self._argument(major, code)))
        return memoryview(b"".join(pieces))

    def _list(self, count: int, depth: int) -> list[Any]:
        if count == _INDEFINITE:
            items = []
            while (item := self.item(depth + 1)) is not _BREAK:
                items.append(item)
            return items
        self._room_for(count)
        return [self._whole(depth) for _ in range(count)]

    def _map(self, count: int, depth: int) -> dict[str | int, Any]:
        found: dict[str | int, Any] = {}
        self._room_for(2 * count)
        left = count
        while left:
            key = self.item(depth + 1)
            if key is _BREAK and count == _INDEFINITE:
                break
            if not isinstance(key, str | int) or key in found:
                _fail(f"a map's key that is neither text nor a number, or stands twice: {str(key)[:80]}")
            found[key] = self._whole(depth)
            left -= 1
        return found

    def _room_for(self, count: int) -> None:
        if count > len(self.message) - self.at:  # each item has at least one byte
            _fail(f"cut short: {count} items announced, {len(self.message) - self.at} bytes there")


def _write(item: Any, parts: list[bytes]) -> None:
    if item is None or isinstance(item, bool):
        parts.append(b"\xf6" if item is None else b"\xf5" if item else b"\xf4")
    elif isinstance(item, int):
        parts.append(head(0, item) if item >= 0 else head(1, -1 - item))
    elif isinstance(item, float):
        parts.append(b"\xfb" + struct.pack(">d", item))
    elif isinstance(item, str):
        text = item.encode()
        parts += [head(3, len(text)), text]
    elif isinstance(item, bytes | bytearray | memoryview):
        parts += [head(2, len(item)), bytes(item)]
    elif isinstance(item, Tag):
        parts.append(head(6, item.number))
        _write(item.value, parts)
    else:
        _write_many(item, parts)


def _write_many(item: Any, parts: list[bytes]) -> None:
    if isinstance(item, dict):
        parts.append(head(5, len(item)))
        for key, value in item.items():
            _write(key, parts)
            _write(value, parts)
    elif isinstance(item, list | tuple):
        parts.append(head(4, len(item)))
        for value in item:
            _write(value, parts)
    else:
        raise TypeError(f"{type(item).__name__} has no CBOR here")


def _fail(what: str) -> NoReturn:
    raise StreamError(f"not CBOR that is taken here: {what}")
