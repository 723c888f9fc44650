"""A movie with holes and rejected frames, a plan for it, and the log of one machine's replay to compare with."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "sources"))

from tiny_model import TINY_CAMERA, noise_frames

from rtdecode.batch.plan import BatchPlan
from rtdecode.core.config import RunConfig
from rtdecode.fit.bundle import ModelBundle
from rtdecode.session import run_inline
from rtdecode.streams.run_folder import RunFolder

N_FRAMES, SHAPE = 60, (20, 28)
LOST = (13, 29, 30)  # missing in the recording, 29 and 30 at the end of a block of ten
SATURATED = (9, 20, 41)  # rejected, at both sides of a block's border
DETECTION = {"peak": 0.02, "accept": 0.1}
ENGINE = {"use": "openvino", "precision": "fp32", "threads": 1}


@dataclass(frozen=True)
class Bench:
    """What a test of a batch needs."""

    folder: Path
    movie: Path  # an NDTiff data set
    model: str
    replay: RunFolder

    def plan(self, *names: str, block_frames: int = 10, **more: object) -> BatchPlan:
        """The movie, once for each name."""
        common = {"model": self.model, "camera": TINY_CAMERA.model_dump(mode="json"), "engine": ENGINE}
        recordings = [{"path": str(self.movie), "name": name} | more for name in names or ("movie",)]
        fields = {"defaults": common | {"detection": DETECTION}, "recordings": recordings, "block_frames": block_frames}
        return BatchPlan.model_validate(fields)

    def same_as_replay(self, folder: Path) -> bool:
        """Bytes of the localizations, fates of the frames, sum of the frames."""
        mine, theirs = RunFolder.open(folder), self.replay
        assert (mine.path / "widefield.npy").read_bytes() == (theirs.path / "widefield.npy").read_bytes()
        first, second = (dict(run.read_report() or {}) for run in (mine, theirs))
        assert first["frames"] == second["frames"] | {"late": 0} and first["finish"] == "completed"
        return mine.localizations.read_bytes() == theirs.localizations.read_bytes()


def frames() -> np.ndarray:
    """(60, 20, 28) uint16."""
    pixels = noise_frames(N_FRAMES, *SHAPE, seed=8)
    pixels[list(SATURATED)] = 65535
    return pixels


def make_bench(folder: Path, bundle: ModelBundle) -> Bench:
    """The movie, and its replay in one process."""
    from many_formats import write_ndtiff

    kept = [k for k in range(N_FRAMES) if k not in LOST]
    movie = write_ndtiff(folder / "movie", frames()[kept], axes=[{"time": k} for k in kept])
    config = RunConfig.model_validate(
        {"source": {"use": "replay", "path": str(movie)}, "model": str(bundle.folder), "detection": DETECTION,
         "camera": TINY_CAMERA.model_dump(mode="json"), "engine": ENGINE, "out": str(folder / "replay")}
    )  # fmt: skip
    result = run_inline(config)
    assert result.report["localizations"] > 100 and result.report["frames"]["rejected"] == len(SATURATED)
    return Bench(folder, movie, str(bundle.folder), result.folder)
