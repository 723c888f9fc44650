"""Beads that float above the cover slip, which may be tilted: left out by their height."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtdecode.physics.bead_alignment import Aligned
from rtdecode.physics.beads import CalibrationSettings

F8 = NDArray[np.float64]
_FEWEST = 3  # beads that have a middle height
_FEWEST_OF_PLANE = 5  # two more than a plane goes through
_TILTED_NM = 60.0  # of a plane over the beads, from which on it is one


def height_reasons(found: Aligned, places: F8, settings: CalibrationSettings) -> tuple[list[str], tuple[str, ...]]:
    """Reasons (B,), those of beads that float added, and notes; places (B, 3): stack, row, column.

    Each stack has its own start, so each its own middle height; of five beads or more it is a plane, for cover slips
    are tilted. Where most beads are off nobody can say which lie on the glass: none is left out, and it is told.
    """
    reasons, notes = list(found.reasons), []
    heights = -found.moves[:, 0] * settings.step_nm
    for stack in np.unique(places[:, 0]):
        mates = np.array([n for n in range(len(places)) if places[n, 0] == stack and not reasons[n]], int)
        if len(mates) < _FEWEST:
            continue
        above, tilt_nm = _above(heights[mates], places[mates, 1:])
        off = np.abs(above) > settings.max_height_nm
        if tilt_nm:
            notes.append(f"stack {stack + 1:.0f}: the beads lie on a tilted plane, {tilt_nm:.0f} nm over their field")
        if off.sum() > len(mates) / 2 - 1:
            words = f"stack {stack + 1:.0f}: heights of the beads differ by {np.ptp(heights[mates]):.0f} nm"
            notes += [f"{words} (a tilted cover slip, or beads that float)"] if off.any() else []
            continue
        for n, nm in zip(mates[off], np.abs(above[off]), strict=True):
            reasons[n] = f"its focus is {nm:.0f} nm from that of its stack's other beads"
    return reasons, tuple(notes)


def _above(heights: F8, places: F8) -> tuple[F8, float]:
    """Heights over the common level or, where that leaves far less, plane; and how far the plane rises."""
    level = heights - np.median(heights)
    if len(heights) < _FEWEST_OF_PLANE:
        return level, 0.0
    at = np.column_stack([(places - places.mean(0)) / (np.ptp(places, axis=0).max() + 1e-9), np.ones(len(heights))])
    weight = np.ones(len(heights))
    for _ in range(30):  # least absolute deviations: a floating bead does not tilt the plane
        slopes, *_ = np.linalg.lstsq(at * weight[:, None], heights * weight, rcond=None)
        weight = 1 / np.sqrt(np.abs(heights - at @ slopes) + 2.0)
    apart, tilt_nm = heights - at @ slopes, float(np.ptp(at @ slopes))
    if tilt_nm < _TILTED_NM or np.median(np.abs(apart)) > 0.5 * np.median(np.abs(level)):
        return level, 0.0
    return apart, tilt_nm
