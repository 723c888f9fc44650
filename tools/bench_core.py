"""How fast frames come out of a Micro-Manager core in this very process: live without a gap, and draining.

    python tools/bench_core.py            # a camera written in Python, 128 x 128 px, one frame a millisecond

Camera, core and reader share one interpreter here, as they do in the acquire process of a run with a Python camera; a
driver in C++ leaves all of it to the reader.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "sources")]

from bench_bridge import read_all  # noqa: E402
from bridge_cores import counting_core  # noqa: E402

from rtdecode.sources.mmcore import MMCoreSource  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels along each side")
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--period-ms", type=float, default=1.0)
    parser.add_argument("--buffer-mb", type=int, default=512)
    given = parser.parse_args()
    given.exposure_ms = given.period_ms
    print("live:    ", read_all(opened(given)))
    given.period_ms = 0.0
    source = opened(given)
    while source._need().core.isSequenceRunning():
        time.sleep(0.05)
    print("draining:", read_all(source))


def opened(given: argparse.Namespace) -> MMCoreSource:
    source = MMCoreSource(frames=given.frames, exposure_ms=given.exposure_ms, buffer_mb=given.buffer_mb)
    source.attach(counting_core(given))
    source.open()
    source.start()
    return source


if __name__ == "__main__":
    main()
