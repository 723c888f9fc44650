"""Frames of a running Micro-Manager over its ZMQ server (the one that pycromanager uses), every one accounted for.

Not tested on Windows, nor with the real Java server in this suite: docs/micromanager.md says what was tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from rtdecode.core.actions import Action, SetProperty, Stop
from rtdecode.core.camera import Camera
from rtdecode.core.contracts import Setting
from rtdecode.core.errors import SourceError, SourceLost
from rtdecode.core.extras import is_there
from rtdecode.core.frames import FrameArray, FrameInfo, Roi
from rtdecode.core.yaml_files import StrictModel
from rtdecode.sources.micromanager_connect import (
    NOT_AT_REST,
    Control,
    ask_region,
    change_property,
    come_to_rest,
    full_scale_adu,
    line_opener,
    refuse_running,
    set_up,
)
from rtdecode.sources.micromanager_frames import RUNNING, Region
from rtdecode.sources.micromanager_line import GREETING_S, Line
from rtdecode.sources.micromanager_pycromanager import MISSING
from rtdecode.sources.micromanager_reading import Reading, popper_for

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _nobody_asks(before: Setting) -> None:
    """Outside a run nobody writes changes down."""


class MicroManagerSource(StrictModel):
    """A finite sequence acquisition in a Micro-Manager that is open already; overflow stops it, nothing is lost in
    silence.

    Example: `use: micromanager`, `frames: 20000`, `exposure_ms: 10`, `device: Andor`,
    `properties: [[Andor, Gain, "300"]]`, `region: [100, 100, 64, 64]` (x0, y0, width, height on the sensor).
    Its server must be on: Tools > Options > Run server on port 4827.
    """

    frames: Annotated[int, Field(gt=0)]
    exposure_ms: Annotated[float, Field(gt=0)] = 10.0
    device: str | None = None  # label of the camera; None: Micro-Manager's own
    region: tuple[int, int, int, int] | None = None
    properties: tuple[tuple[str, str, str], ...] = ()  # device, property, value; put back by `close`
    buffer_mb: Annotated[int, Field(gt=0, le=1_000_000)] | None = None  # None: as it is set in Micro-Manager
    host: str = "127.0.0.1"  # the server listens on its own machine only: elsewhere it is the end of a tunnel
    port: Annotated[int, Field(gt=0, lt=65536)] = 4827
    client: Literal["wire", "pycromanager"] = "wire"  # pycromanager: slower, for servers whose wire is another
    check_every: Annotated[int, Field(gt=0)] = 200  # a frame with tags proves count, camera and region
    window: Annotated[int, Field(gt=0, le=256)] = 64  # pops under way at once, of those that were counted
    patience_s: Annotated[float, Field(gt=0, le=600)] = 10.0  # with a server that is there and does not answer
    safe_stop_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    camera: Camera | None = None
    _control: Control | None = PrivateAttr(None)
    _line: Line | None = PrivateAttr(None)
    _reading: Reading | None = PrivateAttr(None)  # from `start` on
    _region: Region | None = PrivateAttr(None)
    _full_scale_adu: float = PrivateAttr(0.0)
    _before: dict[tuple[str, str], Setting] = PrivateAttr(default_factory=dict)  # what was set here, as it was
    _is_ours: bool = PrivateAttr(False)  # the sequence, once it was started here
    _made: int | None = PrivateAttr(None)
    _tell: Callable[[Setting], None] = PrivateAttr(default_factory=lambda: _nobody_asks)

    @model_validator(mode="after")
    def _reachable(self) -> MicroManagerSource:
        if self.client == "pycromanager" and self.host not in _LOOPBACK:
            raise ValueError(f"pycromanager speaks to this machine only, not to {self.host}: set client: wire")
        return self

    @property
    def roi(self) -> Roi:
        """The camera's region as it was at `open`."""
        if self._region is None:
            raise SourceError("Micro-Manager is not open (call open first)")
        return self._region.roi

    @property
    def dtype(self) -> str:
        """8-bit cameras are widened."""
        return "uint16"

    @property
    def expected(self) -> int | None:
        """`frames`."""
        return self.frames

    @property
    def nominal_fps(self) -> float | None:
        """One frame for each exposure; cameras may be slower, never faster."""
        return 1000.0 / self.exposure_ms

    @property
    def made(self) -> int | None:
        """Frames read and those that wait in Micro-Manager's buffer; the last that was known where it is gone."""
        if self._reading is not None:
            self._made = self._reading.made
        return self._made

    def tell_changes(self, tell: Callable[[Setting], None]) -> None:
        """See SafeStop."""
        self._tell = tell

    def check_installed(self) -> None:
        """See `session.resolve`: known before there is a run folder. Raises SourceError."""
        if self.client == "pycromanager" and not is_there("pycromanager"):
            raise SourceError(MISSING)

    def open(self) -> None:
        """Connect, set everything, check that frames will be grey and of 8 or 16 bits; raises SourceError.

        Refuses a camera that is running already: whoever started it would lose frames to us.
        """
        self.close()
        self._made = None
        opening = line_opener(self)
        self._control = Control(opening)
        try:
            self._region = set_up(self._control, self, self._change)
            self._full_scale_adu = full_scale_adu(self._control, self.camera)
            self._line = opening(GREETING_S)
        except BaseException as error:
            if failed := self._end_all():
                raise SourceError("; ".join([str(error), *failed])) from error
            raise

    def start(self) -> None:
        """Finite, and stopping on overflow: the mode that loses nothing in silence. Raises SourceError."""
        control, line = self._need()
        refuse_running(control)
        now = ask_region(control)
        if now != self._region:
            raise SourceError(f"the camera was changed after it was set up: it is {now}, was {self._region}")
        popper = popper_for(line, control, now, self.exposure_ms, self.window, self.check_every)
        self._reading = Reading(self.frames, now, self._full_scale_adu, control, popper)
        self._begin(control)

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read. Raises SourceLost, after the last frame that came, when Micro-Manager is gone, its
        buffer ran over, or another program stopped the camera or changed its region."""
        if self._reading is not None:
            return self._reading.read(out)
        self._need()
        return None

    def apply(self, action: Action) -> None:
        """Stop ends the sequence, what was acquired can still be read. A property set here is put back by `close`."""
        control, _ = self._need()
        if isinstance(action, Stop):
            if self._reading is not None:
                self._reading.stopped = True
                control.call("stop the camera", "stopSequenceAcquisition")
        else:
            self._change(_setting(action))

    def close(self) -> None:
        """Light off and camera idle where it was started here, properties put back, ports given back.

        Safe to call twice, and bounded in time when Micro-Manager hangs or is gone; SourceError names what failed.
        """
        if self._control is None:
            return
        _ = self.made
        if failed := self._end_all():
            raise SourceError("; ".join(failed))

    def bring_to_rest(self, before: Sequence[Setting]) -> list[str]:
        """See SafeStop: over a connection of its own, to a Micro-Manager that may be as the dead process left it."""
        control = Control(line_opener(self))
        try:
            done, failed = come_to_rest(control, before)
        finally:
            control.close()
        if failed:
            raise SourceError("; ".join(failed) + f" (done: {', '.join(done) or 'nothing'})")
        return done

    def _begin(self, control: Control) -> None:
        self._is_ours = True  # before the call: where its answer is lost, the camera may run
        try:
            control.call("start the camera", "startSequenceAcquisition", self.frames, 0.0, True)
        except SourceLost:
            raise
        except SourceError:  # the light may be on by now, unless it was refused because another has begun
            self._is_ours = not control.call("ask the camera", RUNNING)
            raise

    # what is held

    def _need(self) -> tuple[Control, Line]:
        if self._control is None or self._line is None:
            raise SourceError("Micro-Manager is not open (call open first; after close it is over)")
        return self._control, self._line

    def _change(self, setting: Setting) -> None:
        assert self._control is not None
        change_property(self._control, setting, self._keep)

    def _keep(self, before: Setting) -> None:
        """Remember what it was before the first change; where that cannot be told, nothing is changed."""
        key = (before.device, before.property)
        if key not in self._before:
            self._tell(before)
            self._before[key] = before

    def _end_all(self) -> list[str]:
        """To rest, then all lines closed; what failed. Of a camera not started here only the properties are ours."""
        control, line, self._control, self._line, self._reading = self._control, self._line, None, None, None
        before, is_ours = list(self._before.values()), self._is_ours
        self._before.clear()
        self._is_ours = False
        failed: list[str] = []
        if control is not None:
            failed = come_to_rest(control, before, is_ours)[1] if control.renew() else [NOT_AT_REST]
            control.close()
        if line is not None:
            line.close()
        return failed


def _setting(action: SetProperty) -> Setting:
    """A value as Micro-Manager's properties want it: whole numbers without a point."""
    value = str(int(action.value)) if float(action.value).is_integer() else repr(float(action.value))
    return Setting(action.device, action.property, value)
