"""Localizations: the estimates for emitters, as a structure of arrays with units in every name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

LOCALIZATION_DTYPE = np.dtype(
    [
        ("frame_index", "<i8"),
        ("x_nm", "<f4"),
        ("y_nm", "<f4"),
        ("z_nm", "<f4"),
        ("photons", "<f4"),
        ("background", "<f4"),
        ("sigma_x_nm", "<f4"),
        ("sigma_y_nm", "<f4"),
        ("sigma_z_nm", "<f4"),
        ("sigma_photons", "<f4"),
        ("probability", "<f4"),
    ]
)
"""One record of `locs.bin`: 48 bytes, little-endian. x runs along columns (right), y along rows (down);
(0, 0) nm is the centre of the first pixel of the ROI."""


@dataclass(frozen=True, slots=True)
class Localizations:
    """N localizations. Positions and sigmas in nm, photons and background (per pixel) in detected photons."""

    frame_index: NDArray[np.int64]  # (N,) camera's own count
    x_nm: NDArray[np.float32]  # (N,) along columns
    y_nm: NDArray[np.float32]  # (N,) along rows
    z_nm: NDArray[np.float32]
    photons: NDArray[np.float32]
    background: NDArray[np.float32]  # photons per pixel
    sigma_x_nm: NDArray[np.float32]
    sigma_y_nm: NDArray[np.float32]
    sigma_z_nm: NDArray[np.float32]
    sigma_photons: NDArray[np.float32]
    probability: NDArray[np.float32]  # 0..1

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of a Localizations differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def is_2d(self) -> bool:
        """Whether they come from a model without z: it is 0 everywhere, and no sigma of it is stated (0 or NaN).

        Of no localizations nobody can tell: False.
        """
        return len(self) > 0 and not self.z_nm.any() and not (self.sigma_z_nm > 0).any()

    def __getitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.intp]) -> Localizations:
        """The chosen rows (slice, mask or row numbers) as new Localizations."""
        return Localizations.from_records(self.records()[rows])

    def columns(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """(name, array) of each column, in the order of the record on disk."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)

    def records(self) -> NDArray[np.void]:
        """(N,) array of `LOCALIZATION_DTYPE`, as written to disk."""
        out = np.empty(len(self), LOCALIZATION_DTYPE)
        for name, column in self.columns():
            out[name] = column
        return out

    @classmethod
    def from_records(cls, records: NDArray[np.void]) -> Localizations:
        """From an (N,) array of `LOCALIZATION_DTYPE`; columns are copied so the source may be a memory map."""
        return cls(**{name: np.ascontiguousarray(records[name]) for name in LOCALIZATION_DTYPE.names or ()})

    @classmethod
    def empty(cls) -> Localizations:
        """No localizations."""
        return cls.from_records(np.empty(0, LOCALIZATION_DTYPE))

    @classmethod
    def concatenate(cls, parts: Iterable[Localizations]) -> Localizations:
        """All parts in order, as one."""
        return cls.from_records(np.concatenate([np.empty(0, LOCALIZATION_DTYPE)] + [p.records() for p in parts]))


EMITTER_DTYPE = np.dtype(
    [("frame_index", "<i8"), ("x_nm", "<f4"), ("y_nm", "<f4"), ("z_nm", "<f4"), ("photons", "<f4")]
)
"""Truth of a simulation: one record for each emitter and frame, photons emitted during that frame.
As CSV the header is `frame_index,x_nm,y_nm,z_nm,photons`."""

Emitters = NDArray[np.void]
"""(N,) array of `EMITTER_DTYPE`: the truth, where Localizations are the estimate."""
