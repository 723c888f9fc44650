"""Blocks put together: a run folder whose log has the bytes of one machine's replay."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.batch.blocks import BlockDone, BlockFile, read_block, spans
from rtdecode.batch.store import Job
from rtdecode.core.errors import FileFormatError, RtdecodeError
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.session.report import build_report
from rtdecode.sources.replay import ReplaySource
from rtdecode.stages.build import build_source
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.widefield import FINAL_NAME
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.run_folder import RunFolder


def assemble(job: Job, failed: Sequence[BlockDone], workers: dict[str, Any]) -> tuple[RunFolder, dict[str, Any]]:
    """Make the run folder of a recording whose blocks are done, and its report.json; memory of one block.

    Blocks in `failed` are missing: their frames are lost, each with its reason, and the run has failed. An older
    run folder stays as NAME.before1. Raises RtdecodeError; then nothing is left of the new one.
    """
    draft = job.record.out.with_name(f".{job.record.out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    record = job.record.model_copy(update={"out": job.record.out})
    folder = RunFolder.create(draft, record.as_yaml())
    try:
        source = _opened(job)
        try:
            _note_source(folder, source)
            missing = _write_log(folder, job, source, {(one.first, one.last): one.error for one in failed})
        finally:
            source.close()
        report = _close(folder, job, missing, workers)
        if job.record.out.exists():
            job.record.out.rename(_free(job.record.out))  # exports and notes of people may lie in it
        draft.rename(job.record.out)
    except (OSError, RtdecodeError):
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return RunFolder(job.record.out), report


def _free(out: Path) -> Path:
    """A name beside `out` for the run that it holds."""
    names = (out.with_name(f"{out.name}.before{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def _opened(job: Job) -> ReplaySource:
    source = build_source(job.record, None)
    assert isinstance(source, ReplaySource)
    source.open()
    return source


def _note_source(folder: RunFolder, source: ReplaySource) -> None:
    roi = source.roi
    place = {name: getattr(roi, name) for name in ("x0_px", "y0_px", "width_px", "height_px", "binning")}
    folder.append_event(
        "batch", "source", None, **place, dtype=source.dtype, expected=source.expected, can_wait=True,
        lost_because=source.lost_because,
    )  # fmt: skip


def _write_log(folder: RunFolder, job: Job, source: ReplaySource, failed: dict[tuple[int, int], str]) -> int:
    """Number of blocks that are missing."""
    total, missing = np.zeros(source.roi.shape), 0
    log = LogWriter.open(folder.path)
    try:
        for first, last in spans(job.n_frames, job.block_frames):
            block = None if (first, last) in failed else _read(job, first, last, failed)
            if block is None:
                missing += 1
                why = failed[first, last]
                folder.append_event("batch", "warning", None, reason=f"frames {first} to {last - 1} are lost: {why}")
                continue
            _append(log, block)
            total += block.total_adu
        _lose(log, source.expected or job.n_frames)
    finally:
        log.close()
    np.save(folder.path / FINAL_NAME, total)
    return missing


def _read(job: Job, first: int, last: int, failed: dict[tuple[int, int], str]) -> BlockFile | None:
    try:
        return read_block(job.path(first, last))
    except FileFormatError as error:
        failed[first, last] = str(error)
        return None


def _append(log: LogWriter, block: BlockFile) -> None:
    """The block's frames, and before them those that the camera counted and nobody has."""
    commits = block.commits
    if not len(commits):
        return
    _lose(log, int(commits["frame_index"][0]))
    jumps = np.flatnonzero(np.diff(commits["frame_index"]) > 1) + 1
    ends = np.cumsum(commits["n_localizations"])
    for part in np.split(np.arange(len(commits)), jumps):
        _lose(log, int(commits["frame_index"][part[0]]))
        begin = int(ends[part[0]] - commits["n_localizations"][part[0]])
        log.append(commits[part], block.localizations[begin : int(ends[part[-1]])])


def _lose(log: LogWriter, before_index: int) -> None:
    indices = np.arange(log.last_index + 1, before_index)
    if len(indices):
        log.append(make_commits(indices, fate=Fate.LOST_BEFORE), Localizations.empty())


def _close(folder: RunFolder, job: Job, missing: int, workers: dict[str, Any]) -> dict[str, Any]:
    outcome = Outcome.failed(f"{missing} blocks could not be fitted") if missing else Outcome.completed()
    folder.append_event("batch", "finish", None, finish=outcome.finish, reason=outcome.reason)
    report = build_report(folder, outcome)
    report["batch"] = {"key": job.key, "block_frames": job.block_frames, "missing_blocks": missing, "workers": workers}
    folder.write_report(report)
    folder.release_reserve()
    return report
