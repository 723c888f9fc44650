"""Closing the books: after all workers have ended, every frame that the camera counted gets its fate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtdecode.core.errors import RingError
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.stages.ledger import Tally
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.ring import RingReader
from rtdecode.streams.run_folder import RunFolder


def close_books(folder: RunFolder) -> int:
    """Commit what localize did not come to (it failed, or died with the session) as lost; how many that is.

    Safe to call again. Only for a run whose workers have ended: the log has one writer.
    """
    folder.release_reserve()
    expected, received = _counts(folder)
    log = LogWriter.open(folder.path)
    try:
        indices = np.arange(log.last_index + 1, expected)
        tally = Tally.of_log(folder.path)
        unfitted = received - tally.fitted - tally.rejected - tally.lost_in_ring
        in_ring = np.arange(len(indices)) < unfitted  # which ones is not known any more, how many is
        if len(indices):
            fates = np.where(in_ring, Fate.LOST_IN_RING, Fate.LOST_BEFORE)
            log.append(make_commits(indices, fate=fates), Localizations.empty())
        return len(indices)
    finally:
        log.close()


def _counts(folder: RunFolder) -> tuple[int, int]:
    """(expected, received) by the ring while it is there, else by acquire's last event; 0 where neither is."""
    ring_path = folder.ring_path
    if ring_path is not None and Path(ring_path).exists():
        try:
            return _ring_counts(ring_path)
        except RingError:
            pass  # acquire died while it made the ring
    for event in reversed(folder.read_events()):
        if event.get("kind") == "acquisition":
            return int(event["expected"]), int(event["received"])
    return 0, 0


def _ring_counts(path: Path) -> tuple[int, int]:
    ring = RingReader.open(path)
    try:
        ended = ring.finished
        came = ring.last_index + 1
        asked = ended.expected if ended is not None and ended.expected is not None else came
        return max(came, asked), ring.received
    finally:
        ring.close()
