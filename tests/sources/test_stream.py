"""Frames over ZeroMQ: every way to send them, and every way in which a sender, a receiver or the network fails."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
import zmq
from pydantic import ValidationError
from source_contract import DEADLINE_S, SourceContract, drain, read_next, slot_for
from stream_children import SERIES, SHAPE, checksum, child, frame, free_address

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.errors import EndOfStream, SourceError, SourceLost
from rtdecode.core.frames import FrameFlag, FrameInfo, Roi
from rtdecode.sources.simulated import SimulatedCamera
from rtdecode.sources.stream import StreamSource
from rtdecode.stages.serve import ServeConfig, ServeStage
from rtdecode.streams.frame_sockets import DEFAULT_ADDRESS, acknowledged_address
from rtdecode.streams.publisher import Publisher
from rtdecode.streams.wire import End, Start


class Pusher:
    """Another program: a PUSH socket and the two dialects, written out."""

    def __init__(self, address: str, *, bind: bool = False) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, 5000)
        (self._socket.bind if bind else self._socket.connect)(address)

    def json(self, fields: dict[str, Any], *parts: bytes) -> None:
        self.raw(json.dumps(fields).encode(), *parts)

    def raw(self, *parts: bytes) -> None:
        self._socket.send_multipart(parts)

    def start(self, series: str | None = SERIES, frames: int | None = None, **more: Any) -> None:
        about = {"type": "start", "series": series, "frames": frames, "dtype": "uint16", "shape": SHAPE}
        self.json({key: value for key, value in (about | more).items() if value is not None})

    def image(self, index: int, pixels: np.ndarray | None = None, **more: Any) -> None:
        pixels = frame(index) if pixels is None else pixels
        self.json({"frame": index, "dtype": pixels.dtype.str, "shape": pixels.shape} | more, pixels.tobytes())

    def end(self, **more: Any) -> None:
        self.json({"type": "end", "series": SERIES} | more)

    def close(self) -> None:
        self._context.destroy()


def push_json(address: str, frames: int) -> None:
    sender = Pusher(address)
    sender.start("contract", frames, shape=(64, 64))
    for index in range(frames):
        sender.image(index, np.full((64, 64), index, np.uint16))
    sender.end(series="contract")
    sender.close()


def push_cbor(address: str, frames: int) -> None:
    sender = Pusher(address)
    series = {"series_id": 1, "series_unique_id": "contract"}
    size = {"image_size_x": 64, "image_size_y": 64, "image_dtype": "uint16", "number_of_images": frames}
    sender.raw(cbor2.dumps({"type": "start", **series, **size}))
    for index in range(frames):
        pixels = cbor2.CBORTag(40, [[64, 64], cbor2.CBORTag(65, np.full((64, 64), index, ">u2").tobytes())])
        sender.raw(cbor2.dumps({"type": "image", "image_id": index, **series, "data": {"camera": pixels}}))
    sender.raw(cbor2.dumps({"type": "end", **series}))
    sender.close()


def serve(address: str, frames: int, **fields: Any) -> ServeStage:
    """A simulated camera, served to its end in this thread."""
    config = ServeConfig(acknowledged_address(address), False, "contract", allow_stop=True, **fields)
    stage = ServeStage(SimulatedCamera(frames=frames, fps=200, seed=3), config, lambda words: None)
    while stage.step() is not None:
        time.sleep(0.0005)
    return stage


SENDERS = {"json": push_json, "cbor": push_cbor, "acknowledged": serve}


class Fed(StreamSource):
    """A stream whose sender begins with each `open`."""

    sender: str

    def open(self) -> None:
        threading.Thread(target=SENDERS[self.sender], args=(self.bind, 12), daemon=True).start()
        super().open()


class TestJsonContract(SourceContract):
    def make(self, folder: Path) -> StreamSource:
        return Fed(bind=free_address(), sender="json")


class TestCborContract(SourceContract):
    def make(self, folder: Path) -> StreamSource:
        return Fed(bind=free_address(), sender="cbor")


class TestAcknowledgedContract(SourceContract):
    def make(self, folder: Path) -> StreamSource:
        return Fed(bind=free_address(), sender="acknowledged")


Opening = Callable[..., tuple[StreamSource, Pusher]]


@pytest.fixture
def opening() -> Iterator[Opening]:
    """A sender with a start behind it, and the source that has heard it."""
    made: list[Any] = []

    def both(*, started: bool = True, **fields: Any) -> tuple[StreamSource, Pusher]:
        address = free_address()
        source, sender = StreamSource(**({"bind": address, "wait_s": DEADLINE_S} | fields)), Pusher(address)
        made.extend([source, sender])
        if started:
            sender.start()
            source.open()
            source.start()
        return source, sender

    yield both
    for one in made:
        one.close()


def wait_until(source: StreamSource, condition: Callable[[], bool]) -> None:
    """Read (nothing may come) until it holds."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert source.read(slot_for(source)) is None
        assert time.monotonic() < until, "never came true"
        time.sleep(0.001)


