"""Starts the stand-in for Micro-Manager's server as a process of its own, to be killed, frozen and spoken to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from rtdecode.sources.micromanager_line import ask_and_wait, open_line

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).parent / "bridge_server.py"


class Bridge:
    """One stand-in; as a context manager it is gone at the end, whatever was done to it."""

    def __init__(self, camera: str, **options: Any) -> None:
        words = [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), str(value))]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), "--camera", camera, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the stand-in ended with {self._process.wait()}"
        self.port = int(json.loads(line)["port"])

    def __enter__(self) -> Bridge:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.kill()

    def kill(self) -> None:
        """As a crash of Java: no code of its own runs any more."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def freeze(self) -> None:
        """It stands still, its connections stay."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._process.send_signal(signal.SIGCONT)

    @property
    def listening(self) -> int:
        """How many ports it holds open."""
        sockets = psutil.Process(self._process.pid).net_connections("tcp")
        return sum(one.status == psutil.CONN_LISTEN for one in sockets)

    @contextmanager
    def other(self) -> Iterator[Any]:
        """Another program on the same Micro-Manager: `ask("setROI", 0, 0, 8, 8)`."""
        line = open_line("127.0.0.1", self.port, 10.0)
        try:
            yield lambda method, *arguments: ask_and_wait(line, method, *arguments, within_s=30.0)
        finally:
            line.close()

    def ask(self, method: str, *arguments: Any) -> Any:
        """One question of another program."""
        with self.other() as ask:
            return ask(method, *arguments)
