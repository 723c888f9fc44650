"""The wide-field image of the same frames: the sum of all fitted frames, kept across restarts of localize."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.frames import FrameArray

FINAL_NAME = "widefield.npy"
PART_NAME = "widefield.part.npz"
SAVE_EVERY_S = 2.0


class Widefield:
    """Sum of the fitted frames in ADU, (H, W) float64, with how many they are.

    Saved every two seconds with the index up to which it goes, so that a restarted localize can add what
    was committed after that from the ring. What the ring no longer has is missing, and `frames` says so.
    """

    def __init__(self, folder: Path, total_adu: NDArray[np.float64], frames: int, last_index: int) -> None:
        self._folder, self._total = folder, total_adu
        self.frames, self.last_index = frames, last_index
        self._waiting: dict[int, FrameArray] = {}  # given to the fitter, not yet committed: two frames
        self._saved_at = time.monotonic()

    @classmethod
    def open(cls, folder: Path, shape: tuple[int, int]) -> Widefield:
        """Empty, or as last saved in this run folder."""
        saved = folder / PART_NAME
        if not saved.exists():
            return cls(folder, np.zeros(shape), 0, -1)
        with np.load(saved, allow_pickle=False) as parts:
            return cls(folder, parts["total_adu"].copy(), int(parts["frames"]), int(parts["last_index"]))

    def expect(self, index: int, pixels_adu: FrameArray) -> None:
        """Remember a frame until its fate is known."""
        self._waiting[index] = pixels_adu

    def settle(self, index: int, fitted: bool) -> None:
        """The frame was committed: add it if it was fitted; save now and then."""
        pixels = self._waiting.pop(index, None)
        if fitted and pixels is not None:
            self.add(index, pixels)
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self._save()

    def add(self, index: int, pixels_adu: FrameArray) -> None:
        """Add one frame (H, W)."""
        self._total += pixels_adu
        self.frames += 1
        self.last_index = index

    def finish(self) -> None:
        """Write the image; the partial save is no longer needed."""
        buffer = io.BytesIO()
        np.save(buffer, self._total)
        _keep(self._folder / FINAL_NAME, buffer)
        (self._folder / PART_NAME).unlink(missing_ok=True)

    def _save(self) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, total_adu=self._total, frames=self.frames, last_index=self.last_index)
        _keep(self._folder / PART_NAME, buffer)
        self._saved_at = time.monotonic()


def saved_total_adu(folder: Path) -> NDArray[np.float64] | None:
    """(H, W) sum of a run's fitted frames; where localize never came to the end, as last saved; None before that."""
    if (folder / FINAL_NAME).exists():
        total: NDArray[np.float64] = np.load(folder / FINAL_NAME, allow_pickle=False)
        return total
    if not (folder / PART_NAME).exists():
        return None
    with np.load(folder / PART_NAME, allow_pickle=False) as parts:
        total = parts["total_adu"].copy()
    return total


def _keep(path: Path, buffer: io.BytesIO) -> None:
    """Replace `path` in one step. Not synced: that would hold up frames. A full disk shows in the log, not here."""
    draft = path.with_name(f".{path.name}")
    try:
        draft.write_bytes(buffer.getvalue())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