def indices(source: StreamSource) -> list[int]:
    return [info.index for info, _ in drain(source)]


# what is lost, doubled or wrong


def test_a_jump_of_numbers_is_a_gap_and_repeats_are_dropped(opening: Opening) -> None:
    source, sender = opening()
    for index in (0, 1, 4, 4, 2, 5, 0, 9):
        sender.image(index)
    sender.end(frames=12)
    frames = drain(source)
    assert [info.index for info, _ in frames] == [0, 1, 4, 5, 9]
    assert all(np.array_equal(pixels, frame(info.index)) for info, pixels in frames)
    assert source.status()["dropped"] == 3
    assert source.made == 12  # the tail is lost, too, and is counted
    assert source.ended_early is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"pixels": np.zeros((24, 31), np.uint16)},
        {"pixels": np.zeros(SHAPE, np.uint8)},
        {"pixels": np.zeros(SHAPE, np.uint32)},
        {"shape": [1000, 1000]},
        {"shape": "large"},
        {"dtype": "object"},
    ],
)
def test_a_frame_of_another_size_or_type_is_announced(opening: Opening, wrong: dict[str, Any]) -> None:
    source, sender = opening()
    sender.image(0)
    sender.image(1, **wrong)
    sender.image(2)
    sender.end()
    flags = [(info.index, info.flags) for info, _ in drain(source)]
    assert flags == [(0, 0), (1, FrameFlag.WRONG_SIZE), (2, 0)]
    assert source.status()["unusable"] == 1 and source.status()["why"]


def test_bytes_are_widened_and_byte_orders_are_turned() -> None:
    for dtype, ours in (("u1", "uint16"), (">u2", "uint16"), (">f4", "float32"), ("<f4", "float32")):
        address = free_address()
        source, sender = StreamSource(bind=address, wait_s=DEADLINE_S), Pusher(address)
        pixels = (frame(0) % 250).astype(dtype)
        sender.image(0, pixels)
        sender.end()
        source.open()
        source.start()
        assert source.dtype == ours and source.roi == Roi(0, 0, 32, 24)
        (_, got), = drain(source)  # fmt: skip
        assert got.dtype == ours and np.array_equal(got, pixels)
        source.close()
        sender.close()


def test_nonsense_is_counted_and_told_and_harms_nothing(opening: Opening) -> None:
    source, sender = opening()
    sender.image(0)
    for nonsense in (b"", b"hello", b"{", b"\x9b" + b"\xff" * 8, b"\x81" * 5000, b'{"type": "stop"}', b"\x00" * 100000):
        sender.raw(nonsense)
    sender.raw(*[b"x"] * 40)
    sender.image(1)
    sender.end()
    assert indices(source) == [0, 1]
    assert source.status()["malformed"] == 8
    assert "CBOR" in source.status()["why"]


def test_a_number_from_nowhere_is_refused_not_counted_as_a_million_losses(opening: Opening) -> None:
    source, sender = opening()
    sender.image(0)
    sender.image(2**52)
    sender.image(1)
    sender.end()
    assert indices(source) == [0, 1]
    assert "jump" in source.status()["why"]


