"""Frames that another program sends over ZeroMQ: CBOR in the manner of DECTRIS Stream V2, JSON with a raw buffer.

Two kinds of sender (docs/decisions/0010-frame-stream.md): a plain one pushes and cannot be answered, so what it or the
network loses shows as a jump of image numbers; an acknowledged one (`rtdecode serve`) keeps each frame until it is
safe here. Not tested on Windows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from rtdecode.core.actions import Action, Stop
from rtdecode.core.contracts import Setting
from rtdecode.core.errors import SourceError, StreamError
from rtdecode.core.frames import FrameArray, FrameInfo, Roi
from rtdecode.core.yaml_files import StrictModel
from rtdecode.sources.stream_lines import Line, PlainLine
from rtdecode.sources.stream_reception import Reception
from rtdecode.sources.stream_series import Series
from rtdecode.streams.frame_sockets import DEFAULT_ADDRESS, acknowledged_address
from rtdecode.streams.subscriber import Subscriber
from rtdecode.streams.wire import Image, Start

_NAP_S = 0.002
_FIND_S = 6.0  # for a sender to connect again to a receiver in a new process


class StreamSource(StrictModel):
    """Frames pushed by another program. The sender's start says what will come; its explicit end ends the run.

    Example: `use: stream` listens on this machine's port 31001 (and 31002 for `rtdecode serve`);
    `bind: tcp://0.0.0.0:31001` on every network card; `connect: tcp://detector:31001`, `senders: plain` takes a
    program that binds by itself. `channel` names the one to take where each image has several. `wait_s` bounds the
    wait for a sender's start (none: until a Stop). A sender's silence, however long, ends nothing.
    """

    bind: str | None = None
    connect: str | None = None
    senders: Literal["any", "plain", "acknowledged"] = "any"
    channel: str | None = None
    wait_s: Annotated[float, Field(gt=0)] | None = None
    buffer_mb: Annotated[int, Field(gt=0, le=1_000_000)] = 256  # frames that wait here before their sender has to
    max_message_mb: Annotated[int, Field(gt=0, le=2000)] = 64
    _lines: list[Line] = PrivateAttr(default_factory=list)  # until a sender has come through one of them
    _first: Start | None = PrivateAttr(None)  # a start that leaves shape or type to the first image
    _reception: Reception | None = PrivateAttr(None)
    _made: int | None = PrivateAttr(None)
    _deadline: float = PrivateAttr(math.inf)

    @model_validator(mode="after")
    def _one_address(self) -> StreamSource:
        if self.bind is not None and self.connect is not None:
            raise ValueError("bind and connect exclude each other: give the one that is meant")
        if self.connect is not None and self.senders == "any":
            raise ValueError(
                "connect needs `senders: plain` (a program that pushes) or `acknowledged` (rtdecode serve --bind)"
            )
        return self

    @property
    def roi(self) -> Roi:
        """As the sender says; at the sensor's origin where it does not."""
        return self._need().series.roi

    @property
    def dtype(self) -> str:
        """uint16 (8 bits are widened), or float32."""
        return self._need().series.dtype

    @property
    def expected(self) -> int | None:
        """Frames that the sender has announced."""
        return self._need().series.expected

    @property
    def made(self) -> int | None:
        """Frames received or told of by the sender, those lost between included; still known after `close`."""
        return self._reception.series.total if self._reception is not None else self._made

    @property
    def can_wait(self) -> bool:
        """Where the sender says that its frames stay where they are until they are taken."""
        return self._need().series.can_wait

    @property
    def nominal_fps(self) -> float | None:
        """Where the sender says it."""
        return self._need().series.fps

    @property
    def has_hardware(self) -> bool:
        """Whether a Stop from here reaches a camera: `rtdecode serve --allow-stop`."""
        return self._reception is not None and self._reception.series.can_stop

    @property
    def ended_early(self) -> str | None:
        """Why frames ended before all that were announced had been made; None where they did not."""
        return self._reception.ended_early if self._reception is not None else None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Addresses in use."""
        lines = self._lines if self._reception is None else [self._reception.line]
        return tuple(line.endpoint for line in lines)

    def status(self) -> dict[str, Any]:
        """For whoever watches: who sends, for how long nothing has come, what was not taken and why. Plain JSON."""
        if self._reception is not None:
            return self._reception.status()
        words = next((line.why for line in self._lines if line.why), "")
        why = f"waits for a sender at {' or '.join(self.endpoints)}" + (f"; {words}" if words else "")
        return {"malformed": sum(line.malformed for line in self._lines), "why": why}

    def prepare(self) -> bool:
        """Listen, and look once whether a sender has begun; True: `open` will not wait. Raises SourceError."""
        if self._reception is None and not self._lines:
            self._lines = self._listen()
            self._deadline = time.monotonic() + (math.inf if self.wait_s is None else self.wait_s)
        for line in list(self._lines):
            if self._look(line):
                break
        if self._reception is None and time.monotonic() > self._deadline:
            raise SourceError(self._nobody())
        return self._reception is not None

    def open(self) -> None:
        """Wait for a sender's start, or its first image; raises SourceError after `wait_s`, or for a bad start."""
        if self._reception is not None and self._reception.started:
            self.close()
        try:
            while not self.prepare():
                time.sleep(_NAP_S)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """From here on frames are taken; an acknowledged sender starts its camera now."""
        self._need().start()

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read. Being called again says that the frame before is where it belongs."""
        return self._need().read(out)

    def apply(self, action: Action) -> None:
        """Stop: the sender is asked to stop its camera; of one that may not or cannot, the frames so far are read."""
        if not isinstance(action, Stop):
            raise SourceError(f"a stream has no device to set: {action}. Only Stop can be carried out.")
        self._need().stop(action.reason)

    def close(self) -> None:
        """Close the sockets; an acknowledged sender hears that no more is taken. Safe to call twice."""
        self._made = self.made
        for line in self._lines:
            line.close()
        if self._reception is not None:
            self._reception.close()
        self._lines, self._first, self._reception = [], None, None

    def tell_changes(self, tell: Callable[[Setting], None]) -> None:
        """Nothing is changed from here."""

    def bring_to_rest(self, before: Sequence[Setting]) -> list[str]:
        """The process that received is dead: the sender, which still has its frames, is asked to stop its camera."""
        found = self.model_copy(update={"wait_s": _FIND_S, "senders": "acknowledged"})
        found.open()
        try:
            found.apply(Stop("the receiving process died"))
            answer = found._need().line.stopping
        finally:
            found.close()
        if answer is None or not answer[0]:
            raise SourceError(
                "the sender did not stop its camera: " + ("no answer" if answer is None else "not allowed")
            )
        return ["the sender has stopped its camera"]

    def _need(self) -> Reception:
        if self._reception is None:
            raise SourceError("the stream is not open (call open first; after close it is over)")
        return self._reception

    def _listen(self) -> list[Line]:
        address, bind = self.connect or self.bind or DEFAULT_ADDRESS, self.connect is None
        most = self.max_message_mb * 1_000_000
        lines: list[Line] = []
        try:
            if self.senders != "acknowledged":
                lines.append(PlainLine(address, bind=bind, max_message_bytes=most))
            if self.senders != "plain":
                lines.append(Subscriber(acknowledged_address(address), bind=bind, max_message_bytes=most))
        except StreamError as error:
            for line in lines:
                line.close()
            raise SourceError(
                f"{error}. Another rtdecode, or another program, may listen there: end it, or choose another address"
            ) from error
        return lines

    def _look(self, line: Line) -> bool:
        """Whether the next event of this line says what frames will come."""
        event = line.receive(self.channel)
        if isinstance(event, Start):
            if event.problem is None and (event.shape is None or event.dtype is None):
                self._first = event
            else:
                self._keep_only(line, Series(event))
        elif isinstance(event, Image):
            first = self._first or Start(event.series, None, None)
            self._keep_only(line, Series(first, event)).held.append((event, time.monotonic_ns()))
        return self._reception is not None

    def _keep_only(self, chosen: Line, series: Series) -> Reception:
        """This series it is; nobody else is listened to."""
        for line in self._lines:
            if line is not chosen:
                line.close()
        self._lines = []
        self._reception = Reception(series, chosen, self.channel, self.buffer_mb * 1_000_000)
        return self._reception

    def _nobody(self) -> str:
        state = self.status()
        seen = f"; {state['malformed']} messages came that were no frames" if state["malformed"] else ""
        return (
            f"nobody sent a start within {self.wait_s:g} s{seen}: {state['why']}. Start the sender "
            "(docs/frame-stream.md has one in ten lines), check its address, or raise wait_s. "
            f"Messages above max_message_mb ({self.max_message_mb}) are not let in."
        )
