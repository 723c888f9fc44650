"""Movies of the Zhuang lab's programs: `.dax`, 16-bit numbers without a header, described by the `.inf` beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rtdecode.sources.arrays import whole_frames
from rtdecode.sources.recording import Pixels, Recording, unusable

_NUMBER = re.compile(r"number of frames\s*=\s*(\d+)", re.IGNORECASE)
_SIZE = re.compile(r"frame dimensions\s*=\s*(\d+)\s*x\s*(\d+)", re.IGNORECASE)  # columns x rows
_TYPE = re.compile(r"data type\s*=\s*16[ -]bit.*?(big|little)[ -]endian", re.IGNORECASE)
_WHAT = {"`frame dimensions = W x H`": _SIZE, "`number of frames = N`": _NUMBER,
         "`data type = 16 bit integers (binary, big|little endian)`": _TYPE}  # fmt: skip


class DaxRecording(Recording):
    """Mapped frames; their times stand nowhere in these files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stated, self.shape, self.dtype = _described(path)
        frame_bytes = self.shape[0] * self.shape[1] * 2
        self.n_frames, self.incomplete = whole_frames(path, 0, stated, frame_bytes, "the .inf", exact=True)
        block = np.memmap(path, self.dtype, "r", 0, (self.n_frames, *self.shape))
        self._frames: Pixels = np.asarray(block)  # (N, H, W)

    def frame(self, position: int) -> Pixels:
        """See Recording.frame."""
        pixels: Pixels = self._frames[position]
        return pixels


def _described(path: Path) -> tuple[int, tuple[int, int], np.dtype[np.generic]]:
    """Frames, (rows, columns) and element type, each as it is stated; nothing is guessed."""
    inf = path.with_suffix(".inf")
    if not inf.is_file():
        raise unusable(inf, "missing", f"the description beside {path.name}", f"Write one with {', '.join(_WHAT)}.")
    text = inf.read_text(encoding="utf-8", errors="replace")
    found = {what: pattern.search(text) for what, pattern in _WHAT.items()}
    size, number, kind = found.values()
    if number is None or size is None or kind is None:
        missing = ", ".join(what for what, match in found.items() if match is None)
        raise unusable(inf, f"without {missing}", "the description of a .dax movie", "Add it.")
    stated, shape = int(number[1]), (int(size[2]), int(size[1]))
    if 0 in (stated, *shape):
        raise unusable(
            inf, f"{stated} frames of {shape[0]} x {shape[1]}", "at least one frame and pixel", "Correct it."
        )
    return stated, shape, np.dtype(">u2" if kind[1].lower() == "big" else "<u2")
