"""Ctrl-C: asked once however long the key is held."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from rtdecode.core.interrupt import Interrupt


@pytest.fixture
def handlers() -> Iterator[None]:
    """Give this process its signal handlers back."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_held_key_is_one_wish_and_a_later_press_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("rtdecode.core.interrupt.time.monotonic", lambda: now[0])
    interrupt = Interrupt().install()
    for _ in range(5):
        signal.raise_signal(signal.SIGINT)
        now[0] += 0.5  # the key is held for longer than the pause that divides two wishes
    assert (interrupt.times, interrupt.reason) == (1, "Ctrl-C")
    now[0] += 2.0
    signal.raise_signal(signal.SIGTERM)
    assert (interrupt.times, interrupt.reason) == (2, "Ctrl-C")
