"""What Dask's scheduler costs for each task: tasks that do nothing, and the scheduler's own processor time.

Run from a checkout: `python tools/measure_scheduler.py [--tasks 5000] [--workers 2]`. The scheduler is a process of its
own, so its processor time does not depend on who else uses the machine; tasks per second do. As in a batch, few are
known to it at once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from distributed import Client, as_completed

IN_FLIGHT = 4  # tasks for each worker


def nothing(number: int) -> int:
    """A task."""
    return number


@contextmanager
def process_of(module: str, *arguments: str) -> Iterator[psutil.Process]:
    """A Dask process, ended afterwards."""
    command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def measure(tasks: int, workers: int) -> tuple[float, float]:
    """(tasks per second, the scheduler's processor seconds for each)."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        file = str(Path(folder) / "scheduler.json")
        place = ("--scheduler-file", file, "--no-dashboard")
        scheduler = stack.enter_context(process_of("dask_scheduler", "--host", "127.0.0.1", "--port", "0", *place))
        for _ in range(workers):
            stack.enter_context(process_of("dask_worker", "--nthreads", "1", "--no-nanny", *place))
        client = stack.enter_context(Client(scheduler_file=file, timeout=60))
        client.wait_for_workers(workers, timeout=60)
        run(client, 200, workers)  # warm
        processor, began = sum(scheduler.cpu_times()[:2]), time.perf_counter()
        run(client, tasks, workers)
        return tasks / (time.perf_counter() - began), (sum(scheduler.cpu_times()[:2]) - processor) / tasks


def run(client: Client, tasks: int, workers: int) -> None:
    """All of them, a few at a time."""
    first = client.map(nothing, range(min(tasks, IN_FLIGHT * workers)), pure=False)
    going, asked = as_completed(first), len(first)
    for _ in going:
        if asked < tasks:
            going.add(client.submit(nothing, asked, pure=False))
            asked += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    per_s, each_s = measure(given.tasks, given.workers)
    print(f"{given.workers} workers: {per_s:,.0f} tasks/s; scheduler {each_s * 1e3:.2f} ms of processor time each")
