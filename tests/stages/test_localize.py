"""Localize: the log is what the fitter says of the frames, whatever the ring, gaps and crashes did on the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import SHAPE, pixels_of

from rtdecode.core.config import DetectionConfig, EngineConfig
from rtdecode.core.frames import Fate, Frame, FrameFlag, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import Fitter, thresholds_of
from rtdecode.stages.ledger import Ledger, lost_ranges
from rtdecode.stages.localize import LocalizeStage
from rtdecode.streams.log import Commits, LogReader
from rtdecode.streams.ring import RingWriter
from rtdecode.streams.run_folder import RunFolder

ROI = Roi(0, 0, SHAPE[1], SHAPE[0])
LOUD = DetectionConfig(peak=0.02, accept=0.1)  # random weights: many localizations, or bytes would prove nothing


@pytest.fixture(scope="module")
def make_fitter(tiny_bundle: ModelBundle) -> Callable[[tuple[int, int], str], Fitter]:
    engine = engines.build(EngineConfig(), tiny_bundle)
    return lambda shape, dtype: Fitter(tiny_bundle, engine, ROI, detection=LOUD)


class Line:
    """A ring that a test fills by hand, and the localize stage behind it."""

    def __init__(self, path: Path, make_fitter: Callable[[tuple[int, int], str], Fitter], slots: int = 64) -> None:
        shutil.rmtree(path, ignore_errors=True)
        self.folder = RunFolder.create(path, "model: none\n")
        ring_file = path / "frames.ring"
        self.ring = RingWriter.create(ring_file, SHAPE, "uint16", slots)
        self.folder.publish_ring(ring_file)
        self._make_fitter = make_fitter
        self.stage = LocalizeStage(self.folder, make_fitter)
        self.stage.step()

    def publish(self, indices: Sequence[int], wrong_size: Sequence[int] = ()) -> None:
        for index in indices:
            bad = index in wrong_size
            self.ring.slot()[...] = 0 if bad else pixels_of(index)
            self.ring.publish(FrameInfo(index, 0, index, FrameFlag.WRONG_SIZE if bad else FrameFlag.GOOD))

    def steps(self, n: int) -> None:
        for _ in range(n):
            self.stage.step()

    def crash(self) -> None:
        """What SIGKILL leaves: files and the cursor in the ring as they are, nothing said, nothing finished."""
        self.stage._log._localizations.close()  # type: ignore[attr-defined]
        self.stage._log._commits.close()  # type: ignore[attr-defined]
        self.stage = LocalizeStage(self.folder, self._make_fitter)
        self.stage.step()

    def finish(self, expected: int | None, reason: str = "completed") -> tuple[Commits, Localizations]:
        self.ring.finish(expected, reason)
        while self.stage.step() is not None:
            pass
        self.stage.close()
        self.ring.close(remove=True)
        return LogReader.open(self.folder.path).all()


def direct(make_fitter: Callable[[tuple[int, int], str], Fitter], indices: Sequence[int]) -> bytes:
    """Bytes of locs.bin when the fitter gets the frames in one go."""
    fitter = make_fitter(SHAPE, "uint16")
    found = [one for index in indices for one in fitter.push(Frame(FrameInfo(index, 0, 0), pixels_of(index)))]
    return Localizations.concatenate(one.localizations for one in found + fitter.finish()).records().tobytes()


def test_gaps_wrong_frames_and_a_lost_tail_each_get_their_fate(tmp_path: Path, make_fitter: Callable) -> None:
    line = Line(tmp_path / "run", make_fitter)
    line.publish([2, 3, 5, 6, 7, 8], wrong_size=[7])
    commits, _ = line.finish(expected=11)
    assert commits["frame_index"].tolist() == list(range(11))
    assert Ledger.of(commits) == Ledger(expected=11, received=6, fitted=5, rejected=1, lost_before=5, lost_in_ring=0)
    assert [(r["first"], r["last"], r["reason"]) for r in lost_ranges(commits)] == [
        (0, 1, "lost_before"), (4, 4, "lost_before"), (7, 7, "rejected"), (9, 10, "lost_before"),
    ]  # fmt: skip
    assert lost_ranges(commits)[2]["why"] == "of another size than the run's"
    assert line.stage.outcome is not None and line.stage.outcome.finish == "completed"


def test_a_frames_background_is_its_localizations_median(tmp_path: Path, make_fitter: Callable) -> None:
    line = Line(tmp_path / "run", make_fitter)
    line.publish([0, 1, 3], wrong_size=[3])
    commits, found = line.finish(expected=4)
    for commit in commits:
        of_frame = found.background[found.frame_index == commit["frame_index"]]
        wanted = np.float32(np.median(of_frame)) if len(of_frame) else np.float32(np.nan)
        assert np.array_equal(commit["background"], wanted, equal_nan=True)
    assert np.isfinite(commits["background"]).tolist() == [True, True, False, False]


@pytest.mark.parametrize(("late_ms", "can_wait", "late"), [(1.0, False, 2), (1e9, False, 0), (1.0, True, 0)])
def test_a_live_frame_that_waited_too_long_is_marked_late_and_still_fitted(
    tmp_path: Path, make_fitter: Callable, late_ms: float, can_wait: bool, late: int
) -> None:
    line = Line(tmp_path / "run", make_fitter)
    line.folder.append_event("acquire", "source", None, can_wait=can_wait)
    line.stage = LocalizeStage(line.folder, make_fitter, late_ms)
    line.stage.step()
    line.publish([0, 1])  # they say that they arrived when the machine was started
    ledger = Ledger.of(line.finish(expected=2)[0])
    assert (ledger.fitted, ledger.late) == (2, late)


def test_a_lapped_ring_is_counted_and_told_apart_from_frames_that_never_came(
    tmp_path: Path, make_fitter: Callable
) -> None:
    line = Line(tmp_path / "run", make_fitter, slots=8)
    line.publish(range(3))
    line.steps(3)
    line.publish([i for i in range(3, 40) if i != 20])  # one is lost before, many in the ring
    commits, _ = line.finish(expected=40)
    ledger = Ledger.of(commits)
    assert ledger.lost_before == 1 and commits["fate"][20] == Fate.LOST_BEFORE
    assert ledger.lost_in_ring > 20 and ledger.received == 39 and ledger.fitted + ledger.lost_in_ring == 39
    gaps = [event for event in line.folder.read_events() if event["kind"] == "gap"]
    assert sum(gap["lost_in_ring"] for gap in gaps) == ledger.lost_in_ring


def test_a_crash_after_every_single_frame_changes_no_byte(tmp_path: Path, make_fitter: Callable) -> None:
    indices = [0, 1, 2, 3, 6, 7, 8]
    line = Line(tmp_path / "run", make_fitter)
    for index in indices:
        line.publish([index])
        line.steps(2)
        line.crash()
    _, localizations = line.finish(expected=9)
    wanted = direct(make_fitter, indices)
    assert len(wanted) > 48 * 3  # or the test would have no teeth
    assert localizations.records().tobytes() == wanted


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    present=st.lists(st.booleans(), min_size=4, max_size=16),
    moves=st.lists(st.sampled_from(["publish", "step", "step", "crash"]), max_size=24),
)
def test_any_interleaving_with_crashes_gives_the_fitters_own_bytes(
    tmp_path: Path, make_fitter: Callable, present: list[bool], moves: list[str]
) -> None:
    indices = [i for i, here in enumerate(present) if here]
    line, waiting = Line(tmp_path / "run", make_fitter), list(indices)
    for move in moves:
        if move == "publish" and waiting:
            line.publish([waiting.pop(0)])
        elif move == "crash":
            line.crash()
        else:
            line.steps(1)
    line.publish(waiting)
    commits, localizations = line.finish(expected=len(present))
    assert localizations.records().tobytes() == direct(make_fitter, indices)
    fates = np.where(present, Fate.FITTED, Fate.LOST_BEFORE)
    assert commits["frame_index"].tolist() == list(range(len(present)))
    assert commits["fate"].tolist() == fates.tolist()
    total = sum((pixels_of(i).astype(float) for i in indices), np.zeros(SHAPE))
    assert np.array_equal(np.load(line.folder.path / "widefield.npy"), total)


def test_after_a_crash_with_a_short_ring_the_gap_is_counted(tmp_path: Path, make_fitter: Callable) -> None:
    line = Line(tmp_path / "run", make_fitter, slots=8)
    line.publish(range(4))
    line.steps(4)
    line.publish(range(4, 30))
    line.crash()
    commits, _ = line.finish(expected=30)
    ledger = Ledger.of(commits)
    assert ledger.received == 30 and ledger.fitted + ledger.lost_in_ring == 30 and ledger.lost_in_ring >= 15


def test_when_acquire_dies_what_it_wrote_is_fitted_and_the_run_fails(tmp_path: Path, make_fitter: Callable) -> None:
    line = Line(tmp_path / "run", make_fitter)
    line.publish(range(5))
    line.steps(2)
    line.stage.abandon("the session is gone")
    line.stage._abandoned_at = -1e9  # type: ignore[attr-defined]  # long ago: no need to wait in a test
    while line.stage.step() is not None:
        pass
    line.stage.close()
    line.folder.take_reserve()
    line.stage.orphaned()
    assert not (line.folder.path / ".reserve").exists()
    assert Ledger.of(LogReader.open(line.folder.path).all()[0]).fitted == 5
    assert line.stage.outcome is not None and line.stage.outcome.finish == "failed"
    assert line.folder.ring_path is not None and not line.folder.ring_path.exists()
    line.ring.close()


def on_device(bundle: ModelBundle, largest_block: int, slots: int | None = None) -> Callable[..., Fitter]:
    """Fitters over the GPU path of torch, run on the CPU: its blocks, states and rows."""
    torch_cuda = pytest.importorskip("rtdecode.fit.engine_torch_cuda")
    thresholds = thresholds_of(bundle, LOUD)

    def made(shape: tuple[int, int], dtype: str) -> Fitter:
        room = slots or shape[0] * shape[1]
        engine = torch_cuda.TorchCudaEngine(
            bundle, "fp32", dtype, thresholds, device="cpu", largest_block=largest_block, slots=room
        )
        return Fitter(bundle, engine, ROI, detection=LOUD)

    return made


def test_a_device_gets_what_the_ring_holds_as_blocks_and_the_log_is_the_same(
    tmp_path: Path, tiny_bundle: ModelBundle
) -> None:
    pytest.importorskip("torch")
    logs = []
    for name, make in (("device", on_device(tiny_bundle, 8)), ("host", lambda *_: host_fitter(tiny_bundle))):
        line = Line(tmp_path / name, make)
        line.publish([0])
        line.steps(2)  # alone: nothing behind it
        line.publish([*range(1, 14), 16, 17, 18], wrong_size=[17])
        line.steps(9)
        line.crash()  # with frames on the device that are not in the log
        line.publish(range(19, 30))
        logs.append(line.finish(expected=32))
    (commits, found), (wanted, expected) = logs
    for column in ("frame_index", "fate", "flags", "n_localizations", "end_of_localizations"):
        assert commits[column].tolist() == wanted[column].tolist(), column
    for (name, a), (_, b) in zip(found.columns(), expected.columns(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=0.05, err_msg=name)
    assert len(found) > 100


def host_fitter(bundle: ModelBundle) -> Fitter:
    return Fitter(bundle, engines.build(EngineConfig(use="torch", threads=1), bundle), ROI, detection=LOUD)


def test_candidates_that_found_no_room_are_told(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    pytest.importorskip("torch")
    line = Line(tmp_path / "full", on_device(tiny_bundle, 4, slots=1))
    line.publish(range(6))
    line.finish(expected=6)
    (told,) = [event for event in line.folder.read_events() if event.get("kind") == "warning"]
    assert "candidates for emitters found no room on the GPU" in told["reason"]
