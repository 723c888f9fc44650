"""What a worker does with one block: read its frames and one neighbour at each side, fit, leave a file."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.batch.blocks import BlockDone, BlockFile, BlockTask, about_block, write_block
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError, RecordingError, RtdecodeError, StreamError
from rtdecode.core.frames import Fate, Frame, FrameFlag
from rtdecode.core.localizations import Localizations
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.device import DeviceEngine
from rtdecode.fit.fitter import FittedFrame, Fitter, thresholds_of
from rtdecode.sources.replay import ReplaySource
from rtdecode.stages.build import build_source
from rtdecode.stages.localize import frame_background
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.log import make_commits

_ONE_AT_A_TIME = threading.Lock()
"""A process fits one block at a time, however many threads its Dask worker has: an engine uses its cores itself."""


def fit_block(task: BlockTask) -> BlockDone:
    """Fit one block and leave its file. What goes wrong is an answer: Dask carries not every exception home."""
    with _ONE_AT_A_TIME:
        block = BlockDone(task.name, task.first, task.last, worker=_worker())
        try:
            return _done(task, block)
        except EngineError as error:
            return replace(block, error=str(error), is_refused=True)
        except (RtdecodeError, OSError) as error:
            return replace(block, error=str(error))
        except Exception as error:
            return replace(block, error=f"{type(error).__name__}: {error}")


def _done(task: BlockTask, block: BlockDone) -> BlockDone:
    began, path = time.perf_counter(), Path(task.path)
    source = _source(task.record, task.files)
    engine, device = _engine(task.record, source.dtype)
    file = _fitted(task, source, RunRecord.model_validate_json(task.record), engine, device)
    if file is not None:
        write_block(path, file)
    count = len(file.localizations) if file is not None else int((about_block(path) or {})["n"])
    seconds = time.perf_counter() - began
    return replace(block, n_localizations=count, seconds=seconds, device=device, reused=file is None)


def check_worker(record_json: str) -> str:
    """What this worker would fit on; raises EngineError where it lacks the engine or has another model."""
    source = _opened(record_json)
    try:
        return _engine(record_json, source.dtype)[1]
    finally:
        source.close()


def _fitted(
    task: BlockTask, source: ReplaySource, record: RunRecord, engine: Engine | DeviceEngine, device: str
) -> BlockFile | None:
    """The block; None where its frames are still those that the file was made of. One frame in memory at a time."""
    if task.known_sha256 and _sha256_of(source, task) == task.known_sha256:
        return None
    bundle, digest = ModelBundle.load(record.model), hashlib.sha256(task.key.encode())
    fitter = Fitter(bundle, engine, source.roi, record.camera, record.detection, record.allow_camera_mismatch)
    sum_of = _Sum(source.roi.shape)
    done: list[FittedFrame] = []
    for position, frame in _frames(source, task.first, task.last):
        _update(digest, position, frame)
        if position < task.first:
            _begin_behind(fitter, frame)
            continue
        if position < task.last:
            sum_of.expect(frame)
        done += fitter.push(frame, more=True)
        sum_of.settle(done)
    done += fitter.finish()
    sum_of.settle(done)
    done = [one for one in done if one.info.index in sum_of.mine]
    found = Localizations.concatenate(one.localizations for one in done)
    about = {
        "key": task.key, "frames_sha256": digest.hexdigest(), "n": len(found), "device": device,
        "lost_candidates": fitter.lost_candidates, "dtype": source.dtype,
    }  # fmt: skip
    return BlockFile(_commits(done), found, sum_of.total_adu, about)


class _Sum:
    """Sum of the block's own frames that were fitted; a frame waits for its fate."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.total_adu = np.zeros(shape)
        self.mine: set[int] = set()  # indices of the block's own frames
        self._waiting: dict[int, Frame] = {}
        self._settled = 0

    def expect(self, frame: Frame) -> None:
        self.mine.add(frame.index)
        self._waiting[frame.index] = frame

    def settle(self, done: list[FittedFrame]) -> None:
        for one in done[self._settled :]:
            frame = self._waiting.pop(one.info.index, None)
            if frame is not None and one.fate == Fate.FITTED:
                self.total_adu += frame.pixels_adu
        self._settled = len(done)


def _begin_behind(fitter: Fitter, frame: Frame) -> None:
    """As the stream would have it: the frame before the block is a left neighbour, if it can be fitted at all."""
    try:
        fitter.resume(frame)
    except StreamError:
        pass


def _frames(source: ReplaySource, first: int, last: int) -> Iterator[tuple[int, Frame]]:
    """(position, frame) of the block, and of one neighbour at each side where there is one that can be read."""
    for position in range(max(first - 1, 0), min(last + 1, source.n_frames)):
        out = np.zeros(source.roi.shape, source.dtype)
        try:
            info = source.read_at(position, out)
        except RecordingError:
            if first <= position < last:
                raise
            continue  # it is its own block that is lost
        yield position, Frame(info, out)


def _sha256_of(source: ReplaySource, task: BlockTask) -> str:
    digest = hashlib.sha256(task.key.encode())
    for position, frame in _frames(source, task.first, task.last):
        _update(digest, position, frame)
    return digest.hexdigest()


def _update(digest: Any, position: int, frame: Frame) -> None:
    """All that the answer hangs on: pixels, indices and flags, neighbours included."""
    digest.update(f"{position} {frame.index} {frame.info.flags} ".encode())
    if not frame.info.flags & FrameFlag.WRONG_SIZE:
        digest.update(np.ascontiguousarray(frame.pixels_adu).tobytes())


def _commits(done: list[FittedFrame]) -> np.ndarray:
    return make_commits(
        [one.info.index for one in done],
        fate=[one.fate for one in done],
        n_localizations=[len(one.localizations) for one in done],
        flags=[one.flags for one in done],
        t_camera_ns=[one.info.t_camera_ns for one in done],
        background=[frame_background(one.localizations) for one in done],
    )


@lru_cache(maxsize=4)
def _source(record_json: str, files: str) -> ReplaySource:
    """The recording, open; kept for the next block of these very files: what is open does not see new ones."""
    return _opened(record_json)


def _opened(record_json: str) -> ReplaySource:
    source = build_source(RunRecord.model_validate_json(record_json), None)
    assert isinstance(source, ReplaySource)
    source.open()
    return source


@lru_cache(maxsize=4)
def _engine(record_json: str, dtype: str) -> tuple[Engine | DeviceEngine, str]:
    """The engine, kept for the next block, and the processor it runs on. Raises EngineError."""
    record = RunRecord.model_validate_json(record_json)
    bundle = ModelBundle.load(record.model)
    if bundle.sha256 != record.model_sha256:
        raise EngineError(f"{record.model}: is {bundle.sha256[:12]} here, and {record.model_sha256[:12]} was asked for")
    engines.check(record.engine)
    config = record.engine.model_copy(update={"threads": record.engine.threads or _threads()})
    engine = engines.build(config, bundle, thresholds_of(bundle, record.detection), dtype)
    return engine, engines.device_of(record.engine.use)


def _threads() -> int:
    """Of this worker's engine, as its Dask worker was given them; 0 (the engine's choice) outside of one."""
    try:
        from distributed import get_worker

        return int(get_worker().state.nthreads)
    except (ImportError, ValueError):
        return 0


def _worker() -> str:
    """Name and address of this worker, for the report."""
    try:
        from distributed import get_worker

        return str(get_worker().address)
    except (ImportError, ValueError):
        return "here"
