"""The command line. Each command is a short function; what is heavy is imported when a command needs it."""

from __future__ import annotations

import sys

from rtdecode.core.interrupt import Interrupt

RUNS = ("demo", "live", "replay")

interrupt = Interrupt()
"""Of this process; installed before anything heavy is imported when a run is asked for."""


def main() -> None:
    """Run the command and exit: 0 only where it did what was asked; a known error is one message on stderr."""
    if sys.argv[1:2] and sys.argv[1] in RUNS:
        interrupt.install()
    from rtdecode.cli.app import run

    sys.exit(run(sys.argv[1:]))
