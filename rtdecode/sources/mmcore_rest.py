"""Safe-stop of an in-process core: it died and its devices stayed as they were, so a new core brings them to rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rtdecode.core.contracts import Setting
from rtdecode.core.errors import SourceError
from rtdecode.sources.mmcore_connect import load_configuration, trying

Step = tuple[str, str, Callable[[], None]]
"""What is tried, what to say when it was done, and how."""


def bring_to_rest(config_file: Path, adapter_folder: Path | None, before: Sequence[Setting]) -> list[str]:
    """Load the configuration anew; light off, cameras idle, properties as they were. See SafeStop.bring_to_rest.

    Price: loading initialises every device, also those that were at rest (a stage may home itself).
    """
    core = load_configuration(config_file, adapter_folder)
    try:
        return [f"{config_file.name} loaded anew", *_take_all(list(_steps(core, before)))]
    finally:
        core.unloadAllDevices()


def _steps(core: Any, before: Sequence[Setting]) -> Iterator[Step]:
    """Light first; and once more at the end, for what was put back may have opened a shutter."""
    from pymmcore_plus import DeviceType

    shutters = [_closing(core, label) for label in core.getLoadedDevicesOfType(DeviceType.Shutter)]
    yield from shutters
    for label in core.getLoadedDevicesOfType(DeviceType.Camera):
        yield f"stop {label}", f"camera {label} idle", partial(_stop, core, label)
    for device, name, value in reversed([(item.device, item.property, item.value) for item in before]):
        back = partial(core.setProperty, device, name, value)
        yield f"put {device}.{name} back to {value}", f"{device}.{name} put back to {value}", back
    yield from shutters if before else []


def _closing(core: Any, label: str) -> Step:
    return f"close the shutter {label}", f"shutter {label} closed", partial(_close, core, label)


def _close(core: Any, label: str) -> None:
    core.setShutterOpen(label, False)
    core.waitForDevice(label)
    if core.getShutterOpen(label):
        raise SourceError(f"the shutter {label} says that it is still open")


def _stop(core: Any, label: str) -> None:
    if core.isSequenceRunning(label):
        core.stopSequenceAcquisition(label)


def _take_all(steps: list[Step]) -> list[str]:
    """Each step, whatever became of the others; what was done, or SourceError with that and what was not."""
    done: list[str] = []
    failed: list[str] = []
    for what, words, step in steps:
        try:
            trying(what, step)
            done.append(words)
        except SourceError as error:
            failed.append(str(error))
    if failed:
        raise SourceError("; ".join(dict.fromkeys(failed)) + f" (done: {', '.join(dict.fromkeys(done)) or 'nothing'})")
    return list(dict.fromkeys(done))