def test_a_message_too_large_is_not_let_in(opening: Opening) -> None:
    source, sender = opening(max_message_mb=1)
    sender.image(0)
    assert read_next(source, slot_for(source)).index == 0
    sender.image(1, np.zeros((1000, 1001), np.uint16))
    number, info = 2, None  # the connection is closed on it and made again; what is pushed meanwhile is lost with it
    while info is None and number < 5000:
        sender.image(number)
        number, info = number + 1, source.read(slot_for(source))
        time.sleep(0.001)
    assert info is not None and info.index >= 2
    sender.end()
    assert drain(source)[-1][0].index == number - 1


def test_saturated_frames_are_flagged_where_the_sender_says_what_full_is(opening: Opening) -> None:
    source, sender = opening(started=False)
    sender.start(saturation_value=4000, frame_time=0.005)
    sender.image(0, np.full(SHAPE, 3999, np.uint16))
    sender.image(1, np.full(SHAPE, 4000, np.uint16))
    sender.end()
    source.open()
    assert source.nominal_fps == pytest.approx(200) and not source.can_wait
    source.start()
    assert [info.flags for info, _ in drain(source)] == [0, FrameFlag.SATURATED]


# how a series begins and ends


def test_shape_and_type_may_come_with_the_first_image(opening: Opening) -> None:
    source, sender = opening(started=False)
    sender.json({"type": "start", "series": SERIES, "frames": 2})
    sender.image(0)
    sender.image(1)
    sender.end()
    source.open()
    assert (source.expected, source.roi.shape, source.dtype) == (2, SHAPE, "uint16")
    source.start()
    assert indices(source) == [0, 1]


def test_a_series_may_be_joined_in_its_middle(opening: Opening) -> None:
    source, sender = opening(started=False)
    sender.end(series="the one before")
    for index in (70, 71):
        sender.image(index, series=SERIES)
    sender.end()
    source.open()
    source.start()
    assert source.expected is None
    assert indices(source) == [70, 71]


def test_both_dialects_come_through_one_port(opening: Opening) -> None:
    source, sender = opening()
    sender.image(0)
    pixels = cbor2.CBORTag(40, [list(SHAPE), cbor2.CBORTag(69, frame(1).tobytes())])
    sender.raw(cbor2.dumps({"type": "image", "image_id": 1, "series_unique_id": SERIES, "data": {"a": pixels}}))
    sender.end()
    assert [checksum(pixels) for _, pixels in drain(source)] == [checksum(frame(0)), checksum(frame(1))]


def test_another_series_ends_this_one_with_a_reason(opening: Opening) -> None:
    source, sender = opening()
    sender.image(0)
    sender.start("cell 4")
    sender.image(0)
    read_next(source, slot_for(source))
    for _ in range(2):
        with pytest.raises(EndOfStream, match=r"cell 3 gave way to cell 4.*1 frames"):
            read_next(source, slot_for(source))
    assert source.made == 1
    assert "cell 4" in (source.ended_early or "")


def test_a_series_may_end_before_what_it_announced(opening: Opening) -> None:
    source, sender = opening(started=False)
    sender.start(frames=1000)
    sender.image(0)
    sender.end(reason="stopped by hand")
    source.open()
    source.start()
    assert indices(source) == [0]
    assert source.expected == 1000 and source.made == 1
    assert source.ended_early == "the sender ended the series after 1 frames: stopped by hand"


def test_the_same_series_goes_on_and_a_nameless_one_does_not(opening: Opening) -> None:
    source, sender = opening()
    for index in (0, 1):
        sender.image(index)
    sender.start()
    for index in (0, 1, 2):
        sender.image(index, series=SERIES)
    sender.start(None)
    frames = []
    with pytest.raises(EndOfStream, match="unnamed"):
        while True:
            frames.append(read_next(source, slot_for(source)).index)
    assert frames == [0, 1, 2]
    assert (source.status()["dropped"], source.status()["resumed"]) == (2, 1)


