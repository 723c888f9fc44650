"""Events of a run, written without ever stopping it: a full disk must not keep a camera from being closed."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from rtdecode.core.errors import RunFolderError
from rtdecode.core.frames import Roi
from rtdecode.streams.run_folder import RunFolder


def note(folder: RunFolder, worker: str, kind: str, frame_index: int | None = None, /, **fields: Any) -> None:
    """Write one event; where that fails, say so on stderr (the worker's log) and go on."""
    try:
        folder.append_event(worker, kind, frame_index, **fields)
    except RunFolderError as error:
        complain(f"{worker}: {error}; it was {fields}")


def complain(text: str) -> None:
    """Write to stderr, which is a log file that may lie on the full disk in question."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def read_can_wait(folder: RunFolder) -> bool:
    """Whether frames wait for us, as a recording's do: latency then is mostly time in the ring."""
    return any(event.get("kind") == "source" and bool(event.get("can_wait")) for event in folder.read_events())


def read_lost_because(folder: RunFolder) -> str | None:
    """Why frames may be lost before they reach this run, in its source's own words; None where it has none."""
    for event in folder.read_events():
        if event.get("kind") == "source":
            return str(event["lost_because"]) if event.get("lost_because") else None
    return None


def read_roi(folder: RunFolder) -> Roi | None:
    """The region of this run's frames, as acquire wrote it when the source was open; None before."""
    names = ("x0_px", "y0_px", "width_px", "height_px", "binning")
    for event in folder.read_events():
        if event.get("kind") == "source":
            return Roi(**{name: int(event[name]) for name in names})
    return None
