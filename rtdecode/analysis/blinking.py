"""Whether what was counted can be blinks at all: how often, how long and how evenly a structure's cells are hit.

Coverage counts independent blinks. A pattern of the camera, beads, or a model's false detections at fixed places give
counts that fit its model as well as a structure does, and soon look complete. Limits are set by the scenes of
tools/benchmark_stopping.py: where it reached the target (all that blink, seeds 0 to 39) cells were hit at most at 0.05
of their chances, the busiest lit in 0.001 of the frames, and the dispersion was 0.72 to 1.02, so that no stop came
later for these questions; patterns lit every 150 to 1,500 frames had 0.28 to 0.47.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_CELLS = 50  # hit often enough to judge by
MOST_HIT = 0.2  # of the chances that the dead time leaves: median of the cells that were hit often
LONGEST_LIT = 0.1  # of the frames
BUSIEST = 0.02  # of all cells
LEAST_DISPERSION = 0.55  # the dead time alone makes it 0.64 where MOST_HIT is reached
_OFTEN, _OFTEN_IN_TWO = 3, 4  # events of a cell by which it counts; in two parts of the run

Counts = NDArray[np.integer]


def not_blinking(counts: Counts, earlier: Counts, hits: Counts, *, frames: int, event_frames: int) -> str:
    """Why these (H, W) counts of `frames` frames are not those of blinks; "" where nothing speaks against it.

    `earlier`: the counts at an earlier time, of a grid that may have grown since; `hits`: localizations of each cell.
    """
    often = counts[counts >= _OFTEN]
    if len(often) < MIN_CELLS:
        return f"{len(often)} cells were hit {_OFTEN} times or more, {MIN_CELLS} are needed to know blinks by"
    hit, lit = float(np.median(often)) * event_frames / frames, _busiest(hits) / frames
    if lit > LONGEST_LIT:
        return f"the busiest cells are lit in {lit:.0%} of all frames: this does not blink"
    if hit > MOST_HIT:
        share = f"{hit:.0%} of the times that {event_frames} frames (event_frames) allow"
        return f"a cell of the structure is hit {share}: it does not blink, or event_frames is too long"
    even = dispersion(counts, earlier)
    if even is not None and even < LEAST_DISPERSION:
        return f"cells are hit as by a clock (dispersion {even:.2f}, where chance has 1): this does not blink"
    return ""


def _busiest(hits: Counts) -> float:
    """Median of the busiest cells, more of them than a field has beads for its drift."""
    n = min(max(2 * MIN_CELLS, round(BUSIEST * hits.size)), hits.size)
    return float(np.median(np.partition(hits.ravel(), hits.size - n)[hits.size - n :]))


def dispersion(counts: Counts, earlier: Counts) -> float | None:
    """Variance of the cells' earlier counts over that of independent events (binomial, given each cell's count).

    About 1 whatever the rates, and below where events keep a distance; None where too few cells tell. Of the busier
    cells only: the others hold much of what neighbours spill, and background.
    """
    before = np.zeros_like(counts)
    before[: earlier.shape[0], : earlier.shape[1]] = earlier
    busy = float((counts.astype(np.float64) ** 2).sum()) / max(float(counts.sum()), 1.0)  # a mean over events
    rows = counts >= max(busy, _OFTEN_IN_TWO)
    n, k = counts[rows].astype(np.float64), before[rows].astype(np.float64)
    share = k.sum() / max(n.sum(), 1.0)
    if len(n) < MIN_CELLS or not 0 < share < 1:
        return None
    return float(np.mean((k - n * share) ** 2 / (n * share * (1 - share))))
