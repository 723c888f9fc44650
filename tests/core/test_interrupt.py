"""Ctrl-C: asked once however long the key is held."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import signal
from rtdecode.core import interrupt as module

now = [0.0]
module.time.monotonic = lambda: now[0]
interrupt = module.Interrupt().install()
for _ in range(5):
    signal.raise_signal(signal.SIGINT)
    now[0] += 0.5  # the key is held for longer than the pause that divides two wishes
print(interrupt.times, interrupt.reason)
now[0] += 2.0
signal.raise_signal(signal.SIGTERM)
print(interrupt.times, interrupt.reason)
"""


def test_a_held_key_is_one_wish_and_a_later_press_another() -> None:
    """In a process of its own: signals and the clock belong to all that a test run has loaded."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["1 Ctrl-C", "2 Ctrl-C"], done.stderr
