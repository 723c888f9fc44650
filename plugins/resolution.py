"""Stop when the data resolve what was asked for, by Fourier ring correlation of alternate blocks of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, PrivateAttr

from rtdecode.analysis.frc import MIN_BLOCK_FRAMES, HalfImages
from rtdecode.core.actions import Action, Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel

_GROWTH = 1.15  # of the run from one look to the next: an FFT of the field each


class Resolution(StrictModel):
    """Stop once the FRC resolution is at most `nm` at `looks` looks in a row.

    In YAML: `policies: [{use: "plugins/resolution.py:Resolution", nm: 40}]`. Blocks of at least 100 frames; odd and
    even frames would promise up to 30 % too much while data are sparse. FRC judges how finely labels are seen, also
    where much of the structure has not been seen at all: `density_stop.py` judges that.
    """

    nm: Annotated[float, Field(gt=1)]
    block_frames: Annotated[int, Field(ge=MIN_BLOCK_FRAMES)] = MIN_BLOCK_FRAMES
    first_look: Annotated[int, Field(ge=2 * MIN_BLOCK_FRAMES)] = 2000
    looks: Annotated[int, Field(ge=1)] = 2
    _halves: HalfImages = PrivateAttr()
    _next_look: int = PrivateAttr(0)
    _frames: int = PrivateAttr(0)
    _reached: float | None = PrivateAttr(None)
    _passed: int = PrivateAttr(0)
    _said: bool = PrivateAttr(False)

    def model_post_init(self, context: object, /) -> None:
        """Ready to be asked."""
        self._halves = HalfImages(self.nm / 4, self.block_frames)
        self._next_look = self._block_end(self.first_look)

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order; looks fall on block ends."""
        start, actions = 0, list[Action]()
        while progress.last_frame_index >= self._next_look:
            stop = int(np.searchsorted(localizations.frame_index, self._next_look))
            self._halves.add(localizations[start:stop])
            actions += self._look()
            start = stop
        self._halves.add(localizations[start:] if start else localizations)
        return actions

    def state(self) -> dict[str, float | str]:
        """At the last look."""
        if self._reached is None:
            return {"frames": self._frames, "verdict": "no resolution yet: the halves have nothing in common"}
        return {"frames": self._frames, "resolution_nm": round(self._reached, 2)}

    def _block_end(self, frame: float) -> int:
        pair = 2 * self.block_frames  # so that both halves have the same number of frames
        return max(round(frame / pair), 1) * pair

    def _look(self) -> list[Action]:
        self._frames = self._next_look
        found = self._halves.correlation()
        self._reached = found.resolution_nm if found is not None else None
        self._passed = self._passed + 1 if self._reached is not None and self._reached <= self.nm else 0
        self._next_look = max(self._block_end(self._frames * _GROWTH), self._frames + 2 * self.block_frames)
        if self._said or self._passed < self.looks or self._reached is None:
            return []
        self._said = True
        return [Stop(f"FRC resolution {self._reached:.1f} nm by frame {self._frames} ({self.nm:g} nm asked for)")]
