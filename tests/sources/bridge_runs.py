"""Sources at a stand-in for Micro-Manager, and how its tests read them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from bridges import Bridge
from source_contract import DEADLINE_S, read_next, slot_for

from rtdecode.core.errors import SourceLost
from rtdecode.core.frames import FrameInfo
from rtdecode.sources.micromanager import MicroManagerSource

REGION = (10, 20, 64, 48)


def on(bridge: Bridge, frames: int = 12, **fields: Any) -> MicroManagerSource:
    return MicroManagerSource(frames=frames, port=bridge.port, **({"exposure_ms": 2.0, "buffer_mb": 16} | fields))


def wait_until(condition: Any) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "never came true"
        time.sleep(0.005)


def read_to_the_end(source: MicroManagerSource) -> tuple[list[tuple[FrameInfo, int]], str]:
    """All frames until SourceLost, each with the number in its pixels, and the message."""
    found: list[tuple[FrameInfo, int]] = []
    out = slot_for(source)
    with pytest.raises(SourceLost) as caught:
        while True:
            info = read_next(source, out)
            found.append((info, int(out[0, 0]) + int(out[0, 1]) * 65536))
    return found, str(caught.value)
