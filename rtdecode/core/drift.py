"""Drift of the sample over a run: where it stood at some frames, and localizations with it taken off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.core.localizations import Localizations

F8 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drift:
    """Displacement of the sample at K frames, ascending; linear between them, constant before and after.

    z is 0 where the localizations tell none. Only differences mean anything; the first is where it begins.
    """

    frame: F8  # (K,) middle of each block, in frames
    shift_nm: F8  # (K, 3) x, y, z
    sigma_nm: F8  # (K, 3) standard error of each

    @classmethod
    def none(cls) -> Drift:
        """Nothing known, nothing taken off."""
        return cls(np.empty(0), np.empty((0, 3)), np.empty((0, 3)))

    def __len__(self) -> int:
        return len(self.frame)

    def at(self, frames: ArrayLike) -> F8:
        """(N, 3) shift at these frames in nm."""
        asked = np.asarray(frames, np.float64)
        if not len(self):
            return np.zeros((len(asked), 3))
        return np.column_stack([np.interp(asked, self.frame, self.shift_nm[:, axis]) for axis in range(3)])

    def undone(self, localizations: Localizations) -> Localizations:
        """The same localizations where the sample stood at the beginning."""
        records = localizations.records()
        for axis, name in enumerate(("x_nm", "y_nm", "z_nm")):
            if len(self) and (axis < 2 or not localizations.is_2d):
                records[name] -= np.interp(records["frame_index"], self.frame, self.shift_nm[:, axis]).astype(
                    np.float32
                )
        return Localizations.from_records(records)

    @property
    def range_nm(self) -> tuple[float, float, float]:
        """Largest less smallest shift in x, y, z; 0 where nothing is known."""
        if not len(self):
            return 0.0, 0.0, 0.0
        x, y, z = np.ptp(self.shift_nm, axis=0)
        return float(x), float(y), float(z)
