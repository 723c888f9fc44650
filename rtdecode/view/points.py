"""The localizations behind an image, kept compactly so that it can be drawn again."""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import Canvas, colour_values
from rtdecode.view.unknown_sigma import drawable

COLUMNS = (
    "x_nm", "y_nm", "z_nm", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm", "photons", "background", "probability",
    "frame_index",
)  # fmt: skip
BLOCK_ROWS = 1 << 18
BLOCKS_IN_MEMORY = 64  # 17 million localizations, 670 MB; further ones lie in a file that the system pages

Block = dict[str, NDArray[np.float32]]
"""Columns by name, all of the same length."""


def draw(canvas: Canvas, columns: Block, quality: QualityFilter, *, take_away: bool = False) -> int:
    """Draw the rows of a block of `Points` that pass; returns how many."""
    shown = quality.passes(columns)
    canvas.add_columns(columns, shown, take_away=take_away)
    return int(shown.sum())


class Points:
    """Ten float32 columns (40 bytes a localization: 10 million take 400 MB) in blocks that are never moved.

    Frames beyond 16.7 million are kept to 2 frames: a float32 has no more digits.
    """

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.float32]] = []  # each (10, BLOCK_ROWS)
        self._rows = 0
        self._spill: Any = None  # the open file of the blocks beyond BLOCKS_IN_MEMORY
        self.tells_z = False  # whether any has a z or a sigma of it: a 2D model's have neither
        self.first_frame = self.last_frame = 0  # of the localizations held
        self.drift: Drift | None = None  # taken off whatever `rows` gives

    def __len__(self) -> int:
        return self._rows

    def append(self, localizations: Localizations) -> None:
        """Keep what drawing needs of `localizations`, whose frames go on from those held."""
        if not len(localizations):
            return
        self.tells_z |= not localizations.is_2d
        self.first_frame = self.first_frame if self._rows else int(localizations.frame_index[0])
        self.last_frame = int(localizations.frame_index[-1])
        localizations = drawable(localizations)
        done = 0
        while done < len(localizations):
            at = self._rows % BLOCK_ROWS
            if at == 0:
                self._blocks.append(self._new_block())
            count = min(BLOCK_ROWS - at, len(localizations) - done)
            for row, name in enumerate(COLUMNS):
                self._blocks[-1][row, at : at + count] = getattr(localizations, name)[done : done + count]
            done, self._rows = done + count, self._rows + count

    def blocks(self) -> Iterator[Block]:
        """Columns by name, block after block, in the order they came; views, not copies."""
        for start in range(0, self._rows, BLOCK_ROWS):
            yield self.rows(start, BLOCK_ROWS)

    def rows(self, start: int, most: int) -> Block:
        """Columns by name of up to `most` rows from `start` on, fewer at a block's or the table's end.

        Views; of positions copies where a drift is taken off.
        """
        block, at = divmod(start, BLOCK_ROWS)
        stop = min(at + most, BLOCK_ROWS, at + self._rows - start)
        columns = {name: self._blocks[block][row, at:stop] for row, name in enumerate(COLUMNS)}
        return columns if self.drift is None else columns | _moved(columns, self.drift, self.tells_z)

    def row_of(self, frame_index: int) -> int:
        """The first row whose frame is `frame_index` or later; the number of rows where there is none."""
        frame_row = COLUMNS.index("frame_index")
        if not self._rows:
            return 0
        first = [float(block[frame_row, 0]) for block in self._blocks]
        block = max(bisect_left(first, frame_index) - 1, 0)
        held = min(self._rows - block * BLOCK_ROWS, BLOCK_ROWS)
        frames = self._blocks[block][frame_row, :held]
        return block * BLOCK_ROWS + int(np.searchsorted(frames, np.float32(frame_index)))  # of its type: no copy

    def sample(self, rows: tuple[int, int], quality: QualityFilter, most: int = 100_000) -> Block:
        """Of rows first..stop those that pass, thinned evenly where there are more than `most`; copies."""
        first, stop = rows
        stride = max(1, -(-(stop - first) // most))
        parts: list[Block] = []
        at = first
        while at < stop:
            columns = self.rows(at, stop - at)
            ahead = (first - at) % stride  # so that the steps go on over the bounds of blocks
            thin = {name: column[ahead::stride] for name, column in columns.items()}
            shown = quality.passes(thin)
            parts.append({name: column[shown] for name, column in thin.items()})
            at += len(columns["x_nm"])
        return {name: np.concatenate([np.empty(0, np.float32), *(part[name] for part in parts)]) for name in COLUMNS}

    def shown_column(self, name: str, quality: QualityFilter, most: int = 500_000) -> NDArray[np.float32]:
        """One column (or `sigma_xy_nm`) of the rows that pass, thinned evenly where there are more than `most`."""
        return np.asarray(colour_values(self.sample((0, self._rows), quality, most), name), np.float32)

    def _new_block(self) -> NDArray[np.float32]:
        shape = (len(COLUMNS), BLOCK_ROWS)
        if len(self._blocks) < BLOCKS_IN_MEMORY:
            return np.empty(shape, np.float32)
        if self._spill is None:
            roomy = Path("/var/tmp")  # /tmp is memory on many systems
            self._spill = tempfile.TemporaryFile(prefix="rtdecode-view-", dir=roomy if roomy.is_dir() else None)  # noqa: SIM115
        number = len(self._blocks) - BLOCKS_IN_MEMORY
        size = shape[0] * shape[1] * 4
        self._spill.truncate((number + 1) * size)
        return np.memmap(self._spill, np.float32, "r+", number * size, shape)


def localizations_of(columns: Block) -> Localizations:
    """As the log has them; sigma_photons is not kept and 0."""
    named: dict[str, NDArray[Any]] = dict(columns)
    named["frame_index"] = columns["frame_index"].astype(np.int64)
    return Localizations(**named, sigma_photons=np.zeros(len(columns["x_nm"]), np.float32))


def _moved(columns: Block, drift: Drift, tells_z: bool) -> Block:
    """Positions where the sample stood at the beginning."""
    shift = drift.at(columns["frame_index"]).astype(np.float32)
    names = ("x_nm", "y_nm", "z_nm") if tells_z else ("x_nm", "y_nm")
    return {name: columns[name] - shift[:, axis] for axis, name in enumerate(names)}
