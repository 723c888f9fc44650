"""The protocols between rooms: what a source, an engine, a policy and a stage must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.actions import Action
from rtdecode.core.frames import FrameArray, FrameInfo, Roi
from rtdecode.core.localizations import Localizations


@runtime_checkable
class Source(Protocol):
    """Where frames come from. Built closed; `open` starts it, `close` leaves camera idle and light off."""

    @property
    def roi(self) -> Roi:
        """Region of every frame of the run; known after `open`."""
        ...

    @property
    def dtype(self) -> str:
        """Element type of the frames, one of `FRAME_DTYPES`; known after `open`."""
        ...

    @property
    def expected(self) -> int | None:
        """Frames the camera was asked for, None where nobody knows; known after `open`."""
        ...

    def open(self) -> None:
        """Find and check what was asked for; raises SourceError. No frame is read yet."""
        ...

    def start(self) -> None:
        """Begin the acquisition: from here frames come."""
        ...

    def read(self, out: FrameArray) -> FrameInfo | None:
        """Write the next frame into `out` (H, W) and say which it was; None: not here yet (return at once).

        Raises EndOfStream after the last frame, SourceLost, RecordingError. A frame of another size
        than the run began with is announced by a FrameInfo with FrameFlag.WRONG_SIZE; `out` is then undefined.
        """
        ...

    def apply(self, action: Action) -> None:
        """Carry out an action; Stop ends the acquisition, frames already made can still be read."""
        ...

    @property
    def made(self) -> int | None:
        """Frames the camera has made so far by its own count, None where it cannot be asked."""
        ...

    def close(self) -> None:
        """Camera idle, light off, handles released; safe to call twice and after any error."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """A device property and a value of it, in the device's own words."""

    device: str
    property: str
    value: str


@runtime_checkable
class SafeStop(Protocol):
    """What a Source adds whose hardware stays as it is when the process that holds it dies.

    A source may also say `has_hardware` (False: nothing is left to bring to rest, as with a recording; True where
    it says nothing) and `safe_stop_s` (the longest that `bring_to_rest` may take; 10 s where it says nothing).
    """

    def tell_changes(self, tell: Callable[[Setting], None]) -> None:
        """Called before `open`. From then on `tell` gets each property's value before it is changed first.

        Where `tell` raises, the property stays as it is: what nobody wrote down nobody could put back.
        """
        ...

    def bring_to_rest(self, before: Sequence[Setting]) -> list[str]:
        """In a new process, on a source that is not open: connect anew, light off, camera idle, `before` put back.

        `before` is what `tell` was given by the process that died, in its order. Every step is tried whatever
        became of the others. Returns what was done, in words; raises SourceError when anything was not.
        """
        ...


class Engine(Protocol):
    """Runs a bundle's graph. Holds no stream state: the features of the last two frames come in and go out."""

    name: str  # as asked for in the configuration: openvino, onnxruntime, torch
    precision: str  # fp32, bf16, ...

    def start(self, height_px: int, width_px: int) -> None:
        """Compile for frames of this (padded) size; raises EngineError."""
        ...

    def infer(
        self, frames_adu: NDArray[np.float32], features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run B new frames (B, H, W) in ADU after the features (2, C, h, w) of the two frames before them.

        Output b of (B, 10, H, W) has the frame before frame b as its centre. Returns outputs and the
        features of the last two frames. Cutting the stream into other blocks must not change a byte.
        """
        ...

    def zero_features(self) -> NDArray[np.float32]:
        """(2, C, h, w) zeros for the first call; the output that belongs to them is meaningless."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What a policy may know of the run besides localizations: counts, never the clock."""

    frames_fitted: int
    frames_rejected: int
    frames_lost: int
    last_frame_index: int
    field_um2: float  # area of the ROI


class Policy(Protocol):
    """Decides from localizations and frame counts only, so that a replay decides the same."""

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Take what came since the last call (whole frames, in order), return the actions it calls for."""
        ...


class Stage(Protocol):
    """One loop without walls: the process around it only calls `step`."""

    def step(self) -> bool | None:
        """Do a little: True did work, False nothing yet, None finished."""
        ...
