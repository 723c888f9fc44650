"""Stand-ins for Micro-Manager that tests share; each is a process of its own, started when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from bridges import Bridge

from rtdecode.core.errors import SourceError
from rtdecode.sources.micromanager import MicroManagerSource


@pytest.fixture(scope="session")
def demo_bridge() -> Iterator[Bridge]:
    """Micro-Manager's demo configuration, 16 bits."""
    with Bridge("demo") as bridge:
        yield bridge


@pytest.fixture(scope="session")
def specimen_bridge() -> Iterator[Bridge]:
    """Twelve simulated frames that can be made again."""
    with Bridge("specimen", frames=12) as bridge:
        yield bridge


@pytest.fixture(scope="session")
def counting_bridge() -> Iterator[Bridge]:
    """Frames of 32 x 32 every 2 ms; the first two pixels are the frame's number."""
    with Bridge("counting") as bridge:
        yield bridge


@pytest.fixture
def mortal_bridge() -> Iterator[Bridge]:
    """As the counting one, to be killed and frozen."""
    with Bridge("counting", exposure_ms=1.0) as bridge:
        yield bridge


@pytest.fixture
def opened() -> Iterator[Callable[..., MicroManagerSource]]:
    """Opens sources and closes them at the end; a server that is gone is no news then."""
    sources: list[MicroManagerSource] = []

    def opening(source: MicroManagerSource, start: bool = True) -> MicroManagerSource:
        sources.append(source)
        source.open()
        if start:
            source.start()
        return source

    yield opening
    for source in sources:
        try:
            source.close()
        except SourceError as error:
            assert "gone" in str(error) or "answer" in str(error)
