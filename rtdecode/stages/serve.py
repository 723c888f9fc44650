"""Serve: from a local source to a receiver on another machine; camera control stays here, and so does the last word.

The camera is started when the receiver says that it wants frames. A live camera never waits: what the bounded buffer
cannot keep is lost here, shows as a jump of frame numbers there, and is told with the end. Whatever happens, the source
is closed (camera idle, light off) before the end is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtdecode.core.actions import Stop
from rtdecode.core.contracts import Source
from rtdecode.core.errors import EndOfStream, RtdecodeError
from rtdecode.core.frames import FrameArray
from rtdecode.stages.outcome import Outcome
from rtdecode.streams.credit import SILENT_S
from rtdecode.streams.publisher import Publisher
from rtdecode.streams.ring import slots_for
from rtdecode.streams.wire import End, Start

ASSUMED_FPS = 200.0  # of a camera that cannot say; only the buffer's length in seconds depends on it
_FRAMES_AT_ONCE = 16
_WAITING_FRAMES = 512  # kept of a source that can wait: its frames are safe where they are
_CLOSING_ERRORS = (RtdecodeError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """How a local source is published."""

    address: str
    bind: bool
    series: str
    allow_stop: bool = False  # the receiver may stop the camera
    stop_silent_s: float | None = None  # and so does its silence of so long
    buffer_s: float = 10.0
    buffer_mb: float = 1024.0
    wait_s: float = 60.0  # for a receiver that is gone, once there are no more frames


class ServeStage:
    """Opens the source, waits for a receiver, hands over frame by frame until the receiver has heard the end."""

    def __init__(self, source: Source, config: ServeConfig, say: Callable[[str], None]) -> None:
        """`say` is given a sentence for whoever watches."""
        self._source, self._config, self._say = source, config, say
        self._publisher: Publisher | None = None
        self._scrap: FrameArray | None = None  # where frames go that cannot be kept
        self._can_wait = False
        self._started = False
        self._source_open = False
        self._end: End | None = None
        self._end_at = 0.0
        self._last = -1
        self._lost = 0
        self._wish: Stop | None = None
        self._told: set[str] = set()
        self.outcome: Outcome | None = None

    def step(self) -> bool | None:
        """A little of everything; None when it is over. RtdecodeError only where nothing could be begun."""
        if self.outcome is not None:
            return None
        if self._publisher is None:
            self._publisher = self._open()
            return True
        worked = self._publisher.step()
        self._watch(self._publisher)
        if self._end is not None:
            self._drain(self._publisher)
            return worked
        if not self._started:
            return self._start(self._publisher) or worked
        return self._take(self._publisher) or worked

    def stop(self, reason: str) -> None:
        """Camera and light off now; frames already made still go out. Asked again: nothing is waited for."""
        if self._wish is not None:
            self._finish_now(Outcome.stopped(reason))
            return
        self._wish = Stop(reason)
        if not self._started:
            self._finish_source(reason=reason)
            return
        try:
            self._source.apply(self._wish)
        except _CLOSING_ERRORS as error:
            self._finish_source(fault=f"stopping the camera: {error}")

    def close(self) -> None:
        """Camera idle, light off, socket closed; safe to call twice and after any error."""
        try:
            if self._source_open:
                self._source_open = False
                self._source.close()
        finally:
            if self._publisher is not None:
                self._publisher.close()

    @property
    def counts(self) -> dict[str, int]:
        """Frames of the source: made, lost here, safe with the receiver, still waiting."""
        publisher = self._publisher
        safe, waiting = (publisher.acknowledged, publisher.waiting) if publisher is not None else (0, 0)
        made = self._end.frames if self._end is not None else None
        return {"made": made or self._last + 1, "lost_here": self._lost, "safe_below": safe, "waiting": waiting}

    def _open(self) -> Publisher:
        source, config = self._source, self._config
        self._source_open = True  # also a source whose open failed half-way is closed
        source.open()
        shape, dtype = source.roi.shape, source.dtype
        fps = getattr(source, "nominal_fps", None)
        self._can_wait = bool(getattr(source, "can_wait", False))
        self._scrap = np.empty(shape, dtype)
        roi = source.roi
        start = Start(
            config.series, shape, dtype, source.expected, fps,
            can_wait=self._can_wait, can_stop=config.allow_stop, origin=(roi.x0_px, roi.y0_px, roi.binning),
        )  # fmt: skip
        most = slots_for(config.buffer_s, fps or ASSUMED_FPS, shape, dtype, config.buffer_mb, at_least=8)
        most = min(most, _WAITING_FRAMES) if self._can_wait else most
        publisher = Publisher(config.address, bind=config.bind, start=start, most=most)
        self._say(
            f"{shape[1]} x {shape[0]} {dtype}, series {config.series}, at {publisher.endpoint}; waits for a receiver"
        )
        return publisher

    def _start(self, publisher: Publisher) -> bool:
        if not publisher.ready:
            return False
        self._say("a receiver is there; the camera starts")
        try:
            self._source.start()
        except RtdecodeError as error:
            self._finish_source(fault=str(error))
        self._started = True
        return True

    def _take(self, publisher: Publisher) -> bool:
        """A few frames from the source into the buffer, or, where that is full, away."""
        took = 0
        try:
            while took < _FRAMES_AT_ONCE and (publisher.room or not self._can_wait) and self._take_one(publisher):
                took += 1
        except EndOfStream as end:
            self._finish_source(reason=self._wish.reason if self._wish is not None else str(end))
        except RtdecodeError as error:
            self._finish_source(fault=str(error))
        return took > 0

    def _take_one(self, publisher: Publisher) -> bool:
        keep = publisher.room
        info = self._source.read(publisher.slot() if keep else self._scrap)  # type: ignore[arg-type]
        if info is None:
            return False
        self._last = info.index
        if keep:
            publisher.publish(info)
        else:
            self._lost += 1
            self._say_once("full", "the buffer is full: frames are lost here until the receiver takes some")
        return True

    def _watch(self, publisher: Publisher) -> None:
        """What the receiver wants, and whether it is there."""
        if publisher.refused is not None:
            self._say_once(publisher.refused, f"refused: {publisher.refused}; goes on asking")
        if publisher.stop_asked is not None and "stop" not in self._told:
            self._obey(publisher, publisher.stop_asked)
        silence = self._config.stop_silent_s
        if self._running and silence is not None and publisher.silent_s > silence:
            self.stop(f"nothing was heard from the receiver for {silence:g} s")
        if publisher.receiver_left is not None and self._end is None:
            self._say_once("left", f"the receiver has left: {publisher.receiver_left}")
            if self._config.allow_stop and self._wish is None:
                self.stop(f"the receiver has left: {publisher.receiver_left}")

    @property
    def _running(self) -> bool:
        """The camera was started, and nobody has stopped it."""
        return self._started and self._wish is None and self._end is None

    def _obey(self, publisher: Publisher, reason: str) -> None:
        """Answer a receiver's Stop; it is carried out only where this side has allowed it."""
        if self._config.allow_stop and self._wish is None and self._end is None:
            self.stop(reason)
        obeyed = self._config.allow_stop
        self._say_once("stop", f"the receiver asks to stop ({reason}): {'done' if obeyed else 'not allowed here'}")
        made = self._end.frames if self._end is not None else self._made()
        publisher.answer_stop(obeyed, made or 0)

    def _made(self) -> int:
        """Frames by the camera's own count, or those read where it cannot be asked."""
        try:
            made = self._source.made
        except _CLOSING_ERRORS:
            made = None
        return max(made or 0, self._last + 1)

    def _finish_source(self, *, reason: str = "", fault: str | None = None) -> None:
        """Camera idle, light off; then the end goes out behind the frames."""
        if self._end is not None or self._publisher is None:
            return
        made = self._made()
        self._source_open = False
        try:
            self._source.close()
        except _CLOSING_ERRORS as error:
            fault = fault or f"closing the source: {error}"
        self._end = End(self._config.series, made, self._lost, reason, fault)
        self._end_at = time.monotonic()
        self._publisher.finish(self._end)
        self._say(f"the source is closed after {made} frames: {fault or reason}")

    def _drain(self, publisher: Publisher) -> None:
        """Wait for the receiver as long as it is alive; a while for one that is not there."""
        end = self._end
        if end is None:
            return
        if publisher.done:
            ended = Outcome.stopped(self._wish.reason) if self._wish is not None else Outcome.completed()
            self._finish_now(ended if end.fault is None else Outcome.failed(end.fault))
        elif publisher.receiver_left is not None and self._config.allow_stop:
            self._finish_now(Outcome.stopped(f"the receiver has left: {publisher.receiver_left}"))
        elif publisher.silent_s < SILENT_S and publisher.receiver_left is None and publisher.refused is None:
            self._end_at = time.monotonic()
        elif time.monotonic() - self._end_at > self._config.wait_s:
            words = f"no receiver for {self._config.wait_s:g} s; {publisher.waiting} frames were never taken"
            self._finish_now(Outcome.failed(words))

    def _finish_now(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.close()

    def _say_once(self, about: str, sentence: str) -> None:
        if about not in self._told:
            self._told.add(about)
            self._say(sentence)
