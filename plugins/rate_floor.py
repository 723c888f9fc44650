"""Stop when hardly anything blinks any more: bleached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, PrivateAttr

from rtdecode.core.actions import Action, Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel


class RateFloor(StrictModel):
    """Stop once fewer than `per_um2_frame` localizations per um² and frame came over the last `frames` frames.

    In YAML: `policies: [{use: "plugins/rate_floor.py:RateFloor", per_um2_frame: 0.01, frames: 2000}]`.
    Counted in whole windows of camera frames, over those that were fitted; a window with less than nine tenths of
    its frames is not judged. Not before `not_before` frames: many samples need a while to begin.
    """

    per_um2_frame: Annotated[float, Field(gt=0)]
    frames: Annotated[int, Field(ge=10)] = 2000
    not_before: Annotated[int, Field(ge=0)] = 5000
    _fitted_before: int = PrivateAttr(0)
    _window: int = PrivateAttr(0)
    _count: int = PrivateAttr(0)
    _rate: float = PrivateAttr(0.0)
    _said: bool = PrivateAttr(False)

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order."""
        numbers = localizations.frame_index // self.frames
        actions = list[Action]()
        while progress.last_frame_index // self.frames > self._window:
            self._count += int(np.count_nonzero(numbers == self._window))
            actions += self._close(progress)
        self._count += int(np.count_nonzero(numbers == self._window))
        return actions

    def state(self) -> dict[str, float | str]:
        """Of the last whole window."""
        return {"per_um2_frame": round(self._rate, 6)}

    def _close(self, progress: Progress) -> list[Action]:
        fitted, self._fitted_before = progress.frames_fitted - self._fitted_before, progress.frames_fitted
        self._rate = self._count / max(fitted, 1) / progress.field_um2
        self._window, self._count = self._window + 1, 0
        end, whole = self._window * self.frames, fitted >= 0.9 * self.frames
        if self._said or not whole or end < self.not_before or self._rate >= self.per_um2_frame:
            return []
        self._said = True
        return [Stop(f"{self._rate:.3g} localizations per um² and frame by frame {end} (floor {self.per_um2_frame:g})")]