def test_silence_ends_nothing_and_is_told(opening: Opening) -> None:
    source, sender = opening()
    sender.image(0)
    read_next(source, slot_for(source))
    wait_until(source, lambda: source.status()["silent_s"] >= 0.3)
    sender.end(series="another one's")
    sender.image(1)
    sender.end()
    assert indices(source) == [1]


def test_a_sender_whose_camera_failed_says_so(opening: Opening) -> None:
    source, sender = opening()
    sender.image(0)
    sender.end(fault="overflow of the camera's buffer")
    read_next(source, slot_for(source))
    with pytest.raises(SourceLost, match=r"overflow.*1 frames before are valid"):
        read_next(source, slot_for(source))


def test_stop_reads_what_has_come_from_a_sender_that_cannot_be_stopped(opening: Opening) -> None:
    source, sender = opening()
    for index in range(5):
        sender.image(index)
    first = read_next(source, slot_for(source))
    source.apply(Stop("enough"))
    made = source.made
    for index in range(5, 9):
        sender.image(index)
    assert indices(source) == list(range(first.index + 1, made))
    assert source.made == made
    with pytest.raises(SourceError, match="no device"):
        source.apply(SetProperty("Laser", "Power", 1.0))


def test_a_program_that_binds_is_connected_to() -> None:
    address = free_address()
    sender = Pusher(address, bind=True)
    source = StreamSource(connect=address, senders="plain", wait_s=DEADLINE_S)
    assert not source.prepare()  # a PUSH that binds sends nothing before somebody has connected
    sender.start()
    sender.image(0)
    sender.end()
    source.open()
    source.start()
    assert indices(source) == [0]
    source.close()
    sender.close()


# what is refused


def test_nobody_comes(opening: Opening) -> None:
    source, sender = opening(started=False, wait_s=1.0)
    sender.raw(b"hello")
    with pytest.raises(SourceError, match=r"nobody sent a start within 1 s; 1 messages came.*tcp.*CBOR.*ten lines"):
        source.open()
    with pytest.raises(SourceError, match="not open"):
        source.start()


def test_frames_that_cannot_be_taken_are_refused_before_the_run(opening: Opening) -> None:
    for about in ({"dtype": "uint32"}, {"dtype": "int16"}):
        source, sender = opening(started=False)
        sender.start(**about)
        with pytest.raises(SourceError, match=f"cannot be taken.*{about['dtype']}"):
            source.open()


def test_an_address_that_is_taken_or_none(opening: Opening) -> None:
    source, _ = opening()
    with pytest.raises(SourceError, match=r"cannot listen there.*Another rtdecode"):
        StreamSource(bind=source.bind).open()
    for bad in ("tcp://127.0.0.1", "http://127.0.0.1:80", "tcp://127.0.0.1:99999", "here"):
        with pytest.raises(SourceError, match=r"address|cannot"):
            StreamSource(bind=bad).open()


def test_contradictory_addresses_are_refused() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        StreamSource(bind="tcp://127.0.0.1:1", connect="tcp://127.0.0.1:1")
    with pytest.raises(ValidationError, match="senders: plain"):
        StreamSource(connect="tcp://127.0.0.1:1")


def test_the_default_is_heard_on_this_machine_only() -> None:
    source = StreamSource(bind="tcp://127.0.0.1:*")
    assert not source.prepare()
    assert len(source.endpoints) == 2 and all(end.startswith("tcp://127.0.0.1:") for end in source.endpoints)
    assert f"waits for a sender at {source.endpoints[0]}" in source.status()["why"]
    source.close()
    assert DEFAULT_ADDRESS.startswith("tcp://127.0.0.1:")


# senders and receivers that die


def lines_of(path: Path) -> list[tuple[int, int]]:
    """(index, checksum) of the whole lines of a receiver's file."""
    text = path.read_text() if path.exists() else ""
    return [(int(a), int(b)) for a, b in (line.split() for line in text.split("\n")[:-1])]


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "never came true"
        time.sleep(0.01)


