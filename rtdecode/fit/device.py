"""Engines that keep features and maps on their device: the protocol, their rows on the host, blocks of any length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.errors import EngineError
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.calibration import Lookup, calibrated_by_crowding
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.windows import reflected

F4 = NDArray[np.float32]
I4 = NDArray[np.int32]
Frames = NDArray[np.uint16] | NDArray[np.float32]
N_ROW = 12
"""A row: the ten maps as the emitter reads them (probability first), its flat pixel number (-1: no emitter), and
crowding, as `calibration.crowding` sums it."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Token of the features of the last two frames, which stay on the device; each may be used once."""

    serial: int


@dataclass(frozen=True, slots=True)
class Block:
    """What a block of frames gives: for each of its frames the rows of the frame *before* it."""

    rows: F4  # (B, G, K, 12)
    candidates: I4  # (B, G), -1 where the maps were not finite

    @property
    def lost(self) -> NDArray[np.int64]:
        """(B,) candidates of each frame that found no slot: they must be reported."""
        beyond = np.maximum(self.candidates.astype(np.int64) - self.rows.shape[2], 0)
        return np.asarray(beyond.sum(1))

    @property
    def finite(self) -> NDArray[np.bool_]:
        """(B,) whether all maps of the frame were finite."""
        return np.asarray((self.candidates >= 0).all(1))

    def frame(self, b: int) -> F4:
        """(N, 12) rows that hold an emitter, rows of pixels first, then columns, as `find_emitters` orders them."""
        rows = self.rows[b].reshape(-1, N_ROW)
        held = rows[rows[:, 10] >= 0]
        return np.asarray(held[np.argsort(held[:, 10], kind="stable")])


class DeviceEngine(Protocol):
    """What a fitter asks of such an engine. Call order: start, new_state, then blocks of consecutive frames."""

    name: str
    precision: str
    frame_dtype: np.dtype[Any]  # of the frames that it takes
    largest_block: int  # frames that it likes to take at once

    def start(self, height_px: int, width_px: int, camera: Camera, maps: CameraMaps | None = None) -> None:
        """Make ready for frames of this (unpadded) size of this camera; raises EngineError."""
        ...

    def new_state(self) -> DeviceState:
        """No frame seen: the rows of the next frame's predecessor are meaningless."""
        ...

    def localize_block(self, frames_adu: Frames, state: DeviceState) -> tuple[Block, DeviceState]:
        """Frames (B, H, W) of the camera, raw; any B >= 1; rows b belong to the frame before frame b."""
        ...

    def repeat_last(self, state: DeviceState) -> DeviceState:
        """The last frame counts as its own left neighbour: after the first frame of a stretch."""
        ...


