"""ZeroMQ sockets for frames: a plain one that anybody may push to, and a pair that also answers.

One TCP port can hold only one kind of ZeroMQ socket (PULL refuses DEALER in its handshake, and the other way round).
So an address is a pair of ports: the one told is for plain senders, the one above it for acknowledged ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import zmq

from rtdecode.core.errors import StreamError
from rtdecode.streams.wire import Buffer

DEFAULT_ADDRESS = "tcp://127.0.0.1:31001"  # the port of DECTRIS Stream V2

_MAX_PARTS = 4  # of a message; what has more is read to its end and forgotten
_HEARTBEAT_MS, _HEARTBEAT_TIMEOUT_MS = 2000, 10000  # a pulled cable is noticed, and connected again
MOST_WAITING = 4096  # messages, before the size of a frame is known

Socket = zmq.Socket[bytes]


def acknowledged_address(address: str) -> str:
    """The address beside `address` where senders are answered: the port above it (`*` stays `*`)."""
    if address.startswith("ipc://"):
        return f"{address}.acknowledged"
    host, _, port = address.rpartition(":")
    if port == "*":
        return address
    if not (address.startswith("tcp://") and host and port.isdigit() and 0 < int(port) < 65535):
        raise StreamError(f"{address!r} is no address for frames; expected tcp://HOST:PORT, e.g. {DEFAULT_ADDRESS}")
    return f"{host}:{int(port) + 1}"


class FrameSocket:
    """One socket of its own context; never blocks. `answers`: who binds is a ROUTER, who connects a DEALER."""

    def __init__(self, address: str, *, bind: bool, answers: bool, max_message_bytes: int) -> None:
        """Open; StreamError where the address is none, or taken."""
        self._context: zmq.Context[Socket] = zmq.Context(1)
        kind = zmq.PULL if not answers else zmq.ROUTER if bind else zmq.DEALER
        self._routes = kind == zmq.ROUTER
        self._socket = self._context.socket(kind)
        self._set(LINGER=0, MAXMSGSIZE=max_message_bytes, RCVHWM=MOST_WAITING)
        if answers:
            self._set(SNDHWM=0, HEARTBEAT_IVL=_HEARTBEAT_MS, HEARTBEAT_TIMEOUT=_HEARTBEAT_TIMEOUT_MS)
        if self._routes:
            self._set(ROUTER_MANDATORY=1)
        # IMMEDIATE stays 0: with 1, libzmq 4.3 drops with a lost connection also what has come and is not yet read,
        # and with it the last acknowledgement. Price: what was under way comes once more, and is dropped.
        try:
            (self._socket.bind if bind else self._socket.connect)(address)
        except zmq.ZMQError as error:
            self.close()
            raise StreamError(f"{address}: cannot {'listen' if bind else 'connect'} there: {error}") from error
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def keep(self, messages: int) -> None:
        """How many messages may wait here before their sender has to; only ever fewer than before.

        (A limit that is raised while it holds its sender up never lets go of it: libzmq 4.3.)
        """
        self._set(RCVHWM=min(messages, MOST_WAITING))

    def receive(self) -> tuple[bytes, list[memoryview]] | None:
        """(peer, parts) of the next message, parts as views of its memory; None: nothing is there."""
        try:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise StreamError(f"{self.endpoint}: the socket failed: {error}") from error
        parts = [frame.buffer]
        while frame.more:  # a message is there as a whole or not at all: this does not wait
            frame = self._socket.recv(copy=False)
            if len(parts) <= _MAX_PARTS:
                parts.append(frame.buffer)
        if not self._routes:
            return b"", parts
        return bytes(parts[0]), parts[1:]

    def send(self, peer: bytes, parts: Sequence[Buffer | Any]) -> bool:
        """Whether it went on its way; False: nobody is connected."""
        whole = [peer, *parts] if self._routes else list(parts)
        try:
            self._socket.send_multipart(whole, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:
            return False
        return True

    def close(self, linger_ms: int = 0) -> None:
        """Close; what is unsent has `linger_ms` to go. Safe to call twice."""
        with suppress(zmq.ZMQError):
            self._context.destroy(linger=linger_ms)

    def _set(self, **options: int) -> None:
        for name, value in options.items():
            self._socket.setsockopt(getattr(zmq, name), value)
