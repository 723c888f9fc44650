"""From a configuration to a core that is ready to start, and everything that has to be undone afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rtdecode.core.camera import Camera
from rtdecode.core.contracts import Setting
from rtdecode.core.errors import RtdecodeError, SourceError
from rtdecode.core.extras import install
from rtdecode.core.frames import Roi
from rtdecode.sources.mmcore_tags import PIXEL_TYPES, Expected
from rtdecode.sources.scene import CHALLENGE_CAMERA, Specimen, load_psf

if TYPE_CHECKING:
    from rtdecode.sources.mmcore import MMCoreSource

T = TypeVar("T")
_PYTHON_DEVICE = "#py "  # a comment to Micro-Manager, a device written in Python to UniMMCore
_STOP_S = 5.0  # a camera that needs longer to stop is reported


@dataclass
class Connection:
    """A core with its camera set up; `own` cores are unloaded at the end, those of others stay as they are."""

    core: Any
    own: bool
    expected: Expected
    full_scale_adu: float
    new_metadata: Callable[[], Any]
    specimen: Specimen | None = None
    camera: Any = None  # the SpecimenCamera, where there is one

    def halt(self) -> None:
        """Wake the simulated camera so that it ends its exposure; real ones are stopped by the core alone."""
        if self.camera is not None:
            self.camera.halt()

    def stop(self) -> None:
        """Camera idle: stopped, and waited for."""
        self.halt()
        if self.core.isSequenceRunning():
            self.core.stopSequenceAcquisition()
        until = time.monotonic() + _STOP_S
        while self.core.isSequenceRunning():
            if time.monotonic() > until:
                raise SourceError(f"the camera still runs {_STOP_S:.0f} s after it was told to stop")
            time.sleep(0.001)

    def close_shutter(self) -> None:
        """Light off, also where AutoShutter is off: then nobody else would close it."""
        if self.core.getShutterDevice():
            self.core.setShutterOpen(False)

    def release(self) -> None:
        """Unload the devices of a core that was made here."""
        if self.own:
            self.core.unloadAllDevices()

    def can_pop(self) -> bool:
        """False where the core's size has grown since the start: a pop would copy memory beyond the frame."""
        now = self.core.getImageWidth() * self.core.getImageHeight() * self.core.getBytesPerPixel()
        height, width = self.expected.roi.shape
        return bool(now <= height * width * self.expected.bytes_per_pixel)


def connect(source: MMCoreSource, attached: Any, tell: Callable[[Setting], None]) -> Connection:
    """Load, set and check; what was loaded is unloaded again if anything fails. Raises SourceError.

    `tell` gets each property's value before it is changed.
    """
    specimen = camera = None
    if source.simulated is not None:
        specimen = make_specimen(source)
        core, camera = trying("load the simulated camera", lambda: load_simulated(specimen, source.exposure_ms))
    elif source.config_file is not None:
        core = load_configuration(source.config_file, source.adapter_folder)
    else:
        core = attached if attached is not None else running_core()
    own = source.simulated is not None or source.config_file is not None
    try:
        expected = _set_up(core, source, tell)
        full_scale_adu = full_scale(core, specimen.camera if specimen is not None else source.camera)
        return Connection(core, own, expected, full_scale_adu, _metadata_class(), specimen, camera)
    except BaseException:
        if own:
            core.unloadAllDevices()
        raise


def make_specimen(source: MMCoreSource) -> Specimen:
    """The movie behind the simulated camera; one frame is made here, so that nothing compiles during the run."""
    assert source.simulated is not None
    chain = source.camera or CHALLENGE_CAMERA
    specimen = Specimen(source.simulated, source.frames, load_psf(source.psf, chain), chain)
    specimen.frame(0)
    return specimen


def load_simulated(specimen: Specimen, exposure_ms: float) -> tuple[Any, Any]:
    """(UniMMCore, its camera): the real core with a camera device written in Python."""
    _pymmcore_plus()
    from pymmcore_plus.experimental.unicore import UniMMCore

    from rtdecode.sources.mmcore_camera import SpecimenCamera

    # any folder will do: the camera is no file, and without one the library cries for a Micro-Manager installation
    core = UniMMCore(mm_path=str(Path(__file__).parent))
    camera = SpecimenCamera(specimen, exposure_ms)
    core.loadPyDevice("Camera", camera)
    core.initializeDevice("Camera")
    core.setCameraDevice("Camera")
    return core, camera


def load_configuration(config_file: Path, adapter_folder: Path | None) -> Any:
    """A new core with the devices of a Micro-Manager configuration, also those written in Python (`#py` lines)."""
    beside = adapter_folder / config_file if adapter_folder is not None else config_file
    path = next((place for place in (config_file, beside) if place.is_file()), None)
    if path is None:
        raise SourceError(f"{config_file}: there is no such Micro-Manager configuration; name an existing .cfg file")
    core = _new_core(path, adapter_folder)
    try:
        trying(f"load {path}", lambda: core.loadSystemConfiguration(str(path)))
    except SourceError:
        core.unloadAllDevices()
        raise
    return core


