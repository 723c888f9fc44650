"""Senders and receivers of a frame stream that tests run as processes of their own, to kill them."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import zmq

from rtdecode.core.errors import EndOfStream
from rtdecode.core.frames import FrameInfo
from rtdecode.sources.stream import StreamSource
from rtdecode.streams.frame_sockets import acknowledged_address
from rtdecode.streams.publisher import Publisher
from rtdecode.streams.wire import End, Start

SHAPE = (24, 32)
SERIES = "cell 3"


def frame(index: int) -> np.ndarray:
    """(24, 32) uint16, another one for each index."""
    return np.random.default_rng(index).integers(0, 60000, SHAPE).astype(np.uint16)


def checksum(pixels: np.ndarray) -> int:
    """Of the pixels as they lie in memory."""
    return zlib.crc32(np.ascontiguousarray(pixels).tobytes())


def free_address() -> str:
    """A TCP address of this machine with a free port above it."""
    while True:
        port = random.randrange(20000, 60000)
        try:
            with socket.socket() as one, socket.socket() as other:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1))
                return f"tcp://127.0.0.1:{port}"
        except OSError:
            continue


def child(*arguments: str) -> subprocess.Popen[bytes]:
    """One of the functions below as a process."""
    return subprocess.Popen([sys.executable, __file__, *arguments])


def send_acknowledged(address: str, n: str, fps: str) -> None:
    """Frames of a recording: given again from the first after a restart."""
    start = Start(SERIES, SHAPE, "uint16", int(n))
    publisher = Publisher(acknowledged_address(address), bind=False, start=start, most=1000)
    index, began = 0, None
    while not publisher.done:
        publisher.step()
        if publisher.ready and began is None:
            began = time.monotonic()
        if began is not None and index < int(n) and publisher.room and time.monotonic() >= began + index / float(fps):
            publisher.slot()[...] = frame(index)
            publisher.publish(FrameInfo(index, 0, 0))
            index += 1
            if index == int(n):
                publisher.finish(End(SERIES, int(n)))
        else:
            time.sleep(0.0005)
    publisher.close()


def send_plain(address: str, n: str, fps: str) -> None:
    """The ten lines of the documentation, with a pace."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect(address)
        push.send_json({"type": "start", "series": SERIES, "frames": int(n), "dtype": "uint16", "shape": SHAPE})
        for index in range(int(n)):
            push.send_json({"frame": index, "dtype": "uint16", "shape": SHAPE, "series": SERIES}, zmq.SNDMORE)
            push.send(frame(index))
            time.sleep(1 / float(fps))
        push.send_json({"type": "end", "series": SERIES})


def receive(address: str, file: str) -> None:
    """A line with index and checksum for each frame; only then the next is asked for."""
    source = StreamSource(bind=address, senders="acknowledged", wait_s=60)
    source.open()
    source.start()
    out = np.empty(SHAPE, np.uint16)
    with Path(file).open("ab", buffering=0) as lines:
        while True:
            try:
                info = source.read(out)
            except EndOfStream:
                break
            if info is None:
                time.sleep(0.0005)
            else:
                lines.write(f"{info.index} {checksum(out)}\n".encode())
    source.close()


if __name__ == "__main__":
    {"send_acknowledged": send_acknowledged, "send_plain": send_plain, "receive": receive}[sys.argv[1]](*sys.argv[2:])
