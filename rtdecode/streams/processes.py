"""Whether a process that a file names still runs, and is not a later one with its number."""

from __future__ import annotations

import os

import psutil

_TOLERANCE_S = 60.0  # Linux derives the start from the wall clock, which may be set while the process runs


def my_identity() -> tuple[int, float]:
    """(process number, start in Unix seconds) of this process, for `is_alive`."""
    return os.getpid(), psutil.Process().create_time()


def is_alive(pid: int, started: float) -> bool:
    """True while the process with this identity runs; one that is dead and not yet waited for does not."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) <= _TOLERANCE_S
    except psutil.Error:
        return False
