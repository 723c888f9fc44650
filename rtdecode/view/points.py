"""The localizations behind an image, kept compactly so that it can be drawn again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.view.canvas import Canvas
from rtdecode.view.unknown_sigma import drawable

COLUMNS = ("x_nm", "y_nm", "z_nm", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm")
BLOCK_ROWS = 1 << 18


def draw(canvas: Canvas, columns: dict[str, NDArray[np.float32]], quality: QualityFilter) -> int:
    """Draw the rows of a block of `Points` that pass; returns how many."""
    shown = quality.passes(columns)
    names = ("x_nm", "y_nm", "sigma_x_nm", "sigma_y_nm", canvas.scale.column)
    canvas.add_columns(*(columns[name][shown] for name in names))
    return int(shown.sum())


class Points:
    """Six float32 columns (24 bytes a localization: 10 million take 240 MB) in blocks that are never moved."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.float32]] = []  # each (6, BLOCK_ROWS)
        self._rows = 0
        self.tells_z = False  # whether any has a z or a sigma of it: a 2D model's have neither

    def __len__(self) -> int:
        return self._rows

    def append(self, localizations: Localizations) -> None:
        """Keep what drawing needs of `localizations`."""
        self.tells_z |= len(localizations) > 0 and not localizations.is_2d
        localizations = drawable(localizations)
        done = 0
        while done < len(localizations):
            at = self._rows % BLOCK_ROWS
            if at == 0:
                self._blocks.append(np.empty((len(COLUMNS), BLOCK_ROWS), np.float32))
            count = min(BLOCK_ROWS - at, len(localizations) - done)
            for row, name in enumerate(COLUMNS):
                self._blocks[-1][row, at : at + count] = getattr(localizations, name)[done : done + count]
            done, self._rows = done + count, self._rows + count

    def blocks(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Columns by name, block after block, in the order they came; views, not copies."""
        for start in range(0, self._rows, BLOCK_ROWS):
            yield self.rows(start, BLOCK_ROWS)

    def rows(self, start: int, most: int) -> dict[str, NDArray[np.float32]]:
        """Columns by name of up to `most` rows from `start` on, fewer at a block's or the table's end; views."""
        block, at = divmod(start, BLOCK_ROWS)
        stop = min(at + most, BLOCK_ROWS, at + self._rows - start)
        return {name: self._blocks[block][row, at:stop] for row, name in enumerate(COLUMNS)}

    def shown_column(self, name: str, quality: QualityFilter, most: int = 500_000) -> NDArray[np.float32]:
        """One column of the rows that pass, thinned evenly where there are more than `most` rows."""
        stride = max(1, -(-self._rows // most))
        parts = []
        for block in self.blocks():
            thin = {key: column[::stride] for key, column in block.items()}
            parts.append(thin[name][quality.passes(thin)])
        return np.concatenate(parts) if parts else np.empty(0, np.float32)
