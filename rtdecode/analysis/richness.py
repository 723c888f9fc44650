"""What species counting says of completeness: Good-Turing, Chao1 with its upper bound, and the plateau.

Known rules to compare with, not to stop by: all take every single count for a rare cell of the structure, so that
background keeps them from ever stopping, and unequal rates make them stop early.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Often = NDArray[np.integer]
"""(K,) number of cells that were hit 0, 1, 2, ... times; the 0 is not used."""


def good_turing(often: Often) -> float:
    """Good 1953: the share of the blinks (not of the cells) to come that will be in cells seen already."""
    total = float(np.arange(len(often)) @ often)
    return 1 - float(_at(often, 1)) / total if total else 0.0


def chao1(often: Often) -> float:
    """Seen cells over Chao's (1984) lower bound of all cells, in its bias-corrected form."""
    seen = float(often[1:].sum())
    return seen / (seen + _chao_unseen(often)) if seen else 0.0


def chao1_upper(often: Often) -> float:
    """Seen cells over the upper end of the 95 % log-normal interval of Chao1 (Chao 1987)."""
    seen, unseen = float(often[1:].sum()), _chao_unseen(often)
    if not seen or not unseen:
        return 1.0 if seen else 0.0
    ones, twos = float(_at(often, 1)), max(float(_at(often, 2)), 0.5)
    ratio = ones / twos
    variance = twos * (0.5 * ratio**2 + ratio**3 + 0.25 * ratio**4)
    return seen / (seen + unseen * math.exp(1.96 * math.sqrt(math.log1p(variance / unseen**2))))


def _chao_unseen(often: Often) -> float:
    ones, twos = float(_at(often, 1)), float(_at(often, 2))
    return ones * (ones - 1) / (2 * (twos + 1))


def _at(often: Often, n: int) -> int:
    return int(often[n]) if n < len(often) else 0


RULES: dict[str, Callable[[Often], float]] = {"Good-Turing": good_turing, "Chao1": chao1, "Chao1 upper": chao1_upper}


@dataclass
class Plateau:
    """Reached when the seen cells grew by less than `share` over the last `frames` frames."""

    frames: int
    share: float
    _seen: list[tuple[int, int]] = field(default_factory=list)

    def reached(self, frame: int, seen: int) -> bool:
        """Ask with growing frames."""
        self._seen.append((frame, seen))
        before = [cells for at, cells in self._seen if at <= frame - self.frames]
        return bool(before) and before[-1] > 0 and seen - before[-1] < self.share * seen
