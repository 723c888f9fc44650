"""A series while it is taken: from its line into the caller's slots, with Stop, end and silence.

Plain Python beside the YAML model of the source: a pydantic model's private fields cost a microsecond at each use.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from rtdecode.core.errors import SourceError
from rtdecode.core.frames import FrameArray, FrameInfo
from rtdecode.sources.stream_lines import Line
from rtdecode.sources.stream_series import Series
from rtdecode.streams.credit import SILENT_S
from rtdecode.streams.frame_sockets import MOST_WAITING
from rtdecode.streams.wire import End, Image, Message

_NAP_S = 0.002
_AT_ONCE = 64  # events that are no frames, before the caller has its turn again
_STOP_ANSWER_S = 2.0  # a sender that does not answer a Stop by then is left to itself
_LEAST_WAITING = 4  # frames on their way, however large they are
_WINDOW_BYTES = 32_000_000  # on their way from a sender that keeps them anyway: 20 ms at 1.6 GB/s; more cools caches


class Reception:
    """One series on one line."""

    def __init__(self, series: Series, line: Line, channel: str | None, buffer_bytes: int) -> None:
        """`buffer_bytes`: frames of a plain sender that may wait here."""
        self.series, self.line, self._channel = series, line, channel
        most_bytes = _WINDOW_BYTES if line.kind == "acknowledged" else buffer_bytes
        self._room = max(_LEAST_WAITING, min(MOST_WAITING // 2, most_bytes // series.frame_bytes))
        self.held: deque[tuple[Message, int]] = deque()  # (event, arrival) taken from the line and not yet read
        self._nothing_more = False  # after a Stop that nobody answers: only what is held is read
        self.started = False
        self.stopped: str | None = None
        self.over: SourceError | None = None
        line.keep(self._room)

    def start(self) -> None:
        """Frames are wanted from here on."""
        self.started = True
        self.line.grant(self._room)

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read. Being called again says that the frame before is where it belongs."""
        if self.over is not None:
            raise self.over
        if not self.started:
            return None
        self.line.taken(self.series.last)
        try:
            return self._next(out)
        except SourceError as over:
            self.over = over
            if self.series.heard_end:
                self.line.ended(self.series.last)
            raise

    def stop(self, reason: str) -> None:
        """Ask the sender to stop its camera; of one that may not or cannot, the frames so far are read."""
        self.stopped = self.stopped or reason
        self.line.stop(reason)
        deadline = time.monotonic() + (_STOP_ANSWER_S if self.line.kind == "acknowledged" else 0.0)
        while self._hold() is None and time.monotonic() < deadline:
            time.sleep(_NAP_S)
        self._bound()

    def close(self) -> None:
        """An acknowledged sender hears that no more is taken."""
        self.held.clear()
        self.line.close(None if self.series.heard_end else self.stopped or "the receiver has ended its run")

    def status(self) -> dict[str, Any]:
        """Plain JSON; `why` in words: silence, else what was last not taken."""
        series, line = self.series, self.line
        silent = {"silent_s": round(line.silent_s, 1)} if line.silent_s < 1e9 else {}
        counts = {"malformed": line.malformed, "unusable": series.unusable, "dropped": series.dropped}
        told = {"series": series.name, "senders": line.kind, **silent, **counts}
        return {**told, "resumed": line.resumed + series.resumed, "why": self._why()}

    @property
    def ended_early(self) -> str | None:
        """Why the series is over although its sender announced more, or did not end it; None where all is well."""
        series = self.series
        short = series.expected is not None and series.total < series.expected
        return str(self.over) if self.over is not None and (short or not series.heard_end) else None

    def _why(self) -> str:
        if self.started and self.over is None and SILENT_S < self.line.silent_s < 1e9:
            return f"nothing from the sender for {self.line.silent_s:.0f} s; goes on waiting"
        return self.series.why or self.line.why

    def _next(self, out: FrameArray) -> FrameInfo | None:
        for _ in range(_AT_ONCE):
            event = self.held.popleft() if self.held else self._receive()
            if event is None:
                break
            info = self.series.take(*event, out)
            if info is not None:
                return info
        if self.stopped is not None and not self.held:
            self._check_stopped()
        return None

    def _receive(self) -> tuple[Message, int] | None:
        if self._nothing_more:
            return None
        event = self.line.receive(self._channel)
        return None if event is None else (event, time.monotonic_ns())

    def _hold(self) -> tuple[bool, int] | None:
        """Take what has come, so that it is known how much there is; the sender's answer to a Stop, if it has come."""
        while len(self.held) < 2 * self._room and (event := self._receive()) is not None:
            self.held.append(event)
        return self.line.stopping

    def _bound(self) -> None:
        """After a Stop: how far this series will still be read."""
        series = self.series
        if self.line.stopping is not None:
            obeys, series.made = self.line.stopping
            series.until = None if obeys else series.made
            return
        numbers = [event.index for event, _ in self.held if isinstance(event, Image)]
        series.made = max([series.last, *numbers]) + 1
        if not any(isinstance(event, End) for event, _ in self.held):
            series.until, self._nothing_more = series.made, True

    def _check_stopped(self) -> None:
        """A stopped series is over when all that was made has been read, or when its sender is gone."""
        series = self.series
        all_read = series.until is not None and series.last + 1 >= series.until
        if all_read or self._nothing_more or self.line.silent_s > SILENT_S:
            raise series.stopped()
