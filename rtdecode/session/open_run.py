"""A run from Python, in one line: `rtdecode.open_run(path)`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.session.exporting import bundle_of, recommended_filter
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.notes import read_roi
from rtdecode.stages.run_record import RunRecord
from rtdecode.stages.widefield import saved_total_adu
from rtdecode.streams.log import Commits, LogReader
from rtdecode.streams.run_folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray


@dataclass(frozen=True)
class OpenRun:
    """A run folder, live or finished; what is read is kept. A live one shows what was committed when first asked."""

    folder: RunFolder

    @property
    def path(self) -> Path:
        """Of the run folder."""
        return self.folder.path

    @cached_property
    def _log(self) -> tuple[Commits, Localizations]:
        return LogReader.open(self.folder.path).all()

    @property
    def localizations(self) -> Localizations:
        """All of them, as arrays: `.x_nm`, `.frame_index`, ... Raises LogError where the log is damaged."""
        return self._log[1]

    @property
    def frames(self) -> Commits:
        """One record for each frame that the camera counted: frame_index, fate, flags, times."""
        return self._log[0]

    @cached_property
    def record(self) -> RunRecord:
        """Configuration as resolved, model, versions."""
        return RunRecord.of_run(self.folder)

    @property
    def px_nm(self) -> tuple[float, float]:
        """Pixel size in the sample, (x, y)."""
        return camera_px_nm(self.record)

    @property
    def shape_px(self) -> tuple[int, int] | None:
        """(rows, columns) of the frames; None before the source was open."""
        roi = read_roi(self.folder)
        return roi.shape if roi is not None else None

    @property
    def report(self) -> dict[str, Any] | None:
        """report.json; None while it runs."""
        return self.folder.read_report()

    @property
    def widefield_adu(self) -> NDArray[np.float64] | None:
        """(H, W) sum of the fitted frames in ADU; None where there is none."""
        return saved_total_adu(self.folder.path)

    @property
    def recommended_filter(self) -> QualityFilter:
        """The model's own; no limit where the model is not there any more."""
        return recommended_filter(bundle_of(self.record))

    def filtered(self, quality: QualityFilter | None = None) -> Localizations:
        """Those that pass `quality`; None: the recommended filter."""
        return (self.recommended_filter if quality is None else quality).of(self.localizations)

    def to_pandas(self, quality: QualityFilter | None = None) -> pandas.DataFrame:
        """A data frame, one column each, of what passes `quality` (None: of everything). Raises ImportError."""
        import pandas

        found = self.localizations if quality is None else quality.of(self.localizations)
        return pandas.DataFrame(dict(found.columns()))


def open_run(path: str | Path) -> OpenRun:
    """Open a run folder; raises RunFolderError where `path` is none."""
    return OpenRun(RunFolder.open(Path(path)))
