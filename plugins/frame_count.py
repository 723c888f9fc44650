"""Stop after so many frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PrivateAttr

from rtdecode.core.actions import Action, Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel


class FrameCount(StrictModel):
    """Stop once `frames` frames have been fitted.

    In YAML: `policies: [{use: "plugins/frame_count.py:FrameCount", frames: 30000}]`. Most useful inside
    `plugins/combine.py`. For a bound that holds whatever becomes of policies, or for one in minutes (policies never
    see the clock, or a replay would decide otherwise), use the run's `limits`.
    """

    frames: Annotated[int, Field(gt=0)]
    _said: bool = PrivateAttr(False)

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order."""
        if self._said or progress.frames_fitted < self.frames:
            return []
        self._said = True
        return [Stop(f"{self.frames} frames fitted")]
