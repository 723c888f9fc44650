"""The session's children: each worker a process of its own, watched, restarted, at the end never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rtdecode.stages.worker import REFUSED
from rtdecode.streams.run_folder import RunFolder

End = Literal["done", "refused", "crashed"]
SILENT_AFTER_S = {"localize": 60.0, "record": 60.0, "check": 60.0, "acquire": 30.0, "decide": 20.0}
"""A worker that has spoken and then says nothing for so long hangs (a driver, a GPU, a policy)."""
FIRST_WORD_S = 300.0  # imports, compilation and a camera's start may take long
_KILL_WAIT_S = 10.0


@dataclass
class Child:
    """One worker process."""

    name: str
    process: subprocess.Popen[bytes]
    started_at: float
    heard_at: float | None = None
    status: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    end: End | None = None
    hung: bool = False  # and was killed for it

    def hear(self, status: dict[str, Any]) -> None:
        """Take what it said of itself; words of its dead predecessor are not its own."""
        if status.get("pid") == self.process.pid:
            self.status, self.heard_at = status, time.monotonic()

    @property
    def error(self) -> str | None:
        """Its last words, where it ended by a fault that it could name."""
        error = self.status.get("error")
        return str(error) if error else None

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.end is None

    @property
    def hangs(self) -> bool:
        """It lives and says nothing."""
        if self.heard_at is None:
            return time.monotonic() - self.started_at > FIRST_WORD_S
        return self.silent_s > SILENT_AFTER_S[self.name]

    @property
    def silent_s(self) -> float:
        """Seconds since its last word; 0 before its first."""
        return 0.0 if self.heard_at is None else time.monotonic() - self.heard_at

    def look(self) -> bool:
        """Whether it has ended since the last look; `end` says how."""
        code = self.process.poll()
        if self.end is not None or code is None:
            return False
        self.end = "done" if code == 0 else "refused" if code == REFUSED else "crashed"
        return True

    def kill(self) -> None:
        """End it at once; what it held is freed by the system."""
        if self.process.poll() is None:
            self.process.kill()
            try:
                self.process.wait(_KILL_WAIT_S)
            except subprocess.TimeoutExpired:
                pass  # stuck in the kernel (a driver); nothing more can be done from here

    def end_gently(self, patience_s: float) -> None:
        """Let it close what it holds (camera, light), then kill it. On Windows there is no gentle way: not tested."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def how_it_ended(self) -> str:
        """Words for events and reports."""
        code = self.process.returncode
        if self.error:
            return self.error
        if self.hung:
            return f"hung: said nothing for {SILENT_AFTER_S[self.name]:.0f} s and was killed"
        return f"killed by signal {-code}" if code is not None and code < 0 else f"exit status {code}"


def start(name: str, folder: RunFolder, restarts: int = 0) -> Child:
    """Start one worker; stdout and stderr go to its log file, Ctrl-C of our terminal does not reach it."""
    with folder.log_file(name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rtdecode", "worker", name, str(folder.path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=_environment(), **own_group(),
        )  # fmt: skip
    return Child(name, process, time.monotonic(), restarts=restarts)


def start_viewer(folder: RunFolder) -> None:
    """Open the viewer and forget it: it may be closed or die at any time, and it outlives the run."""
    with folder.log_file("view").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "rtdecode", "view", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(),
            **own_group(),
        )


def own_group() -> dict[str, Any]:
    """Arguments of Popen for a process that the terminal's Ctrl-C does not reach. Windows: not tested."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _environment() -> dict[str, str]:
    """Ours, with this very package importable also where it is run from a checkout in another directory."""
    root = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{before}" if before else root, "PYTHONUNBUFFERED": "1"}
