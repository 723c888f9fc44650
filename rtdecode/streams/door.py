"""The door: one ZeroMQ socket of the session. Workers tell how they are and ask; orders come back, standing.

A message is one JSON object of at most 64 kB. A worker sends its key, name, status, requests (repeated until
accepted) and the orders that it has carried out; each answer lists every order that it has not. So a lost
message, a lost answer or a restarted worker loses nothing. What is malformed is counted and answered, never run.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import zmq

from rtdecode.core.actions import Action, action_as_json, action_from_json
from rtdecode.core.errors import DoorError

MAX_MESSAGE_BYTES = 65536
_REFUSE_BYTES = 1 << 20  # beyond this ZeroMQ drops the peer before we see the message
_BATCH = 256  # messages taken by one poll: a flood must not starve the session
_CLIENTS = 256  # whose last request number is remembered
_RETRY_S = 0.5  # without an answer for so long: new connection, ask again
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class DoorMessage:
    """What a worker said: status as it gave it; `actions` it asks for, each delivered once."""

    worker: str
    status: dict[str, Any]
    actions: tuple[Action, ...] = ()


@dataclass(slots=True)
class DoorCounts:
    """Messages by what became of them."""

    accepted: int = 0
    refused: int = 0  # oversized, malformed, wrong key


class Door:
    """The session's side. `endpoint` holds a key: a worker of another run, or a stranger, is refused."""

    def __init__(self, bind: str = "tcp://127.0.0.1:*", allow_remote: bool = False) -> None:
        """Open at `bind`; DoorError when it is taken, or not on this machine's loopback without `allow_remote`."""
        host = urlsplit(bind.replace("*", "0")).hostname
        if not allow_remote and host not in _LOOPBACK:
            raise DoorError(f"{bind}: the door opens on 127.0.0.1 only, unless remote workers are allowed")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _REFUSE_BYTES)
        try:
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise DoorError(f"{bind}: the door cannot open there: {error}") from error
        self._key = secrets.token_hex(16)
        self.endpoint = f"{self._socket.getsockopt_string(zmq.LAST_ENDPOINT)}#{self._key}"
        self.counts = DoorCounts()
        self._orders: dict[str, dict[int, Action]] = {}
        self._next_order = 1
        self._last_request: OrderedDict[str, int] = OrderedDict()

    def order(self, worker: str, action: Action) -> int:
        """Give a standing order; repeated in every answer to `worker` until it says that it is done."""
        number = self._next_order
        self._next_order += 1
        self._orders.setdefault(worker, {})[number] = action
        return number

    def pending(self, worker: str) -> list[int]:
        """Orders that this worker has not yet acknowledged."""
        return list(self._orders.get(worker, {}))

    def poll(self, timeout_ms: int = 0) -> list[DoorMessage]:
        """Messages that came, each answered; waits up to `timeout_ms` for the first."""
        messages: list[DoorMessage] = []
        if not self._socket.poll(timeout_ms):
            return messages
        for _ in range(_BATCH):
            try:
                sender, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                break
            answer = self._answer(parts, messages)
            self._send(sender, answer)
        return messages

    def _answer(self, parts: list[bytes], messages: list[DoorMessage]) -> dict[str, Any]:
        number = None  # only a worker with our key learns which of its messages was refused
        try:
            said = _parse(parts)
            if said.get("key") != self._key:
                raise DoorError("wrong key: this door belongs to another run")
            number = said.get("number")
            message, answer = self._take(said)
        except DoorError as error:
            self.counts.refused += 1
            return {"error": str(error), "number": number}
        self.counts.accepted += 1
        messages.append(message)
        return answer

    def _take(self, said: dict[str, Any]) -> tuple[DoorMessage, dict[str, Any]]:
        match said:
            case {
                "worker": str(worker), "client": str(client), "number": int(number),
                "status": dict(status), "requests": list(requests), "done": list(done),
            }:  # fmt: skip
                actions = self._new_actions(client, requests)
            case _:
                raise DoorError("not a worker's message: needs worker, client, number, status, requests, done")
        standing = self._orders.get(worker, {})
        for order in done:
            if isinstance(order, int):
                standing.pop(order, None)
        orders = [{"id": order, "action": action_as_json(action)} for order, action in standing.items()]
        accepted = self._last_request.get(client, 0)
        return DoorMessage(worker, status, actions), {"number": number, "orders": orders, "accepted": accepted}

    def _new_actions(self, client: str, requests: list[Any]) -> tuple[Action, ...]:
        """Requests not seen before, in order; each client numbers its own from 1."""
        actions = []
        last = self._last_request.get(client, 0)
        for request in requests:
            match request:
                case {"id": int(number), "action": dict(fields)}:
                    action = _action(fields)
                case _:
                    raise DoorError(f"not a request: {str(request)[:200]}")
            if number > last:
                last = number
                actions.append(action)
        self._remember(client, last)
        return tuple(actions)

    def _remember(self, client: str, last: int) -> None:
        self._last_request[client] = last
        self._last_request.move_to_end(client)
        while len(self._last_request) > _CLIENTS:
            self._last_request.popitem(last=False)

    def _send(self, sender: bytes, answer: dict[str, Any]) -> None:
        with suppress(zmq.ZMQError):  # the worker is gone or does not read; it will ask again
            self._socket.send_multipart([sender, json.dumps(answer).encode()], zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        self._context.destroy(linger=0)


class DoorClient:
    """A worker's side; never waits longer than it is told, whatever became of the session."""

    def __init__(self, endpoint: str, worker: str) -> None:
        """Connect (nobody needs to be there yet); DoorError when the endpoint is none."""
        self._address, _, self._key = endpoint.partition("#")
        self._worker = worker
        self._client = secrets.token_hex(8)
        self._requests: dict[int, Action] = {}  # repeated until accepted
        self._next_request = 1
        self._done: set[int] = set()  # orders carried out, told until they are off the door's list
        self._fresh: dict[int, Action] = {}  # orders heard and not yet carried out
        self._number = 0
        self._asked_at: float | None = None  # None: no question is open
        self._heard_at = time.monotonic()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
        self._connect()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _REFUSE_BYTES)
        try:
            self._socket.connect(self._address)
        except zmq.ZMQError as error:
            self.close()
            raise DoorError(f"{self._address!r} is no door's address: {error}") from error

    def exchange(
        self, status: dict[str, Any], request: Action | None = None, timeout_ms: int = 0
    ) -> list[tuple[int, Action]]:
        """Tell `status`, ask for `request` (repeated until accepted), return the orders that are new.

        Calling again says that the orders returned before were carried out. Waits up to `timeout_ms` for
        the answer; one that comes later is taken by a later call. DoorError: the message is larger than
        64 kB, is not plain JSON, or was refused; the requests not yet accepted are then withdrawn.
        """
        self._done |= self._fresh.keys()
        self._fresh = {}
        if request is not None:
            self._requests[self._next_request] = request
            self._next_request += 1
        self._listen(0)
        self._ask(status)
        if not self._fresh:
            self._listen(timeout_ms)
        return list(self._fresh.items())

    @property
    def silent_for_s(self) -> float:
        """Seconds since the door last answered (since this client was made, before the first answer)."""
        return time.monotonic() - self._heard_at

    @property
    def unanswered(self) -> int:
        """Requests that the door has not yet accepted."""
        return len(self._requests)

    def close(self) -> None:
        """Close the socket; what is unsent is dropped. Safe to call twice."""
        self._context.destroy(linger=0)

    def _listen(self, timeout_ms: int) -> None:
        """Take answers until the open question has its own, or the time is over."""
        deadline = time.monotonic() + timeout_ms / 1000
        while self._asked_at is not None:
            left_ms = max(0, round((deadline - time.monotonic()) * 1000))
            if not self._socket.poll(left_ms):
                return
            self._hear(self._socket.recv_multipart(zmq.NOBLOCK))

    def _ask(self, status: dict[str, Any]) -> None:
        """Send unless the last question is still open and young; an old one is given up with its connection."""
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at < _RETRY_S:
            return
        self._number += 1
        data = self._message(status)
        if self._asked_at is not None:
            self._socket.close(linger=0)
            self._connect()
        with suppress(zmq.ZMQError):  # it counts as asked: the next try comes after _RETRY_S
            self._socket.send(data, zmq.NOBLOCK)
        self._asked_at = now

    def _message(self, status: dict[str, Any]) -> bytes:
        requests = [{"id": n, "action": action_as_json(a)} for n, a in self._requests.items()]
        message = {
            "key": self._key, "worker": self._worker, "client": self._client, "number": self._number,
            "status": status, "requests": requests, "done": sorted(self._done),
        }  # fmt: skip
        try:
            data = json.dumps(message, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise self._withdrawn(f"is not plain JSON: {error}") from error
        if len(data) > MAX_MESSAGE_BYTES:
            raise self._withdrawn(f"has {len(data)} bytes, the door takes {MAX_MESSAGE_BYTES}")
        return data

    def _withdrawn(self, what: str) -> _MessageRefused:
        """A fault of the caller; what caused it must not be repeated with every later message."""
        self._requests.clear()
        return _MessageRefused(f"{self._worker}'s message to the door {what}")

    def _hear(self, parts: list[bytes]) -> None:
        """Take one answer; what no door of ours would say is as good as silence."""
        with suppress(KeyError, TypeError, ValueError, _NotJson):
            answer = _parse(parts)
            if answer["number"] != self._number:
                return
            if "error" in answer:
                self._asked_at = None
                raise self._withdrawn(f"was refused: {answer['error']}")
            self._take(answer)

    def _take(self, answer: dict[str, Any]) -> None:
        orders = {int(order["id"]): action_from_json(order["action"]) for order in answer["orders"]}
        accepted = int(answer["accepted"])
        self._asked_at, self._heard_at = None, time.monotonic()
        self._requests = {n: action for n, action in self._requests.items() if n > accepted}
        self._done &= orders.keys()
        self._fresh |= {number: action for number, action in orders.items() if number not in self._done}


class _MessageRefused(DoorError):
    """Our own message cannot be sent or is not taken."""


class _NotJson(DoorError):
    """Bytes that no side of a door sends."""


def _parse(parts: list[bytes]) -> dict[str, Any]:
    data = parts[-1] if parts else b""
    if sum(map(len, parts)) > MAX_MESSAGE_BYTES:
        raise _NotJson(f"message of {sum(map(len, parts))} bytes, at most {MAX_MESSAGE_BYTES}")
    try:
        said = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _NotJson(f"not JSON: {str(error)[:200]}") from error
    if not isinstance(said, dict):
        raise _NotJson("not a JSON object")
    return said


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _action(fields: dict[str, Any]) -> Action:
    try:
        return action_from_json(fields)
    except ValueError as error:
        raise DoorError(str(error)[:500]) from error
