"""The fitter: frames in, localizations out; the one object used live, in replay and in evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.config import DetectionConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import CameraMismatch, EngineError, StreamError
from rtdecode.core.frames import Fate, Frame, FrameArray, FrameFlag, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.emitters import find_emitters, without_z
from rtdecode.fit.windows import Window, Windows
from rtdecode.streams.log import CommitFlag

LARGEST_ADU = 2.0**24
"""Beyond it float32 no longer holds whole ADU, and no camera makes such values: the frame is refused."""

SATURATED_SHARE = 0.05
"""Of a frame's pixels: beyond it there is no image left to fit, only the camera's ceiling; the frame is refused."""

CONVERSION = ("baseline_adu", "e_per_adu", "qe", "em_gain", "spurious_e")
"""Fields of a camera that enter ADU -> photons, and so the graph."""


@dataclass(frozen=True, slots=True)
class FittedFrame:
    """The end of one pushed frame: its fate, and its localizations if it was fitted."""

    info: FrameInfo
    fate: Fate  # FITTED or REJECTED
    flags: CommitFlag  # copied neighbours and saturation, or why it was rejected
    localizations: Localizations


class Fitter:
    """Every pushed frame comes out exactly once, in order, one frame later than it came.

    The same frames give the same bytes for any cutting of the stream and across `resume`.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        engine: Engine,
        roi: Roi,
        camera: Camera | None = None,
        detection: DetectionConfig | None = None,
        allow_camera_mismatch: bool = False,
    ) -> None:
        """`camera` None: the bundle's own; `detection` None or None in it: the bundle's thresholds.

        Maps of the run's camera are cut to `roi`. Starts the engine. Raises CameraMismatch, ConfigError, EngineError.
        """
        self._camera, self._graph_camera = camera or bundle.camera, bundle.camera
        check_camera(bundle.camera, self._camera, allow_camera_mismatch)
        self._maps = self._camera.load_maps(roi)
        differs = any(name in CONVERSION for name in bundle.camera.differences(self._camera))
        self._converts = differs or self._maps is not None
        self._roi, self._thresholds = roi, _thresholds(bundle.detection, detection or DetectionConfig())
        self._tells_z = bundle.tells_z
        self._calibration = bundle.calibration.lookup() if bundle.calibration is not None else None
        self._windows = Windows(engine, bundle.network.stride, roi.height_px, roi.width_px)
        self._last_index: int | None = None

    def push(self, frame: Frame) -> list[FittedFrame]:
        """Take the next frame; give what is now finished (none to two frames).

        A wrong-sized, not finite or widely saturated frame is rejected and is a gap to its neighbours. Raises
        StreamError for a frame that is not later than the last one, EngineError.
        """
        self._advance(frame.index)
        if fault := self._fault(frame):
            rejected = FittedFrame(frame.info, Fate.REJECTED, fault, Localizations.empty())
            return [*self._fitted(self._windows.gap()), rejected]
        return self._fitted(self._windows.push(self._info(frame), self._graph_adu(frame.pixels_adu)))

    def finish(self) -> list[FittedFrame]:
        """No more frames: the last one is finished with itself as right neighbour."""
        return self._fitted(self._windows.gap())

    def resume(self, last_committed: Frame) -> None:
        """Before the first push after a restart: the frame of the log's last commit, which is not given again.

        Only where that commit is FITTED without RIGHT_IS_COPY; otherwise the next frame starts afresh anyway
        and nothing must be resumed. Push goes on with the frame after it.
        """
        self._advance(last_committed.index)
        if self._fault(last_committed):
            raise StreamError(f"frame {last_committed.index} is no frame to resume from: it cannot be fitted")
        self._windows.resume(last_committed.info, self._graph_adu(last_committed.pixels_adu))

    def _advance(self, index: int) -> None:
        if self._last_index is not None and index <= self._last_index:
            raise StreamError(f"frame {index} came after frame {self._last_index}; indices must rise")
        self._last_index = index

    def _fault(self, frame: Frame) -> CommitFlag:
        """Why this frame cannot be fitted, NONE if it can."""
        pixels = frame.pixels_adu
        if frame.info.flags & FrameFlag.WRONG_SIZE or pixels.shape != self._roi.shape:
            return CommitFlag.WRONG_SIZE
        if pixels.dtype.kind == "f" and not float(np.abs(pixels).max()) <= LARGEST_ADU:  # NaN fails it too
            return CommitFlag.NOT_FINITE
        return CommitFlag.SATURATED if self._saturated_share(frame) > SATURATED_SHARE else CommitFlag.NONE

    def _saturated_share(self, frame: Frame) -> float:
        """Of pixels at full scale: the camera's, or the frame's own ceiling where its source says that it is one."""
        brightest = float(frame.pixels_adu.max())
        ceiling = brightest if frame.info.flags & FrameFlag.SATURATED else math.inf
        full_adu = min(self._camera.full_scale_adu, ceiling)
        return float(np.mean(frame.pixels_adu >= full_adu)) if brightest >= full_adu else 0.0

    def _info(self, frame: Frame) -> FrameInfo:
        """The frame's info, flagged as saturated also where its source did not know the full scale."""
        if float(frame.pixels_adu.max()) < self._camera.full_scale_adu:
            return frame.info
        return replace(frame.info, flags=frame.info.flags | FrameFlag.SATURATED)

    def _graph_adu(self, pixels_adu: FrameArray) -> NDArray[np.float32]:
        """(H, W) in ADU of the bundle's camera, which is inside the graph."""
        if not self._converts:
            return pixels_adu.astype(np.float32)
        return adu_of(self._graph_camera, self._camera.photons(pixels_adu, self._maps))

    def _fitted(self, windows: list[Window]) -> list[FittedFrame]:
        return [self._fit(window) for window in windows]

    def _fit(self, window: Window) -> FittedFrame:
        if not math.isfinite(float(window.maps.sum())):  # a sum passes on NaN and inf, and needs no mask
            raise EngineError(
                f"the engine gave values that are not finite for frame {window.info.index}; "
                "try engine.precision fp32 or another engine, and check the bundle"
            )
        maps = window.maps if self._tells_z else without_z(window.maps)
        at = (window.info.index, self._camera.px_nm)
        found = find_emitters(maps, *at, self._thresholds, self._calibration)
        return FittedFrame(window.info, Fate.FITTED, _flags(window), found)


