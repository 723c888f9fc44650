"""Micro-Manager that dies, hangs, is none, or that another program uses too: each is told, none is waited for."""

from __future__ import annotations

import socket
import sys
import threading
import time
from typing import Any

import pytest
import zmq
from bridge_runs import REGION, on, read_to_the_end, wait_until
from bridges import Bridge
from source_contract import DEADLINE_S, drain, read_next, slot_for

from rtdecode.core.actions import Stop
from rtdecode.core.errors import EndOfStream, SourceError, SourceLost
from rtdecode.core.frames import FrameFlag
from rtdecode.sources.micromanager import MicroManagerSource

freezing = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
NOTICED_S = 2.0  # a server that was killed: as promised; its connection closes, no patience of ours is in it

pytest.importorskip("pymmcore_plus")
pytest.importorskip("mm_test_adapters")


# a server that dies, hangs, or is none


def test_a_killed_server_is_noticed_and_what_was_read_is_valid(mortal_bridge: Bridge, opened: Any) -> None:
    source = opened(on(mortal_bridge, frames=100_000, patience_s=600))
    out = slot_for(source)
    indices = [read_next(source, out).index for _ in range(20)]
    mortal_bridge.kill()
    begin = time.monotonic()
    found, message = read_to_the_end(source)
    assert time.monotonic() - begin < NOTICED_S
    assert "is gone" in message
    indices += [info.index for info, _ in found]
    assert indices == list(range(len(indices)))
    assert source.made is not None and source.made >= len(indices)
    with pytest.raises(SourceLost):
        source.read(out)
    with pytest.raises(SourceLost):
        source.apply(Stop("enough"))
    with pytest.raises(SourceError, match="camera and light may be as they were"):
        source.close()
    assert time.monotonic() - begin < 3 * NOTICED_S
    source.close()


def test_a_killed_server_is_noticed_while_no_frame_comes(opened: Any) -> None:
    with Bridge("counting", period_ms=3_600_000) as bridge:
        source = opened(on(bridge, patience_s=600))
        assert source.read(slot_for(source)) is None
        bridge.kill()
        begin = time.monotonic()
        found, message = read_to_the_end(source)
        assert time.monotonic() - begin < NOTICED_S
        assert not found and "is gone" in message and source.made == 0


@freezing
def test_a_server_that_hangs_and_comes_back_loses_nothing(mortal_bridge: Bridge, opened: Any) -> None:
    source = opened(on(mortal_bridge, frames=200))
    out = slot_for(source)
    first = read_next(source, out)
    mortal_bridge.freeze()
    threading.Timer(0.5, mortal_bridge.thaw).start()
    indices = [info.index for info, _ in drain(source)]
    assert indices == list(range(first.index + 1, 200))


@freezing
def test_a_server_that_hangs_for_good_is_given_up(mortal_bridge: Bridge, opened: Any) -> None:
    source = opened(on(mortal_bridge, frames=100_000, patience_s=0.3))
    out = slot_for(source)
    read_next(source, out)
    mortal_bridge.freeze()
    _, message = read_to_the_end(source)
    assert "has not answered for 0.3 s" in message
    begin = time.monotonic()
    with pytest.raises(SourceError, match="look at them"):
        source.close()
    assert time.monotonic() - begin < DEADLINE_S / 2


def test_nothing_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(SourceError, match="tick 'Run server on port 4827' under Tools > Options"):
        MicroManagerSource(frames=1, port=port).open()


def test_something_else_listens() -> None:
    def shout() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=shout, daemon=True).start()
        with pytest.raises(SourceError, match="another program listens"):
            MicroManagerSource(frames=1, port=listener.getsockname()[1]).open()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([b"\xff\x00 garbage"], "not understood"),
        ([b"[" * 100_000], "not understood"),
        ([b"[]"], "not understood"),
        ([b'{"type": "short-array", "value": "[B@1"}', b"1234", b"xyz"], "not understood"),
        ([b"{}", b"", b"", b"", b"", b""], "7 parts"),
        ([b'{"type": "none", "version": "4.2.0"}'], "version 4.2.0, rtdecode speaks 5.1"),
        ([b'{"type": "none", "version": "5.10.0"}'], "version 5.10.0"),
        ([b'{"type": "none"}'], "2.0 or older"),
        ([b'{"type": "none", "version": "5.1.0"}'], "does not hand out Micro-Manager's core"),
    ],
)
def test_answers_that_are_none(answers: list[bytes], reason: str) -> None:
    """What arrives is parsed, bounded, and named."""
    peer = zmq.Context.instance().socket(zmq.REP)
    port = peer.bind_to_random_port("tcp://127.0.0.1")

    def answer() -> None:
        while peer.poll(2000):
            peer.recv_multipart()
            peer.send_multipart(answers)

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(SourceError, match=reason):
        MicroManagerSource(frames=1, port=port).open()
    thread.join()
    peer.close(linger=0)


