"""A policy to copy and change: stop when there are enough localizations per square micrometre."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import PrivateAttr

from rtdecode.core.actions import Action, Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel


class LocalizationCount(StrictModel):
    """Stop once `per_um2` good localizations (sigma of x and y at most `max_sigma_nm`) lie in each um² on average.

    In YAML: `policies: [{use: "plugins/localization_count.py:LocalizationCount", per_um2: 2000}]`.
    It counts what is there, it does not know whether the structure is complete.
    """

    per_um2: float
    max_sigma_nm: float = 40.0
    min_frames: int = 1000
    _good: int = PrivateAttr(0)
    _said: bool = PrivateAttr(False)  # once is enough: the camera may go on where policies only advise

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order; the same answers live and in a replay."""
        narrow = (localizations.sigma_x_nm <= self.max_sigma_nm) & (localizations.sigma_y_nm <= self.max_sigma_nm)
        self._good += int(narrow.sum())
        density = self._good / progress.field_um2
        if self._said or progress.frames_fitted < self.min_frames or density < self.per_um2:
            return []
        self._said = True
        return [Stop(f"{density:.0f} localizations per um² reached ({self.per_um2:.0f} asked for)")]