def check_camera(bundle_camera: Camera, run_camera: Camera, allow: bool) -> None:
    """Refuse a run with another camera than the model was trained for, unless `allow`; raises CameraMismatch."""
    differences = bundle_camera.differences(run_camera)
    if differences and not allow:
        lines = [f"  {name}: model {mine}, run {theirs}" for name, (mine, theirs) in differences.items()]
        raise CameraMismatch(
            "the run's camera differs from the one that the model was trained for:\n"
            + "\n".join(lines)
            + "\nTrain a model for this camera, correct the camera's values, or allow it: "
            "`allow_camera_mismatch: true` in the run's YAML, `rtdecode replay --allow-camera-mismatch`"
        )


def adu_of(camera: Camera, photons: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `Camera.photons` on average: ADU, not rounded, float32 of the same shape."""
    electrons = (photons * np.float32(camera.qe) + np.float32(camera.spurious_e)) * np.float32(camera.em_gain or 1.0)
    return np.asarray(electrons / np.float32(camera.e_per_adu) + np.float32(camera.baseline_adu), np.float32)


def _thresholds(bundle: DetectionThresholds, run: DetectionConfig) -> DetectionThresholds:
    asked = {name: value for name, value in run.model_dump().items() if value is not None}
    return bundle.model_copy(update=asked)


def _flags(window: Window) -> CommitFlag:
    left = CommitFlag.LEFT_IS_COPY if window.left_copy else CommitFlag.NONE
    right = CommitFlag.RIGHT_IS_COPY if window.right_copy else CommitFlag.NONE
    saturated = window.info.flags & FrameFlag.SATURATED
    return left | right | (CommitFlag.SATURATED if saturated else CommitFlag.NONE)