def test_a_server_whose_thread_has_died(mortal_bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still accepts connections."""
    monkeypatch.setattr("rtdecode.sources.micromanager_connect.GREETING_S", 0.3)
    asking = zmq.Context.instance().socket(zmq.REQ)
    asking.connect(f"tcp://127.0.0.1:{mortal_bridge.port}")
    asking.send(b"not JSON")
    with pytest.raises(SourceError, match="its thread has died"):
        wait_until(lambda: on(mortal_bridge).open())
    asking.close(linger=0)


# another program on the same Micro-Manager


def test_overflow_is_told_after_the_kept_frames(counting_bridge: Bridge, opened: Any) -> None:
    source = opened(on(counting_bridge, frames=4000, buffer_mb=1))
    wait_until(lambda: counting_bridge.ask("isBufferOverflowed"))  # nobody reads
    found, message = read_to_the_end(source)
    assert [(info.index, number) for info, number in found] == [(i, i) for i in range(len(found))]
    assert f"overflowed and the camera stopped after {len(found)} of 4000" in message
    assert source.made == len(found) > 0


def test_a_camera_that_another_program_stopped(counting_bridge: Bridge, opened: Any) -> None:
    source = opened(on(counting_bridge, frames=4000))
    read_next(source, slot_for(source))
    counting_bridge.ask("stopSequenceAcquisition")
    found, message = read_to_the_end(source)
    assert [number for _, number in found] == list(range(1, len(found) + 1))
    assert "stopped by itself" in message and f"after {len(found) + 1} of 4000" in message


def test_another_region_ends_the_run(demo_bridge: Bridge, opened: Any) -> None:
    """setROI stops the camera and throws the queue away, without an error."""
    source = opened(on(demo_bridge, frames=4000, region=REGION))
    read_next(source, slot_for(source))
    demo_bridge.ask("setROI", 0, 0, 32, 32)
    found, message = read_to_the_end(source)
    assert "changed its region" in message and "width_px=32" in message
    assert all(info.flags in (FrameFlag.GOOD, FrameFlag.WRONG_SIZE) for info, _ in found)


def test_a_region_that_only_moved_is_found_at_the_next_check(demo_bridge: Bridge, opened: Any) -> None:
    """Of the same size the camera goes on, elsewhere on the sensor: only tags tell."""
    source = opened(on(demo_bridge, frames=4000, region=REGION, check_every=20))
    read_next(source, slot_for(source))
    demo_bridge.ask("setROI", 0, 0, 64, 48)
    found, message = read_to_the_end(source)
    assert len(found) <= 40
    assert "ROI" in message or "changed its region" in message


@pytest.mark.parametrize("size", ["32", "256"])
def test_a_size_that_changes_in_mid_run_never_gives_wrong_pixels(demo_bridge: Bridge, opened: Any, size: str) -> None:
    """A popped frame is shaped by the core's present size; with a larger one a pop would copy foreign memory."""
    with demo_bridge.other() as ask:
        before = ask("getProperty", "Camera", "OnCameraCCDXSize")
        ask("setProperty", "Camera", "OnCameraCCDXSize", "64")
        source = opened(on(demo_bridge, frames=40, check_every=1000))
        out = slot_for(source)
        read_next(source, out)
        wait_until(lambda: ask("getRemainingImageCount") >= 5)
        ask("stopSequenceAcquisition")
        ask("setProperty", "Camera", "OnCameraCCDXSize", size)
        made = source.made
        out[...] = 7
        try:
            found, _ = read_to_the_end(source)
        finally:
            ask("setProperty", "Camera", "OnCameraCCDXSize", before)
    assert [info.index for info, _ in found] == list(range(1, made))
    assert FrameFlag.WRONG_SIZE in {info.flags for info, _ in found[-3:]}


def test_another_program_that_pops_is_seen_as_a_gap(counting_bridge: Bridge, opened: Any) -> None:
    source = opened(on(counting_bridge, frames=300, check_every=20))
    out = slot_for(source)
    read_next(source, out)
    wait_until(lambda: source.made is not None and source.made > 80)
    with counting_bridge.other() as ask:
        for _ in range(3):
            ask("popNextImage")
    frames = [(info.index, int(pixels[0, 0])) for info, pixels in drain(source)]
    indices = [index for index, _ in frames]
    assert len(frames) == 300 - 1 - 3 and indices == sorted(set(indices))
    assert indices[-1] == 299
    wrong = [index for index, number in frames if index != number]
    assert len(wrong) < 100  # only those before the first check that saw the gap


def test_another_program_that_empties_the_buffer(counting_bridge: Bridge, opened: Any) -> None:
    """The camera goes on; cores begin a new count or go on with the old one. No frame comes twice or out of order."""
    source = opened(on(counting_bridge, frames=200, check_every=10))
    read_next(source, slot_for(source))
    wait_until(lambda: source.made is not None and source.made > 50)
    counting_bridge.ask("clearCircularBuffer")
    found: list[int] = []
    out = slot_for(source)
    try:
        while True:
            info = read_next(source, out)
            found.append(int(out[0, 0]))
            assert info.index >= len(found)
    except (EndOfStream, SourceLost) as end:
        assert found == sorted(set(found)) and len(found) < 199
        assert isinstance(end, EndOfStream) or "took frames" in str(end)


def test_two_on_one_camera_are_refused(counting_bridge: Bridge, opened: Any) -> None:
    first, late = opened(on(counting_bridge, frames=2000)), on(counting_bridge)
    with pytest.raises(SourceError, match="running already"):
        late.open()
    late.close()
    assert counting_bridge.ask("isSequenceRunning")  # the other's run goes on
    assert read_next(first, slot_for(first)).index == 0


def test_two_that_opened_before_either_started(counting_bridge: Bridge, opened: Any) -> None:
    first, second = opened(on(counting_bridge, frames=2000), start=False), opened(on(counting_bridge), start=False)
    first.start()
    with pytest.raises(SourceError, match="running already"):
        second.start()
    second.close()
    assert counting_bridge.ask("isSequenceRunning")


def test_a_camera_changed_between_open_and_start(demo_bridge: Bridge, opened: Any) -> None:
    source = opened(on(demo_bridge, region=REGION), start=False)
    demo_bridge.ask("setROI", 0, 0, 64, 48)
    with pytest.raises(SourceError, match="changed after it was set up"):
        source.start()
