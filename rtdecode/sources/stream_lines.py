"""Where a stream's events come from: what both kinds of line do, and the plain one, which cannot answer."""

from __future__ import annotations

import time
from typing import Protocol

from rtdecode.core.errors import StreamError
from rtdecode.streams.frame_sockets import FrameSocket
from rtdecode.streams.wire import Message, read_message

_AT_ONCE = 64  # messages that are no events, before the caller has its turn again


class Line(Protocol):
    """Events of one or more series as they come; `streams.subscriber.Subscriber` is one that answers."""

    kind: str
    endpoint: str
    malformed: int
    why: str  # of the last malformed one
    resumed: int
    stopping: tuple[bool, int] | None  # what the sender answered to `stop`: camera stopped?, frames made

    @property
    def silent_s(self) -> float:
        """Seconds since the sender said anything."""
        ...

    def receive(self, channel: str | None = None) -> Message | None:
        """The next event; None: nothing has come."""
        ...

    def grant(self, window: int) -> None:
        """The sender may have so many frames on their way."""
        ...

    def keep(self, messages: int) -> None:
        """How many messages may wait here before their sender has to."""
        ...

    def taken(self, index: int) -> None:
        """Frames up to `index` are safe."""
        ...

    def ended(self, index: int) -> None:
        """The end was heard, everything before it is safe."""
        ...

    def stop(self, reason: str) -> None:
        """Ask the sender to stop its camera."""
        ...

    def close(self, farewell: str | None = None) -> None:
        """Let go; safe to call twice."""
        ...


class PlainLine:
    """A PULL socket: any program pushes. Nothing can be answered; what is lost shows as a jump of image numbers."""

    kind = "plain"

    def __init__(self, address: str, *, bind: bool, max_message_bytes: int) -> None:
        """Open the socket; StreamError where that cannot be."""
        self._socket = FrameSocket(address, bind=bind, answers=False, max_message_bytes=max_message_bytes)
        self.endpoint = self._socket.endpoint
        self.malformed, self.why, self.resumed = 0, "", 0
        self.stopping: tuple[bool, int] | None = None
        self._heard_at = float("-inf")

    @property
    def silent_s(self) -> float:
        """Seconds since the last event; infinite before the first."""
        return time.monotonic() - self._heard_at

    def receive(self, channel: str | None = None) -> Message | None:
        """The next event; what is none is counted, never raised."""
        for _ in range(_AT_ONCE):
            arrived = self._socket.receive()
            if arrived is None:
                return None
            try:
                message = read_message(arrived[1], channel)
            except StreamError as error:
                self.malformed, self.why = self.malformed + 1, str(error)
                continue
            self._heard_at = time.monotonic()
            return message
        return None

    def grant(self, window: int) -> None:
        """A plain sender asks nobody."""

    def keep(self, messages: int) -> None:
        """Messages that wait in our socket; a sender that pushes more waits, or drops them itself."""
        self._socket.keep(messages)

    def taken(self, index: int) -> None:
        """Nobody would hear it."""

    def ended(self, index: int) -> None:
        """Nobody would hear it."""

    def stop(self, reason: str) -> None:
        """Nobody would hear it."""

    def close(self, farewell: str | None = None) -> None:
        """Close the socket; safe to call twice."""
        self._socket.close()
