"""Runs for tests: a folder with frames, a configuration, a session in a thread that can be watched and hurt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from rtdecode import session
from rtdecode.core.config import RunConfig
from rtdecode.core.interrupt import Interrupt
from rtdecode.session import RunResult
from rtdecode.streams.log import CommitFlag, Commits, LogReader
from rtdecode.streams.run_folder import RunFolder

HERE = Path(__file__).parent
CAMERA = f"{HERE / 'paced_camera.py'}:PacedCamera"
DEADLINE_S = 120.0  # against hangs only
N_FRAMES = 40


def write_frames(path: Path) -> Path:
    """(40, 20, 30) uint16: background, noise and some bright pixels."""
    random = np.random.default_rng(8)
    shape = (N_FRAMES, 20, 30)
    bright = (random.random(shape) < 0.03) * random.uniform(500, 6000, shape)
    np.save(path, (random.normal(900.0, 80.0, shape) + bright).clip(0, 65535).astype(np.uint16))
    return path


class Kit:
    """A scratch folder from which runs are configured."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        self.frames = write_frames(folder / "frames.npy")
        self.diary, self.go = folder / "diary.txt", folder / "go"

    def fields(self, name: str, camera_fields: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """A run's configuration as it would stand in YAML."""
        camera = {"use": CAMERA, "path": str(self.frames), "diary": str(self.diary), "go": str(self.go)}
        loud = {"peak": 0.02, "accept": 0.1}  # random weights: many localizations, or bytes prove nothing
        base = {"model": str(self.model), "detection": loud, "out": str(self.folder / name)}
        return base | {"source": camera | (camera_fields or {})} | fields  # `source=` in fields replaces it

    def config(self, name: str, camera_fields: dict[str, Any] | None = None, **fields: Any) -> RunConfig:
        """As `fields`, checked."""
        return RunConfig.model_validate(self.fields(name, camera_fields, **fields))

    def deeds(self) -> list[str]:
        """What was done to the camera."""
        return self.diary.read_text().split("\n")[:-1] if self.diary.exists() else []


class Watched:
    """A session in a thread."""

    def __init__(self, config: RunConfig) -> None:
        self.folder = RunFolder(config.out)
        self.interrupt = Interrupt()
        self.result: RunResult | None = None
        self._thread = threading.Thread(target=self._run, args=(config,), daemon=True)
        self._thread.start()

    def _run(self, config: RunConfig) -> None:
        self.result = session.run(config, interrupt=self.interrupt)

    def end(self) -> RunResult:
        """Wait for the end."""
        self._thread.join(DEADLINE_S)
        assert self.result is not None, "the session did not end"
        return self.result

    def wait_for_frames(self, count: int) -> None:
        """Until so many frames are committed."""
        wait_for(lambda: frames_in(self.folder.path) >= count, f"{count} committed frames")


def worker(run: Path, name: str) -> psutil.Process:
    """The process of a run's worker."""
    return next(iter(workers(run, name)))


def workers(run: Path, name: str = "") -> list[psutil.Process]:
    """Living worker processes of a run."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        alive = process.info["status"] != psutil.STATUS_ZOMBIE
        if alive and "worker" in words and str(run) in words and name in ("", words[words.index("worker") + 1]):
            found.append(process)
    return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until `condition` holds; fails after a generous deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def frames_in(run: Path) -> int:
    """Committed frames of a run."""
    return len(commits_of(run))


def commits_of(run: Path) -> Commits:
    """All commit records of a run so far."""
    return LogReader.open(run, missing_ok=True).all()[0]


def bytes_of(run: Path) -> tuple[bytes, bytes]:
    """Everything of a log that may not depend on when and how it was written."""
    commits = commits_of(run)
    commits["flags"] &= ~np.asarray(CommitFlag.LATE, commits["flags"].dtype)  # a slow machine's word, not the method's
    names = ("frame_index", "fate", "flags", "n_localizations", "localizations_crc32")
    return (run / "locs.bin").read_bytes(), b"".join(np.ascontiguousarray(commits[n]).tobytes() for n in names)
