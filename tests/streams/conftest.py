"""What the streams tests share: real child processes, and waiting for a condition with a deadline."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHILDREN = Path(__file__).with_name("streams_children.py")
DEADLINE_S = 60.0

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program of streams_children.py; whatever still runs at the test's end is killed."""
    running: list[subprocess.Popen[str]] = []

    def starter(name: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(CHILDREN), name, *map(str, arguments)]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        return running[-1]

    yield starter
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Wait until a condition holds; fails after a generous deadline."""

    def waiter(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.002)

    return waiter
