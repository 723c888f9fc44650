"""Stages from a run folder alone: what `python -m rtdecode worker NAME RUN` runs, and inline runs too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from rtdecode.core import plugins
from rtdecode.core.actions import Action
from rtdecode.core.contracts import Policy, Source
from rtdecode.core.errors import ConfigError
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.fit.bundle import PSF
from rtdecode.sources import BUILT_IN
from rtdecode.stages.acquire import AcquireStage
from rtdecode.stages.decide import DecideStage, Wish
from rtdecode.stages.notes import note, read_roi
from rtdecode.stages.record import RecordStage
from rtdecode.stages.run_record import RunRecord
from rtdecode.stages.safe_stop import SafeStopStage
from rtdecode.streams.run_folder import RunFolder

WorkerName = Literal["acquire", "localize", "decide", "record", "check"]
SOURCE_METHODS = ("open", "start", "read", "apply", "close")


class WorkerStage(Protocol):
    """A stage with what the process around it needs: orders in, status out, an end."""

    def step(self) -> bool | None:
        """True did work, False nothing yet, None finished."""
        ...

    def order(self, action: Action) -> None:
        """Carry out an order of the session."""
        ...

    def abandon(self, reason: str) -> None:
        """The session is gone: end safely, by itself."""
        ...

    def orphaned(self) -> None:
        """After `close`: the session is gone and will not remove the ring's memory."""
        ...

    def status(self) -> dict[str, Any]:
        """Plain JSON for the session."""
        ...

    def close(self) -> None:
        """Let go of everything; safe to call twice and after any error."""
        ...


def worker_names(record: RunRecord) -> list[WorkerName]:
    """The workers of this run, in the order they are started."""
    wanted: list[tuple[WorkerName, bool]] = [
        ("decide", bool(record.policies)), ("localize", True), ("acquire", True), ("record", record.record),
        ("check", record.check),
    ]  # fmt: skip
    return [name for name, is_wanted in wanted if is_wanted]


def build_stage(name: str, folder: RunFolder, record: RunRecord, wish: Wish) -> WorkerStage:
    """The stage of this name; raises ConfigError, PluginError."""
    match name:
        case "acquire":
            return AcquireStage(build_source(record, folder), folder, record.ring, record.limits, needed(record))
        case "localize":
            return build_localize(folder, record)
        case "decide":
            return DecideStage(folder, build_policies(record), camera_px_nm(record), wish)
        case "record":
            return RecordStage(folder)
        case "check":
            return build_check(folder, record)
        case "safe-stop":
            return SafeStopStage(lambda: build_source(record, None), folder)
    raise ConfigError(f"no worker is called {name!r}; known: acquire, localize, decide, record, check, safe-stop")


def needed(record: RunRecord) -> frozenset[str]:
    """Readers of the ring without which the camera is not started."""
    return frozenset({"localize", "record"} if record.record else {"localize"})


def build_source(record: RunRecord, folder: RunFolder | None) -> Source:
    """The run's source, closed; it gets the run's camera, the model's PSF and where to write truth."""
    psf = Path(record.model) / PSF
    known: dict[str, Any] = {"camera": record.camera, "psf": psf if psf.exists() else None}
    source: Source = plugins.build(
        record.source, BUILT_IN, record.origin, lines=record.lines_below("source"), methods=SOURCE_METHODS,
        truth=folder.truth_csv if folder else None, **known,
    )  # fmt: skip
    return source


def build_policies(record: RunRecord) -> list[tuple[str, Policy]]:
    """(name, policy) of each; the name is the class's, numbered where it comes twice."""
    built: list[tuple[str, Policy]] = []
    for number, plugin in enumerate(record.policies):
        lines = record.lines_below("policies", number)
        policy = plugins.build(plugin, {}, record.origin, lines=lines, methods=("update",))
        name = plugin.use.rpartition(":")[2]
        twice = sum(other == name or other.startswith(f"{name} ") for other, _ in built)
        built.append((f"{name} {twice + 1}" if twice else name, policy))
    return built


def build_localize(folder: RunFolder, record: RunRecord) -> WorkerStage:
    """Imports the fitter here, so that the other workers do without its libraries."""
    from rtdecode.fit import engines
    from rtdecode.fit.bundle import ModelBundle
    from rtdecode.fit.fitter import Fitter, thresholds_of
    from rtdecode.fit.tiles import TiledEngine
    from rtdecode.stages.localize import LocalizeStage

    bundle = ModelBundle.load(record.model)

    def make_fitter(shape: tuple[int, int], dtype: str) -> Fitter:
        engine = engines.build(record.engine, bundle, thresholds_of(bundle, record.detection), dtype)
        place = read_roi(folder) or Roi(0, 0, shape[1], shape[0])
        roi = replace(place, width_px=shape[1], height_px=shape[0])
        fitter = Fitter(bundle, engine, roi, record.camera, record.detection, record.allow_camera_mismatch)
        _warm_up(fitter, shape, dtype)
        if isinstance(engine, TiledEngine) and engine.is_tiled:
            note(folder, "localize", "tiles", cut=engine.description)
        return fitter

    return LocalizeStage(folder, make_fitter, record.limits.late_ms)


def build_check(folder: RunFolder, record: RunRecord) -> WorkerStage:
    """Of a bundle without a PSF only ranges and camera are checked."""
    from rtdecode.analysis.doubts import Trained
    from rtdecode.fit.bundle import ModelBundle
    from rtdecode.physics.psf import load_psf, spline_of
    from rtdecode.stages.check import CheckStage

    bundle = ModelBundle.load(record.model)
    psf = spline_of(load_psf(bundle.psf_path)) if PSF in bundle.card.files else None
    return CheckStage(
        folder,
        record.camera or bundle.camera,
        psf,
        Trained(**bundle.card.ranges.model_dump(), background_end=bundle.scaling.background_max),
    )


def _warm_up(fitter: Any, shape: tuple[int, int], dtype: str) -> None:
    """Compile and touch everything before the camera starts; frames before the first are never seen again."""
    lengths = [1, *(1 << k for k in range(fitter.largest_block.bit_length()) for _ in range(2))]
    index = -sum(lengths) - 1
    for length in lengths:  # a device captures a program for each length of a block, and each of two buffers
        for left in reversed(range(length)):
            fitter.push(Frame(FrameInfo(index, 0, 0), np.ones(shape, dtype)), more=left > 0)
            index += 1
    fitter.finish()


def camera_px_nm(record: RunRecord) -> tuple[float, float]:
    """Pixel size (x, y) of the run's camera."""
    if record.camera is None:
        raise ConfigError(f"{record.origin}: the run's record has no camera; it is filled in when a run begins")
    return record.camera.px_nm
