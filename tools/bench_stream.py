"""Measure the frame stream between two processes over loopback: MB/s, frames/s, gaps and cost, for each kind of sender.

    python tools/bench_stream.py                     # 128, 256 and 512 px squared, 3 repeats, the median is told
    python tools/bench_stream.py --seconds 5 --repeats 5 --sizes 512 1024

The sender pushes as fast as it is let; the receiver is the stream source itself, which writes each frame into a ring of
slots as the acquire stage does. uint16. Rates by the clock are of this machine and of all that runs on it meanwhile;
"MB/core-s" counts only the processor time of sender and receiver together, so it holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import zmq

from rtdecode.core.errors import EndOfStream
from rtdecode.core.frames import FrameInfo
from rtdecode.sources.stream import StreamSource
from rtdecode.streams.frame_sockets import acknowledged_address
from rtdecode.streams.publisher import Publisher
from rtdecode.streams.wire import End, ImageHeads, Start, end_message, start_message

ADDRESS = "tcp://127.0.0.1:31901"
SLOTS = 64
KINDS = ("json", "cbor", "acknowledged")


def main() -> None:
    """Print one row for each kind and size."""
    options = _options()
    if options.send:
        pixels, before_s = _pixels(options.sizes[0]), time.process_time()
        SENDERS[options.send](pixels, options.sizes[0], options.frames)
        return print(time.process_time() - before_s)
    print(_machine())
    names = f"{'MB/s':>9}{'frames/s':>10}{'gaps':>6}{'frames':>8}{'MB/core-s':>11}"
    print(f"{'sender':14}{'frame':>12}{names}   repeats, MB/s")
    for kind in options.kinds:
        for side in options.sizes:
            _row(kind, side, options.seconds, options.repeats)


def _row(kind: str, side: int, seconds: float, repeats: int) -> None:
    frames = max(200, round(seconds * 1e9 / (side * side * 2)))  # as if 1 GB/s
    runs = [_measure(kind, side, frames) for _ in range(repeats)]
    rates = [side * side * 2 * fps / 1e6 for fps, _, _ in runs]
    median = statistics.median(rates)
    fps, gaps = median * 1e6 / (side * side * 2), sum(gap for _, gap, _ in runs)
    cost = side * side * 2 * frames / 1e6 / statistics.median(core_s for _, _, core_s in runs)
    told = ", ".join(f"{rate:.0f}" for rate in rates)
    print(
        f"{kind:14}{f'{side} x {side}':>12}{median:9.0f}{fps:10.0f}{gaps:6}{frames:8}{cost:11.0f}   {told}", flush=True
    )


def _measure(kind: str, side: int, frames: int) -> tuple[float, int, float]:
    """(frames/s, frames missing, processor seconds) of one series; the clock runs from the first frame to the last."""
    source = StreamSource(bind=ADDRESS, wait_s=60)
    command = [sys.executable, __file__, "--send", kind, "--sizes", str(side), "--frames", str(frames)]
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        source.open()
        ring = np.zeros((SLOTS, side, side), np.uint16)
        source.start()
        before_s = time.process_time()
        came, first_ns, last = 0, 0, FrameInfo(-1, 0, 0)
        while True:
            try:
                info = source.read(ring[came % SLOTS])
            except EndOfStream:
                break
            if info is None:
                time.sleep(0.0002)
                continue
            first_ns = first_ns or info.t_arrival_ns
            came, last = came + 1, info
        core_s = time.process_time() - before_s
        elapsed_s = (last.t_arrival_ns - first_ns) / 1e9
    finally:
        source.close()
        said, _ = sender.communicate()
    return (came - 1) / elapsed_s, frames - came, core_s + float(said)


def _send_json(pixels: np.ndarray, side: int, frames: int) -> None:
    """Two parts: a JSON header and the array as it lies in memory."""
    context, socket = _push()
    socket.send_json({"type": "start", "series": "bench", "dtype": "uint16", "shape": [side, side], "frames": frames})
    for index in range(frames):
        socket.send_json({"frame": index, "dtype": "uint16", "shape": [side, side]}, zmq.SNDMORE)
        socket.send(pixels[index % SLOTS], copy=False)
    socket.send_json({"type": "end", "series": "bench"})
    context.destroy(linger=60_000)


def _send_cbor(pixels: np.ndarray, side: int, frames: int) -> None:
    """One part: head and pixels in one piece of memory, which costs the sender a copy."""
    context, socket = _push()
    heads = ImageHeads("bench", (side, side), "uint16")
    socket.send(start_message(Start("bench", (side, side), "uint16", frames)))
    for index in range(frames):
        socket.send(b"".join((heads.of(index), pixels[index % SLOTS].data)), copy=False)
    socket.send(end_message(End("bench", frames)))
    context.destroy(linger=60_000)


def _send_acknowledged(pixels: np.ndarray, side: int, frames: int) -> None:
    """As `rtdecode serve`: each frame is copied once into memory that is kept until the receiver has it."""
    start = Start("bench", (side, side), "uint16", frames)
    publisher = Publisher(
        acknowledged_address(ADDRESS), bind=False, start=start, most=max(8, 64_000_000 // pixels[0].nbytes)
    )
    index = 0
    while not publisher.done:
        worked = publisher.step()
        while publisher.ready and publisher.room and index < frames:
            np.copyto(publisher.slot(), pixels[index % SLOTS])
            publisher.publish(FrameInfo(index, 0, 0))
            index, worked = index + 1, True
            if index == frames:
                publisher.finish(End("bench", frames))
        if not worked:
            time.sleep(0.0002)
    publisher.close()


SENDERS: dict[str, Callable[[np.ndarray, int, int], None]] = {
    "json": _send_json,
    "cbor": _send_cbor,
    "acknowledged": _send_acknowledged,
}


def _pixels(side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4000, (SLOTS, side, side)).astype(np.uint16)


def _push() -> tuple[zmq.Context, zmq.Socket]:
    context: zmq.Context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(ADDRESS)
    return context, socket


def _machine() -> str:
    names = {"rtdecode": "rtdecode", "numpy": "numpy", "pyzmq": "pyzmq"}
    found = {name: _version(package) for name, package in names.items()}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = ", ".join(f"{name} {number}" for name, number in found.items())
    return f"{words}, libzmq {zmq.zmq_version()}, Python {platform.python_version()}, {cores} core(s) allowed"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from a checkout"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=3.0, help="of each repeat, at 1 GB/s")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--send", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
