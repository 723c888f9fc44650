"""The five numbers between physical units and the network's own; without them weights mean nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rtdecode.core.yaml_files import StrictModel

Positive = Annotated[float, Field(gt=0)]


class Scaling(StrictModel):
    """Network input = (photons - input_offset) / input_scale; outputs times the maxima (decode-method §2)."""

    input_offset: float  # photons per pixel
    input_scale: Positive  # photons per pixel
    photons_max: Positive  # network photons 1.0
    z_max_nm: Positive  # network z 1.0
    background_max: Positive  # photons per pixel, network background 1.0

    @classmethod
    def from_ranges(
        cls, photons_mean: float, photons_sd: float, background: tuple[float, float], z_half_nm: float
    ) -> Scaling:
        """DECODE's defaults. Golden: 10000, 3000, (90, 150), 750 -> 120 / 200 / 34000 / 900 / 180."""
        return cls(
            input_offset=(background[0] + background[1]) / 2,
            input_scale=photons_mean / 50,
            photons_max=photons_mean + 8 * photons_sd,
            z_max_nm=1.2 * z_half_nm,
            background_max=1.2 * background[1],
        )
