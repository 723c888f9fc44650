"""The localizations behind an image, kept compactly so that it can be drawn again, and which of them are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.localizations import Localizations
from rtdecode.view.canvas import Canvas

COLUMNS = ("x_nm", "y_nm", "z_nm", "sigma_x_nm", "sigma_y_nm", "sigma_z_nm")
BLOCK_ROWS = 1 << 18


@dataclass(frozen=True, slots=True)
class QualityFilter:
    """Upper limits on what is drawn; None shows all. The log keeps every localization whatever is drawn."""

    sigma_xy_nm: float | None = 40.0
    sigma_z_nm: float | None = 80.0

    def passes(
        self,
        sigma_x_nm: NDArray[np.float32],
        sigma_y_nm: NDArray[np.float32],
        sigma_z_nm: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """(N,) which rows are drawn."""
        shown = np.ones(len(sigma_x_nm), np.bool_)
        if self.sigma_xy_nm is not None:
            shown &= (sigma_x_nm <= self.sigma_xy_nm) & (sigma_y_nm <= self.sigma_xy_nm)
        if self.sigma_z_nm is not None:
            shown &= sigma_z_nm <= self.sigma_z_nm
        return shown

    def of(self, localizations: Localizations) -> Localizations:
        """Those of `localizations` that pass."""
        rows = self.passes(localizations.sigma_x_nm, localizations.sigma_y_nm, localizations.sigma_z_nm)
        return localizations[rows]

    def draw(self, canvas: Canvas, columns: dict[str, NDArray[np.float32]]) -> int:
        """Draw the rows of a block of `Points` that pass; returns how many."""
        shown = self.passes(columns["sigma_x_nm"], columns["sigma_y_nm"], columns["sigma_z_nm"])
        names = ("x_nm", "y_nm", "sigma_x_nm", "sigma_y_nm", canvas.scale.column)
        canvas.add_columns(*(columns[name][shown] for name in names))
        return int(shown.sum())

    @property
    def words(self) -> str:
        """The limits as a reader understands them, in plain ASCII (the picture's font has no Greek)."""
        limits = []
        if self.sigma_xy_nm is not None:
            limits.append(f"sigma x, y up to {self.sigma_xy_nm:g} nm")
        if self.sigma_z_nm is not None:
            limits.append(f"sigma z up to {self.sigma_z_nm:g} nm")
        return ", ".join(limits) if limits else "no filter"


SHOW_ALL = QualityFilter(None, None)


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
            parts.append(thin[name][quality.passes(thin["sigma_x_nm"], thin["sigma_y_nm"], thin["sigma_z_nm"])])
        return np.concatenate(parts) if parts else np.empty(0, np.float32)