def test_a_plain_sender_killed_and_restarted_goes_on_without_doubles(opening: Opening) -> None:
    source = StreamSource(bind=free_address(), wait_s=DEADLINE_S)
    first = child("send_plain", source.bind, "60", "200")
    source.open()
    source.start()
    out, came = slot_for(source), []
    while len(came) < 20:
        came.append(read_next(source, out).index)
    first.kill()
    first.wait()
    second = child("send_plain", source.bind, "60", "1000")
    came += indices(source)
    source.close()
    assert second.wait(DEADLINE_S) == 0
    assert came == sorted(set(came)) and came[-1] == 59 and came[:20] == list(range(20))
    assert came == list(range(60))  # this sender gives the same frames again: what was in its queue comes once more


def test_an_acknowledged_sender_killed_and_restarted_loses_nothing() -> None:
    source = StreamSource(bind=free_address(), wait_s=DEADLINE_S)
    first = child("send_acknowledged", source.bind, "80", "300")
    source.open()
    source.start()
    out, came = slot_for(source), []
    while len(came) < 25:
        came.append((read_next(source, out).index, checksum(out)))
    first.kill()
    first.wait()
    second = child("send_acknowledged", source.bind, "80", "1000")
    came += [(info.index, checksum(pixels)) for info, pixels in drain(source)]
    source.close()
    assert second.wait(DEADLINE_S) == 0
    assert came == [(index, checksum(frame(index))) for index in range(80)]


def test_a_receiver_killed_and_restarted_gets_all_that_was_not_acknowledged(tmp_path: Path) -> None:
    address = free_address()
    files = [tmp_path / "first", tmp_path / "second"]
    receiver = child("receive", address, str(files[0]))
    sender = child("send_acknowledged", address, "120", "200")
    wait_for(lambda: len(lines_of(files[0])) >= 30)
    receiver.kill()
    receiver.wait()
    receiver = child("receive", address, str(files[1]))
    assert receiver.wait(DEADLINE_S) == 0 and sender.wait(DEADLINE_S) == 0
    first, second = (lines_of(path) for path in files)
    assert dict(first) | dict(second) == {index: checksum(frame(index)) for index in range(120)}
    assert second[0][0] <= first[-1][0] + 1  # no gap between the two
    assert second[0][0] > 0  # what was acknowledged does not come again


class BadNetwork:
    """A TCP relay that cuts every connection when told, and forgets what was under way."""

    def __init__(self, to: str) -> None:
        self._to = int(to.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            self._pairs += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one: socket.socket, other: socket.socket) -> None:
        try:
            while piece := one.recv(4096):
                other.sendall(piece)
        except OSError:
            pass

    def cut(self) -> None:
        pairs, self._pairs = self._pairs, []
        for one in pairs:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()


def publish(publisher: Publisher, n: int) -> None:
    """Frames 0 to n - 1, as fast as they are taken, until the receiver has heard the end."""
    index = 0
    while not publisher.done:
        publisher.step()
        if publisher.ready and publisher.room and index < n:
            publisher.slot()[...] = frame(index)
            publisher.publish(FrameInfo(index, 0, 0))
            index += 1
            if index == n:
                publisher.finish(End(SERIES, n))
        else:
            time.sleep(0.0005)


def test_a_network_that_fails_again_and_again_loses_nothing_and_doubles_nothing() -> None:
    address = free_address()
    source = StreamSource(bind=address, senders="acknowledged", wait_s=DEADLINE_S)
    assert not source.prepare()
    network = BadNetwork(acknowledged_address(address))
    publisher = Publisher(network.address, bind=False, start=Start(SERIES, SHAPE, "uint16", 300), most=40)
    thread = threading.Thread(target=publish, args=(publisher, 300), daemon=True)
    thread.start()
    source.open()
    source.start()
    out, came = np.empty(SHAPE, np.uint16), []
    with pytest.raises(EndOfStream):
        while True:
            came.append((read_next(source, out).index, checksum(out)))
            if len(came) in (40, 120, 200, 299):
                network.cut()
    assert came == [(index, checksum(frame(index))) for index in range(300)]
    assert source.status()["resumed"] >= 3 and source.status()["malformed"] == 0
    source.close()
    thread.join(DEADLINE_S)
    assert publisher.done
    publisher.close()
    network.close()


