"""A user's own camera for tests: frames of a .npy at a pace, gaps on demand, and a diary of what was done to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rtdecode.core.actions import Action, Stop
from rtdecode.core.contracts import Setting
from rtdecode.core.errors import EndOfStream, SourceError
from rtdecode.core.frames import FrameArray, FrameInfo, Roi
from rtdecode.core.yaml_files import StrictModel


class PacedCamera(StrictModel):
    """Gives the frames of `path` at `fps` (0: as fast as they are read), without those in `lost`."""

    path: Path
    diary: Path
    fps: float = 0.0
    lost: tuple[int, ...] = ()
    hold_after: int | None = None  # then wait until the file `go` is there
    go: Path | None = None
    absent: bool = False

    def _write(self, word: str) -> None:
        with self.diary.open("a") as file:
            file.write(f"{word}\n")

    def open(self) -> None:
        if self.absent:
            raise SourceError("no camera answers")
        frames = np.load(self.path)
        state = {"frames": frames, "at": 0, "stopped": False, "began": 0.0}
        object.__setattr__(self, "_state", state)
        self._write("open")

    @property
    def can_wait(self) -> bool:
        return self.fps == 0

    @property
    def nominal_fps(self) -> float | None:
        return self.fps or None

    @property
    def roi(self) -> Roi:
        return Roi(0, 0, self._state["frames"].shape[2], self._state["frames"].shape[1])

    @property
    def dtype(self) -> str:
        return str(self._state["frames"].dtype)

    @property
    def expected(self) -> int | None:
        return len(self._state["frames"])

    @property
    def made(self) -> int | None:
        return int(self._state["at"])

    def start(self) -> None:
        self._state["began"] = time.monotonic()
        self._write("start")

    def read(self, out: FrameArray) -> FrameInfo | None:
        state = self._state
        while state["at"] in self.lost:
            state["at"] += 1
        index = state["at"]
        if state["stopped"] or index >= len(state["frames"]):
            raise EndOfStream("no more")
        if self.fps and time.monotonic() < state["began"] + index / self.fps:
            return None
        if index == self.hold_after and self.go is not None and not self.go.exists():
            return None
        out[...] = state["frames"][index]
        state["at"] += 1
        return FrameInfo(index, 0, time.monotonic_ns())

    def apply(self, action: Action) -> None:
        self._write("stop" if isinstance(action, Stop) else f"set {action.value:g}")
        if isinstance(action, Stop):
            self._state["stopped"] = True

    def close(self) -> None:
        self._write("close")


class LitCamera(PacedCamera):
    """Has a light that a second process can switch off, in its own way each time."""

    rest: Literal["well", "raises", "hangs", "freezes", "dies"] = "well"
    safe_stop_s: float = 10.0
    close_fails: bool = False

    def tell_changes(self, tell: Callable[[Setting], None]) -> None:
        tell(Setting("Light", "Power", "3"))

    def close(self) -> None:
        super().close()
        if self.close_fails:
            raise SourceError("the light does not answer")

    def bring_to_rest(self, before: Sequence[Setting]) -> list[str]:
        self._write(f"rest {self.rest}")
        if self.rest == "raises":
            raise OSError("the cable is cut")
        if self.rest == "hangs":
            time.sleep(1000)
        if self.rest in ("freezes", "dies"):
            os.kill(os.getpid(), signal.SIGSTOP if self.rest == "freezes" else signal.SIGKILL)
        return ["light off", *(f"{item.device}.{item.property} put back to {item.value}" for item in before)]