class DeviceBlocks(ABC):
    """DeviceEngine over four methods of a device: checks, padding, and blocks cut into lengths that are captured.

    A block is cut into powers of two, so that a handful of captured graphs serves every length.
    """

    name: str
    precision: str
    largest_block: int

    def __init__(self, layout: NetworkConfig, frame_dtype: str) -> None:
        if frame_dtype not in ("uint16", "float32"):
            raise EngineError(f"{self.name}: frames of type {frame_dtype}; expected uint16 or float32")
        self.layout = layout
        self.frame_dtype: np.dtype[Any] = np.dtype(frame_dtype)
        self._size: tuple[int, int] | None = None  # unpadded
        self._serial = 0

    @abstractmethod
    def _prepare(self, camera: Inputs) -> None:
        """Buffers and programs for padded frames; raises EngineError."""

    @abstractmethod
    def _forget(self) -> None:
        """Both frames' features become zero."""

    @abstractmethod
    def _run(self, padded_adu: Frames) -> Block:
        """A captured length of padded frames (B, H', W'); the features move on. The block is the caller's own."""

    @abstractmethod
    def _repeat(self) -> None:
        """Features of the last frame in both places."""

    def start(self, height_px: int, width_px: int, camera: Camera, maps: CameraMaps | None = None) -> None:
        """See DeviceEngine."""
        if min(height_px, width_px) < 1:
            raise EngineError(f"{self.name}: frames of {height_px} x {width_px} px; expected at least 1 x 1")
        self._rows, self._columns = (reflected(side, self.layout.stride) for side in (height_px, width_px))
        self._prepare(self._inputs(height_px, width_px, camera, maps))
        self._size = (height_px, width_px)

    def new_state(self) -> DeviceState:
        """See DeviceEngine."""
        self._started()
        self._forget()
        return self._next()

    def localize_block(self, frames_adu: Frames, state: DeviceState) -> tuple[Block, DeviceState]:
        """See DeviceEngine."""
        height, width = self._started()
        self._use(state)
        if frames_adu.shape != (len(frames_adu), height, width) or not len(frames_adu):
            raise EngineError(
                f"{self.name}: frames of shape {frames_adu.shape}, expected (B, {height}, {width}), B >= 1"
            )
        if frames_adu.dtype != self.frame_dtype:
            raise EngineError(f"{self.name}: frames are {frames_adu.dtype}, the engine was made for {self.frame_dtype}")
        parts, first = [], 0
        for length in lengths(len(frames_adu), self.largest_block):
            parts.append(self._run(self._padded(frames_adu[first : first + length])))
            first += length
        rows, candidates = (np.concatenate(p) for p in zip(*((p.rows, p.candidates) for p in parts), strict=True))
        return Block(rows, candidates), self._next()

    def repeat_last(self, state: DeviceState) -> DeviceState:
        """See DeviceEngine."""
        self._started()
        self._use(state)
        self._repeat()
        return self._next()

    def _padded(self, frames_adu: Frames) -> Frames:
        if frames_adu.shape[1:] == (len(self._rows), len(self._columns)):
            return frames_adu
        return frames_adu[:, self._rows[:, None], self._columns]

    def _inputs(self, height: int, width: int, camera: Camera, maps: CameraMaps | None) -> Inputs:
        shape, rows, columns = (height, width), self._rows, self._columns
        baseline, gain = (np.full(shape, value, np.float32) for value in (camera.baseline_adu, camera.e_per_adu))
        if maps is not None:
            if maps.baseline_adu.shape != shape:
                raise EngineError(
                    f"{self.name}: camera maps are {maps.baseline_adu.shape}, the frames {shape}; cut them first"
                )
            baseline, gain = maps.baseline_adu, maps.e_per_adu
        inside = np.zeros((len(rows), len(columns)), np.float32)
        inside[:height, :width] = 1.0
        baseline, gain = (np.ascontiguousarray(m[rows[:, None], columns], np.float32) for m in (baseline, gain))
        return Inputs(camera, baseline, gain, inside)

    def _started(self) -> tuple[int, int]:
        if self._size is None:
            raise EngineError(f"{self.name}: call start(height_px, width_px, camera) before using the engine")
        return self._size

    def _use(self, state: DeviceState) -> None:
        if state.serial != self._serial:
            raise EngineError(
                f"{self.name}: state {state.serial} is not the latest ({self._serial}); its features have moved "
                "on, begin again with new_state()"
            )

    def _next(self) -> DeviceState:
        self._serial += 1
        return DeviceState(self._serial)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a device needs beside frames: the camera, its maps and where the frame is; each (H', W') float32."""

    camera: Camera
    baseline_adu: F4
    e_per_adu: F4
    inside: F4

    def as_graph_camera(self, graph: Camera) -> tuple[F4, F4]:
        """Baseline and e_per_adu which make a graph with `graph`'s qe, gain and spurious charge convert this camera.

        photons = ((adu - baseline) e_per_adu / em_gain - spurious) / qe; what differs goes into the two maps.
        """
        mine, theirs = (c.qe * (c.em_gain or 1.0) for c in (self.camera, graph))
        e_per_adu = self.e_per_adu.astype(np.float64) * (theirs / mine)
        extra_photons = self.camera.spurious_e / self.camera.qe - graph.spurious_e / graph.qe
        baseline = self.baseline_adu + extra_photons * theirs / e_per_adu
        return baseline.astype(np.float32), e_per_adu.astype(np.float32)


def lengths(frames: int, largest: int) -> list[int]:
    """Powers of two, falling, that add up to `frames`, none above `largest`: 13 of at most 4 -> 4, 4, 4, 1."""
    top = 1 << (largest.bit_length() - 1)
    parts, left = [top] * (frames // top), frames % top
    return parts + [1 << k for k in range(top.bit_length() - 2, -1, -1) if left >> k & 1]


def slots_for(height_px: int, width_px: int, largest: int) -> int:
    """Slots for one frame: a sixteenth of its pixels, at least 64, at most `largest`."""
    return min(max(64, height_px * width_px // 16), largest)


def localizations_of(
    rows: F4,
    frame_index: int,
    width_px: int,
    px_nm: tuple[float, float],
    thresholds: DetectionThresholds,
    calibration: Lookup | None = None,
) -> Localizations:
    """What `find_emitters` gives, of a frame's rows (N, 12) (`Block.frame`); it is `width_px` wide when padded."""
    columns = columns_of(rows, width_px, px_nm)
    if calibration is not None:
        columns = calibrated_by_crowding(columns, rows[:, 11].astype(np.float64), thresholds.accept, calibration)
    else:
        columns = columns[:, columns[9] >= np.float32(thresholds.accept)]
    return Localizations(np.full(columns.shape[1], frame_index, np.int64), *columns)


def crowding_windows(bundle: ModelBundle) -> tuple[int, int] | None:
    """(window_px, core_px) of the bundle's calibration, None without one."""
    return (
        None if bundle.calibration is None else (bundle.calibration.sigma.window_px, bundle.calibration.sigma.core_px)
    )


def columns_of(rows: F4, width_px: int, px_nm: tuple[float, float]) -> F4:
    """(10, N) columns of Localizations after frame_index, of rows (N, 12) on frames padded to `width_px`.

    The same arithmetic as emitters.py: x = (column + dx) px_nm in float64, then float32.
    """
    pixel = rows[:, 10].astype(np.int64)
    i, j = np.divmod(pixel, width_px)
    wide = rows.astype(np.float64)
    x, y = (j + wide[:, 2]) * px_nm[0], (i + wide[:, 3]) * px_nm[1]
    sigma_x, sigma_y = wide[:, 6] * px_nm[0], wide[:, 7] * px_nm[1]
    columns = [x, y, rows[:, 4], rows[:, 1], rows[:, 9], sigma_x, sigma_y, rows[:, 8], rows[:, 5], rows[:, 0]]
    return np.stack([np.asarray(column, np.float32) for column in columns])
