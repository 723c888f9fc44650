"""Which localizations are good enough to be shown or handed on; the log keeps every one, whatever is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class QualityFilter:
    """Limits on sigma, probability, photons and z; None: no limit. A value that is not a number passes no limit."""

    sigma_xy_nm: float | None = 40.0  # largest of x and of y
    sigma_z_nm: float | None = 80.0  # largest
    probability: float | None = None  # least
    photons: Span | None = None  # least and most
    z_nm: Span | None = None

    def passes(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """(N,) which rows pass; `columns` by the names of a Localizations, those that are limited are enough."""
        shown = np.ones(len(next(iter(columns.values()))), np.bool_)
        for name in ("sigma_x_nm", "sigma_y_nm"):
            if self.sigma_xy_nm is not None:
                shown &= columns[name] <= self.sigma_xy_nm
        if self.sigma_z_nm is not None:
            shown &= columns["sigma_z_nm"] <= self.sigma_z_nm
        if self.probability is not None:
            shown &= columns["probability"] >= self.probability
        for name, span in (("photons", self.photons), ("z_nm", self.z_nm)):
            if span is not None:
                shown &= (columns[name] >= span[0]) & (columns[name] <= span[1])
        return shown

    def of(self, localizations: Localizations) -> Localizations:
        """Those of `localizations` that pass."""
        if self == SHOW_ALL:
            return localizations
        return localizations[self.passes(dict(localizations.columns()))]

    @property
    def words(self) -> str:
        """The limits as a reader understands them, in plain ASCII (the picture's font has no Greek)."""
        limits = []
        if self.sigma_xy_nm is not None:
            limits.append(f"sigma x, y up to {self.sigma_xy_nm:g} nm")
        if self.sigma_z_nm is not None:
            limits.append(f"sigma z up to {self.sigma_z_nm:g} nm")
        if self.probability is not None:
            limits.append(f"probability from {self.probability:g}")
        for name, unit, span in (("photons", "", self.photons), ("z", " nm", self.z_nm)):
            if span is not None:
                limits.append(f"{name} {span[0]:g} to {span[1]:g}{unit}")
        return ", ".join(limits) if limits else "no filter"

    def as_json(self) -> dict[str, Any]:
        """The limits that are set, for files."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in named.items() if v is not None}


SHOW_ALL = QualityFilter(None, None)
