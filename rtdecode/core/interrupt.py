"""Ctrl-C and termination as a wish that a run sees, never as an exception in the middle of something."""

from __future__ import annotations

import math
import signal
import time
from types import FrameType

_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")  # SIGBREAK: Ctrl-Break on Windows
_ONE_WISH_S = 1.0  # a held or hammered key asks once; the third wish kills workers, which must be meant


class Interrupt:
    """How often the user asked to stop, and how. In core, so that it can be installed before anything heavy loads."""

    def __init__(self) -> None:
        self.times = 0
        self._came_at = -math.inf
        self.reason: str | None = None

    def install(self) -> Interrupt:
        """Take over the signals of this process; call it in the main thread, as early as possible."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                continue  # nohup: the run outlives its terminal
            signal.signal(number, self._came)
        return self

    def ignore(self) -> None:
        """The work is done: a Ctrl-C from here on, while the interpreter ends, changes no exit status."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def ask(self, reason: str) -> None:
        """The same from code (tests, a window's button)."""
        self.times += 1
        self.reason = self.reason or reason

    def _came(self, number: int, _: FrameType | None) -> None:
        since, self._came_at = time.monotonic() - self._came_at, time.monotonic()
        if since < _ONE_WISH_S and self.times:
            return
        self.ask("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
