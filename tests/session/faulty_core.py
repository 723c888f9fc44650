"""Micro-Manager's demo camera with a hand that does harm in mid-run, as another program on the same core would."""

from __future__ import annotations

import time
from typing import Any, Literal

from rtdecode.core.frames import FrameArray, FrameInfo
from rtdecode.sources.mmcore import MMCoreSource

Fault = Literal[
    "none", "nobody reads", "cleared", "stolen", "stopped", "other region", "region moved", "resized", "stall"
]
QUEUED = 6  # frames that wait in Micro-Manager's buffer when the fault strikes


class FaultyCore(MMCoreSource):
    """Reads as its parent; once `after` frames are read and QUEUED wait in the buffer, the fault strikes, once."""

    fault: Fault = "none"
    after: int = 5

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read."""
        core = self._need().core
        if self._count.last + 1 == self.after and core.getRemainingImageCount() >= QUEUED:
            object.__setattr__(self, "after", -1)
            self._strike(core)
        if self._count.last + 1 == self.after:
            return None
        return super().read(out)

    def _strike(self, core: Any) -> None:
        match self.fault:
            case "nobody reads":
                while core.isSequenceRunning():
                    time.sleep(0.001)
            case "cleared":
                core.clearCircularBuffer()
            case "stolen":
                for _ in range(3):
                    core.popNextImage()
            case "stopped":
                core.stopSequenceAcquisition()
            case "other region":
                core.setROI(0, 0, 32, 32)
            case "region moved":
                core.setROI(0, 0, 30, 20)
            case "resized":
                core.stopSequenceAcquisition()
                core.setProperty("Camera", "OnCameraCCDXSize", "64")
            case "stall":
                time.sleep(1.0)
