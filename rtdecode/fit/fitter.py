"""The fitter: frames in, localizations out; the one object used live, in replay and in evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rtdecode.core.camera import Camera
from rtdecode.core.config import DetectionConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import CameraMismatch, StreamError
from rtdecode.core.frames import Fate, Frame, FrameFlag, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.device import DeviceBlocks, DeviceEngine
from rtdecode.fit.lines import Answer, DeviceLine, HostLine, Line, Reading
from rtdecode.streams.log import CommitFlag

LARGEST_ADU = 2.0**24
"""Beyond it float32 no longer holds whole ADU, and no camera makes such values: the frame is refused."""

SATURATED_SHARE = 0.05
"""Of a frame's pixels: beyond it there is no image left to fit, only the camera's ceiling; the frame is refused."""


@dataclass(frozen=True, slots=True)
class FittedFrame:
    """The end of one pushed frame: its fate, and its localizations if it was fitted."""

    info: FrameInfo
    fate: Fate  # FITTED or REJECTED
    flags: CommitFlag  # copied neighbours and saturation, or why it was rejected
    localizations: Localizations


class Fitter:
    """Every pushed frame comes out exactly once, in order, one frame later than it came or more.

    Over an engine of the CPU the same frames give the same bytes for any cutting of the stream and across `resume`;
    over a device's, the same up to its rounding.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        engine: Engine | DeviceEngine,
        roi: Roi,
        camera: Camera | None = None,
        detection: DetectionConfig | None = None,
        allow_camera_mismatch: bool = False,
    ) -> None:
        """`camera` None: the bundle's own; `detection` None or None in it: the bundle's thresholds.

        Maps of the run's camera are cut to `roi`. Starts the engine. Raises CameraMismatch, ConfigError, EngineError.
        """
        self._camera, self._roi = camera or bundle.camera, roi
        check_camera(bundle.camera, self._camera, allow_camera_mismatch)
        reading = Reading(
            bundle=bundle,
            camera=self._camera,
            maps=self._camera.load_maps(roi),
            thresholds=thresholds_of(bundle, detection),
            calibration=bundle.calibration.lookup() if bundle.calibration is not None else None,
            tells_z=bundle.tells_z,
        )
        self._line = _line(reading, engine, roi.shape)
        self.largest_block = engine.largest_block if isinstance(engine, DeviceBlocks) else 1
        """Frames that the engine likes to take at once."""
        self._last_index: int | None = None
        self.lost_candidates = 0
        """Emitters so far that found no slot on a device; they must be told."""

    def push(self, frame: Frame, more: bool = False) -> list[FittedFrame]:
        """Take the next frame; give what is now finished. `more`: another frame is there and will be pushed at once.

        A wrong-sized, not finite or widely saturated frame is rejected and is a gap to its neighbours. Raises
        StreamError for a frame that is not later than the last one, EngineError.
        """
        self._advance(frame.index)
        if fault := self._fault(frame):
            rejected = FittedFrame(frame.info, Fate.REJECTED, fault, Localizations.empty())
            return [*self._fitted(self._line.gap()), rejected]
        return self._fitted(self._line.push(self._info(frame), frame.pixels_adu, more))

    def finish(self) -> list[FittedFrame]:
        """No more frames: the last one is finished with itself as right neighbour."""
        return self._fitted(self._line.gap())

    def resume(self, last_committed: Frame) -> None:
        """Before the first push after a restart: the frame of the log's last commit, which is not given again.

        Only where that commit is FITTED without RIGHT_IS_COPY; otherwise the next frame starts afresh anyway
        and nothing must be resumed. Push goes on with the frame after it.
        """
        self._advance(last_committed.index)
        if self._fault(last_committed):
            raise StreamError(f"frame {last_committed.index} is no frame to resume from: it cannot be fitted")
        self._line.resume(last_committed.info, last_committed.pixels_adu)

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

    def _fitted(self, answers: list[Answer]) -> list[FittedFrame]:
        self.lost_candidates += sum(answer.lost_candidates for answer in answers)
        return [FittedFrame(answer.info, Fate.FITTED, _flags(answer), answer.localizations) for answer in answers]


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


def thresholds_of(bundle: ModelBundle, run: DetectionConfig | None) -> DetectionThresholds:
    """The bundle's thresholds, less what the run says otherwise."""
    asked = {name: value for name, value in (run or DetectionConfig()).model_dump().items() if value is not None}
    return bundle.detection.model_copy(update=asked)


def _line(reading: Reading, engine: Engine | DeviceEngine, shape: tuple[int, int]) -> Line:
    if isinstance(engine, DeviceBlocks):
        return DeviceLine(reading, engine, shape)
    return HostLine(reading, engine, shape)  # type: ignore[arg-type]  # DeviceBlocks are the only DeviceEngines


def _flags(answer: Answer) -> CommitFlag:
    left = CommitFlag.LEFT_IS_COPY if answer.left_copy else CommitFlag.NONE
    right = CommitFlag.RIGHT_IS_COPY if answer.right_copy else CommitFlag.NONE
    saturated = answer.info.flags & FrameFlag.SATURATED
    return left | right | (CommitFlag.SATURATED if saturated else CommitFlag.NONE)
