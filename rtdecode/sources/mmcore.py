"""Frames of Micro-Manager's core in this process: a microscope by its configuration file, or a simulated camera.

Not tested on Windows and with real cameras; DemoCamera and a Python camera behind the real core are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from rtdecode.core.actions import Action, SetProperty, Stop
from rtdecode.core.camera import Camera
from rtdecode.core.contracts import Setting
from rtdecode.core.errors import EndOfStream, RtdecodeError, SourceError, SourceLost
from rtdecode.core.extras import is_there
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo, Roi
from rtdecode.core.yaml_files import StrictModel
from rtdecode.sources.mmcore_connect import MISSING, Connection, connect, property_text, trying
from rtdecode.sources.mmcore_rest import bring_to_rest
from rtdecode.sources.mmcore_tags import ImageCount, nanoseconds, read_tags, whole_number
from rtdecode.sources.scene import SimulatedScene
from rtdecode.streams.truth import write_truth


def _nobody_asks(before: Setting) -> None:
    """Outside a run nobody writes changes down."""


class MMCoreSource(StrictModel):
    """A finite sequence acquisition that stops on overflow, so that no frame is ever lost in silence.

    Example: `use: mmcore`, `frames: 20000`, `exposure_ms: 10`, `config_file: MMConfig.cfg`, `device: Andor`,
    `properties: [[Andor, Gain, "300"]]`, `region: [100, 100, 64, 64]` (x0, y0, width, height on the sensor).
    With `simulated` instead of `config_file` the real core serves a camera written in Python, one frame for each
    exposure; `psf`, `camera` and `truth` belong to it as in `use: simulated`. With neither, the core that
    already runs in this process is used (`attach`, or pymmcore-plus' own instance) and left loaded.
    """

    frames: Annotated[int, Field(gt=0)]
    exposure_ms: Annotated[float, Field(gt=0)] = 10.0
    config_file: Path | None = None
    simulated: SimulatedScene | None = None
    adapter_folder: Path | None = None  # where the device adapters lie; None: where pymmcore-plus finds them
    device: str | None = None  # label of the camera; None: the configuration's own
    region: tuple[int, int, int, int] | None = None
    properties: tuple[tuple[str, str, str], ...] = ()  # device, property, value; set in this order
    buffer_mb: Annotated[int, Field(gt=0, le=1_000_000)] = 256  # Micro-Manager's own buffer
    safe_stop_s: Annotated[float, Field(gt=0, le=300)] = 10.0  # time to load the configuration anew after a crash
    psf: Path | None = None
    camera: Camera | None = None
    truth: Path | None = None
    _core: Any = PrivateAttr(None)  # attached from outside
    _connection: Connection | None = PrivateAttr(None)
    _count: ImageCount = PrivateAttr(default_factory=ImageCount)
    _started: bool = PrivateAttr(False)
    _stopped: bool = PrivateAttr(False)
    _skipped: int = PrivateAttr(0)  # frames still in the buffer that were announced without a pop
    _restore: dict[tuple[str, str], str] = PrivateAttr(default_factory=dict)
    _made: int | None = PrivateAttr(None)
    _tell: Callable[[Setting], None] = PrivateAttr(default_factory=lambda: _nobody_asks)

    @model_validator(mode="after")
    def _one_origin(self) -> MMCoreSource:
        if self.config_file is not None and self.simulated is not None:
            raise ValueError("config_file and simulated exclude each other: name the one that is meant")
        if self.simulated is not None and (self.region or self.device or self.properties):
            raise ValueError("region, device and properties belong to config_file; the simulated camera has none")
        return self

    def attach(self, core: Any) -> None:
        """Use this CMMCore (pymmcore, CMMCorePlus or UniMMCore) with its devices; it stays loaded after `close`."""
        self._core = core

    @property
    def roi(self) -> Roi:
        """The camera's region as it was at `open`."""
        return self._need().expected.roi

    @property
    def dtype(self) -> str:
        """8-bit cameras are widened."""
        return "uint16"

    @property
    def expected(self) -> int | None:
        """`frames`."""
        return self.frames

    @property
    def made(self) -> int | None:
        """Frames popped and those waiting in Micro-Manager's buffer; still known after `close`."""
        return self._made if self._connection is None else self._made_so_far(self._connection)

    @property
    def nominal_fps(self) -> float | None:
        """One frame for each exposure; cameras may be slower, never faster."""
        return 1000.0 / self.exposure_ms

    @property
    def has_hardware(self) -> bool:
        """A simulated camera is gone with its process; a core of another program is that program's."""
        return self.config_file is not None

    def tell_changes(self, tell: Callable[[Setting], None]) -> None:
        """See SafeStop."""
        self._tell = tell

    def bring_to_rest(self, before: Sequence[Setting]) -> list[str]:
        """See SafeStop: the configuration is loaded anew, in this process."""
        if self.config_file is None:
            raise SourceError("only devices of a config_file can be brought to rest; others are not ours to open")
        return bring_to_rest(self.config_file, self.adapter_folder, before)

    def check_installed(self) -> None:
        """See `session.resolve`: known before there is a run folder. Raises SourceError."""
        if not is_there("pymmcore_plus"):
            raise SourceError(MISSING)

    def open(self) -> None:
        """Load and set everything, check that frames will be grey and of 8 or 16 bits; raises SourceError."""
        self.close()
        self._count, self._started, self._stopped = ImageCount(), False, False
        self._connection = connect(self, self._core, self._tell)

    def start(self) -> None:
        """Finite, and stopping on overflow: the mode that loses nothing in silence (micromanager.md §2)."""
        core = self._need().core
        trying("start the camera", lambda: core.startSequenceAcquisition(self.frames, 0.0, True))
        self._started = True

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read. Raises SourceLost with counts after the last kept frame of an overflow or a dead camera."""
        connection = self._need()
        running = bool(connection.core.isSequenceRunning())  # asked before the count: what comes between is seen
        waiting = int(connection.core.getRemainingImageCount())
        if self._count.last + 1 >= self.frames and not (self._count.is_estimated and (running or waiting)):
            raise EndOfStream(f"all {self.frames} frames were read")
        if not waiting:
            self._check_end(running, connection)
            return None
        if not connection.can_pop():
            return self._unpoppable(waiting, connection)
        metadata = connection.new_metadata()
        try:
            pixels = connection.core.popNextImageMD(metadata)
        except (IndexError, RuntimeError):  # somebody else emptied the buffer: an empty pop is an exception
            return None
        t_arrival_ns = time.monotonic_ns()
        tags = read_tags(metadata)
        t_camera_ns = nanoseconds(tags.get("ElapsedTime-ms"))
        index = self._count.index(whole_number(tags.get("ImageNumber")), t_camera_ns)
        if not connection.expected.fits(pixels, tags):
            return FrameInfo(index, t_camera_ns, t_arrival_ns, FrameFlag.WRONG_SIZE)
        np.copyto(out, pixels, casting="unsafe")
        saturated = pixels.max() >= connection.full_scale_adu
        return FrameInfo(index, t_camera_ns, t_arrival_ns, FrameFlag.SATURATED if saturated else FrameFlag.GOOD)

    def apply(self, action: Action) -> None:
        """Stop ends the sequence, what was acquired can still be read. A property set here is put back by `close`."""
        connection = self._need()
        if isinstance(action, Stop):
            self._stopped = True
            connection.halt()
            trying("stop the camera", connection.core.stopSequenceAcquisition)
        else:
            self._set(connection, action)

    def close(self) -> None:
        """Camera stopped, shutter closed (AutoShutter or not), properties put back, truth written; safe to call twice.

        Each step is tried whatever became of the others; SourceError names those that failed.
        """
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        self._made = self._count.last + 1
        steps: list[tuple[str, Callable[[], None]]] = [
            ("stop the camera", connection.stop),
            ("count its frames", lambda: self._keep_made(connection)),
            ("close the shutter", connection.close_shutter),
            *(self._putting_back(connection, *key) for key in self._restore),
            ("unload the devices", connection.release),
            ("write the truth", lambda: self._write_truth(connection)),
        ]
        failures = [failure for what, step in steps if (failure := _failure(what, step))]
        self._restore.clear()
        if failures:
            raise SourceError("; ".join(failures))

    def _need(self) -> Connection:
        if self._connection is None:
            raise SourceError("the camera is not open (call open first; after close it is over)")
        return self._connection

    def _made_so_far(self, connection: Connection) -> int:
        return self._count.last + 1 + int(connection.core.getRemainingImageCount()) - self._skipped

    def _keep_made(self, connection: Connection) -> None:
        self._made = self._made_so_far(connection)

    def _check_end(self, running: bool, connection: Connection) -> None:
        """No frame waits: raise if none will ever come."""
        if running or not self._started:
            return
        got = self._count.last + 1
        if self._stopped:
            raise EndOfStream(f"stopped; all {got} frames made were read")
        if connection.core.isBufferOverflowed():
            raise SourceLost(
                f"Micro-Manager's buffer of {self.buffer_mb} MB overflowed and the camera stopped after {got} of "
                f"{self.frames} frames: they were not read fast enough. The frames before are complete; raise "
                "buffer_mb, or take a smaller region or a longer exposure."
            )
        raise SourceLost(
            f"the camera stopped by itself after {got} of {self.frames} frames: it was switched off, or another "
            "program stopped it, changed its region or emptied its buffer. What was read before is valid."
        )

    def _unpoppable(self, waiting: int, connection: Connection) -> FrameInfo:
        """Announce a waiting frame of wrong size without touching its memory; the last one empties the buffer."""
        self._skipped += 1
        if self._skipped >= waiting:
            connection.core.clearCircularBuffer()
            self._skipped = 0
        return FrameInfo(self._count.index(None), 0, time.monotonic_ns(), FrameFlag.WRONG_SIZE)

    def _set(self, connection: Connection, action: SetProperty) -> None:
        core, device, name = connection.core, action.device, action.property
        before = trying(f"read {device}.{name}", lambda: str(core.getProperty(device, name)))
        if (device, name) not in self._restore:
            self._tell(Setting(device, name, before))
            self._restore[device, name] = before
        trying(f"set {device}.{name}", lambda: core.setProperty(device, name, property_text(action.value)))

    def _putting_back(self, connection: Connection, device: str, name: str) -> tuple[str, Callable[[], None]]:
        value = self._restore[device, name]
        return f"put {device}.{name} back to {value}", lambda: connection.core.setProperty(device, name, value)

    def _write_truth(self, connection: Connection) -> None:
        if connection.specimen is not None and self.truth is not None:
            write_truth(self.truth, connection.specimen.truth(self._made or 0))


def _failure(what: str, step: Callable[[], None]) -> str | None:
    try:
        trying(what, step)
    except RtdecodeError as error:
        return str(error)
    return None
