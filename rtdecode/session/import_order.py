"""Rows of a foreign table put in the order of their frames, on disk: memory stays bounded for any file.

Two passes over a scratch file. The first writes the rows as they come. The second deals them out into files of
neighbouring frames, each of which fits into memory and is sorted there. Price: the table is written twice, about a
second for each 10 million rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations

BUCKET_ROWS = 1 << 19  # 25 MB; one frame with more rows than that still comes whole
_CHUNK_ROWS = 1 << 16
_BINS = 1 << 16
_MOST_BUCKETS = 400  # open at once


@dataclass(frozen=True, slots=True)
class Spooled:
    """What was written, and how far it reaches."""

    path: Path
    rows: int
    last_frame: int
    reach_nm: tuple[float, float]  # largest (x, y)


def spool(path: Path, parts: Iterator[Localizations]) -> Spooled:
    """Write all rows to `path` as they come."""
    rows, last_frame, reach = 0, -1, [-np.inf, -np.inf]
    with path.open("wb") as file:
        for part in parts:
            if len(part):
                file.write(part.records().tobytes())
                rows, last_frame = rows + len(part), max(last_frame, int(part.frame_index.max()))
                reach = [max(reach[0], float(part.x_nm.max())), max(reach[1], float(part.y_nm.max()))]
    return Spooled(path, rows, last_frame, (reach[0], reach[1]))


def in_order(spooled: Spooled, n_frames: int) -> Iterator[tuple[int, int, Localizations]]:
    """(first frame, end, the rows of these frames in their order), together all frames from 0 to `n_frames`.

    Rows of one frame keep the order they came in. Scratch files appear beside `spooled.path` and go again.
    """
    cuts = _cuts(spooled, n_frames)
    paths = [spooled.path.with_suffix(f".{k}") for k in range(len(cuts) - 1)]
    with ExitStack() as files:
        opened = [files.enter_context(path.open("wb")) for path in paths]
        for rows in _chunks(spooled):
            at = np.searchsorted(cuts, rows["frame_index"], side="right") - 1
            for k in np.unique(at):
                opened[k].write(rows[at == k].tobytes())
    for path, first, end in zip(paths, cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        rows = np.fromfile(path, LOCALIZATION_DTYPE)
        path.unlink()
        yield first, end, Localizations.from_records(rows[np.argsort(rows["frame_index"], kind="stable")])


def _cuts(spooled: Spooled, n_frames: int) -> NDArray[np.int64]:
    """Frames that begin a bucket, with 0 and `n_frames` at the ends."""
    width = -(-n_frames // _BINS)  # frames in a bin
    count = np.zeros(-(-n_frames // width), np.int64)
    for rows in _chunks(spooled):
        count += np.bincount(rows["frame_index"] // width, minlength=len(count))
    held = max(BUCKET_ROWS, -(-spooled.rows // _MOST_BUCKETS))
    bucket = (np.cumsum(count) - count) // held  # of each bin, by the rows before it
    starts = np.flatnonzero(np.diff(bucket, prepend=-1)) * width
    return np.append(starts, n_frames).astype(np.int64)


def _chunks(spooled: Spooled) -> Iterator[NDArray[np.void]]:
    with spooled.path.open("rb") as file:
        while len(rows := np.fromfile(file, LOCALIZATION_DTYPE, _CHUNK_ROWS)):
            yield rows
