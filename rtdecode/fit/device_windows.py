"""Three-frame context for engines that keep features on their device: blocks of what has come, gaps, start, restart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.errors import EngineError
from rtdecode.core.frames import FrameArray, FrameInfo
from rtdecode.fit.device import F4, Block, DeviceEngine, DeviceState
from rtdecode.fit.windows import reflected


@dataclass(frozen=True, slots=True)
class RowWindow:
    """The rows of one centre frame, and whether a neighbour was missing and replaced by the frame itself."""

    info: FrameInfo
    left_copy: bool
    right_copy: bool
    rows: F4  # (N, 12), of `Block.frame`
    lost: int  # candidates that found no slot


@dataclass(frozen=True, slots=True)
class _Centre:
    """The frame that waits for its right neighbour."""

    info: FrameInfo
    pixels_adu: FrameArray
    left_copy: bool
    given: bool  # its rows were given before a restart


class DeviceWindows:
    """As `Windows`: one RowWindow for each frame, at least one frame behind; the engine gets blocks.

    Frames that still have others behind them in the queue are gathered until the engine's block is full. How a
    stretch is cut into blocks may change the last digits of an answer, as a GPU chooses its kernels by shape.
    """

    def __init__(
        self, engine: DeviceEngine, stride: int, shape: tuple[int, int], camera: Camera, maps: CameraMaps | None
    ) -> None:
        self._engine = engine
        engine.start(*shape, camera, maps)
        self.padded_width_px = len(reflected(shape[1], stride))
        self._state: DeviceState | None = None  # after the centre and all before it
        self._centre: _Centre | None = None
        self._waiting: list[tuple[FrameInfo, FrameArray]] = []  # behind the centre, not yet on the device

    def push(self, info: FrameInfo, pixels_adu: FrameArray, more: bool = False) -> list[RowWindow]:
        """Take the next frame (H, W), raw; `more`: another one is there already and will be pushed at once."""
        frame = np.array(pixels_adu, self._engine.frame_dtype)  # a copy: the ring's slot will be written again
        if not self._follows(info):
            done = self.gap()
            self._begin(info, frame)
            return done
        self._waiting.append((info, frame))
        return [] if more and len(self._waiting) < self._engine.largest_block else self._flush()

    def gap(self) -> list[RowWindow]:
        """The next frame, if any, is not the neighbour of the last: finish that one as its own right neighbour."""
        done = self._flush()
        centre, self._centre = self._centre, None
        if centre is None or centre.given:
            return done
        block = self._run([centre.pixels_adu])
        return [*done, self._window(centre, block, 0, right_copy=True)]

    def resume(self, info: FrameInfo, pixels_adu: FrameArray) -> None:
        """Start after a frame whose rows were given before a restart; it serves as left neighbour only."""
        self.gap()
        frame = np.array(pixels_adu, self._engine.frame_dtype)
        self._state = self._engine.new_state()
        self._run([frame])
        self._centre = _Centre(info, frame, left_copy=False, given=True)

    def _follows(self, info: FrameInfo) -> bool:
        last = self._waiting[-1][0] if self._waiting else self._centre.info if self._centre else None
        return last is not None and info.index == last.index + 1

    def _begin(self, info: FrameInfo, frame: FrameArray) -> None:
        """The first frame of a stretch is its own left neighbour."""
        self._state = self._engine.new_state()
        self._run([frame])
        self._state = self._engine.repeat_last(self._state)
        self._centre = _Centre(info, frame, left_copy=True, given=False)

    def _flush(self) -> list[RowWindow]:
        """Rows of the centre and of all that waits but the last, which is the new centre."""
        if not self._waiting or self._centre is None:
            return []
        block = self._run([frame for _, frame in self._waiting])
        later = [_Centre(info, frame, left_copy=False, given=False) for info, frame in self._waiting]
        centres = [self._centre, *later]
        self._centre, self._waiting = later[-1], []
        return [
            self._window(centre, block, b, right_copy=False)
            for b, centre in enumerate(centres[:-1])
            if not centre.given
        ]

    def _run(self, frames: list[FrameArray]) -> Block:
        assert self._state is not None  # a stretch has begun
        block, self._state = self._engine.localize_block(np.stack(frames), self._state)  # type: ignore[arg-type]
        return block

    def _window(self, centre: _Centre, block: Block, b: int, right_copy: bool) -> RowWindow:
        if not block.finite[b]:
            raise EngineError(
                f"the engine gave values that are not finite for frame {centre.info.index}; "
                "try engine.precision fp32 or another engine, and check the bundle"
            )
        return RowWindow(centre.info, centre.left_copy, right_copy, block.frame(b), int(block.lost[b]))
