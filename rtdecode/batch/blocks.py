"""Blocks of frames: what is asked of a worker, what it leaves on disk, and how that is found again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import FileFormatError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.fit import engines
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.log import COMMIT_DTYPE, Commits

FORMAT = 1


@dataclass(frozen=True, slots=True)
class BlockTask:
    """Frames [first, last) of a recording's range, for any worker; plain values, so that it travels."""

    name: str  # of the recording
    record: str  # RunRecord as JSON
    first: int
    last: int
    path: str  # of the file that it leaves
    key: str  # of all that defines the answer but the frames
    files: str = ""  # what tells the recording's files from those that lay there before
    known_sha256: str = ""  # of the frames that the file was made of; "" where there is none to compare with

    @property
    def frames(self) -> str:
        """For people."""
        return f"{self.name}, frames {self.first} to {self.last - 1}"


@dataclass(frozen=True, slots=True)
class BlockDone:
    """What came of a task; small, for thousands of them pass through scheduler and client."""

    name: str
    first: int
    last: int
    n_localizations: int = 0
    seconds: float = 0.0
    worker: str = ""
    device: str = ""
    reused: bool = False  # the frames were what they had been, nothing was fitted
    error: str = ""  # the block is not there, and why
    is_refused: bool = False  # the worker cannot fit at all: no fault of the block


@dataclass(frozen=True, slots=True)
class BlockFile:
    """A block as it lies on disk."""

    commits: Commits  # of its frames, in order; times of arrival are 0
    localizations: Localizations
    total_adu: NDArray[np.float64]  # (H, W) sum of its fitted frames
    about: dict[str, Any]


def spans(n_frames: int, block_frames: int) -> Iterator[tuple[int, int]]:
    """[first, last) of each block."""
    for first in range(0, n_frames, block_frames):
        yield first, min(first + block_frames, n_frames)


def key_of(record: RunRecord, block_frames: int) -> str:
    """sha256 of all that defines the answer, but the frames themselves."""
    source = {name: value for name, value in record.source.fields.items() if name != "path"}
    said = {
        "format": FORMAT, "model": record.model_sha256, "engine": record.engine.model_dump(mode="json"),
        "camera": record.camera.model_dump(mode="json") if record.camera else None, "source": source,
        "detection": record.detection.model_dump(mode="json"), "block_frames": block_frames,
        "versions": {"rtdecode": record.versions.get("rtdecode"), "engine": engines.version(record.engine.use)},
    }  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def file_name(first: int, last: int) -> str:
    """Of a block's file."""
    return f"{first:09d}-{last:09d}.npz"


def write_block(path: Path, block: BlockFile) -> None:
    """Whole or not at all; another worker may write the same block at the same time, with the same content."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft.open("wb") as file:
            np.savez(
                file, commits=block.commits, localizations=block.localizations.records(), total_adu=block.total_adu,
                about=np.frombuffer(json.dumps(block.about).encode(), np.uint8),
            )  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_block(path: Path) -> BlockFile:
    """Raises FileFormatError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as parts:
            commits, records, total = parts["commits"], parts["localizations"], parts["total_adu"]
            about = json.loads(parts["about"].tobytes())
        if commits.dtype != COMMIT_DTYPE or records.dtype != LOCALIZATION_DTYPE:
            raise ValueError("columns of another version")
        return BlockFile(commits, Localizations.from_records(records), total, dict(about))
    except Exception as error:  # zipfile, json and numpy raise whatever they like
        raise FileFormatError(f"{path}: is no whole block ({error}); delete it, it will be fitted again") from error


def about_block(path: Path) -> dict[str, Any] | None:
    """What a block's file says of itself; None where there is none, or none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as parts:
            return dict(json.loads(parts["about"].tobytes()))
    except Exception:  # as in read_block; what is damaged is made again
        return None
