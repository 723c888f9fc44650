"""Losses injected into a replay, to rehearse what a run does and says when frames never arrive."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from rtdecode.core.yaml_files import StrictModel

FrameNumber = Annotated[int, Field(ge=0)]


class Losses(StrictModel):
    """Which frames are lost before they reach the run: one of three ways, the same frames each time.

    `every: 100` loses the frames 99, 199, ...; `share: 0.01` loses each frame with that probability (`seed`
    chooses which); `frames: [[100, 120], 500]` loses the frames 100 to 120, both included, and frame 500.
    Frames are counted from 0 as the run counts them.
    """

    every: Annotated[int, Field(ge=2)] | None = None
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    frames: tuple[FrameNumber | tuple[FrameNumber, FrameNumber], ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Losses:
        if (self.every is not None) + (self.share is not None) + bool(self.frames) != 1:
            raise ValueError("expected exactly one of every, share, frames")
        if self.share is None and "seed" in self.model_fields_set:
            raise ValueError("seed belongs to share")
        if any(first > last for first, last in self.ranges):
            raise ValueError("a range is [first, last] with first not above last")
        return self

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """`frames` as (first, last), both included."""
        return [(part, part) if isinstance(part, int) else part for part in self.frames]

    def of(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whether each frame is lost, for (n,) rising frame indices; whether a frame is does not depend on n."""
        if self.every is not None:
            return np.asarray(indices % self.every == self.every - 1)
        if self.share is not None:
            draws = np.random.default_rng(self.seed).random(int(indices.max(initial=-1)) + 1)
            return np.asarray(draws[indices] < self.share)
        lost = np.zeros(len(indices), bool)
        for first, last in self.ranges:
            lost |= (indices >= first) & (indices <= last)
        return lost
