"""A process of its own that writes NDTiff data sets by ndstorage, step by step as its parent tells it on stdin.

`new {...}` begins a data set, `put N` writes N more frames, `finish` closes it; each is answered by a line. Run as
a script by `WriterProcess`; its start takes seconds (ndstorage loads dask), so tests that do not kill it share one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

CHOICES: dict[str, Any] = {"axes": ["time"], "own_axes": True, "sizes": {}, "times": None, "most_bytes": None}


def frame(number: int, height: int = 48, width: int = 37) -> np.ndarray:
    """Frame of that number: what the writer writes and the reader must find."""
    return np.random.default_rng(number).integers(0, 60000, (height, width)).astype("uint16")


class WriterProcess:
    """The parent's side of the process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, order: str) -> None:
        """Give an order and wait until it is carried out."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        while (answer := self._process.stdout.readline()).strip() != "done":
            assert answer, "the writer died"

    def kill(self) -> None:
        """SIGKILL, or its like."""
        self._process.kill()
        self._process.wait(30)


class Writer:
    """One data set of such a process. `choices`: see CHOICES."""

    def __init__(self, process: WriterProcess, folder: Path, number: int = 1, **choices: Any) -> None:
        self.path = folder.with_name(f"{folder.name}_{number}")  # ndstorage numbers what it creates
        self._process = process
        process.tell("new " + json.dumps(CHOICES | choices | {"folder": str(folder)}))

    def tell(self, order: str) -> None:
        """See WriterProcess.tell."""
        self._process.tell(order)

    def kill(self) -> None:
        """See WriterProcess.kill."""
        self._process.kill()


def _place(number: int, choices: dict[str, Any]) -> dict[str, int | str]:
    """With two channels each time comes twice."""
    if "channel" in choices["axes"]:
        return {"time": number // 2, "channel": ("DAPI", "GFP")[number % 2]}
    return {choices["axes"][0]: choices["times"][number] if choices["times"] else number}


class _DataSet:
    """The child's side: the folder is made with the first frame."""

    def __init__(self, choices: dict[str, Any]) -> None:
        self._folder, self._choices, self._number = Path(choices["folder"]), choices, 0
        self._data: Any = None

    def put(self, count: int) -> None:
        from ndstorage import NDTiffDataset

        if self._data is None:
            folder = self._folder
            self._data = NDTiffDataset(str(folder.parent), name=folder.name, summary_metadata={}, writable=True)
        for number in range(self._number, self._number + count):
            place = _place(number, self._choices)
            size = self._choices["sizes"].get(str(number), (48, 37))
            text = {"ElapsedTime-ms": 20.0 * number} | ({"Axes": place} if self._choices["own_axes"] else {})
            self._data.put_image(place, frame(number, *size), text)
        self._number += count

    def finish(self) -> None:
        self._data.finish()


def main() -> None:
    """Serve orders until stdin ends."""
    from ndstorage import ndtiff_file

    usual, data = ndtiff_file.MAX_FILE_SIZE, None
    for line in sys.stdin:
        order, _, argument = line.strip().partition(" ")
        if order == "new":
            choices = json.loads(argument)
            ndtiff_file.MAX_FILE_SIZE = choices["most_bytes"] or usual
            data = _DataSet(choices)
        elif order == "put" and data is not None:
            data.put(int(argument))
        elif data is not None:
            data.finish()
        print("done", flush=True)


if __name__ == "__main__":
    main()
