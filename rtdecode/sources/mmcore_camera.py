"""A camera device written in Python for Micro-Manager's core (UniMMCore): it shows a simulated specimen.

Imported only by `mmcore.connect_simulated`: pymmcore-plus is an optional library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymmcore_plus.experimental.unicore import CameraDevice

from rtdecode.sources.scene import Specimen

_NAP_S = 0.05  # longest sleep, so that a stop is noticed; the core waits 2 s for the camera's thread


class SpecimenCamera(CameraDevice):  # type: ignore[misc]  # the library is untyped where it is not installed
    """Frames of a specimen at one frame for each exposure, at the camera's own pace: a late frame is not skipped."""

    def __init__(self, specimen: Specimen, exposure_ms: float) -> None:
        super().__init__()
        self._specimen, self._exposure_ms = specimen, exposure_ms
        self._halted = False

    def get_exposure(self) -> float:
        """Exposure in ms, which is the whole period of a frame."""
        return self._exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure in ms; a running sequence takes it at once."""
        self._exposure_ms = exposure

    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self._specimen.scene.shape

    def dtype(self) -> type[np.uint16]:
        """ADU of 16 bits."""
        return np.uint16

    def halt(self) -> None:
        """End the sequence now and not after the frame that is being exposed."""
        self._halted = True

    def start_sequence(
        self, n: int | None, get_buffer: Callable[[Sequence[int], Any], NDArray[Any]]
    ) -> Iterator[Mapping[str, str]]:
        """Yield after each frame; the core's own thread runs this."""
        self._halted = False
        due = time.perf_counter()
        for index in range(self._specimen.n_frames if n is None else min(n, self._specimen.n_frames)):
            pixels = self._specimen.frame(index)
            due += self._exposure_ms / 1e3
            if not self._wait_until(due):
                return
            get_buffer(self.shape(), np.uint16)[...] = pixels
            yield {}

    def _wait_until(self, due: float) -> bool:
        """False: halted meanwhile."""
        while not self._halted and (left := due - time.perf_counter()) > 0:
            time.sleep(min(left, _NAP_S))
        return not self._halted
