"""The run folder: one run on disk, and the meeting place of its workers, who need only its path."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rtdecode.core.errors import RunFolderError
from rtdecode.core.yaml_files import safe_load, yaml_fault
from rtdecode.streams.files import locked, read_all, why_not, write_atomically
from rtdecode.streams.processes import is_alive, my_identity

_FORMAT = 1
_RESERVE_BYTES = 1 << 20
_BLOCK = "run"  # the top-level key of run.yaml that this file owns


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and small facts of one run."""

    path: Path

    @classmethod
    def create(cls, path: Path, run_yaml_text: str) -> RunFolder:
        """A new run with its configuration as resolved (a YAML mapping); RunFolderError when the path is taken.

        This process becomes the owner; the clock anchor is taken now. What cannot be made leaves nothing.
        """
        fields = _mapping(run_yaml_text, str(path / "run.yaml"))
        if _BLOCK in fields:
            raise RunFolderError(f"{path}: the configuration may not have the key '{_BLOCK}', the run writes it")
        cls.refuse_taken(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{path}: the run folder cannot be made: {error}") from error
        folder = cls(path)
        try:
            folder.logs.mkdir()
            _write(folder.run_yaml, run_yaml_text.rstrip("\n") + "\n" + _run_block())
        except (OSError, RunFolderError) as error:
            folder.discard()
            raise RunFolderError(f"{path}: the run folder cannot be made: {error}") from error
        return folder

    @staticmethod
    def refuse_taken(path: Path) -> None:
        """Raise RunFolderError where `create` would find something at `path`; nothing is written."""
        try:
            taken = next(path.iterdir(), None) if path.exists() else None
        except OSError as error:
            raise RunFolderError(f"{path}: the run folder cannot be made: {error}") from error
        if taken is not None:
            raise RunFolderError(f"{path}: is not empty ({taken.name}); choose another --out or remove it")

    def discard(self) -> None:
        """Undo `create` for a run that cannot begin; files that it did not make stay, and the folder then, too."""
        self.release_reserve()
        with suppress(OSError):
            self.run_yaml.unlink(missing_ok=True)
            self.logs.rmdir()
            self.path.rmdir()

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run, live or finished; RunFolderError when it is not one."""
        folder = cls(path)
        block = folder.fields().get(_BLOCK)
        if not isinstance(block, dict) or block.get("format") != _FORMAT:
            raise RunFolderError(f"{folder.run_yaml}: not a run of this version of rtdecode (no run.format {_FORMAT})")
        return folder

    @property
    def run_yaml(self) -> Path:
        """Configuration as resolved, owner, clock anchor."""
        return self.path / "run.yaml"

    @property
    def localizations(self) -> Path:
        """`locs.bin`."""
        return self.path / "locs.bin"

    @property
    def commits(self) -> Path:
        """`commits.bin`."""
        return self.path / "commits.bin"

    @property
    def events(self) -> Path:
        """Actions, gaps, restarts, errors; one JSON object in each line."""
        return self.path / "events.jsonl"

    @property
    def report(self) -> Path:
        """The ledger and the figures; written at the end, so its presence says that the run is over."""
        return self.path / "report.json"

    @property
    def picture(self) -> Path:
        """`picture.png`."""
        return self.path / "picture.png"

    @property
    def localizations_csv(self) -> Path:
        """Export for other programs."""
        return self.path / "localizations.csv"

    @property
    def truth_csv(self) -> Path:
        """Where the source is simulated: its emitters."""
        return self.path / "truth.csv"

    @property
    def logs(self) -> Path:
        """Folder of the workers' text logs."""
        return self.path / "logs"

    def log_file(self, worker: str) -> Path:
        """Where stdout and stderr of a worker go."""
        return self.logs / f"{worker}.log"

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.name

    def fields(self) -> dict[str, Any]:
        """Everything in run.yaml."""
        try:
            text = self.run_yaml.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{self.path}: not a run folder: {error}") from error
        return _mapping(text, str(self.run_yaml))

    def config_fields(self) -> dict[str, Any]:
        """run.yaml as it was given to `create`."""
        return {key: value for key, value in self.fields().items() if key != _BLOCK}

    def unix_ns(self, monotonic_ns: int) -> int:
        """Wall-clock time of a `time.monotonic_ns` of this run (valid after the machine has restarted, too)."""
        clock = self.fields()[_BLOCK]["clock"]
        return int(monotonic_ns) - int(clock["monotonic_ns"]) + int(clock["unix_ns"])

    @property
    def owner_pid(self) -> int:
        """Process that made the run."""
        return int(self.fields()[_BLOCK]["owner"]["pid"])

    @property
    def is_running(self) -> bool:
        """True while there is no report and the owner lives (the same process, not a later one with its number)."""
        owner = self.fields()[_BLOCK]["owner"]
        return not self.report.exists() and is_alive(int(owner["pid"]), float(owner["started"]))

    def ring_place(self) -> str:
        """Name for this run's ring file, unlike any other run's.

        It carries the session's process, not the maker's: acquire ends while localize still reads, and a ring
        is abandoned (`memory.remove_abandoned`) only when its session is dead.
        """
        return f"rtdecode-{self.owner_pid}-{time.monotonic_ns():x}.ring"

    def publish_ring(self, path: Path) -> None:
        """Tell the other workers where the ring is; after it was made. RunFolderError: disk full."""
        _write(self.path / "ring.txt", f"{path}\n")

    @property
    def ring_path(self) -> Path | None:
        """Where the ring is, None while it is not made."""
        text = _read_if_there(self.path / "ring.txt")
        return Path(text) if text else None

    def publish_door(self, endpoint: str) -> None:
        """Tell the workers where the session's door is; RunFolderError: disk full."""
        _write(self.path / "door.txt", f"{endpoint}\n")

    @property
    def door_endpoint(self) -> str | None:
        """Where the session's door is, None while it is not open."""
        return _read_if_there(self.path / "door.txt") or None

    def write_report(self, report: dict[str, Any]) -> None:
        """Write report.json in one step: from now on the run is over. What is not finite becomes null.

        RunFolderError: disk full.
        """
        _write(self.report, json.dumps(_plain(report), indent=2) + "\n")

    def read_report(self) -> dict[str, Any] | None:
        """report.json, None while the run is not over."""
        text = _read_if_there(self.report)
        return None if not text else _json_object(text, self.report)

    def take_reserve(self) -> None:
        """Hold a megabyte of the disk, to be given back before the end: a full disk still takes events and report.

        RunFolderError where there is none: such a run could not even say how it ended.
        """
        try:
            self._reserve.write_bytes(bytes(_RESERVE_BYTES))
        except OSError as error:
            self.release_reserve()  # before it is measured what is free
            why = why_not(self._reserve, error)
            raise RunFolderError(f"{self.path}: a run needs a megabyte and room for its log: {why}") from error

    def release_reserve(self) -> None:
        """Give it back; by whoever ends the run, also where the session died. Safe to call again."""
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    @property
    def _reserve(self) -> Path:
        return self.path / ".reserve"

    def append_event(self, worker: str, kind: str, frame_index: int | None = None, **fields: object) -> None:
        """One line for events.jsonl, whole whichever process writes at the same time; RunFolderError: disk full."""
        event = {
            "time": datetime.now(UTC).astimezone().isoformat(timespec="milliseconds"),
            "t_monotonic_ns": time.monotonic_ns(),
            "worker": worker,
            "kind": kind,
            "frame_index": frame_index,
            **fields,
        }
        line = json.dumps(_plain(event), ensure_ascii=False).encode() + b"\n"
        try:
            _append_line(self.events, line)
        except OSError as error:
            raise RunFolderError(
                f"{self.events}: the event {kind!r} cannot be written: {why_not(self.events, error)}"
            ) from error

    def read_events(self) -> list[dict[str, Any]]:
        """All events so far, in the order they were written."""
        return EventReader(self).read_new()


class EventReader:
    """Reads events.jsonl as it grows."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.events
        self._at = 0  # bytes read

    def read_new(self) -> list[dict[str, Any]]:
        """Events since the last call; a line that is no JSON object (disk full) comes as kind "unreadable"."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return [_event(line) for line in whole.splitlines() if line.strip()]


def append_event(folder: Path, worker: str, kind: str, frame_index: int | None = None, **fields: object) -> None:
    """As `RunFolder.append_event` for a worker that has only the path."""
    RunFolder(folder).append_event(worker, kind, frame_index, **fields)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """As `RunFolder.read_events`."""
    return RunFolder(folder).read_events()


def _write(path: Path, text: str) -> None:
    """As `write_atomically`, in one sentence where it fails."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise RunFolderError(f"{path} cannot be written: {why_not(path, error)}") from error


def _append_line(path: Path, line: bytes) -> None:
    """One write in append mode under a lock; a line left unfinished by a full disk is ended first."""
    with path.open("a+b", buffering=0) as file, locked(file.fileno()):
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        if read_all(file, 1) not in (b"", b"\n"):
            line = b"\n" + line
        file.seek(0, os.SEEK_END)
        if file.write(line) != len(line):
            raise OSError("disk full: the line was cut")


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"kind": "unreadable", "line": line.decode(errors="replace")}


def _plain(value: object) -> object:
    """As JSON has it: numpy numbers unwrapped, NaN and infinity as null, paths and the like as text."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case np.generic() | np.ndarray():
            return _plain(value.tolist())
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def _run_block() -> str:
    pid, started = my_identity()
    block = {
        "format": _FORMAT,
        "started": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        "owner": {"pid": pid, "started": started},
        "clock": {"unix_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()},
    }
    return "# written by the run itself\n" + yaml.safe_dump({_BLOCK: block}, sort_keys=False)


def _mapping(text: str, origin: str) -> dict[str, Any]:
    try:
        fields = safe_load(text) or {}
    except yaml.YAMLError as error:
        raise RunFolderError(f"{origin}: not valid YAML{yaml_fault(error)}") from error
    if not isinstance(fields, dict):
        raise RunFolderError(f"{origin}: expected a mapping, found {type(fields).__name__}")
    return fields


def _json_object(text: str, path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise RunFolderError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise RunFolderError(f"{path}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _read_if_there(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