def test_the_port_of_acknowledged_senders_bears_nonsense() -> None:
    source = StreamSource(bind=free_address(), senders="acknowledged", wait_s=DEADLINE_S)
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 0)
        assert not source.prepare()
        stranger.connect(source.endpoints[0])
        thread = threading.Thread(target=serve, args=(source.bind, 12), daemon=True)
        thread.start()
        source.open()
        source.start()
        for nonsense in ([b"hello"], [b"\x82\x01\x00", b"x"], [b"\x82\x01\x05", b"x"], [b"\xa1\x64type\x65alive"]):
            stranger.send_multipart(nonsense)
        stranger.send_multipart([cbor2.dumps({"type": "stopping", "allowed": True, "made": 3})])
        stranger.send_multipart([cbor2.dumps({"type": "x" * 5000})])
        assert indices(source) == list(range(12))
        thread.join(DEADLINE_S)
        source.close()


def test_a_publisher_that_binds_bears_nonsense_and_refuses_a_second_receiver() -> None:
    address = free_address()
    start = Start(SERIES, SHAPE, "uint16")
    publisher = Publisher(acknowledged_address(address), bind=True, start=start, most=4)
    source, other = (StreamSource(connect=address, senders="acknowledged", wait_s=DEADLINE_S) for _ in range(2))
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 0)
        stranger.connect(acknowledged_address(address))
        nonsense = [[b""], [b"x" * 100], [b"\xa0"], [b"a", b"b"], [cbor2.dumps({"type": 3})], [cbor2.dumps([1])]]
        for parts in nonsense:
            stranger.send_multipart(parts)
        stranger.send(cbor2.dumps({"type": "credit", "epoch": 1, "next": 99, "window": 9}))  # of no epoch of ours
        until = time.monotonic() + DEADLINE_S
        while not (source.prepare() and publisher.malformed >= len(nonsense)) and time.monotonic() < until:
            publisher.step()
        while "refused" not in other.status()["why"] and time.monotonic() < until:
            publisher.step()
            assert not other.prepare()
            assert source.read(np.empty(SHAPE, np.uint16)) is None
    assert publisher.malformed == len(nonsense) and publisher.acknowledged == 0
    assert "another receiver takes this series already" in other.status()["why"]
    for one in (source, other, publisher):
        one.close()


def test_a_second_sender_is_refused_while_the_first_lives() -> None:
    address = free_address()
    source = StreamSource(bind=address, senders="acknowledged", wait_s=DEADLINE_S)
    first, second = (
        Publisher(acknowledged_address(address), bind=False, start=Start(name, SHAPE, "uint16"), most=4)
        for name in ("first", "second")
    )
    while not source.prepare():
        first.step()
    until = time.monotonic() + DEADLINE_S
    source.start()
    while second.refused is None and time.monotonic() < until:
        first.step()
        second.step()
        assert source.read(slot_for(source)) is None
    assert "busy with the series 'first'" in (second.refused or "")
    assert first.ready and not second.ready
    for one in (first, second, source):
        one.close()


def test_a_sender_that_may_not_be_stopped_is_read_to_where_it_was() -> None:
    address = free_address()
    config = ServeConfig(acknowledged_address(address), False, "s", allow_stop=False, wait_s=0.0)
    stage = ServeStage(SimulatedCamera(frames=500, fps=100), config, lambda words: None)
    source = StreamSource(bind=address, wait_s=DEADLINE_S)
    thread = threading.Thread(target=lambda: [time.sleep(0.0005) for _ in iter(stage.step, None)], daemon=True)
    thread.start()
    source.open()
    source.start()
    first = read_next(source, slot_for(source))
    source.apply(Stop("enough"))
    made = source.made
    assert made is not None and first.index < made < 400
    assert indices(source) == list(range(first.index + 1, made))
    source.close()
    assert stage.outcome is None  # the camera there goes on
    stage.stop("the test is over")
    thread.join(DEADLINE_S)
