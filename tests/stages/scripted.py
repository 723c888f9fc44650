"""A camera that follows a script: which indices come, what goes wrong, and what was done to it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from rtdecode.core.actions import Action, Stop
from rtdecode.core.errors import EndOfStream, SourceLost
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo, Roi

SHAPE = (20, 30)  # rows, columns; not a multiple of what the networks need


def pixels_of(index: int) -> FrameArray:
    """(20, 30) uint16: background, noise and some bright pixels that belong to this index."""
    random = np.random.default_rng(index)
    bright = (random.random(SHAPE) < 0.03) * random.uniform(500, 6000, SHAPE)
    return (random.normal(900.0, 80.0, SHAPE) + bright).clip(0, 65535).astype(np.uint16)


class ScriptedCamera:
    """Gives `indices` in order, then ends, or breaks where `breaks_after` frames have come."""

    can_wait = False
    dtype = "uint16"
    roi = Roi(5, 7, SHAPE[1], SHAPE[0])

    def __init__(
        self, indices: Sequence[int], expected: int | None = None, made: int | None = None,
        breaks_after: int | None = None, wrong_size: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.indices, self.expected, self.made = list(indices), expected, made
        self.breaks_after, self.wrong_size = breaks_after, set(wrong_size)
        self.deeds: list[str] = []
        self.given = 0
        self._stopped = False

    def open(self) -> None:
        self.deeds.append("open")

    def start(self) -> None:
        self.deeds.append("start")

    def read(self, out: FrameArray) -> FrameInfo | None:
        if self.breaks_after == self.given:
            raise SourceLost("the cable was pulled")
        if self._stopped or self.given == len(self.indices):
            raise EndOfStream("that was all")
        index = self.indices[self.given]
        self.given += 1
        flag = FrameFlag.WRONG_SIZE if index in self.wrong_size else FrameFlag.GOOD
        out[...] = 0 if flag else pixels_of(index)
        return FrameInfo(index, 0, time.monotonic_ns(), flag)

    def apply(self, action: Action) -> None:
        self.deeds.append("stop" if isinstance(action, Stop) else "set")
        self._stopped = self._stopped or isinstance(action, Stop)

    def close(self) -> None:
        self.deeds.append("close")
