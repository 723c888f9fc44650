"""Policies for tests: one that counts frames, ones that die with their process or never come back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rtdecode.core.actions import Action, SetProperty, Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel


class StopAt(StrictModel):
    """Sets a property every ten frames and stops at `frame`."""

    frame: int

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        if progress.last_frame_index == self.frame:
            return [Stop("enough")]
        return [SetProperty("Laser", "Power", float(progress.last_frame_index))] * (progress.last_frame_index % 10 == 0)


class DiesOnce(StrictModel):
    """Takes the whole decide process with it at `frame`, the first time."""

    frame: int
    marker: Path

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        if progress.last_frame_index == self.frame and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return []


class Hangs(StrictModel):
    """Never comes back when it is asked about `frame`."""

    frame: int

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        while progress.last_frame_index == self.frame:
            time.sleep(0.1)
        return []


class DiesAlways(StrictModel):
    """Takes the whole decide process with it whenever it is asked about `frame`."""

    frame: int

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        if progress.last_frame_index == self.frame:
            os.kill(os.getpid(), signal.SIGKILL)
        return []
