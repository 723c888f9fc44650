"""The command line. Each command is a short function; what is heavy is imported when a command needs it."""

from __future__ import annotations

import sys

from rtdecode.core.interrupt import Interrupt

RUNS = ("demo", "live", "replay", "serve")
_INTERRUPTED = 130  # as shells have it

interrupt = Interrupt()
"""Of this process; installed before anything heavy is imported when a run is asked for."""


def main() -> None:
    """Run the command and exit: 0 only where it did what was asked; a known error is one message on stderr."""
    is_run = sys.argv[1:2] and sys.argv[1] in RUNS
    if is_run:
        interrupt.install()
    try:
        from rtdecode.cli.app import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # of what is no run, while its imports load; later typer ends it in the same way
        status = _INTERRUPTED
    if is_run:
        interrupt.ignore()
    sys.exit(status)
