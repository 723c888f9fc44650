"""The wire of Micro-Manager's ZMQ server (PyJavaZ 5.1), our side of it: JSON out, JSON and raw pixels back.

The server is a REP socket with one thread: it answers in order, and a message that is not JSON ends that thread
for good. Nothing here blocks; whoever waits brings a deadline.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray
from zmq.utils.monitor import recv_monitor_message

from rtdecode.core.errors import SourceError, SourceLost

VERSION = "5.1"
CORE_CLASS = "mmcorej.CMMCore"
HOW_TO_START = "in Micro-Manager tick 'Run server on port 4827' under Tools > Options, or name its host and port"

Argument = str | bool | int | float

_MAX_PART_BYTES = 128 * 2**20  # a frame of 8192 x 8192 pixels of 16 bits
_MAX_JSON_BYTES = 4 * 2**20  # the core's list of methods is 0.1 MB, all tags of a frame 0.01 MB
_DTYPES = {"byte-array": "u1", "short-array": "u2", "int-array": "i4", "float-array": "f4", "double-array": "f8"}
_FAILED_HANDSHAKES = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL, zmq.Event.HANDSHAKE_FAILED_PROTOCOL, zmq.Event.HANDSHAKE_FAILED_AUTH
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An object that stays on the server until it is told that nobody needs it any more."""

    hash_code: str
    class_name: str
    port: int
    methods: Mapping[str, Sequence[tuple[str, ...]]] = field(repr=False)  # name -> Java types of each overload

    def types(self, method: str, arguments: Sequence[Argument]) -> tuple[str, ...]:
        """The overload that takes these arguments; raises SourceError where this server has none."""
        for types in self.methods.get(method, ()):
            if len(types) == len(arguments) and all(map(_takes, types, arguments)):
                return types
        raise SourceError(
            f"this Micro-Manager has no {method}({', '.join(type(one).__name__ for one in arguments)}); "
            "update Micro-Manager"
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a value (None, number, text, flat array, RemoteObject), or `fault`, Java's own words."""

    value: Any = None
    fault: str | None = None
    version: str | None = None  # of the server, in its answer to `connect`


class Wire:
    """One DEALER socket to one port of the server, with a monitor that tells at once when the other end dies.

    Requests go out without waiting for answers, which come back in order. Linger is 0: what was not sent is dropped.
    """

    def __init__(self, host: str, port: int) -> None:
        self.place = f"{host}:{port}"
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_PART_BYTES)
        self._monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket()
        self.refused = False  # nothing listens there
        self.foreign = False  # something listens that does not speak ZeroMQ to us
        self.lost = False  # it was there, and is not any more
        self._greeted = False
        try:
            self._socket.connect(f"tcp://{host}:{port}")
        except zmq.ZMQError as error:
            self.close()
            raise SourceError(f"{self.place} is no address to connect to ({error}); give host and port") from error

    def send(self, message: bytes) -> None:
        """Hand one request over; raises SourceLost where it cannot be."""
        try:
            self._socket.send_multipart((b"", message), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise SourceLost(f"Micro-Manager at {self.place} takes no more requests ({error})") from error

    def receive(self, wait_s: float = 0.0) -> list[bytes] | None:
        """The parts of the next reply, or None; what came before the other end died is still given out."""
        if wait_s > 0:
            self._wait(wait_s)
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            self._look()
            return None

    def close(self) -> None:
        """Safe to call twice."""
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._socket.close()

    def _wait(self, wait_s: float) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        poller.poll(max(1, round(wait_s * 1000)))

    def _look(self) -> None:
        """Take in what the monitor has seen."""
        while not self._socket.closed and self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self._greeted |= event == zmq.Event.HANDSHAKE_SUCCEEDED
            self.lost |= self._greeted and event == zmq.Event.DISCONNECTED
            self.foreign |= event in _FAILED_HANDSHAKES or (event == zmq.Event.DISCONNECTED and not self._greeted)
            self.refused |= event == zmq.Event.CLOSED and not self._greeted


def greet(wire: Wire, within_s: float, retry: bool = False) -> None:
    """Shake hands and check the version; `retry`: a port that is just being opened may refuse at first.

    Raises SourceError that says what is wrong there and what to do.
    """
    wire.send(connect_message())
    until = time.monotonic() + within_s
    while (parts := wire.receive(0.02)) is None:
        if wire.foreign or (wire.refused and not retry) or time.monotonic() > until:
            raise SourceError(_no_greeting(wire, within_s))
    try:
        version = decode(parts).version
    except SourceError as error:
        raise SourceError(f"what answers at {wire.place} is not Micro-Manager's ZMQ server: {error}") from error
    if version is None or not f"{version}.".startswith(f"{VERSION}."):
        raise SourceError(
            f"the ZMQ server at {wire.place} is version {version or '2.0 or older'}, rtdecode speaks {VERSION}: update "
            "Micro-Manager, or install the pycromanager that belongs to it and set `client: pycromanager`"
        )


def _no_greeting(wire: Wire, within_s: float) -> str:
    if wire.foreign:
        return f"another program listens at {wire.place}, not Micro-Manager's ZMQ server; {HOW_TO_START}"
    if wire.refused:
        return f"no Micro-Manager server at {wire.place}: {HOW_TO_START}"
    return (
        f"{wire.place} does not answer within {within_s:g} s: if Micro-Manager runs there, its server is busy with "
        f"another program's call or its thread has died (restart Micro-Manager); else {HOW_TO_START}"
    )


# requests


def connect_message() -> bytes:
    """The handshake."""
    return _json({"command": "connect", "debug": False})


def constructor_message(class_name: str, new_port: bool) -> bytes:
    """Hand out the object of this class (Micro-Manager gives the core it has); `new_port`: with a thread of its own."""
    message = {"command": "constructor", "classpath": class_name, "argument-types": [], "arguments": []}
    return _json(message | {"argument-deserialization-types": []} | ({"new-port": True} if new_port else {}))


def method_message(target: RemoteObject, method: str, arguments: Sequence[Argument]) -> bytes:
    """One call; raises SourceError where the server has no such method."""
    types = target.types(method, arguments)
    return _json({
        "command": "run-method", "hash-code": target.hash_code, "java_class_name": target.class_name, "static": False,
        "name": method, "argument-types": types, "argument-deserialization-types": types, "arguments": arguments,
    })  # fmt: skip


def field_message(target: RemoteObject, name: str) -> bytes:
    """Ask for a public field."""
    return _json({"command": "get-field", "hash-code": target.hash_code, "name": name})


def destructor_message(target: RemoteObject) -> bytes:
    """Nobody needs the object any more; a port of its own is closed with its last object."""
    return _json({
        "command": "destructor", "hash-code": target.hash_code, "java_class_name": target.class_name
    })  # fmt: skip


def _json(message: dict[str, Any]) -> bytes:
    """ASCII only: what the server cannot parse kills its thread."""
    return json.dumps(message, allow_nan=False).encode("ascii")


def _takes(java_type: str, value: Argument) -> bool:
    match java_type:
        case "java.lang.String":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            return isinstance(value, int) and not isinstance(value, bool)
        case "double" | "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return False


# replies


def decode(parts: Sequence[bytes]) -> Reply:
    """One reply: empty delimiter, JSON, then for arrays a 4-byte id and the raw bytes. Raises SourceError."""
    if len(parts) not in (2, 4) or parts[0] != b"" or len(parts[1]) > _MAX_JSON_BYTES:
        raise SourceError(f"a reply of {len(parts)} parts and {sum(map(len, parts))} bytes, expected JSON and pixels")
    try:
        message = json.loads(parts[1].decode("iso-8859-1"))
        return _reply(message, parts[3] if len(parts) == 4 else None)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"a reply that is not understood ({error!r}): {parts[1][:80]!r}") from error


