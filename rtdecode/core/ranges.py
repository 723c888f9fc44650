"""Ranges (low, high) in configuration files: a reversed pair is refused where it is read, not met in a drawing."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"expected [low, high] with low <= high, perhaps [{pair[1]:g}, {pair[0]:g}]")
    return pair


_NotNegative = Annotated[float, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]

Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""(low, high), low <= high; equal ends fix the value."""

NotNegativeRange = Annotated[tuple[_NotNegative, _NotNegative], AfterValidator(_ordered)]
"""As Range, with 0 <= low."""

PositiveRange = Annotated[tuple[_Positive, _Positive], AfterValidator(_ordered)]
"""As Range, with 0 < low."""
