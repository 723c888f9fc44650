"""The log: localizations, and one commit record for each frame; append-only, one writer, any number of readers.

A frame counts when its commit record is whole; its localizations are on disk before it. A reader or a restarted
writer therefore needs no other knowledge than the two files.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtdecode.core.errors import LogError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.streams.files import AppendFile, read_all, try_lock
from rtdecode.streams.log_layout import (
    COMMIT_BYTES,
    COMMIT_DTYPE,
    HEADER,
    LOCALIZATION_BYTES,
    CommitFlag,
    Commits,
    bad_localizations,
    bad_records,
    check_header,
    damaged,
    make_commits,
    seal,
)

__all__ = [
    "COMMITS_NAME", "COMMIT_DTYPE", "LOCALIZATIONS_NAME", "CommitFlag", "Commits", "LogReader", "LogWriter",
    "Recovered", "make_commits",
]  # fmt: skip

LOCALIZATIONS_NAME = "locs.bin"
COMMITS_NAME = "commits.bin"
_TAIL_FRAMES = 4096  # whose localizations a restarted writer verifies; readers verify all


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening a log after a crash cut off."""

    frames: int = 0  # commit records whose localizations did not reach the disk
    commit_bytes: int = 0
    localization_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.frames or self.commit_bytes or self.localization_bytes)

    def __str__(self) -> str:
        return (
            f"cut {self.frames} frames, {self.commit_bytes} bytes of commits and "
            f"{self.localization_bytes} bytes of localizations that were not committed"
        )