def _reply(message: dict[str, Any], binary: bytes | None) -> Reply:
    match message["type"]:
        case "none" | "null":
            return Reply(version=message.get("version"))
        case "primitive" | "string":
            return Reply(message["value"])
        case "object":
            return Reply(json.loads(message["value"]))
        case "exception":
            return Reply(fault=java_words(str(message["value"])))
        case "unserialized-object":
            return Reply(_remote_object(message))
        case kind if kind in _DTYPES and binary is not None:
            return Reply(array_of(kind, binary))
    raise ValueError(f"type {message['type']!r}")


def array_of(kind: str, raw: bytes) -> NDArray[Any]:
    """A Java array as it lies in memory, flat, in the machine's own byte order; read-only."""
    return np.frombuffer(raw, _DTYPES[kind])


def _remote_object(message: dict[str, Any]) -> RemoteObject:
    methods: dict[str, list[tuple[str, ...]]] = {}
    for entry in message["api"]:
        methods.setdefault(str(entry["name"]), []).append(tuple(map(str, entry["arguments"])))
    return RemoteObject(str(message["hash-code"]), str(message["class"]), int(message["port"]), methods)


def java_words(trace: str) -> str:
    """The message of a Java exception without its class and without the lines of its stack."""
    words: list[str] = []
    for line in trace.splitlines():
        if line.startswith("\t") or (
            words and line.endswith(")") and "(" in line and " " not in line.partition("(")[0]
        ):
            break
        words.append(line.strip())
    text = " ".join(filter(None, words)) or "an exception without a word"
    name, _, message = text.partition(": ")
    return message if message and "." in name and " " not in name else text
