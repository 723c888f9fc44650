"""Policies built as a run builds them, and localizations to feed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.core.actions import Action
from rtdecode.core.config import Plugin
from rtdecode.core.contracts import Policy, Progress
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.core.plugins import build

PLUGINS = Path(__file__).parents[2] / "plugins"


def use(name: str) -> str:
    """`frame_count.py:FrameCount` -> the whole path."""
    return f"{PLUGINS / name}"


def policy(name: str, **fields: Any) -> Any:
    """A policy of plugins/, from its YAML fields."""
    made: Policy = build(Plugin.model_validate({"use": use(name), **fields}), {}, "test", methods=("update",))
    return made


def found(frames: Sequence[int], x_nm: Any = 0.0, y_nm: Any = 0.0, sigma_nm: float = 5.0) -> Localizations:
    """Localizations in these frames."""
    records = np.zeros(len(frames), LOCALIZATION_DTYPE)
    records["frame_index"], records["x_nm"], records["y_nm"] = frames, x_nm, y_nm
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma_nm
    return Localizations.from_records(records)


def frame_by_frame(
    policy: Any, table: Localizations, frames: int, field_um2: float = 1.0, lost: frozenset[int] = frozenset()
) -> list[tuple[int, Action]]:
    """(frame, action) as the decide stage asks: one frame a call."""
    bounds, said, fitted = np.searchsorted(table.frame_index, np.arange(frames + 1)), [], 0
    records = table.records()
    for frame in range(frames):
        fitted += frame not in lost
        progress = Progress(fitted, 0, frame + 1 - fitted, frame, field_um2)
        rows = records[bounds[frame] : bounds[frame + 1]]
        said += [(frame, action) for action in policy.update(Localizations.from_records(rows), progress)]
    return said


def in_chunks(policy: Any, table: Localizations, ends: Sequence[int], field_um2: float = 1.0) -> list[Action]:
    """All actions, whole frames up to each of `ends` at a time."""
    said: list[Action] = []
    start, records = 0, table.records()
    for end in ends:
        stop = int(np.searchsorted(table.frame_index, end))
        rows = Localizations.from_records(records[start:stop])
        said += policy.update(rows, Progress(end, 0, 0, end - 1, field_um2))
        start = stop
    return said
