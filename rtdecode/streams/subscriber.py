"""The receiving end of an acknowledged frame stream: grants credit, and asks again for what the network lost."""

from __future__ import annotations

import time
from typing import Any

from rtdecode.core.errors import StreamError
from rtdecode.streams.credit import REPEAT_S, SILENT_S, control, read_control
from rtdecode.streams.frame_sockets import FrameSocket
from rtdecode.streams.wire import End, Image, Message, Start, read_message

_ACKNOWLEDGE_S = 0.05  # what is safe is told at least so often; the sender may have to keep it until then
_AT_ONCE = 64
_NAP_S = 0.002
_CONFIRM_S = 2.0  # for the sender's word that it has heard the end: without it a sender would wait for us in vain


class Subscriber:
    """Events of one series, each once and in the sender's order, over every restart of either end."""

    kind = "acknowledged"

    def __init__(self, address: str, *, bind: bool, max_message_bytes: int) -> None:
        """Open the socket; StreamError where that cannot be."""
        self._socket = FrameSocket(address, bind=bind, answers=True, max_message_bytes=max_message_bytes)
        self.endpoint = self._socket.endpoint
        self._greets = not bind  # a sender that binds cannot know of us before we speak
        self._peer: bytes | None = None if bind else b""
        self._series: str | None = None
        self._epoch: int | None = None
        self._number = 0  # of the next message in this epoch
        self._complained = -1.0
        self._heard_at = self._said_at = -1.0
        self._window = 0
        self._safe = -1  # frames up to here are where they belong
        self._told = -1
        self._ended = self._confirmed = False
        self._stop: str | None = None
        self.stopping: tuple[bool, int] | None = None  # the sender's answer: camera stopped?, frames made
        self.malformed = 0
        self.why = ""  # of the last malformed one, or of a refusal
        self.resumed = 0  # times that the series began again

    @property
    def silent_s(self) -> float:
        """Seconds since the sender said anything; infinite before its first word."""
        return time.monotonic() - self._heard_at if self._heard_at >= 0 else float("inf")

    def receive(self, channel: str | None = None) -> Message | None:
        """The next event of the series (or a Start of another one); None: nothing has come."""
        for _ in range(_AT_ONCE):
            arrived = self._socket.receive()
            if arrived is None:
                break
            try:
                message = self._take(*arrived, channel)
            except StreamError as error:
                self.malformed, self.why = self.malformed + 1, str(error)
                continue
            if message is not None:
                return message
        self._tick()
        return None

    def grant(self, window: int) -> None:
        """The sender may have so many frames on their way from now on; 0: none yet."""
        self._window = window
        self._socket.keep(2 * window)
        self._say_credit()

    def keep(self, messages: int) -> None:
        """Room for so many messages; here the window says it."""

    def taken(self, index: int) -> None:
        """Frames up to `index` need not be sent again, whatever becomes of this process."""
        self._safe = max(self._safe, index)
        news = self._safe - self._told
        if news >= max(1, self._window // 4) or (news and time.monotonic() - self._said_at > _ACKNOWLEDGE_S):
            self._say_credit()

    def ended(self, index: int) -> None:
        """The end was heard, and everything before it is safe."""
        self._safe, self._ended = max(self._safe, index), True
        self._say_credit()

    def stop(self, reason: str) -> None:
        """Ask the sender to stop its camera, until `stopping` has its answer."""
        self._stop = reason[:500]
        self._say("stop", reason=self._stop)

    def close(self, farewell: str | None = None) -> None:
        """Close the socket, with a last word if the series is not over. Safe to call twice."""
        deadline = time.monotonic() + _CONFIRM_S
        while self._ended and not self._confirmed and time.monotonic() < deadline:
            self.receive()
            time.sleep(_NAP_S)
        self._ended = False
        if farewell is not None and self._epoch is not None:
            self._say("bye", reason=farewell[:500])
        self._socket.close(linger_ms=200)

    # hearing

    def _take(self, peer: bytes, parts: list[memoryview], channel: str | None) -> Message | None:
        if not parts:
            raise StreamError("a message without parts")
        said = read_control(parts[0])
        match said:
            case {"type": "frame", "epoch": int(epoch), "number": int(number)}:
                return self._take_event(peer, epoch, number, parts[1:], channel)
            case {"type": "alive", "epoch": int(epoch), "number": int(number)}:
                if self._is_next(peer, epoch, number):
                    self._heard_at = time.monotonic()
            case {"type": "stopping", "allowed": bool(allowed), "made": int(made)} if peer == self._peer and made >= 0:
                self.stopping, self._stop = (allowed, made), None
            case {"type": "done"} if peer == self._peer:
                self._confirmed = True
            case {"type": "refused", "reason": str(reason)}:
                self.why = f"refused by the sender: {reason[:500]}"
            case _:
                raise StreamError(f"not a sender's word: {str(said)[:200]}")
        return None

    def _take_event(
        self, peer: bytes, epoch: int, number: int, parts: list[memoryview], channel: str | None
    ) -> Message | None:
        if number == 0:
            return self._take_start(peer, epoch, read_message(parts, channel))
        if not self._is_next(peer, epoch, number):
            return None
        self._number += 1  # also of a message that cannot be understood: sent again it would be no better
        self._heard_at = time.monotonic()
        message = read_message(parts, channel)
        if isinstance(message, Image | End) and message.series == self._series:
            return message
        raise StreamError("an event of another series within this one")

    def _take_start(self, peer: bytes, epoch: int, message: Message) -> Start | None:
        if not isinstance(message, Start) or message.series is None:
            raise StreamError("an epoch that does not begin with the start of a named series")
        if self._series is not None and message.series != self._series:
            if self.silent_s > SILENT_S:
                return message
            busy = f"busy with the series {self._series!r} of a sender that is alive"
            self._socket.send(peer, [control("refused", reason=busy)])
            return None
        known, first = epoch == self._epoch, self._series is None
        self._peer, self._heard_at = peer, time.monotonic()
        if not known:
            self._epoch, self._number, self._series = epoch, 1, message.series
            self.resumed += not first
        self._say_credit()
        if self._stop is not None:
            self._say("stop", reason=self._stop)
        return message if first else None

    def _is_next(self, peer: bytes, epoch: int, number: int) -> bool:
        """Whether this message follows the one before; else the sender is asked to begin again."""
        if peer == self._peer and epoch == self._epoch and number == self._number:
            return True
        now = time.monotonic()
        if now - self._complained > REPEAT_S / 2:  # everything under way is wrong too: one complaint is enough
            self._complained = now
            self._socket.send(peer, [control("restart", epoch=epoch)])
        return False

    # saying

    def _tick(self) -> None:
        """What must be said though nothing has come."""
        if time.monotonic() - self._said_at < REPEAT_S:
            return
        if self._greets and self.silent_s > 2 * REPEAT_S:
            self._said_at = time.monotonic()
            self._socket.send(b"", [control("hello")])
        elif self._stop is not None:
            self._say("stop", reason=self._stop)
        elif self._epoch is not None:
            self._say_credit()

    def _say_credit(self) -> None:
        self._told = self._safe
        self._say("credit", next=self._safe + 1, window=self._window, **({"ended": True} if self._ended else {}))

    def _say(self, kind: str, **fields: Any) -> None:
        self._said_at = time.monotonic()
        if self._epoch is not None and self._peer is not None:
            self._socket.send(self._peer, [control(kind, epoch=self._epoch, **fields)])
