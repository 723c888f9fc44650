"""The door: orders stand until they are done and are done once, whatever gets lost; nonsense is counted, not run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.errors import DoorError
from rtdecode.streams.door import Door, DoorClient, DoorMessage

Start = Callable[..., "subprocess.Popen[str]"]
WaitFor = Callable[[Callable[[], object]], None]
LASER = SetProperty("laser", "power", 2.5)


@pytest.fixture
def door() -> Iterator[Door]:
    opened = Door()
    yield opened
    opened.close()


@pytest.fixture
def client(door: Door) -> Iterator[DoorClient]:
    opened = DoorClient(door.endpoint, "localize")
    yield opened
    opened.close()


def test_status_arrives_and_an_order_is_handed_out_once(door: Door, client: DoorClient) -> None:
    assert client.exchange({"fps": 101.5}) == []
    assert door.poll(5000) == [DoorMessage("localize", {"fps": 101.5})]
    number = door.order("localize", LASER)
    door.order("acquire", Stop("not for localize"))
    handed_out = []
    for _ in range(6):
        handed_out += client.exchange({}, timeout_ms=20)
        door.poll(20)
    assert handed_out == [(number, LASER)]
    assert door.pending("localize") == [] and len(door.pending("acquire")) == 1


def test_an_order_stands_until_a_later_call_says_that_it_is_done(
    door: Door, client: DoorClient, wait_for: WaitFor
) -> None:
    number = door.order("localize", Stop("enough"))
    got: list[tuple[int, object]] = []
    wait_for(lambda: (got.extend(client.exchange({})), got or door.poll(10))[-1] and got)
    door.poll(50)
    assert got == [(number, Stop("enough"))]
    assert door.pending("localize") == [number]  # handed out, not yet known to be carried out
    wait_for(lambda: (got.extend(client.exchange({})), door.poll(10), not door.pending("localize"))[-1])
    assert len(got) == 1


def test_a_request_is_delivered_once_however_often_it_is_repeated(door: Door) -> None:
    """The door answers nothing that the asker hears, three times; then it does."""
    deaf = DoorClient(door.endpoint, "decide")
    got = []
    deaf.exchange({}, LASER)
    deaf.exchange({}, Stop("dense"))
    for _ in range(3):
        deaf._socket.close(linger=0)  # the answer is lost on the way
        deaf._connect()
        deaf._asked_at = None
        deaf.exchange({})
        got += [action for message in door.poll(5000) for action in message.actions]
    assert got == [LASER, Stop("dense")] and deaf.unanswered == 2
    while deaf.unanswered:
        deaf.exchange({}, timeout_ms=20)
        assert not [action for message in door.poll(0) for action in message.actions]
    deaf.close()


def test_nobody_at_the_door(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = DoorClient(f"tcp://127.0.0.1:{port}#key", "localize")
    silent = client.silent_for_s
    for _ in range(4):
        assert client.exchange({"n": 1}, Stop("x"), timeout_ms=200) == []
    assert client.silent_for_s > silent + 0.5 and client.unanswered == 4
    client.close()
    client.close()


def test_the_session_dies_and_the_worker_neither_hangs_nor_obeys_another_run(door: Door, client: DoorClient) -> None:
    client.exchange({})
    door.poll(5000)
    heard_before = client._heard_at
    client.exchange({}, timeout_ms=600)
    assert client._heard_at > heard_before
    address = door.endpoint.partition("#")[0]
    door.close()
    client.exchange({}, timeout_ms=300)
    stranger = Door(bind=address)  # another run got our port
    stranger.order("localize", Stop("not yours"))
    heard_before = client._heard_at
    deadline = time.monotonic() + 30
    while stranger.counts.refused < 2:
        assert client.exchange({}, timeout_ms=50) == [] and time.monotonic() < deadline
        assert stranger.poll(50) == []
    assert client._heard_at == heard_before and stranger.counts.accepted == 0
    stranger.close()


def test_a_door_that_opens_late_is_found(wait_for: WaitFor) -> None:
    first = Door()
    endpoint, key = first.endpoint, first._key
    first.close()
    client = DoorClient(endpoint, "localize")
    client.exchange({}, timeout_ms=600)
    late = Door(bind=endpoint.partition("#")[0])
    late._key = key
    order = late.order("localize", LASER)
    got = []
    wait_for(lambda: (late.poll(10), got.extend(client.exchange({}, timeout_ms=10)), got)[-1])
    assert got == [(order, LASER)]
    client.close()
    late.close()


def test_a_killed_worker_gets_what_it_has_not_acknowledged(
    door: Door, start: Start, wait_for: WaitFor, tmp_path: Path
) -> None:
    executed = tmp_path / "executed"
    victim = start("door_worker", door.endpoint, "acquire", executed)
    wait_for(lambda: door.poll(10))
    orders = [door.order("acquire", SetProperty("laser", "power", float(i))) for i in range(3)]
    wait_for(lambda: door.poll(10) and not door.pending("acquire"))
    victim.kill()
    victim.wait()
    orders.append(door.order("acquire", Stop("enough")))
    again = start("door_worker", door.endpoint, "acquire", executed)
    wait_for(lambda: (door.poll(10), again.poll())[1] is not None)
    assert again.returncode == 0 and door.pending("acquire") == []
    assert [int(line.split()[0]) for line in executed.read_text().splitlines()] == orders


def test_requests_of_another_process_arrive_in_order(door: Door, start: Start, wait_for: WaitFor) -> None:
    asker = start("door_asker", door.endpoint)
    got: list[object] = []
    wait_for(lambda: (got.extend(a for m in door.poll(10) for a in m.actions), asker.poll())[1] is not None)
    assert asker.returncode == 0 and got == [SetProperty("laser", "power", 1.5), Stop("dense enough")]


def raw(door: Door, *messages: bytes) -> list[dict[str, object]]:
    """Send bytes as a stranger would; what the door answers."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    stranger.connect(door.endpoint.partition("#")[0])
    answers = []
    for message in messages:
        stranger.send(message)
        assert door.poll(5000) == []
        assert stranger.poll(5000)
        answers.append(json.loads(stranger.recv()))
    context.destroy(linger=0)
    return answers