def _new_core(config_file: Path, adapter_folder: Path | None) -> Any:
    mm_path = None if adapter_folder is None else str(adapter_folder)
    pymmcore_plus = _pymmcore_plus()
    if any(line.startswith(_PYTHON_DEVICE) for line in config_file.read_text(errors="replace").splitlines()):
        from pymmcore_plus.experimental.unicore import UniMMCore

        return UniMMCore(mm_path=mm_path)
    return pymmcore_plus.CMMCorePlus(mm_path=mm_path)


def running_core(instead: str = "name a config_file, or a simulated scene") -> Any:
    """The core that pymmcore-plus keeps for this process; SourceError, with what to do, where it has no camera."""
    core = _pymmcore_plus().CMMCorePlus.instance()
    if not core.getCameraDevice():
        raise SourceError(f"no Micro-Manager core with a camera runs in this process; {instead}")
    return core


def _set_up(core: Any, source: MMCoreSource, tell: Callable[[Setting], None]) -> Expected:
    """Camera, properties, region, exposure, buffer, in the order in which they depend on each other."""
    if source.device is not None:
        trying(f"take {source.device} as camera", lambda: core.setCameraDevice(source.device))
    for setting in source.properties:
        trying("set " + " ".join(setting), partial(_change, core, Setting(*setting), tell))
    if source.region is not None:
        _set_region(core, source.region)
    trying(f"set the exposure to {source.exposure_ms} ms", lambda: core.setExposure(source.exposure_ms))
    trying("set the buffer", lambda: core.setCircularBufferMemoryFootprint(source.buffer_mb))
    return trying("ask the camera", lambda: camera_region(core))


def _change(core: Any, setting: Setting, tell: Callable[[Setting], None]) -> None:
    tell(Setting(setting.device, setting.property, str(core.getProperty(setting.device, setting.property))))
    core.setProperty(setting.device, setting.property, setting.value)


def _set_region(core: Any, region: tuple[int, int, int, int]) -> None:
    """Cameras round or clip a region without an error; then positions would be of another place than was asked."""
    trying(f"set the region {region}", partial(core.setROI, *region))
    taken = tuple(int(number) for number in core.getROI())
    if taken != region:
        raise SourceError(f"asked for the region {region}, the camera took {taken}; ask for one that it can take")


def camera_region(core: Any) -> Expected:
    """The region as the camera took it; refuses what cannot become grey frames of 16 bits."""
    label = core.getCameraDevice()
    if not label:
        raise SourceError("Micro-Manager has no camera; name one with device, or set one in the configuration")
    if core.getNumberOfCameraChannels() > 1:
        raise SourceError(f"{label} interleaves {core.getNumberOfCameraChannels()} cameras; name one of them (device)")
    n_bytes, components = int(core.getBytesPerPixel()), int(core.getNumberOfComponents())
    if components != 1 or n_bytes not in PIXEL_TYPES:
        raise SourceError(
            f"{label} gives {components} component(s) in {n_bytes} bytes per pixel; set a grey PixelType of 8 or 16 "
            f"bits, e.g. properties: [[{label}, PixelType, 16bit]]"
        )
    x0, y0, *_ = core.getROI()
    binning = int(str(core.getProperty(label, "Binning")).split("x")[0]) if core.hasProperty(label, "Binning") else 1
    return Expected(Roi(int(x0), int(y0), int(core.getImageWidth()), int(core.getImageHeight()), binning), n_bytes)


def full_scale(core: Any, camera: Camera | None) -> float:
    """ADU from which on a pixel counts as saturated."""
    by_bits = float(2 ** int(core.getImageBitDepth()) - 1)
    return by_bits if camera is None else min(by_bits, camera.full_scale_adu)


def _metadata_class() -> Callable[[], Any]:
    import pymmcore

    metadata: Callable[[], Any] = pymmcore.Metadata
    return metadata


MISSING = f"Micro-Manager's core is not installed here; {install('micromanager')}"


def _pymmcore_plus() -> Any:
    try:
        import pymmcore_plus
    except ImportError as error:
        raise SourceError(MISSING) from error
    return pymmcore_plus


def trying(what: str, call: Callable[[], T]) -> T:
    """Call the core; its errors, of whatever kind, become a SourceError that says what was tried."""
    try:
        return call()
    except RtdecodeError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise SourceError(f"Micro-Manager could not {what}: {text}") from error


def property_text(value: float) -> str:
    """A value as Micro-Manager's properties want it: whole numbers without a point."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
