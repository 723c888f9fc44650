"""A Dask cluster of real processes that can be hurt: scheduler and workers started, slowed, killed, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from distributed import Client

START_S = 60.0
ROOT = Path(__file__).parents[2]

SLOW = """
import time
from rtdecode.batch import work
if not hasattr(work, "quick"):  # Dask runs a preload twice
    work.quick = work.fit_block
def fit_block(task):
    done = work.quick(task)
    time.sleep(10 * done.seconds + 0.3)
    return done
work.fit_block = fit_block
"""
WITHOUT_OPENVINO = "import sys\nsys.modules['openvino'] = None\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Processes:
    """Scheduler and workers, each a process of its own; all are gone at the end."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder, self.host, self.port = folder, host, free_port()
        self.address = f"tcp://{host}:{self.port}"
        self._children: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        self.scheduler = self._start("scheduler", "--host", self.host, "--port", str(self.port), "--no-dashboard")
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((self.host, self.port)) == 0:
                    return self.scheduler
            time.sleep(0.05)
        raise AssertionError("the scheduler did not start")

    def start_worker(self, *options: str, preload: str = "", prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        more: tuple[str, ...] = ()
        if preload:
            script = self.folder / f"preload{len(self._children)}.py"
            script.write_text(preload)
            more = ("--preload", str(script))
        return self._start(
            "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60",
            "--local-directory", str(self.folder), *more, *options, prefix=prefix,
        )  # fmt: skip

    def client(self, workers: int) -> Client:
        client = Client(self.address, timeout=START_S)
        client.wait_for_workers(workers, timeout=START_S)
        return client

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    def _start(self, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        where = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}
        log = (self.folder / f"{arguments[0]}{len(self._children)}.log").open("wb")
        with log:
            child = subprocess.Popen(
                [*prefix, sys.executable, "-m", "dask", *arguments], env=where, stdout=log, stderr=log, cwd=self.folder
            )
        self._children.append(child)
        return child

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait(30)


def workers_of(client: Client) -> list[str]:
    """Addresses."""
    info: dict[str, Any] = client.scheduler_info(n_workers=-1)
    return sorted(info["workers"])