def test_nonsense_is_answered_and_counted(door: Door, client: DoorClient) -> None:
    key = door.endpoint.partition("#")[2]
    good = {"key": key, "worker": "w", "client": "c", "number": 1, "status": {}, "requests": [], "done": []}
    not_actions = [
        {"kind": "exec", "code": "import os"},
        {"kind": "set", "device": "x", "property": "y", "value": "z"},
        {"kind": "stop"},
    ]
    nonsense = [
        b"",
        b"\xff\x00",
        b"[]",
        b"3",
        b'{"a": NaN}',
        b"[" * 60000,
        os.urandom(1000),
        b"9" * 60000,
        b" " * 65537,
        b"{}",
        json.dumps(good | {"key": "guess"}).encode(),
        json.dumps(good | {"worker": 3}).encode(),
        *(json.dumps(good | {"requests": [{"id": 1, "action": action}]}).encode() for action in not_actions),
        json.dumps(good | {"requests": ["__import__('os')"]}).encode(),
        json.dumps(good | {"done": "all"}).encode(),
    ]
    answers = raw(door, *nonsense)
    assert all(answer["error"] for answer in answers)
    assert door.counts.refused == len(nonsense) and door.counts.accepted == 0
    client.exchange({})
    assert door.poll(5000) and door.counts.accepted == 1


def test_strange_connections_do_not_disturb(door: Door, client: DoorClient) -> None:
    port = int(door.endpoint.partition("#")[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + os.urandom(5000))
        client.exchange({})
        assert _next_of_client(door)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    huge = context.socket(zmq.DEALER)
    huge.connect(door.endpoint.partition("#")[0])
    huge.send(bytes(2 << 20))  # ZeroMQ itself closes the connection
    for _ in range(3):
        client.exchange({}, timeout_ms=5)
        door.poll(5)
    context.destroy(linger=0)
    assert client.exchange({}) == [] and _next_of_client(door)


def _next_of_client(door: Door) -> list[DoorMessage]:
    """What a worker said next; ZeroMQ may take a stranger's bytes for messages of its oldest wire: refused."""
    deadline = time.monotonic() + 20
    while not (said := door.poll(100)) and time.monotonic() < deadline:
        pass
    return said


def test_a_flood_does_not_starve_the_session(door: Door) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    flood = context.socket(zmq.DEALER)
    flood.setsockopt(zmq.SNDHWM, 0)
    flood.connect(door.endpoint.partition("#")[0])
    for _ in range(5000):
        flood.send(b"nonsense")
    client = DoorClient(door.endpoint, "localize")
    order = door.order("localize", Stop("even so"))
    got: list[tuple[int, object]] = []
    deadline = time.monotonic() + 30
    while not got and time.monotonic() < deadline:
        before = door.counts.refused
        door.poll(10)
        assert door.counts.refused - before <= 256
        got += client.exchange({}, timeout_ms=10)
    assert got == [(order, Stop("even so"))]
    client.close()
    context.destroy(linger=0)


def test_what_cannot_be_sent_is_the_callers_fault(door: Door, client: DoorClient) -> None:
    for status in ({"x": object()}, {"x": float("nan")}, {"x": "y" * 70000}):
        with pytest.raises(DoorError, match="localize's message"):
            client.exchange(status)
    with pytest.raises(DoorError, match="65536"):
        client.exchange({}, Stop("because " * 10000))
    client.exchange({}, Stop("short"))  # and the long one is not repeated
    assert [message.actions for message in door.poll(5000)] == [(Stop("short"),)]


def test_the_door_is_for_this_machine_unless_told() -> None:
    for bind in ("tcp://*:*", "tcp://0.0.0.0:5555", "tcp://192.168.1.5:5555", "nonsense"):
        with pytest.raises(DoorError, match=r"127\.0\.0\.1 only"):
            Door(bind)
    with pytest.raises(DoorError, match="cannot open"):
        Door("nonsense", allow_remote=True)
    taken = Door()
    with pytest.raises(DoorError, match="cannot open there"):
        Door(taken.endpoint.partition("#")[0])
    taken.close()
    taken.close()
    with pytest.raises(DoorError, match="no door's address"):
        DoorClient("nonsense", "localize")
