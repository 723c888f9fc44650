"""Stop when the structure has been seen: most of its resolution cells have blinked, with a known confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from rtdecode.analysis.blinking import not_blinking
from rtdecode.analysis.blinks import BlinkCounter
from rtdecode.analysis.coverage import Coverage, contradiction, estimate_coverage, warm_up
from rtdecode.core.actions import Action, Stop
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel

_CONFIRM_AFTER, _SLOWEST, _FASTEST, _UNKNOWN = 1.05, 1.1, 1.5, 1.25  # growth of the run from one look to the next
_EARLIER = 1.4  # growth of the run over which blinks must come independently
_MOST_MISSING = 0.2  # of the frames


class DensityStop(StrictModel):
    """Stop once the lower bound of the coverage is at `target`, at `looks` looks in a row.

    In YAML: `policies: [{use: "plugins/density_stop.py:DensityStop", resolution_nm: 40, target: 0.95}]`.
    Coverage is the share of the structure's cells of `resolution_nm` in which at least `events` independent blinks
    were seen. Background localizations, cells that blink at different rates, and blinks of many frames are
    accounted for. Where the data cannot tell, it says so and does not stop. See docs/stopping.md.
    """

    resolution_nm: Annotated[float, Field(ge=5, le=1000)] = 40.0  # about 5 times the blinks' precision, or more
    target: Annotated[float, Field(gt=0, lt=1)] = 0.95
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95  # one-sided, of one look
    events: Annotated[int, Field(ge=1, le=10)] = 1  # blinks by which a cell counts as seen
    looks: Annotated[int, Field(ge=1, le=10)] = 2
    first_look: Annotated[int, Field(ge=100)] = 2000  # frame index
    event_frames: Annotated[int, Field(ge=1)] = 100  # blinks at one place within so many frames are one
    max_sigma_nm: Annotated[float, Field(gt=0)] | None = None  # None: half of the resolution
    _blinks: BlinkCounter = PrivateAttr()
    _next_look: int = PrivateAttr(0)
    _frames: int = PrivateAttr(0)  # at the last look
    _passed: int = PrivateAttr(0)  # looks in a row
    _coverage: Coverage = PrivateAttr(Coverage.unknown("the first look is still to come"))
    _earlier: list[tuple[int, NDArray[np.int32]]] = PrivateAttr(default_factory=list)  # frame and counts of two looks
    _said_at: int | None = PrivateAttr(None)

    def model_post_init(self, context: object, /) -> None:
        """Ready to be asked."""
        self._blinks, self._next_look = BlinkCounter(self.resolution_nm, self.event_frames), self.first_look
        self._blinks.warm_up()
        warm_up()

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order; looks are made at frame indices that depend on the localizations only."""
        start, actions = 0, list[Action]()
        while progress.last_frame_index >= self._next_look:
            stop = int(np.searchsorted(localizations.frame_index, self._next_look))
            self._blinks.add(localizations[start:stop], self._max_sigma_nm)
            actions += self._look(progress)
            start = stop
        self._blinks.add(localizations[start:] if start else localizations, self._max_sigma_nm)
        return actions

    def state(self) -> dict[str, float | str]:
        """The last look: coverage with its interval, what it rests on, when the target is expected."""
        coverage = self._coverage
        if coverage.trouble:
            return {"frames": self._frames, "verdict": f"cannot tell: {coverage.trouble}{self._taken_back}"}
        holds = self._said_at is not None and coverage.lower >= self.target
        return {
            "frames": self._frames,
            "verdict": "enough" if holds else f"not yet{self._taken_back}",
            "coverage": round(coverage.estimate, 4),
            "lower": round(coverage.lower, 4),
            "upper": round(coverage.upper, 4),
            "structure_cells": round(coverage.structure_cells),
            "background_per_cell": round(coverage.background, 4),
            "rate_spread": round(coverage.spread, 3),
            "target_at_frame": round(self._frames * coverage.growth),
        }

    @property
    def _taken_back(self) -> str:
        return "" if self._said_at is None else f" (enough was said at frame {self._said_at}, and no longer holds)"

    @property
    def _max_sigma_nm(self) -> float:
        return self.max_sigma_nm or self.resolution_nm / 2

    def _look(self, progress: Progress) -> list[Action]:
        self._frames = self._next_look
        self._blinks.close_before(self._frames)
        before, self._coverage = self._coverage, self._estimate(progress.field_um2)
        odd = self._missing(progress)
        if self._reached:
            odd = odd or self._not_blinking() or contradiction(self._coverage, before)
        self._keep_counts()
        if odd:
            self._coverage = replace(self._coverage, trouble=odd)
        self._passed = self._passed + 1 if self._reached else 0
        said = self._say() if self._passed >= self.looks and self._said_at is None else []
        self._next_look = 1 + int(self._frames * self._growth(self._coverage, self._reached))
        return said

    @property
    def _reached(self) -> bool:
        return not self._coverage.trouble and self._coverage.lower >= self.target

    def _estimate(self, field_um2: float) -> Coverage:
        return estimate_coverage(
            self._blinks.counts,
            field_cells=round(field_um2 * 1e6 / self.resolution_nm**2),
            sigma_in_cells=self._blinks.scatter_nm / self.resolution_nm,
            dead_share=self.event_frames / self._frames,
            wanted_events=self.events,
            target=self.target,
            confidence=self.confidence,
        )

    def _missing(self, progress: Progress) -> str:
        """Where frames get lost by the thousand, blinks cannot be counted."""
        missing = progress.frames_lost + progress.frames_rejected
        share = missing / max(missing + progress.frames_fitted, 1)
        return f"{share:.0%} of the frames are missing" if share > _MOST_MISSING else ""

    def _not_blinking(self) -> str:
        """What speaks against blinks at a look that would pass."""
        old = [counts for frames, counts in self._earlier if frames * _EARLIER <= self._frames]
        if not old:
            return f"too early to tell blinks from a pattern (at {_EARLIER:g} times the first look)"
        counts, hits = self._blinks.counts, self._blinks.hits
        return not_blinking(counts, old[-1], hits, frames=self._frames, event_frames=self.event_frames)

    def _keep_counts(self) -> None:
        """Of two earlier looks, so that one of them is old enough."""
        if not self._earlier or self._earlier[-1][0] * _EARLIER <= self._frames:
            self._earlier = [*self._earlier[-1:], (self._frames, self._blinks.counts.copy())]

    def _growth(self, coverage: Coverage, reached: bool) -> float:
        """Looks are rare while the target is far, since each is another chance to be wrong."""
        if self._said_at is not None:
            return _FASTEST
        if coverage.trouble:
            return _UNKNOWN
        return _CONFIRM_AFTER if reached else min(max(0.85 * coverage.growth, _SLOWEST), _FASTEST)

    def _say(self) -> list[Action]:
        self._said_at = self._frames
        seen = self._coverage
        return [
            Stop(
                f"{seen.estimate:.1%} of the structure seen at {self.resolution_nm:g} nm by frame {self._frames} "
                f"({seen.lower:.1%} to {seen.upper:.1%}; {self.target:.0%} asked for)"
            )
        ]
