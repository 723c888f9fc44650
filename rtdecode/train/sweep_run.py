"""A sweep on this machine: a process for each training, some at a time, and the table that compares them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import yaml

from rtdecode.core.errors import ConfigError
from rtdecode.streams.files import why_not, write_atomically
from rtdecode.train.benchmark_tables import Sheet
from rtdecode.train.sweep import Summary, finished
from rtdecode.train.sweep_plan import JudgeConfig, Variant

LOG, JSON, MARKDOWN = "training.log", "sweep.json", "sweep.md"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one training; without a summary it failed, and `error` says why."""

    variant: Variant
    summary: Summary | None
    error: str = ""
    was_done: bool = False

    def as_json(self) -> dict[str, Any]:
        """For sweep.json."""
        status = "failed" if self.summary is None else "done"
        about = {"name": self.variant.config.name, "folder": self.variant.folder, "changes": self.variant.changes}
        return {**about, "status": status, "error": self.error or None, "summary": self.summary}


@dataclass
class Sweep:
    """Runs variants below `out`; each has its own process, threads, folder and log, so that none can stop another."""

    out: Path
    judge: JudgeConfig
    threads: int  # of each process
    tell: Tell
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)
    _stopped: bool = False

    def run(self, variants: Sequence[Variant], workers: int) -> list[Outcome]:
        """Outcomes in the plan's order; a Ctrl-C ends the processes, and the next run goes on from their checkpoints.

        Raises ConfigError where `out` cannot be written.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {self.out}: {why_not(self.out, error)}") from error
        with ThreadPoolExecutor(workers) as pool:
            asked = {pool.submit(self._one, variant): variant for variant in variants}
            try:
                made = {asked[future].key: future.result() for future in as_completed(asked)}
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return [made[variant.key] for variant in variants]

    def _one(self, variant: Variant) -> Outcome:
        name, folder = variant.config.name, self.out / variant.folder
        if (held := finished(folder, variant.key, self.judge)) is not None:
            self.tell(f"{name}: done already")
            return Outcome(variant, held, was_done=True)
        self.tell(f"{name}: begins; its log is {folder / LOG}")
        try:
            error = self._process(variant, folder)
        except OSError as fault:
            error = f"{folder}: {why_not(folder, fault)}"
        held = finished(folder, variant.key, self.judge) if not error else None
        self.tell(f"{name}: done in {held['seconds']:.0f} s of training" if held else f"{name}: failed: {error}")
        return Outcome(variant, held, error)

    def _process(self, variant: Variant, folder: Path) -> str:
        """Why the training's process failed; nothing where it did not."""
        folder.mkdir(exist_ok=True)
        text = yaml.safe_dump(variant.config.model_dump(mode="json"), sort_keys=False)
        write_atomically(folder / "train.yaml", text)
        arguments = [str(folder / "train.yaml"), str(folder), self.judge.model_dump_json(), str(self.threads)]
        # A simulator thread beside training threads: threads that spin while they wait would take its core.
        env = os.environ | {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        with (folder / LOG).open("ab") as log:
            began = log.tell()
            with self._lock:
                if self._stopped:
                    return "stopped"
                process = subprocess.Popen(
                    [sys.executable, "-m", "rtdecode.train.sweep", *arguments],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                )  # fmt: skip
                self._running.add(process)
            status = process.wait()
            self._running.discard(process)
        if self._stopped:
            return "stopped; the same command goes on"
        return _reason(status, folder / LOG, began)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in list(self._running):
                process.terminate()


def _reason(status: int, log: Path, began: int) -> str:
    if status == 0:
        return ""
    if status < 0:
        name = signal.Signals(-status).name
        return f"its process was ended by {name}" + (", as a machine without memory does" if name == "SIGKILL" else "")
    said = log.read_bytes()[began:].decode("utf-8", "replace").strip()
    return said.splitlines()[-1].strip() if said else f"its process ended with status {status}"


def write_tables(out: Path, heading: str, outcomes: Sequence[Outcome]) -> None:
    """sweep.json and sweep.md below `out`."""
    found = {"trainings": [outcome.as_json() for outcome in outcomes]}
    write_atomically(out / JSON, json.dumps(found, indent=1, allow_nan=False))
    write_atomically(out / MARKDOWN, table_of(heading, outcomes).markdown())


def table_of(heading: str, outcomes: Sequence[Outcome]) -> Sheet:
    """One row for each training, Jaccard and efficiency at each density side by side."""
    summaries = [outcome.summary for outcome in outcomes if outcome.summary is not None]
    densities = list(summaries[0]["density_per_um2"]) if summaries else []
    is_3d = any(_of(one, density, "efficiency_3d") is not None for one in summaries for density in densities)
    shown = {"jaccard": "J", "efficiency_3d" if is_3d else "efficiency_lateral": "efficiency"}
    columns = ("training", *(f"{word} at {density}" for word in shown.values() for density in densities),
               "validation loss", "iterations", "training s", "")  # fmt: skip
    rows = []
    for outcome in outcomes:
        one, name = outcome.summary, outcome.variant.config.name
        if one is None:
            rows.append((name, *["–"] * (len(columns) - 2), f"failed: {outcome.error}"))
            continue
        figures = [_shown(_of(one, density, key), 3) for key in shown for density in densities]
        rows.append(
            (name, *figures, _shown(one["validation"], 3), str(one["iterations"]), _shown(one["seconds"], 0), "")
        )
    share = summaries[0]["judge"]["share"] if summaries else 1.0
    kind = "3D" if is_3d else "lateral"
    part = "" if share == 1 else f" on {share:g} of the usual frames"
    note = f"Jaccard and {kind} efficiency at emitters per um² (the conditions of `rtdecode evaluate`{part})."
    return Sheet(heading, note, columns, tuple(rows))


def _of(summary: Summary, density: str, name: str) -> float | None:
    value: float | None = summary["density_per_um2"].get(density, {}).get(name)
    return value


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
