"""A batch from its plan to its run folders and its report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtdecode.batch.assemble import assemble
from rtdecode.batch.blocks import BlockDone, BlockTask
from rtdecode.batch.cluster import check_workers, resources_of
from rtdecode.batch.drive import Drive, Tally
from rtdecode.batch.plan import BatchPlan, records_of
from rtdecode.batch.store import Job, finished_run, forget, remember, tasks_of
from rtdecode.core.errors import RtdecodeError
from rtdecode.session.admit import admitted
from rtdecode.sources.replay import ReplaySource
from rtdecode.stages.build import build_source
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.files import write_atomically
from rtdecode.streams.run_folder import RunFolder

Tell = Callable[[str], None]
REPORT = "batch_report.json"
LEDGER = ("expected", "received", "fitted", "rejected", "lost_before", "lost_in_ring")


@dataclass
class Progress:
    """Blocks of the whole batch, for a bar."""

    blocks: int = 0
    done: int = 0
    failed: int = 0
    frames: int = 0  # fitted now
    localizations: int = 0


OnProgress = Callable[[Progress], None]


@dataclass
class Result:
    """What came of a batch."""

    report: dict[str, Any]
    runs: list[Path] = field(default_factory=list)  # folders made or found finished

    @property
    def good(self) -> bool:
        """Whether every frame of every recording was fitted or accounted for by the recording itself."""
        return all(one["missing_blocks"] == 0 and not one.get("error") for one in self.report["recordings"].values())


def run_batch(
    plan: BatchPlan, jobs: Jobs, out: Path, client: Any, *, tell: Tell = lambda _: None,
    on_progress: OnProgress = lambda _: None, reconnect: Callable[[], Any] | None = None,
) -> Result:  # fmt: skip
    """Fit what is not fitted yet, put each recording together as its last block comes, write batch_report.json.

    `jobs` of `prepare`. Raises RtdecodeError before anything is fitted: other runs at the place, workers.
    """
    began = time.monotonic()
    open_jobs = {name: job for name, job in jobs.items() if finished_run(job) is None}
    runs = [job.record.out for name, job in jobs.items() if name not in open_jobs]
    for name in jobs.keys() - open_jobs.keys():
        tell(f"{name}: finished before, nothing to do")
    devices = check_all(client, list(open_jobs.values())) if open_jobs else {}
    work = _Work(open_jobs, on_progress, tell)
    drive = Drive(client, plan.retries, work.resources, work.take, reconnect, tell)
    work.tally = drive.tally
    for name in open_jobs:
        work.finish(name)  # what only waits to be put together
    drive.run(work.tasks())
    report = _report(jobs, work, drive, devices, time.monotonic() - began)
    write_atomically(out / REPORT, json.dumps(report, indent=1) + "\n")
    return Result(report, runs + work.made)


def check_all(client: Any, jobs: list[Job]) -> dict[str, str]:
    """Every worker against each engine and model that is asked for. Raises EngineError, ConfigError."""
    seen: dict[str, str] = {}
    asked: set[str] = set()
    for job in jobs:
        what = f"{job.record.model_sha256} {job.record.engine} {job.record.detection}"
        if what not in asked:
            seen |= check_workers(client, job.record.model_dump_json())
            asked.add(what)
    return seen


class Jobs(dict[str, Job]):
    """Jobs by name, and why the others of the plan cannot be read."""

    unreadable: dict[str, str]


def prepare(plan: BatchPlan, path: Path, out: Path, tell: Tell = lambda _: None) -> Jobs:
    """Each recording opened, its model found, its engine admitted, before a cluster is needed. Raises RtdecodeError."""
    jobs = Jobs()
    records, jobs.unreadable = records_of(plan, path, out)
    for name, why in jobs.unreadable.items():
        tell(f"{name}: left out: {why}")
    chosen: dict[str, RunRecord] = {}
    for name, record in records.items():
        gate = f"{record.model_sha256} {record.engine}"
        if gate not in chosen:
            chosen[gate] = admitted(record, tell)
        served = {"engine": chosen[gate].engine, "engine_check": chosen[gate].engine_check}
        jobs[name] = Job.of(name, record.model_copy(update=served), _n_frames(record), plan.block_frames)
    return jobs


def _n_frames(record: RunRecord) -> int:
    source = build_source(record, None)
    assert isinstance(source, ReplaySource)
    try:
        source.open()
        return source.n_frames
    finally:
        source.close()


class _Work:
    """Which blocks of which recording are still open; a recording is put together when none is."""

    def __init__(self, jobs: dict[str, Job], on_progress: OnProgress, tell: Tell) -> None:
        self._jobs, self._on_progress, self._tell = jobs, on_progress, tell
        self.tally = Tally()
        self._tasks: dict[str, list[BlockTask]] = {}
        self.progress, self.failed = Progress(), {name: list[BlockDone]() for name in jobs}
        self.reports: dict[str, dict[str, Any]] = {}
        self.made: list[Path] = []
        self._left: dict[str, int] = {}
        self._fitted = dict.fromkeys(jobs, 0)  # blocks that were made anew
        for name, job in jobs.items():
            self._tasks[name], done = tasks_of(job)
            self._left[name] = len(self._tasks[name])
            self.progress.blocks += done + len(self._tasks[name])
            self.progress.done += done
            if any(task.known_sha256 for task in self._tasks[name]):
                forget(job)
            else:
                remember(job)

    @property
    def resources(self) -> dict[str, dict[str, float]]:
        """What a block of each recording needs of its worker."""
        return {name: resources_of(job.record.engine.use) for name, job in self._jobs.items()}

    def tasks(self) -> Iterator[BlockTask]:
        """In order, recording by recording: the first are finished first."""
        for tasks in self._tasks.values():
            yield from tasks

    def take(self, done: BlockDone) -> None:
        """One answer."""
        self._left[done.name] -= 1
        if done.error:
            self.failed[done.name].append(done)
            self.progress.failed += 1
        else:
            self.progress.done += 1
            self.progress.frames += 0 if done.reused else done.last - done.first
            self._fitted[done.name] += not done.reused
            self.progress.localizations += done.n_localizations
        self._on_progress(self.progress)
        self.finish(done.name)

    def finish(self, name: str) -> None:
        """Put a recording together that has no open block any more."""
        if self._left[name] or name in self.reports:
            return
        job = self._jobs[name]
        if not self._fitted[name] and not self.failed[name] and job.record.out.exists():
            remember(job)  # the frames are what they were: the run folder stays, with what else lies in it
            self.reports[name] = dict(RunFolder.open(job.record.out).read_report() or {})
            self._tell(f"{name}: nothing had changed")
            self.made.append(job.record.out)
            return
        try:
            if not self.failed[name]:  # else each block is compared again: one that failed may have an old file
                remember(job)
            folder, report = assemble(job, self.failed[name], self.tally.as_json())
            self.reports[name] = report
            self.made.append(folder.path)
            self._tell(f"{name}: {report['finish']}, {report['localizations']} localizations in {folder.path}")
        except (RtdecodeError, OSError) as error:
            self.reports[name] = {"error": str(error)}
            self._tell(f"{name}: {error}")


def _report(jobs: Jobs, work: _Work, drive: Drive, devices: dict[str, str], seconds: float) -> dict[str, Any]:
    recordings: dict[str, dict[str, Any]] = {}
    for name, why in jobs.unreadable.items():
        recordings[name] = {
            "finish": "failed", "frames": None, "error": why, "localizations": None, "missing_blocks": 0, "missing": [],
        }  # fmt: skip
    for name, job in jobs.items():
        made = work.reports.get(name) or json.loads((job.record.out / "report.json").read_text(encoding="utf-8"))
        missing = [f"{one.first} to {one.last - 1}: {one.error}" for one in work.failed.get(name, [])]
        recordings[name] = {
            "finish": made.get("finish", "failed"), "frames": made.get("frames"), "error": made.get("error", ""),
            "localizations": made.get("localizations"), "missing_blocks": len(missing), "missing": missing,
        }  # fmt: skip
    kinds = sorted({*devices.values(), *drive.tally.devices})
    warnings = (
        [f"blocks came from different processors, whose last digits may differ: {kinds}"] if len(kinds) > 1 else []
    )
    ledgers = [dict(one["frames"]) for one in recordings.values() if one["frames"]]
    books = {name: sum(int(ledger.get(name, 0)) for ledger in ledgers) for name in LEDGER}
    total = {"ledger": books, "seconds": round(seconds, 1), "frames_fitted": work.progress.frames,
             "frames_per_s": round(work.progress.frames / max(seconds, 1e-9), 2)}  # fmt: skip
    return {"recordings": recordings, **total, **drive.tally.as_json(), "warnings": warnings}
