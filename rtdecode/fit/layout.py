"""The shape of a network as numbers, readable without torch: what a bundle states and an engine checks against."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rtdecode.core.yaml_files import StrictModel

DILATIONS = (1, 2, 4, 8)
"""Of the dilated context's residual pairs."""


class NetworkConfig(StrictModel):
    """Shape of a network. `stem` full works at camera resolution, half at 2 x 2 space-to-depth.

    `context` is the second network: a U-Net as DECODE's, or dilated residual convolutions at one resolution, as
    LiteLoc's (Fei et al. 2025). `fine` adds a few channels at camera resolution to the heads of a half stem, which
    see the three frames once more; 0: none.
    """

    features: Annotated[int, Field(ge=4, le=256)] = 48
    stem: Literal["full", "half"] = "full"
    activation: Literal["elu", "relu", "silu"] = "elu"
    heads: Literal["separate", "shared"] = "separate"
    context: Literal["unet", "dilated"] = "unet"
    fine: Annotated[int, Field(ge=0, le=64)] = 0

    @model_validator(mode="after")
    def _fine_needs_half(self) -> NetworkConfig:
        if self.fine and self.stem == "full":
            raise ValueError("network.fine is for `stem: half`; a full stem is at camera resolution already")
        return self

    @property
    def stride(self) -> int:
        """Frame height and width must be multiples of this."""
        return 4 if self.stem == "full" else 8

    @property
    def feature_stride(self) -> int:
        """Camera pixels for each pixel of the per-frame features."""
        return 1 if self.stem == "full" else 2

    @property
    def feature_channels(self) -> int:
        """Channels that are carried from frame to frame: the frame itself is among them where `fine` needs it."""
        return self.features + (self.feature_stride**2 if self.fine else 0)

    def feature_shape(self, height_px: int, width_px: int) -> tuple[int, int, int]:
        """(C, h, w) of one frame's features, for a frame of this (padded) size."""
        return (self.feature_channels, height_px // self.feature_stride, width_px // self.feature_stride)
