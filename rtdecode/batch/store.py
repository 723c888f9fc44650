"""Where a batch keeps its blocks, and which of them are done: by key, and by the recording they were made of."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtdecode.batch.blocks import BlockTask, about_block, file_name, key_of, spans
from rtdecode.core.errors import RunFolderError
from rtdecode.sources.addresses import Address, place_of
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.files import write_atomically
from rtdecode.streams.run_folder import RunFolder

BLOCKS, JOB = ".blocks", "job.json"
_MARKS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created")  # as the stores call them


@dataclass(frozen=True, slots=True)
class Job:
    """One recording of a batch."""

    name: str
    record: RunRecord
    n_frames: int
    block_frames: int
    key: str
    files: dict[str, Any]  # their fingerprint before anything is fitted: what changes later is found next time

    @classmethod
    def of(cls, name: str, record: RunRecord, n_frames: int, block_frames: int) -> Job:
        """With its key."""
        return cls(name, record, n_frames, block_frames, key_of(record, block_frames), fingerprint(record))

    @property
    def folder(self) -> Path:
        """Of its blocks: results of another model or camera lie elsewhere and are never mixed in."""
        return self.record.out.parent / BLOCKS / self.name / self.key[:16]

    def path(self, first: int, last: int) -> Path:
        """Of one block's file."""
        return self.folder / file_name(first, last)


def tasks_of(job: Job) -> tuple[list[BlockTask], int]:
    """Blocks that are to be done, and how many are done already.

    Where the recording's files are as they were, a block that is there is done. Where one has another size or time,
    each block is compared with its frames' sha256 first (by a worker: the frames are read, not fitted).
    """
    same = _is_same(job)
    todo, done = [], 0
    record, files = job.record.model_dump_json(), str(job.files["sha256_of_names_sizes_times"])
    for first, last in spans(job.n_frames, job.block_frames):
        about = about_block(path := job.path(first, last))
        usable = about is not None and about.get("key") == job.key
        if usable and same:
            done += 1
            continue
        known = str(about["frames_sha256"]) if usable and about is not None else ""
        todo.append(BlockTask(job.name, record, first, last, str(path), job.key, files, known))
    return todo, done


def remember(job: Job) -> None:
    """Note which files the blocks are made of; before the first of them is."""
    job.folder.mkdir(parents=True, exist_ok=True)
    said = {"key": job.key, "recording": str(job.record.source.fields["path"]), "files": job.files}
    write_atomically(job.folder / JOB, json.dumps(said, indent=1) + "\n")


def forget(job: Job) -> None:
    """The files have changed: until the blocks are compared nothing is known of them."""
    (job.folder / JOB).unlink(missing_ok=True)


def finished_run(job: Job) -> RunFolder | None:
    """The run folder, if it was made of these very blocks; RunFolderError where another run lies there."""
    if not job.record.out.exists():
        return None
    folder = RunFolder.open(job.record.out)
    report = folder.read_report() or {}
    made = dict(report.get("batch") or {})
    if made.get("key") != job.key:
        raise RunFolderError(
            f"{folder.path}: holds another run (model, camera, engine, version or block_frames differ); "
            "choose another out"
        )
    return folder if _is_same(job) and not made.get("missing_blocks") else None


def fingerprint(record: RunRecord) -> dict[str, Any]:
    """Name, size and time of each file of a recording; of an address what its store says."""
    place = place_of(record.source.fields["path"])
    if isinstance(place, Address):
        return _remote_fingerprint(place)
    place = Path(place)
    files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else _beside(place)
    digest, count, size = hashlib.sha256(), 0, 0
    for file in files:
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        count, size = count + 1, size + stat.st_size
    return {"files": count, "bytes": size, "sha256_of_names_sizes_times": digest.hexdigest()}


def _beside(path: Path) -> list[Path]:
    """A file, its description under another ending, and further parts: `a.ome.tif`, `a.inf`, `a_1.ome.tif`."""
    base = re.escape(path.name.removesuffix(path.suffix).removesuffix(".ome"))
    part = re.compile(rf"{base}(_\d+)?\.[^.]+(\.[^.]+)?")
    return sorted(p for p in path.parent.iterdir() if part.fullmatch(p.name) and p.is_file())


def _remote_fingerprint(address: Address) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    listed = address.listed()
    for name, about in sorted(listed.items()):
        mark = next((about[key] for key in _MARKS if about.get(key)), "")
        digest.update(f"{name} {about.get('size')} {mark}\n".encode())
        size += int(about.get("size") or 0)
    return {"files": len(listed), "bytes": size, "sha256_of_names_sizes_times": digest.hexdigest()}


def _is_same(job: Job) -> bool:
    try:
        said = json.loads((job.folder / JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(said.get("key") == job.key and said.get("files") == job.files)
