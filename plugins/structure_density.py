"""Stop when the structure holds enough localizations per um², counted where there are any and not outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from rtdecode.core.actions import Action, Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel

_SIDE = 4096  # squares; positions beyond are not counted


class StructureDensity(StrictModel):
    """Stop once the median occupied square of the field holds `per_um2` localizations per um².

    In YAML: `policies: [{use: "plugins/structure_density.py:StructureDensity", per_um2: 5000}]`.
    A square of `square_nm` is occupied with at least `occupied` localizations, so that single ones in the background
    do not count as structure. It knows nothing of completeness: `density_stop.py` does.
    """

    per_um2: Annotated[float, Field(gt=0)]
    square_nm: Annotated[float, Field(ge=20)] = 100.0
    occupied: Annotated[int, Field(ge=2)] = 5
    max_sigma_nm: Annotated[float, Field(gt=0)] = 40.0
    every_frames: Annotated[int, Field(ge=1)] = 500  # frame indices between two looks
    _counts: NDArray[np.int64] = PrivateAttr(default_factory=lambda: np.zeros((0, 0), np.int64))
    _next_look: int = PrivateAttr(0)
    _density: float = PrivateAttr(0.0)
    _said: bool = PrivateAttr(False)

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order."""
        start, actions = 0, list[Action]()
        while progress.last_frame_index >= self._next_look:
            stop = int(np.searchsorted(localizations.frame_index, self._next_look))
            self._add(localizations[start:stop])
            actions += self._look()
            start = stop
        self._add(localizations[start:] if start else localizations)
        return actions

    def state(self) -> dict[str, float | str]:
        """At the last look."""
        return {"per_um2": round(self._density, 1)}

    def _add(self, found: Localizations) -> None:
        narrow = (found.sigma_x_nm <= self.max_sigma_nm) & (found.sigma_y_nm <= self.max_sigma_nm)
        column, row = (v / self.square_nm + 4 for v in (found.x_nm, found.y_nm))  # some room left of the field
        good = narrow & (column >= 0) & (row >= 0) & (column < _SIDE) & (row < _SIDE)
        if not good.any():
            return
        at = row[good].astype(np.int64), column[good].astype(np.int64)
        missing = [max(0, int(a.max()) + 1 - n) for a, n in zip(at, self._counts.shape, strict=True)]
        if any(missing):
            self._counts = np.pad(self._counts, [(0, 64 + m if m else 0) for m in missing])
        np.add.at(self._counts, at, 1)

    def _look(self) -> list[Action]:
        frame, self._next_look = self._next_look, self._next_look + self.every_frames
        occupied = self._counts[self._counts >= self.occupied]
        self._density = float(np.median(occupied)) / (self.square_nm / 1000) ** 2 if len(occupied) else 0.0
        if self._said or self._density < self.per_um2:
            return []
        self._said = True
        return [
            Stop(f"{self._density:.0f} localizations per um² of structure by frame {frame} ({self.per_um2:g} asked)")
        ]
