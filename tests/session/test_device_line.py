"""A recording through source, ring, fitter and log over a GPU's engine run on the CPU, with a real model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtdecode.core.config import EngineConfig, RunConfig
from rtdecode.core.frames import Fate, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import Fitter, thresholds_of
from rtdecode.fit.trial import trial_clips
from rtdecode.session.resolve import resolve
from rtdecode.stages.acquire import AcquireStage
from rtdecode.stages.build import build_source
from rtdecode.stages.localize import LocalizeStage
from rtdecode.streams.log import Commits, LogReader
from rtdecode.streams.run_folder import RunFolder

N, SHAPE = 22, (30, 27)  # neither side is a multiple of the network's stride
LOST = [5, 11, 12, 16]
MakeEngine = Callable[[], engines.Engine | engines.DeviceEngine]


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    """With a calibration, so that its lookup is on both ways."""
    found = ModelBundle.load("astigmatic-light")
    assert found.calibration is not None
    return found


@pytest.fixture(scope="module")
def movie(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the bundle's own PSF and camera."""
    frames = trial_clips(bundle, 2, N // 2, seed=11).frames_adu.reshape(N, 64, 64)[:, : SHAPE[0], : SHAPE[1]]
    np.save(path := tmp_path_factory.mktemp("movie") / "movie.npy", frames.clip(0, 65535).astype(np.uint16))
    return path


def on_device(bundle: ModelBundle, largest_block: int) -> MakeEngine:
    """torch-cuda's code on the CPU."""
    pytest.importorskip("torch").set_num_threads(1)  # small tensors on busy cores: two threads wait for each other
    torch_cuda = pytest.importorskip("rtdecode.fit.engine_torch_cuda")
    thresholds = thresholds_of(bundle, None)
    return lambda: torch_cuda.TorchCudaEngine(
        bundle, "fp32", "uint16", thresholds, device="cpu", largest_block=largest_block
    )


def on_host(bundle: ModelBundle) -> MakeEngine:
    """OpenVINO in fp32, the reference of the gate."""
    return lambda: engines.build(EngineConfig(precision="fp32", threads=1), bundle)


def replayed(
    path: Path, movie: Path, bundle: ModelBundle, make: MakeEngine, ahead: int, crash: bool
) -> tuple[Commits, Localizations]:
    """The log of a replay in which `ahead` frames come for each step of localize; `crash`: killed once on the way."""
    source = {"use": "replay", "path": str(movie), "losses": {"frames": LOST}}
    record = resolve(RunConfig.model_validate({"source": source, "model": bundle.name, "out": str(path)}))
    folder = RunFolder.create(path, record.as_yaml())
    acquire = AcquireStage(build_source(record, folder), folder, record.ring, record.limits, frozenset({"localize"}))

    def make_fitter(shape: tuple[int, int], dtype: str) -> Fitter:
        assert (shape, dtype) == (SHAPE, "uint16")
        return Fitter(bundle, make(), Roi(0, 0, shape[1], shape[0]), record.camera)

    stage, working, steps = LocalizeStage(folder, make_fitter), True, 0
    while stage.step() is not None:
        for _ in range(ahead):
            working = working and acquire.step() is not None
        steps += 1
        if crash and stage.status().get("fitted", 0) >= 6:
            stage._log._localizations.close()  # type: ignore[attr-defined]
            stage._log._commits.close()  # type: ignore[attr-defined]
            stage, crash = LocalizeStage(folder, make_fitter), False
        assert steps < 5000
    assert not crash  # it came to pass
    stage.close()
    acquire.close()
    return LogReader.open(path).all()


@pytest.fixture(scope="module")
def expected(
    bundle: ModelBundle, movie: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Commits, Localizations]:
    """Of the CPU's engine."""
    commits, found = replayed(tmp_path_factory.mktemp("host") / "run", movie, bundle, on_host(bundle), 1, False)
    assert np.flatnonzero(commits["fate"] == Fate.LOST_BEFORE).tolist() == LOST and len(commits) == N
    assert len(found) > 4 * N
    return commits, found


@pytest.mark.parametrize(
    ("largest_block", "ahead", "crash"), [(8, 1, False), (8, 5, False), (64, 60, False), (2, 4, True)]
)
def test_a_replay_over_a_gpus_engine_gives_the_log_of_the_cpu_engine(
    tmp_path: Path,
    bundle: ModelBundle,
    movie: Path,
    expected: tuple[Commits, Localizations],
    largest_block: int,
    ahead: int,
    crash: bool,
) -> None:
    wanted_commits, wanted = expected
    commits, found = replayed(tmp_path / "run", movie, bundle, on_device(bundle, largest_block), ahead, crash)
    for column in ("frame_index", "fate", "flags", "n_localizations", "end_of_localizations"):
        assert commits[column].tolist() == wanted_commits[column].tolist(), column
    for (name, mine), (_, theirs) in zip(found.columns(), wanted.columns(), strict=True):
        share = 0 if name.endswith("_nm") else 1e-4
        np.testing.assert_allclose(mine, theirs, rtol=share, atol=0.005, err_msg=name)  # nm; 20 times what was seen
