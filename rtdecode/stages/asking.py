"""Which policy is being asked right now, on disk: one that hung or died while it was asked is known afterwards."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rtdecode.stages.notes import complain
from rtdecode.streams.run_folder import RunFolder

_RECORD = struct.Struct("<iiq")  # policy's number (-1: nobody is asked), tries before, frame index
_NOBODY = (-1, 0, 0)
_TRIES = 2  # a process that only died gets another chance at the same place: it may have been the machine


class Asking:
    """A few bytes in the run folder, written before and after each question: 3 us together.

    `silent` tells which policies an earlier decide process of this run never heard of again, by name, with the
    frame that they were asked about: hung once (the session killed the process), or died twice.
    """

    def __init__(self, folder: RunFolder, names: Sequence[str]) -> None:
        events = folder.read_events()
        self._names = names
        self.silent = {
            str(event["policy"]): int(event["frame_index"])
            for event in events
            if event.get("kind") == "policy_error" and event.get("unanswered")
        }
        path = folder.path / ".asking"
        number, tries, frame = _read(path.read_bytes() if path.exists() else b"")
        self._before = (number, tries + 1, frame)
        if 0 <= number < len(names) and (tries + 1 >= _TRIES or _hung_last(events)):
            self.silent.setdefault(names[number], frame)
        self._file = path.open("wb", buffering=0)
        self._write(_NOBODY)

    @contextmanager
    def of(self, number: int, frame_index: int) -> Iterator[None]:
        """While policy `number` is asked about this frame."""
        again = (number, frame_index) == (self._before[0], self._before[2])
        self._write((number, self._before[1] if again else 0, frame_index))
        yield
        self._write(_NOBODY)

    def close(self) -> None:
        """No more questions."""
        self._file.close()

    def _write(self, record: tuple[int, int, int]) -> None:
        try:
            self._file.seek(0)
            self._file.write(_RECORD.pack(*record))
        except OSError as error:  # the run goes on; who hangs then is not known by name
            complain(f"decide: {self._file.name}: {error}")


def _read(data: bytes) -> tuple[int, int, int]:
    return _RECORD.unpack(data) if len(data) == _RECORD.size else _NOBODY


def _hung_last(events: Sequence[dict[str, Any]]) -> bool:
    """Whether the last decide process was killed because it hung."""
    ends = [str(event["kind"]) for event in events if event.get("of") == "decide"]
    return "hangs" in ends[-3:]  # hangs, died, restart
