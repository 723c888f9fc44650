"""From a running Micro-Manager to a camera that is ready to start, and back to rest, each step with a deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rtdecode.core.camera import Camera
from rtdecode.core.contracts import Setting
from rtdecode.core.errors import SourceError, SourceLost
from rtdecode.core.frames import Roi
from rtdecode.sources.micromanager_frames import RUNNING, Region
from rtdecode.sources.micromanager_line import GREETING_S, Line, ask_and_wait, open_line
from rtdecode.sources.micromanager_wire import Argument
from rtdecode.sources.mmcore_tags import PIXEL_TYPES, whole_number

if TYPE_CHECKING:
    from rtdecode.sources.micromanager import MicroManagerSource

CALL_S = 10.0  # for anything that touches a device; a core that hangs longer is reported
REST_S = 2.0  # for each step on the way to rest: the whole must end before somebody loses patience
_STOP_S = 5.0  # a camera ends its exposure first
_RENEW_S = 1.0  # to connect anew while things are brought to rest

NOT_AT_REST = "Micro-Manager cannot be reached: camera and light may be as they were, look at them"

OpenLine = Callable[[float], Line]  # takes the seconds that a handshake may last
Step = Callable[[], str]
"""Does something and says what was done."""


class Control:
    """One question at a time, each with a deadline, on a socket of its own: a Stop waits for no frame."""

    def __init__(self, opening: OpenLine) -> None:
        self._opening = opening
        self._line: Line | None = opening(GREETING_S)

    def call(self, what: str, method: str, *arguments: Argument, within_s: float = CALL_S) -> Any:
        """Ask the core; raises SourceError that says what was tried, SourceLost where it does not answer."""
        if self._line is None:
            raise SourceLost(f"could not {what}: Micro-Manager does not answer any more")
        try:
            return ask_and_wait(self._line, method, *arguments, within_s=within_s)
        except SourceLost as error:
            self.close()
            raise SourceLost(f"could not {what}: {error}") from error
        except SourceError as error:
            raise SourceError(f"Micro-Manager could not {what}: {error}") from error

    def number(self, what: str, method: str) -> int:
        """A whole number of the core's."""
        return _whole(self.call(what, method), method)

    def renew(self) -> bool:
        """After a loss, try once more to connect; whether there is a line."""
        if self._line is None:
            try:
                self._line = self._opening(_RENEW_S)
            except SourceError:
                return False
        return True

    def close(self) -> None:
        """Safe to call twice."""
        line, self._line = self._line, None
        if line is not None:
            line.close()


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int):
        raise SourceError(f"Micro-Manager says {value!r} for {name}, expected a whole number")
    return value


def line_opener(source: MicroManagerSource) -> OpenLine:
    """How the source's lines are opened: by our own client, or by pycromanager where that was asked for."""
    if source.client == "wire":
        return lambda greeting_s: open_line(source.host, source.port, source.patience_s, greeting_s)
    from rtdecode.sources.micromanager_pycromanager import PycromanagerLine

    return lambda _: PycromanagerLine(source.port, source.patience_s)


def set_up(control: Control, source: MicroManagerSource, change: Callable[[Setting], None]) -> Region:
    """Camera, properties, region, exposure, buffer, in the order in which they depend on each other.

    Nothing is touched while a sequence runs: it is another's.
    """
    refuse_running(control)
    if source.device is not None:
        control.call(f"take {source.device} as camera", "setCameraDevice", source.device)
    for setting in source.properties:
        change(Setting(*setting))
    if source.region is not None:
        _set_region(control, source.region)
    control.call(f"set the exposure to {source.exposure_ms} ms", "setExposure", float(source.exposure_ms))
    if source.buffer_mb is not None:
        control.call("set the buffer", "setCircularBufferMemoryFootprint", source.buffer_mb)
    return ask_region(control)


def refuse_running(control: Control) -> None:
    """Two on one camera steal each other's frames."""
    if control.call("ask the camera", RUNNING):
        raise SourceError(
            "the camera is running already: live view, an acquisition, or another rtdecode. End that first: two who "
            "read one camera take each other's frames"
        )


def change_property(control: Control, setting: Setting, tell: Callable[[Setting], None]) -> None:
    """Set a property; `tell` gets what it was just before."""
    device, name, value = setting.device, setting.property, setting.value
    tell(Setting(device, name, str(control.call(f"read {device}.{name}", "getProperty", device, name))))
    control.call(f"set {device} {name} {value}", "setProperty", device, name, value)


def _set_region(control: Control, region: tuple[int, int, int, int]) -> None:
    """Cameras round or clip a region without an error; then positions would be of another place than was asked."""
    control.call(f"set the region {region}", "setROI", *region)
    taken = _asked_region(control)
    if taken != region:
        raise SourceError(f"asked for the region {region}, the camera took {taken}; ask for one that it can take")


