"""The shape of a network as numbers, readable without torch: what a bundle states and an engine checks against."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rtdecode.core.yaml_files import StrictModel


class NetworkConfig(StrictModel):
    """Shape of a network. `stem` full works at camera resolution, half at 2 x 2 space-to-depth."""

    features: Annotated[int, Field(ge=4, le=256)] = 48
    stem: Literal["full", "half"] = "full"
    activation: Literal["elu", "relu", "silu"] = "elu"
    heads: Literal["separate", "shared"] = "separate"

    @property
    def stride(self) -> int:
        """Frame height and width must be multiples of this."""
        return 4 if self.stem == "full" else 8

    @property
    def feature_stride(self) -> int:
        """Camera pixels for each pixel of the per-frame features."""
        return 1 if self.stem == "full" else 2

    def feature_shape(self, height_px: int, width_px: int) -> tuple[int, int, int]:
        """(C, h, w) of one frame's features, for a frame of this (padded) size."""
        return (self.features, height_px // self.feature_stride, width_px // self.feature_stride)
