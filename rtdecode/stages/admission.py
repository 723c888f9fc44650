"""The admission gate: before an engine or precision serves a bundle it is held against the fp32 reference, once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rtdecode.analysis.agreement import ENOUGH, ROUNDING, Agreement, Limits, agreement
from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError
from rtdecode.core.extras import is_there
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit import engines
from rtdecode.fit.bundle import PSF, ModelBundle
from rtdecode.fit.device import DeviceEngine
from rtdecode.fit.fitter import Fitter
from rtdecode.fit.int8 import int8_graph
from rtdecode.fit.trial import SHAPE_PX, trial_clips
from rtdecode.physics.simulate import Clips
from rtdecode.stages import admission_lines
from rtdecode.stages.admission_lines import Line

CLIPS, FRAMES, SEED = 24, 16, 5
"""384 frames of 64 x 64 px at 24 densities: 8,600 localizations of the shipped bundle, 3 s with the simulation."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """Simulated frames of a bundle and what the reference makes of them: shared by all that is held against it."""

    bundle: ModelBundle
    clips: Clips
    reference: Localizations

    @classmethod
    def of(cls, bundle: ModelBundle, threads: int = 0) -> Trial:
        """Simulate and localize with the reference; raises EngineError, BundleError where there is no PSF."""
        clips = trial_clips(bundle, CLIPS, FRAMES, SEED)
        config = EngineConfig.model_validate({"use": reference_use(), "precision": "fp32", "threads": threads})
        return cls(bundle, clips, localized(bundle, engines.host_engine(config, bundle), clips)[0])

    def judge(self, engine: Engine | DeviceEngine) -> tuple[Agreement, float]:
        """Figures of an engine, not yet started, and its frames per second, detection included."""
        found, per_s = localized(self.bundle, engine, self.clips)
        emitters = self.clips.emitters.copy()
        emitters["frame_index"] = _apart(emitters["frame_index"])
        frames = _apart(np.arange(CLIPS * FRAMES))
        return agreement(emitters, self.reference, found, frames), per_s


class LazyTrial:
    """A Trial that is made when it is first asked for: nothing is simulated for what the cache knows."""

    def __init__(self, bundle: ModelBundle, threads: int = 0) -> None:
        self._bundle, self._threads = bundle, threads

    @cached_property
    def trial(self) -> Trial:
        """Made now or before; raises as `Trial.of`."""
        return Trial.of(self._bundle, self._threads)


def reference_use() -> str:
    """OpenVINO in fp32; ONNX Runtime where OpenVINO is not installed."""
    return "openvino" if is_there("openvino") else "onnxruntime"


def localized(bundle: ModelBundle, engine: Engine | DeviceEngine, clips: Clips) -> tuple[Localizations, float]:
    """What the fitter that runs live makes of the clips, which are apart by a frame, and frames per second."""
    fitter = Fitter(bundle, engine, Roi(0, 0, SHAPE_PX[1], SHAPE_PX[0]))
    frames = clips.frames_adu.reshape(-1, *SHAPE_PX)
    began, parts = time.perf_counter(), []
    for index, pixels in zip(_apart(np.arange(len(frames))).tolist(), frames, strict=True):
        parts += fitter.push(Frame(FrameInfo(index, 0, 0), pixels), more=True)
    parts += fitter.finish()
    per_s = len(frames) / (time.perf_counter() - began)
    return Localizations.concatenate(part.localizations for part in parts), per_s


def _apart(index: np.ndarray) -> np.ndarray:
    """Frame numbers with one left out between clips, so that none has a neighbour from another."""
    return np.asarray(index + index // FRAMES, np.int64)


def limits_of(config: EngineConfig) -> Limits:
    """A reduced precision may be as far off as the limits say, another engine in fp32 only by rounding."""
    return ROUNDING if config.precision == "fp32" else Limits()


def needs_check(config: EngineConfig) -> bool:
    """Whether this is anything else than the reference."""
    return (config.use, config.precision) != (reference_use(), "fp32")


def can_be_checked(bundle: ModelBundle) -> bool:
    """Whether the bundle holds what frames are simulated from."""
    return PSF in bundle.card.files


def check(
    config: EngineConfig, bundle: ModelBundle, tell: Tell = lambda _: None, trial: LazyTrial | None = None
) -> Line:
    """The line of this engine on this bundle and machine: from the cache, or measured now and put there.

    `tell` hears when something is done that takes seconds. Raises EngineError: engine missing, nothing to measure.
    """
    if config.precision == "int8":
        int8_graph(bundle, tell)
    keys = keys_of(config, bundle)
    if (known := admission_lines.find(bundle, keys, tell)) is not None:
        return known
    tell(f"checking {name_of(config)} against fp32 for {bundle.name}, once")
    began = time.perf_counter()
    against = (trial or LazyTrial(bundle, config.threads)).trial
    figures, per_s = against.judge(engines.build(config, bundle, frame_dtype=against.clips.frames_adu.dtype.name))
    if figures.n_reference < ENOUGH:
        raise EngineError(
            f"{name_of(config)} cannot be checked against fp32: the reference itself found only {figures.n_reference} "
            f"localizations in {figures.n_frames} simulated frames of {bundle.name}, at least {ENOUGH} are needed; "
            "set engine.precision to fp32"
        )
    line = Line.made(keys, figures.as_dict(), tuple(figures.faults(limits_of(config))), round(per_s, 1))
    admission_lines.keep(bundle, line, tell)
    tell(f"checked in {time.perf_counter() - began:.1f} s: {line.words}")
    return line


def admit(config: EngineConfig, bundle: ModelBundle, tell: Tell = lambda _: None) -> str:
    """A sentence on why `config` (its precision is named) may serve `bundle`; raises EngineError where it may not."""
    if not needs_check(config):
        return f"{name_of(config)}: the reference"
    if not can_be_checked(bundle):
        return _unchecked(config, bundle)
    line = check(config, bundle, tell)
    if line.faults:
        raise EngineError(
            f"{name_of(config)} is not admitted for {bundle.name}: {'; '.join(line.faults)}, held against fp32 on "
            f"{line.figures['n_frames']} simulated frames. Set engine.precision to another one; "
            "`rtdecode engine check` shows the figures of all"
        )
    return f"{name_of(config)}: {line.words}"


def _unchecked(config: EngineConfig, bundle: ModelBundle) -> str:
    why = f"{bundle.name} holds no {PSF}, so no frames can be simulated to hold {name_of(config)} against fp32"
    if config.precision == "fp32":
        return f"{name_of(config)}: unchecked; {why}"
    if not config.allow_unchecked:
        raise EngineError(
            f"{why}; set engine.precision to fp32, or engine.allow_unchecked: true to run it all the same"
        )
    return f"{name_of(config)}: unchecked, as allowed; {why}"


def keys_of(config: EngineConfig, bundle: ModelBundle) -> dict[str, str]:
    """Everything that an answer of the gate hangs on; another value of any of them: another check."""
    graph = int8_graph(bundle) if config.precision == "int8" else bundle.onnx_path
    return {
        "bundle": bundle.sha256,
        "engine": config.use,
        "precision": str(config.precision),
        "library": str(engines.version(config.use)),
        "device": engines.device_of(config.use),
        "graph": admission_lines.sha256_of(graph, graph.with_suffix(".bin")),
        "reference": f"{reference_use()} {engines.version(reference_use())}",
        "gate": admission_lines.gate_version(limits_of(config), CLIPS, FRAMES, SEED),
    }


def name_of(config: EngineConfig) -> str:
    """For people."""
    return f"{config.use} {config.precision}"
