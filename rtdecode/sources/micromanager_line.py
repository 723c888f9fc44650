"""A line to the core of a running Micro-Manager: questions go out without waiting, answers come back as they come."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from rtdecode.core.errors import SourceError, SourceLost
from rtdecode.sources.micromanager_wire import (
    CORE_CLASS,
    Argument,
    RemoteObject,
    Reply,
    Wire,
    constructor_message,
    decode,
    destructor_message,
    field_message,
    greet,
    method_message,
)

GREETING_S = 5.0  # another program's call may keep the server's first port busy for a while
_LAST_WORD_S = 0.5  # for the answer to "nobody needs this any more"; nothing depends on it
_POLL_S = 0.1  # longest silence that is counted for one look: a long pause of ours is not the server's silence
_FIELDS = {"mmcorej.TaggedImage": ("pix", "tags"), "java.awt.Rectangle": ("x", "y", "width", "height")}
"""Objects that come as a dict of these public fields; others come as an empty one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To one question: the value, or `fault`, the core's own words for why not."""

    method: str
    value: Any = None
    fault: str | None = None


class Line(Protocol):
    """One stream of questions to the core, answered one after the other by a thread of its own over there.

    Values are None, bool, int, float, str, flat arrays, or a dict of an object's fields (image with tags, region).
    """

    def ask(self, method: str, *arguments: Argument) -> None:
        """Send a question; never waits. Raises SourceLost, and SourceError where the core has no such method."""
        ...

    def answer(self, wait_s: float = 0.0) -> Answer | None:
        """The next answer, None where there is none yet; raises SourceLost when the server is gone or silent."""
        ...

    def close(self) -> None:
        """Let go, without waiting for a server that does not answer."""
        ...


class Silence:
    """How long the other side has owed an answer, by our own running time."""

    def __init__(self, patience_s: float, who: str) -> None:
        self._patience_s, self._who = patience_s, who
        self._silent_s = 0.0
        self._looked_at = time.monotonic()

    def heard(self) -> None:
        """An answer came, or the first question went out."""
        self._silent_s, self._looked_at = 0.0, time.monotonic()

    def look(self) -> None:
        """Still nothing; raises SourceLost when patience is at its end."""
        now = time.monotonic()
        self._silent_s += min(now - self._looked_at, _POLL_S)
        self._looked_at = now
        if self._silent_s > self._patience_s:
            raise SourceLost(
                f"{self._who} has not answered for {self._patience_s:g} s: it hangs (a driver, Java out of memory). "
                "What was read before is valid; look at its window, and whether the light is off."
            )


class WireLine:
    """A line over our own client, on a port that the server opened for it alone."""

    def __init__(self, wire: Wire, core: RemoteObject, patience_s: float) -> None:
        self._wire, self._core = wire, core
        self._silence = Silence(patience_s, f"Micro-Manager at {wire.place}")
        self._awaited: deque[_Question] = deque()
        self._messages: dict[str, bytes] = {}  # of methods without arguments: pops are sent by the thousand

    def ask(self, method: str, *arguments: Argument) -> None:
        """See Line."""
        message = self._messages.get(method) if not arguments else None
        if message is None:
            message = method_message(self._core, method, arguments)
            if not arguments:
                self._messages[method] = message
        self._send(message, _Question(method))

    def answer(self, wait_s: float = 0.0) -> Answer | None:
        """See Line. An object's fields are asked for when it comes: its answer comes after those in between."""
        while (parts := self._wire.receive(wait_s)) is not None:
            self._silence.heard()
            if not self._awaited:
                raise SourceLost(f"{self._wire.place} gave an answer that nobody asked for")
            answer = self._understand(self._awaited.popleft(), decode(parts))
            if answer is not None:
                return answer
        if self._wire.lost:
            raise SourceLost(f"Micro-Manager at {self._wire.place} is gone: it was closed, or it crashed")
        if self._awaited:
            self._silence.look()
        return None

    def close(self) -> None:
        """Give the port back; half a second at most."""
        try:
            self._send(destructor_message(self._core), _Question("destructor"))
            until = time.monotonic() + _LAST_WORD_S
            while self._awaited and time.monotonic() < until:
                self.answer(0.02)
        except SourceError:
            pass  # the server is gone, and its port with it
        self._wire.close()

    def _send(self, message: bytes, question: _Question) -> None:
        if not self._awaited:
            self._silence.heard()
        self._wire.send(message)
        self._awaited.append(question)

    def _understand(self, question: _Question, reply: Reply) -> Answer | None:
        """The answer, where this reply makes it complete."""
        owner = question.part_of
        if owner is not None:
            owner.take(question.method, reply)
            return owner.answer()
        if isinstance(reply.value, RemoteObject):
            return self._collect(question.method, reply.value)
        return Answer(question.method, reply.value, reply.fault)

    def _collect(self, method: str, found: RemoteObject) -> Answer | None:
        """Ask for the object's fields, then let the server forget it."""
        names = _FIELDS.get(found.class_name, ())
        parts = _Fields(method, len(names) + 1)
        for name in names:
            self._send(field_message(found, name), _Question(name, parts))
        self._send(destructor_message(found), _Question("", parts))
        return None


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    part_of: _Fields | None = None


class _Fields:
    """An object on its way, field by field; complete when the server has forgotten it."""

    def __init__(self, method: str, missing: int) -> None:
        self._method, self._missing = method, missing
        self._values: dict[str, Any] = {}
        self._fault: str | None = None

    def take(self, name: str, reply: Reply) -> None:
        self._missing -= 1
        self._fault = self._fault or reply.fault
        if name:
            self._values[name] = reply.value

    def answer(self) -> Answer | None:
        return None if self._missing else Answer(self._method, self._values, self._fault)


def open_line(host: str, port: int, patience_s: float, greeting_s: float = GREETING_S) -> WireLine:
    """A line on a port of its own, so that no other program's call delays us; raises SourceError.

    Only the handshake uses the port that all share.
    """
    core = _construct(host, port, greeting_s)
    own = Wire(host, core.port)
    try:
        greet(own, greeting_s, retry=True)
    except SourceError as error:
        own.close()
        raise SourceError(
            f"Micro-Manager opened port {core.port} for rtdecode and does not answer there: another program may hold "
            f"that port, or a tunnel does not pass it on ({error})"
        ) from error
    return WireLine(own, core, patience_s)


def _construct(host: str, port: int, within_s: float) -> RemoteObject:
    shared = Wire(host, port)
    try:
        greet(shared, within_s)
        shared.send(constructor_message(CORE_CLASS, new_port=True))
        until = time.monotonic() + within_s
        while (parts := shared.receive(0.02)) is None:
            if shared.lost or time.monotonic() > until:
                raise SourceError(f"the server at {shared.place} does not hand out Micro-Manager's core; restart it")
        reply = decode(parts)
        if not isinstance(reply.value, RemoteObject):
            raise SourceError(f"the server at {shared.place} does not hand out Micro-Manager's core: {reply.fault}")
        return reply.value
    finally:
        shared.close()


def ask_and_wait(line: Line, method: str, *arguments: Argument, within_s: float) -> Any:
    """One question on a line where nothing else is under way. Raises SourceError with the core's own words,
    SourceLost when there is no answer in time."""
    line.ask(method, *arguments)
    until = time.monotonic() + within_s
    while (answer := line.answer(0.02)) is None:
        if time.monotonic() > until:
            raise SourceLost(f"Micro-Manager has not answered {method} within {within_s:g} s: it hangs, or a device")
    if answer.fault is not None:
        raise SourceError(answer.fault)
    return answer.value
