"""From frames in camera ADU to localizations over one kind of engine: of the host, or of a device that detects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError
from rtdecode.core.frames import FrameArray, FrameInfo
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.calibration import Lookup
from rtdecode.fit.device import F4, DeviceEngine, localizations_of
from rtdecode.fit.device_windows import DeviceWindows, RowWindow
from rtdecode.fit.emitters import find_emitters, without_z
from rtdecode.fit.windows import Window, Windows

CONVERSION = ("baseline_adu", "e_per_adu", "qe", "em_gain", "spurious_e")
"""Fields of a camera that enter ADU -> photons, and so the graph."""
_ROW_Z = (4, 8)  # z and its sigma in a row of a device, as in the ten maps


@dataclass(frozen=True, slots=True)
class Reading:
    """What all lines need to know to read an answer."""

    bundle: ModelBundle
    camera: Camera  # the run's
    maps: CameraMaps | None  # cut to the region
    thresholds: DetectionThresholds
    calibration: Lookup | None
    tells_z: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One frame's localizations, and whether a neighbour was missing and replaced by the frame itself."""

    info: FrameInfo
    left_copy: bool
    right_copy: bool
    localizations: Localizations
    lost_candidates: int = 0  # emitters of the frame that found no slot on the device


class Line(Protocol):
    """Every pushed frame is answered once, in order, one frame later or more."""

    def push(self, info: FrameInfo, pixels_adu: FrameArray, more: bool) -> list[Answer]:
        """Take the next frame (H, W), raw; `more`: another is there already, the answer may wait for it."""
        ...

    def gap(self) -> list[Answer]:
        """All that is open is finished; the next frame has no left neighbour."""
        ...

    def resume(self, info: FrameInfo, pixels_adu: FrameArray) -> None:
        """Start after a frame that was answered before."""
        ...


class HostLine:
    """Over an engine that gives maps: one frame at a time, so that the cutting of the stream changes no byte."""

    def __init__(self, reading: Reading, engine: Engine, shape: tuple[int, int]) -> None:
        self._reading = reading
        differs = any(name in CONVERSION for name in reading.bundle.camera.differences(reading.camera))
        self._converts = differs or reading.maps is not None
        self._windows = Windows(engine, reading.bundle.network.stride, *shape)

    def push(self, info: FrameInfo, pixels_adu: FrameArray, more: bool) -> list[Answer]:
        """See Line."""
        return self._answers(self._windows.push(info, self._graph_adu(pixels_adu)))

    def gap(self) -> list[Answer]:
        """See Line."""
        return self._answers(self._windows.gap())

    def resume(self, info: FrameInfo, pixels_adu: FrameArray) -> None:
        """See Line."""
        self._windows.resume(info, self._graph_adu(pixels_adu))

    def _graph_adu(self, pixels_adu: FrameArray) -> NDArray[np.float32]:
        """(H, W) in ADU of the bundle's camera, which is inside the graph."""
        if not self._converts:
            return pixels_adu.astype(np.float32)
        reading = self._reading
        return adu_of(reading.bundle.camera, reading.camera.photons(pixels_adu, reading.maps))

    def _answers(self, windows: list[Window]) -> list[Answer]:
        return [self._answer(window) for window in windows]

    def _answer(self, window: Window) -> Answer:
        if not math.isfinite(float(window.maps.sum())):  # a sum passes on NaN and inf, and needs no mask
            raise EngineError(
                f"the engine gave values that are not finite for frame {window.info.index}; "
                "try engine.precision fp32 or another engine, and check the bundle"
            )
        reading = self._reading
        maps = window.maps if reading.tells_z else without_z(window.maps)
        at = (window.info.index, reading.camera.px_nm)
        found = find_emitters(maps, *at, reading.thresholds, reading.calibration)
        return Answer(window.info, window.left_copy, window.right_copy, found)


class DeviceLine:
    """Over an engine that detects by itself and gives rows; its graph converts the camera's raw values."""

    def __init__(self, reading: Reading, engine: DeviceEngine, shape: tuple[int, int]) -> None:
        self._reading = reading
        stride = reading.bundle.network.stride
        self._windows = DeviceWindows(engine, stride, shape, reading.camera, reading.maps)

    def push(self, info: FrameInfo, pixels_adu: FrameArray, more: bool) -> list[Answer]:
        """See Line."""
        return self._answers(self._windows.push(info, pixels_adu, more))

    def gap(self) -> list[Answer]:
        """See Line."""
        return self._answers(self._windows.gap())

    def resume(self, info: FrameInfo, pixels_adu: FrameArray) -> None:
        """See Line."""
        self._windows.resume(info, pixels_adu)

    def _answers(self, windows: list[RowWindow]) -> list[Answer]:
        return [
            Answer(window.info, window.left_copy, window.right_copy, self._localizations(window), window.lost)
            for window in windows
        ]

    def _localizations(self, window: RowWindow) -> Localizations:
        reading, rows = self._reading, window.rows
        if not reading.tells_z:
            rows = _without_z(rows)
        width_px, px_nm = self._windows.padded_width_px, reading.camera.px_nm
        return localizations_of(rows, window.info.index, width_px, px_nm, reading.thresholds, reading.calibration)


def adu_of(camera: Camera, photons: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `Camera.photons` on average: ADU, not rounded, float32 of the same shape."""
    electrons = (photons * np.float32(camera.qe) + np.float32(camera.spurious_e)) * np.float32(camera.em_gain or 1.0)
    return np.asarray(electrons / np.float32(camera.e_per_adu) + np.float32(camera.baseline_adu), np.float32)


def _without_z(rows: F4) -> F4:
    """Rows (N, 12) with z and its sigma 0: what a 2D model says of z it has learnt from nothing."""
    flat = rows.copy()
    flat[:, _ROW_Z] = 0.0
    return flat