def _asked_region(control: Control) -> tuple[int, int, int, int]:
    found = control.call("ask for the region", "getROI")
    fields = found if isinstance(found, Mapping) else {}
    x0, y0, width, height = (_whole(fields.get(name), f"the region's {name}") for name in ("x", "y", "width", "height"))
    return x0, y0, width, height


def ask_region(control: Control) -> Region:
    """The region as the camera took it; refuses what cannot become grey frames of 16 bits."""
    label = str(control.call("ask for the camera", "getCameraDevice"))
    if not label:
        raise SourceError("Micro-Manager has no camera; load its configuration there, or name one with device")
    channels = control.number("ask the camera", "getNumberOfCameraChannels")
    if channels > 1:
        raise SourceError(f"{label} interleaves {channels} cameras; name one of them (device)")
    x0, y0, *_ = _asked_region(control)
    width, height, n_bytes = frame_size(control)
    components = control.number("ask the camera", "getNumberOfComponents")
    if components != 1 or n_bytes not in PIXEL_TYPES:
        raise SourceError(
            f"{label} gives {components} component(s) in {n_bytes} bytes per pixel; set a grey PixelType of 8 or 16 "
            f"bits, e.g. properties: [[{label}, PixelType, 16bit]]"
        )
    return Region(label, Roi(x0, y0, width, height, _binning(control, label)), n_bytes)


def frame_size(control: Control) -> tuple[int, int, int]:
    """(width, height, bytes per pixel) that the core would give a frame popped now."""
    width, height, n_bytes = (
        int(control.call("ask the camera", method))
        for method in ("getImageWidth", "getImageHeight", "getBytesPerPixel")
    )
    return width, height, n_bytes


def _binning(control: Control, label: str) -> int:
    if not control.call("ask the camera", "hasProperty", label, "Binning"):
        return 1
    text = str(control.call("ask the camera", "getProperty", label, "Binning"))
    return whole_number(text.partition("x")[0]) or 1


def full_scale_adu(control: Control, camera: Camera | None) -> float:
    """Where a pixel is at its end, by the camera's bits and by what is known of its chain."""
    by_bits = float(2 ** control.number("ask the camera", "getImageBitDepth") - 1)
    return by_bits if camera is None else min(by_bits, camera.full_scale_adu)


# to rest


def come_to_rest(control: Control, before: Sequence[Setting], is_ours: bool = True) -> tuple[list[str], list[str]]:
    """Light off, camera idle, properties put back to what they were `before` anything was set; (done, failed).

    A camera that is not ours is left alone, and its light. Every step is tried whatever became of the others.
    After a loss it connects anew; where nothing answers any more, the steps left are not tried one by one.
    """
    done: list[str] = []
    failed: list[str] = []
    for step in _steps(control, before, is_ours):
        try:
            done.append(step())
        except SourceLost as error:
            failed.append(str(error))
            if not control.renew():
                failed.append(NOT_AT_REST)
                break
        except SourceError as error:
            failed.append(str(error))
    return list(dict.fromkeys(done)), list(dict.fromkeys(failed))


def _steps(control: Control, before: Sequence[Setting], is_ours: bool) -> Iterator[Step]:
    """Light first; and once more at the end, for what was put back may have opened the shutter."""
    dark = partial(_close_shutter, control)
    if is_ours:
        yield dark
        yield partial(_stop, control)
    for item in reversed(before):
        yield partial(_put_back, control, item)
    if before and is_ours:
        yield dark


def _close_shutter(control: Control) -> str:
    """Also where AutoShutter is off: then nobody else would close it."""
    ask = partial(control.call, "close the shutter", within_s=REST_S)
    label = ask("getShutterDevice")
    if not label:
        return "no shutter in Micro-Manager's configuration: nothing to close"
    ask("setShutterOpen", False)
    ask("waitForDevice", label)
    if ask("getShutterOpen"):
        raise SourceError(f"the shutter {label} says that it is still open")
    return "shutter closed"


def _stop(control: Control) -> str:
    ask = partial(control.call, "stop the camera", within_s=_STOP_S)
    if ask(RUNNING):
        ask("stopSequenceAcquisition")
        if ask(RUNNING):
            raise SourceError("the camera still runs after it was told to stop")
    return "camera idle"


def _put_back(control: Control, item: Setting) -> str:
    device, name, value = item.device, item.property, item.value
    control.call(f"put {device}.{name} back to {value}", "setProperty", device, name, value, within_s=REST_S)
    return f"{device}.{name} put back to {value}"