class LogWriter:
    """The only writer of a run's log."""

    def __init__(self, localizations: AppendFile, commits: AppendFile, recovered: Recovered) -> None:
        """Use `open`."""
        self._localizations = localizations
        self._commits = commits
        self._last = _commits_at(commits, self.frames - 1, 1)
        self.recovered = recovered

    @classmethod
    def open(cls, run_dir: Path) -> LogWriter:
        """Create the log, or go on after a crash: the uncommitted tail is cut and told in `recovered`.

        LogError: another process writes it, it is foreign, or damaged inside its committed part.
        """
        try:
            localizations = AppendFile(run_dir / LOCALIZATIONS_NAME)
            commits = AppendFile(run_dir / COMMITS_NAME)
        except OSError as error:
            raise LogError(f"{run_dir}: the log cannot be opened: {error}") from error
        try:
            if not try_lock(commits.fileno()):
                raise LogError(f"{commits.path}: another process writes this log; end it first")
            commits.measure()
            localizations.measure()
            return cls(localizations, commits, _recover(localizations, commits))
        except (LogError, OSError) as error:
            localizations.close()
            commits.close()
            if isinstance(error, LogError):
                raise
            raise LogError(f"{run_dir}: the log cannot be opened: {error}") from error

    def append(self, commits: Commits, localizations: Localizations) -> None:
        """Add whole frames (records of `make_commits`, ascending) and all their localizations, in their order.

        LogError when the two disagree (a fault of the caller), or when the disk is full: then nothing of
        this call is in the log, everything before it is, and the call may be repeated.
        """
        self._check(commits, localizations)
        commits = commits.copy()
        counts = commits["n_localizations"].astype(np.int64)
        commits["end_of_localizations"] = self.localizations + np.cumsum(counts)
        commits["t_commit_ns"] = time.monotonic_ns()
        records = localizations.records().tobytes()
        seal(commits, records)
        self._write(records, commits.tobytes())
        self._last = commits[-1:] if len(commits) else self._last

    def _write(self, records: bytes, commits: bytes) -> None:
        before = self._localizations.size
        try:
            self._localizations.append(records)
            self._commits.append(commits)
        except OSError as error:
            with suppress(OSError):  # what cannot be cut now is cut by the next `open`
                self._localizations.cut(before)
            message = f"{self._localizations.path.parent}: the log cannot grow: {error.strerror}; "
            raise LogError(message + f"the {self.frames} frames committed so far are safe") from error

    def _check(self, commits: Commits, localizations: Localizations) -> None:
        if commits.dtype != COMMIT_DTYPE:
            raise LogError("commits must be records of `make_commits`")
        indices = np.concatenate([[self.last_index], commits["frame_index"]])
        if (np.diff(indices) <= 0).any():
            raise LogError(f"frames must ascend: {commits['frame_index'].tolist()[:8]} after {self.last_index}")
        expected = np.repeat(commits["frame_index"], commits["n_localizations"])
        if not np.array_equal(expected, localizations.frame_index):
            raise LogError("the localizations are not those that the commit records count, in their order")

    @property
    def frames(self) -> int:
        """Commit records in the log."""
        return max(0, self._commits.size // COMMIT_BYTES - 1)

    @property
    def localizations(self) -> int:
        """Localizations in the log."""
        return self._localizations.size // LOCALIZATION_BYTES

    @property
    def last_index(self) -> int:
        """Camera index of the last committed frame, -1 before the first."""
        return int(self._last["frame_index"][0]) if len(self._last) else -1

    @property
    def last_commit(self) -> Commits:
        """(1,) the last commit record, (0,) before the first."""
        return self._last

    def flush(self) -> None:
        """Wait for the disk: what is committed now survives a power failure (a crash of ours it survives anyway)."""
        self._localizations.sync()
        self._commits.sync()

    def close(self) -> None:
        """Flush and close; safe to call twice."""
        if not self._commits.closed:
            self.flush()
        self._localizations.close()
        self._commits.close()


class LogReader:
    """Reads a log, live or finished, in whole committed frames and constant memory."""

    def __init__(self, run_dir: Path) -> None:
        """Use `open`."""
        self._localizations_path = run_dir / LOCALIZATIONS_NAME
        self._commits_path = run_dir / COMMITS_NAME
        self.frames = 0  # read so far
        self.localizations = 0  # read so far

    @classmethod
    def open(cls, run_dir: Path, missing_ok: bool = False) -> LogReader:
        """Start at the first frame. LogError when there is no log; with `missing_ok` it may be made later."""
        reader = cls(run_dir)
        if not missing_ok and not reader._commits_path.exists():
            raise LogError(f"{run_dir}: no log here ({COMMITS_NAME} is missing); is this a run folder?")
        return reader

    def read_new(self, max_frames: int = 65536, max_localizations: int = 262144) -> tuple[Commits, Localizations]:
        """The next committed frames, none when nothing is new; no more than the limits, but at least one.

        LogError names file and record when a committed byte is not what was written; what stands before it
        is delivered first.
        """
        commits = self._new_commits(max_frames)
        ends = commits["end_of_localizations"]
        within = max(1, int(np.searchsorted(ends, self.localizations + max_localizations, side="right")))
        commits, localizations = self._with_localizations(commits[:within])
        self.frames += len(commits)
        self.localizations += len(localizations)
        return commits, localizations

    def all(self) -> tuple[Commits, Localizations]:
        """Everything from where this reader stands (the start, if nothing was read yet) to the log's end now."""
        parts = [self.read_new()]
        while len(parts[-1][0]):
            parts.append(self.read_new())
        return np.concatenate([p[0] for p in parts]), Localizations.concatenate(p[1] for p in parts)

    def _new_commits(self, max_frames: int) -> Commits:
        try:
            with self._commits_path.open("rb", buffering=0) as file:
                header = read_all(file, COMMIT_BYTES)
                file.seek((self.frames + 1) * COMMIT_BYTES)
                data = read_all(file, max_frames * COMMIT_BYTES)
        except FileNotFoundError:
            return np.empty(0, COMMIT_DTYPE)
        if len(header) == COMMIT_BYTES:
            check_header(header, self._commits_path)
        return self._sound(np.frombuffer(data[: len(data) // COMMIT_BYTES * COMMIT_BYTES], COMMIT_DTYPE))

    def _sound(self, commits: Commits) -> Commits:
        """Up to the first damaged record, or a tail of zeros (power failure; a file that grew before its bytes)."""
        bad = bad_records(commits, self.localizations)
        if len(bad) and bad[0] == 0 and any(commits.tobytes()):
            raise damaged(self._commits_path, self.frames, "its checksum or count is wrong")
        return commits[: bad[0]] if len(bad) else commits

    def _with_localizations(self, commits: Commits) -> tuple[Commits, Localizations]:
        """Up to the first frame whose localizations are damaged, which is an error when it is the first."""
        count = int(commits["n_localizations"].sum())
        if not count:
            return commits, Localizations.empty()
        try:
            with self._localizations_path.open("rb", buffering=0) as file:
                file.seek(self.localizations * LOCALIZATION_BYTES)
                data = read_all(file, count * LOCALIZATION_BYTES)
        except FileNotFoundError:
            data = b""
        bad = bad_localizations(commits, data)
        if len(bad) and bad[0] == 0:
            raise _bad_localizations(self._localizations_path, commits[0])
        commits = commits[: bad[0]] if len(bad) else commits
        whole = int(commits["n_localizations"].sum())
        return commits, Localizations.from_records(np.frombuffer(data, LOCALIZATION_DTYPE, whole))


def _commits_at(file: AppendFile, first: int, count: int) -> Commits:
    if first < 0:
        return np.empty(0, COMMIT_DTYPE)
    return np.frombuffer(file.read((first + 1) * COMMIT_BYTES, count * COMMIT_BYTES), COMMIT_DTYPE)


def _recover(localizations: AppendFile, commits: AppendFile) -> Recovered:
    """Cut both files to the last frame whose record and localizations are whole."""
    sizes = commits.size, localizations.size
    frames_before = max(0, commits.size // COMMIT_BYTES - 1)
    if commits.size < COMMIT_BYTES and HEADER.startswith(commits.read(0, commits.size)):
        commits.cut(0)
        commits.append(HEADER)
        sizes = max(COMMIT_BYTES, sizes[0]), sizes[1]
    check_header(commits.read(0, COMMIT_BYTES), commits.path)
    frames = _whole_frames(localizations, commits)
    last = _commits_at(commits, frames - 1, 1)
    commits.cut((frames + 1) * COMMIT_BYTES)
    localizations.cut(int(last["end_of_localizations"][0]) * LOCALIZATION_BYTES if frames else 0)
    return Recovered(frames_before - frames, sizes[0] - commits.size, sizes[1] - localizations.size)


def _whole_frames(localizations: AppendFile, commits: AppendFile) -> int:
    """How many frames from the start are whole; LogError for damage that no crash makes."""
    records = _commits_at(commits, 0, commits.size // COMMIT_BYTES - 1)
    bad = bad_records(records, 0)
    if len(bad) and any(records[bad[0] :].tobytes()):
        raise damaged(commits.path, int(bad[0]), "its checksum or count is wrong")
    records = records[: bad[0]] if len(bad) else records
    whole = localizations.size // LOCALIZATION_BYTES
    records = records[: int(np.searchsorted(records["end_of_localizations"], whole, side="right"))]
    return len(records) - _torn_at_end(localizations, records)


def _torn_at_end(localizations: AppendFile, records: Commits) -> int:
    """Frames at the end whose localizations are zeros (power failure); LogError for other damage to them."""
    tail = records[-_TAIL_FRAMES:]
    if not len(tail):
        return 0
    start = int(tail["end_of_localizations"][0] - tail["n_localizations"][0])
    stop = int(tail["end_of_localizations"][-1])
    data = localizations.read(start * LOCALIZATION_BYTES, (stop - start) * LOCALIZATION_BYTES)
    bad = bad_localizations(tail, data)
    if len(bad) and any(data[-4:]):  # the last probability is not zero, so zeros do not reach to the end
        raise _bad_localizations(localizations.path, tail[bad[0]])
    return len(tail) - int(bad[0]) if len(bad) else 0


def _bad_localizations(path: Path, commit: np.void) -> LogError:
    first = int(commit["end_of_localizations"] - commit["n_localizations"])
    what = f"one of the {commit['n_localizations']} localizations of frame {commit['frame_index']} changed or is gone"
    return damaged(path, first, what)
