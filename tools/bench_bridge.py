"""How fast frames come out of a Micro-Manager over its ZMQ server: live without a gap, draining, and stopping.

    python tools/bench_bridge.py                    # against the stand-in of the tests, a server written in Python
    python tools/bench_bridge.py --port 4827        # against the Micro-Manager that runs there, with its own camera

The stand-in shares one interpreter between camera and server; its figures say nothing about Micro-Manager's own. The
processor time that our side takes for a frame is printed too: it does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "sources")]

from rtdecode.core.actions import Stop  # noqa: E402
from rtdecode.core.errors import EndOfStream, SourceLost  # noqa: E402
from rtdecode.sources.micromanager import MicroManagerSource  # noqa: E402
from rtdecode.sources.micromanager_line import ask_and_wait, open_line  # noqa: E402

PACKAGES = ("pyzmq", "numpy", "pymmcore", "pymmcore-plus", "pycromanager", "pyjavaz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, help="of a running Micro-Manager; without it the stand-in is started")
    parser.add_argument("--size", type=int, default=128, help="pixels along each side, of the stand-in's camera")
    parser.add_argument("--frames", type=int, default=5000, help="live")
    parser.add_argument("--stored", type=int, default=3000, help="draining")
    parser.add_argument("--exposure-ms", type=float, default=1.0)
    parser.add_argument("--buffer-mb", type=int, default=512)
    parser.add_argument("--client", choices=["wire", "pycromanager"], default="wire")
    given = parser.parse_args()
    print(", ".join(f"{name} {installed(name)}" for name in PACKAGES))
    print(f"Python {platform.python_version()}, {platform.system()}, {len(cores())} core(s) for this process")
    with server(given, given.exposure_ms) as port:
        print("live:    ", live(source(given, port, given.frames)))
    with server(given, 0.0) as port:
        print("draining:", draining(source(given, port, given.stored), port))
    with server(given, given.exposure_ms) as port:
        print("stop:    ", stopping(source(given, port, 1_000_000)))


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@contextmanager
def server(given: argparse.Namespace, period_ms: float) -> Iterator[int]:
    """The port of a server; the stand-in's camera makes a frame every `period_ms`."""
    if given.port:
        yield given.port
        return
    from bridges import Bridge

    with Bridge("counting", size=given.size, period_ms=period_ms) as bridge:
        yield bridge.port


def source(given: argparse.Namespace, port: int, frames: int) -> MicroManagerSource:
    return MicroManagerSource(
        frames=frames, exposure_ms=given.exposure_ms, port=port, buffer_mb=given.buffer_mb, client=given.client
    )


def live(source: MicroManagerSource) -> str:
    """Frames as they are made."""
    source.open()
    source.start()
    return read_all(source)


def draining(source: MicroManagerSource, port: int) -> str:
    """Frames that lie in the buffer already."""
    source.open()
    watching = open_line("127.0.0.1", port, 10.0)
    source.start()
    while ask_and_wait(watching, "isSequenceRunning", within_s=10.0):
        time.sleep(0.05)
    watching.close()
    return read_all(source)


def stopping(source: MicroManagerSource, cycles: int = 20) -> str:
    """From the order to a camera that says it is idle, while frames come."""
    times_ms: list[float] = []
    for _ in range(cycles):
        source.open()
        source.start()
        out = np.empty(source.roi.shape, source.dtype)
        while source.read(out) is None:
            time.sleep(0.0005)
        begin = time.perf_counter()
        source.apply(Stop("enough"))
        times_ms.append((time.perf_counter() - begin) * 1e3)
        source.close()
    return f"{median(times_ms):.1f} ms to an idle camera, {max(times_ms):.1f} ms at most, {cycles} times"


def read_all(source: MicroManagerSource) -> str:
    """Read to the end as the acquire stage does, and say how fast, how many are missing, how it ended."""
    out = np.empty(source.roi.shape, source.dtype)
    indices: list[int] = []
    times: list[float] = []
    words = ""
    busy_s = time.process_time()
    while not words:
        try:
            info = source.read(out)
        except (EndOfStream, SourceLost) as end:
            words = str(end)
            continue
        if info is None:
            time.sleep(0.0005)
            continue
        indices.append(info.index)
        times.append(time.perf_counter())
    busy_us = (time.process_time() - busy_s) / len(indices) * 1e6
    source.close()
    missing = source.frames - len(indices)
    fps = (len(indices) - 1) / (times[-1] - times[0])
    shape = "x".join(map(str, out.shape))
    rate = f"{fps:.0f} frames/s of {shape} ({fps * out.nbytes / 1e6:.0f} MB/s), {missing} missing"
    return f"{rate}, {busy_us:.0f} us of processor time for a frame on our side; {words}"


if __name__ == "__main__":
    main()
