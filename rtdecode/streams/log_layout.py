"""The bytes of the log: commit records and their checks, shared by writer and reader."""

from __future__ import annotations

import zlib
from enum import IntFlag
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.core.errors import LogError
from rtdecode.core.localizations import LOCALIZATION_DTYPE

COMMIT_DTYPE = np.dtype(
    [
        ("frame_index", "<i8"),  # the camera's own count
        ("fate", "u1"),  # core.frames.Fate
        ("flags", "u1"),  # CommitFlag
        ("reserved", "<u2"),
        ("n_localizations", "<i4"),
        ("end_of_localizations", "<i8"),  # records in locs.bin up to and with this frame's
        ("t_camera_ns", "<i8"),
        ("t_arrival_ns", "<i8"),
        ("t_commit_ns", "<i8"),
        ("background", "<f4"),  # photons per pixel: median of the frame's localizations, NaN where it has none
        ("localizations_crc32", "<u4"),
        ("reserved_2", "<u4"),
        ("crc32", "<u4"),  # of the 60 bytes before
    ]
)
"""One record of `commits.bin`: 64 bytes, so that none crosses a disk sector."""

Commits = NDArray[np.void]
"""(N,) array of `COMMIT_DTYPE`."""

COMMIT_BYTES = COMMIT_DTYPE.itemsize
LOCALIZATION_BYTES = LOCALIZATION_DTYPE.itemsize
HEADER = (
    b"rtdecode commits 1\n".ljust(COMMIT_BYTES - 4, b"\0")
    + np.array([COMMIT_BYTES, LOCALIZATION_BYTES], "<u2").tobytes()
)
"""First 64 bytes of `commits.bin`; `locs.bin` has no header."""


class CommitFlag(IntFlag):
    """What is worth knowing of a frame's fit besides its fate."""

    NONE = 0
    LEFT_IS_COPY = 1  # no left neighbour: the frame itself stood in for it
    RIGHT_IS_COPY = 2
    SATURATED = 4
    LATE = 8  # of a live source: logged more than `limits.late_ms` after it arrived
    WRONG_SIZE = 16
    NOT_FINITE = 32


def make_commits(
    frame_index: ArrayLike,
    fate: ArrayLike = 0,
    n_localizations: ArrayLike = 0,
    flags: ArrayLike = 0,
    t_camera_ns: ArrayLike = 0,
    t_arrival_ns: ArrayLike = 0,
    background: ArrayLike = np.nan,
) -> Commits:
    """(N,) commit records for `LogWriter.append`, which fills in the rest; scalars hold for all N frames."""
    indices = np.atleast_1d(np.asarray(frame_index, np.int64))
    commits = np.zeros(len(indices), COMMIT_DTYPE)
    commits["frame_index"] = indices
    commits["fate"], commits["n_localizations"], commits["flags"] = fate, n_localizations, flags
    commits["t_camera_ns"], commits["t_arrival_ns"], commits["background"] = t_camera_ns, t_arrival_ns, background
    return commits


def seal(commits: Commits, localizations: bytes) -> None:
    """Write the checksums of each frame's localizations and of each record into `commits`."""
    stops = np.cumsum(commits["n_localizations"].astype(np.int64)) * LOCALIZATION_BYTES
    commits["localizations_crc32"] = _crc_of_parts(localizations, stops)
    commits["crc32"] = _crc_of_records(commits)


def bad_records(commits: Commits, localizations_before: int) -> NDArray[np.intp]:
    """Numbers of the records whose checksum is wrong, or which do not go on where the one before ended."""
    ends = np.concatenate([[localizations_before], commits["end_of_localizations"]])
    gaps = np.diff(ends) != commits["n_localizations"]
    return np.flatnonzero(gaps | (_crc_of_records(commits) != commits["crc32"]))


def bad_localizations(commits: Commits, localizations: bytes) -> NDArray[np.intp]:
    """Numbers of the commits whose localizations (all of theirs, in order) are not what was committed."""
    stops = np.cumsum(commits["n_localizations"].astype(np.int64)) * LOCALIZATION_BYTES
    return np.flatnonzero(_crc_of_parts(localizations, stops) != commits["localizations_crc32"])


def check_header(data: bytes, path: Path) -> None:
    """LogError when this is no commit file of this version."""
    if data != HEADER:
        raise LogError(f"{path}: not a commit log of this version of rtdecode (its first 64 bytes differ)")


def damaged(path: Path, record: int, what: str) -> LogError:
    """The error for a record inside the committed part that is not what was written."""
    return LogError(
        f"{path}: record {record} is damaged: {what}. "
        "The records before it are sound; restore the file from a copy, or cut it there to keep them"
    )


def _crc_of_records(commits: Commits) -> NDArray[np.uint32]:
    data = memoryview(commits.tobytes())
    starts = range(0, len(data), COMMIT_BYTES)
    return np.array([zlib.crc32(data[at : at + COMMIT_BYTES - 4]) for at in starts], np.uint32)


def _crc_of_parts(data: bytes, stops: NDArray[np.int64]) -> NDArray[np.uint32]:
    view, bounds = memoryview(data), [0, *stops.tolist()]
    return np.array([zlib.crc32(view[a:b]) for a, b in pairwise(bounds)], np.uint32)
