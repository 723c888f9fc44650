"""The frames that an earlier run recorded, with its camera's own count and clock: gaps stay gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.frames import Roi
from rtdecode.sources.recording import Pixels, Recording, unusable
from rtdecode.streams.recording import HEADER_NAME, RecordingReader


class RunRecording(Recording):
    """A run folder with `frames.yaml`. A torn tail (the run died) is left out: every frame played is whole."""

    units = "adu"
    times_are_at_hand = True

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._reader = RecordingReader.open(folder)
        self._indices = self._reader.indices
        self.n_frames, self.shape = self._reader.frames, self._reader.shape
        self.dtype = np.dtype(self._reader.dtype)
        if not self.n_frames:
            self._reader.close()
            raise unusable(folder, "a recording without a whole frame", "at least one", "That run died at once.")

    def frame(self, position: int) -> Pixels:
        """See Recording.frame; (0, 0) pixels where the frame had come in a wrong size."""
        return self._reader.read(position).pixels_adu

    def index(self, position: int) -> int:
        """The index that the run's camera gave it."""
        return int(self._indices[position])

    def flags(self, position: int) -> int:
        """As the run's source had set them."""
        return self._reader.info(position).flags

    def times_ns(self) -> NDArray[np.int64] | None:
        """The camera's clock where it had one, else the times of arrival."""
        infos = [self._reader.info(position) for position in range(self.n_frames)]
        camera = np.array([info.t_camera_ns for info in infos], np.int64)
        return camera if camera.any() else np.array([info.t_arrival_ns for info in infos], np.int64)

    @property
    def expected(self) -> int:
        """See Recording.expected: up to the last frame that was recorded."""
        return int(self._indices[-1]) + 1

    @property
    def roi(self) -> Roi:
        """The region of the run."""
        return self._reader.roi

    def close(self) -> None:
        """See Recording.close."""
        self._reader.close()


def is_run_recording(folder: Path) -> bool:
    """Whether a run recorded its frames there."""
    return (folder / HEADER_NAME).is_file()
