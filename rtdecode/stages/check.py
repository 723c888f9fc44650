"""Check: is the model right for what comes in? Looks now and then, beside the line, and warns by name."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from rtdecode.analysis.doubts import Trained
from rtdecode.core.actions import Action
from rtdecode.core.camera import Camera
from rtdecode.core.errors import RingError, RingLapped
from rtdecode.core.frames import Fate, FrameArray
from rtdecode.core.localizations import Localizations
from rtdecode.physics.psf import SplinePsf
from rtdecode.stages.notes import complain, note
from rtdecode.streams.log import LogReader
from rtdecode.streams.ring import RingReader
from rtdecode.streams.run_folder import RunFolder

WORKER = "check"
WINDOW = 250  # frames of one look
FEWEST = 100  # at the end of a run that was too short for a whole window
EVERY = 2000  # fitted frames from one look to the next
REST_S = 0.02  # between two rounds: nobody waits for this stage
SIDE_PX = 160  # of the middle of large frames: a look takes about 2 s of one core, at low priority


class CheckStage:
    """Reads ring and log without being waited for: a frame that it misses is missed by it alone.

    Events: `warning` with `check` (a stable name) and `reason` when a misfit is seen that was not there at the last
    look, `warning_over` when it is gone.
    """

    def __init__(
        self, folder: RunFolder, camera: Camera, psf: SplinePsf | None, trained: Trained, every: int = EVERY,
        rest_s: float = REST_S,
    ) -> None:  # fmt: skip
        self._folder, self._camera, self._psf, self._trained = folder, camera, psf, trained
        self._ring: RingReader | None = None
        self._reader = LogReader.open(folder.path, missing_ok=True)
        self._frames: list[FrameArray] = []
        self._indices: list[int] = []
        self._found: list[Localizations] = []
        self._fitted, self._next_at, self._logged = 0, 0, -1
        self._looks, self._every = 0, every
        self._rest_s, self._rested_at = rest_s, -math.inf
        self._standing: dict[str, str] = {}
        self._is_open = False  # the window
        self._ending = self._done = False

    def step(self) -> bool | None:
        """Take a frame and what was committed; judge when a window is full and the log has come to its end."""
        if self._done:
            return None
        if time.monotonic() - self._rested_at < self._rest_s:
            return False
        worked = self._follow()
        while self._collect():
            worked = True
        if len(self._frames) >= WINDOW and self._logged >= self._indices[-1]:
            self._look()
        elif self._ending and not worked:
            if not self._looks and len(self._frames) >= FEWEST:
                self._look()
            self._done = True
        if not worked:
            self._rested_at = time.monotonic()
        return worked

    def _collect(self) -> bool:
        """One frame into the window, if one is open."""
        if len(self._frames) >= WINDOW or self._fitted < self._next_at or not self._has_ring():
            return False
        assert self._ring is not None
        if not self._is_open:  # the ring has gone on since the last look; the log is read from here on, too
            self._is_open = True
            if self._looks:
                self._ring.seek(self._ring.last_index)
        try:
            frame = self._ring.read()
        except RingLapped:
            return True
        if frame is None:
            return False
        if frame.pixels_adu.shape == self._ring.shape and np.isfinite(frame.pixels_adu).all():
            self._frames.append(frame.pixels_adu[self._middle(frame.pixels_adu)].copy())
            self._indices.append(frame.index)
        return True

    def _has_ring(self) -> bool:
        if self._ring is None and (path := self._folder.ring_path) is not None:
            try:
                self._ring = RingReader.open(path)
            except RingError:
                return False  # its memory is gone: the run is over
        return self._ring is not None

    @staticmethod
    def _middle(pixels: FrameArray) -> tuple[slice, slice]:
        starts = [max(0, (side - SIDE_PX) // 2) for side in pixels.shape]
        return slice(starts[0], starts[0] + SIDE_PX), slice(starts[1], starts[1] + SIDE_PX)

    def _follow(self) -> bool:
        commits, found = self._reader.read_new(256)
        if not len(commits):
            return False
        self._fitted += int(np.count_nonzero(commits["fate"] == Fate.FITTED))
        self._logged = int(commits["frame_index"][-1])
        if self._fitted >= self._next_at:
            self._found.append(found)
        return True

    def _look(self) -> None:
        """Imports what is heavy only now: a short run never pays for it."""
        from rtdecode.analysis.model_check import check_model

        found = self._localizations_of_window()
        try:
            frames: Any = np.stack(self._frames)
            check = check_model(frames, found, self._camera, self._psf, self._trained)
            self._tell({f.check: (f.verdict, f.sentence) for f in check.findings})
        except (ValueError, ArithmeticError) as error:  # LinAlgError is a ValueError
            complain(f"check: this window could not be judged: {error!r}")
        self._looks += 1
        self._frames, self._indices, self._found = [], [], []
        self._next_at, self._is_open = self._fitted + self._every, False

    def _localizations_of_window(self) -> Localizations:
        """Those in the window's frames and middle, frames counted from 0, positions from the middle's corner."""
        assert self._ring is not None
        every, indices = Localizations.concatenate(self._found).records(), np.array(self._indices)
        place = np.minimum(np.searchsorted(indices, every["frame_index"]), len(indices) - 1)
        kept = indices[place] == every["frame_index"]
        every, place = every[kept].copy(), place[kept]
        every["frame_index"] = place
        height, width = self._frames[0].shape
        for name, side, whole, px_nm in (
            ("y_nm", height, self._ring.shape[0], self._camera.px_nm[1]),
            ("x_nm", width, self._ring.shape[1], self._camera.px_nm[0]),
        ):
            every[name] -= max(0, (whole - SIDE_PX) // 2) * px_nm
            inside = (every[name] >= -0.5 * px_nm) & (every[name] < (side - 0.5) * px_nm)
            every = every[inside]
        return Localizations.from_records(every)

    def _tell(self, verdicts: dict[str, tuple[str, str]]) -> None:
        """What is new and what is over; a check that cannot tell now leaves its last word standing."""
        for check, (verdict, sentence) in verdicts.items():
            if verdict == "warning" and check not in self._standing:
                note(self._folder, WORKER, "warning", self._logged, check=check, reason=f"{check}: {sentence}")
                self._standing[check] = sentence
        over = [name for name in self._standing if verdicts.get(name, ("ok", ""))[0] == "ok"]
        for check in over:
            note(self._folder, WORKER, "warning_over", self._logged, check=check)
            del self._standing[check]

    def order(self, action: Action) -> None:
        """The session says that the log is complete."""
        self._ending = True

    def abandon(self, reason: str) -> None:
        """Nobody would read a warning any more."""
        self._done = True

    def orphaned(self) -> None:
        """The ring is not this stage's to remove."""

    def status(self) -> dict[str, Any]:
        """What stands against the model now, as `check: sentence`."""
        warnings = [f"{check}: {sentence}" for check, sentence in self._standing.items()]
        return {"state": "finished" if self._done else "running", "looks": self._looks, "warnings": warnings}

    def close(self) -> None:
        """Let go of the ring; safe to call twice."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
