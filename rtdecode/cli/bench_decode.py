"""`rtdecode bench --decode`: this project beside DECODE's inference as published, on the same frames, turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from rtdecode.cli.bench_floors import Ceilings, ceilings, floor
from rtdecode.cli.bench_line import N_NOISE, Figures, noise
from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError, RtdecodeError
from rtdecode.core.extras import install, is_there
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import Fitter

SIZES = (64, 128)
BATCHES = (1, 8, 32, 64)
PRECISIONS = ("fp32", "bf16", "int8")
ROUNDS = 5
_CHUNK_S = 0.1  # network alone and whole fitter take turns this short: both meet the same neighbours


def side_by_side(
    light: ModelBundle, folder: Path, seconds: float, sizes: tuple[int, ...] = SIZES, batches: tuple[int, ...] = BATCHES
) -> Iterator[tuple[str, Figures]]:
    """Figures one after another; a turn takes about `seconds`. `folder` is for the 48-feature bundle.

    Raises EngineError where torch, in which DECODE runs, is not installed.
    """
    if not is_there("torch"):
        raise EngineError(f"DECODE's inference needs torch, which is not installed; {install('train')}")
    from rtdecode.cli.bench import large_bundle

    large = large_bundle(folder / "large", light)
    for size in sizes:
        yield from _at_size({"48 features": large, light.name: light}, large, size, seconds, batches)


@dataclass
class Contender:
    """One bundle at one precision and size: the network alone, and the whole fitter over the same engine."""

    bundle: ModelBundle
    precision: str
    size: int
    engine: Engine
    fitter: Fitter
    bare_s: list[float] = field(default_factory=list)  # a frame's time in each round
    fitter_s: list[float] = field(default_factory=list)
    chunk_ratios: list[float] = field(default_factory=list)  # fitter's rate over the network's
    localizations: int = 0
    _pushed: int = 0

    @classmethod
    def of(cls, bundle: ModelBundle, precision: str, size: int) -> Contender:
        """Built and warm; raises EngineError or ValidationError where this machine or version has no such thing."""
        engine = engines.build(EngineConfig.model_validate({"precision": precision}), bundle)
        return cls(bundle, precision, size, engine, Fitter(bundle, engine, Roi(0, 0, size, size)))

    def turn(self, seconds: float) -> None:
        """Network and fitter in short alternation; one entry in the lists of times."""
        frames = noise(self.bundle, (self.size, self.size))
        padded = frames.astype(np.float32)[:, None]  # (16, 1, H, W); sizes are multiples of the stride
        features = self.engine.zero_features()

        def bare(i: int) -> None:
            nonlocal features
            _, features = self.engine.infer(padded[i % N_NOISE], features)

        def whole(i: int) -> None:
            for one in self.fitter.push(Frame(FrameInfo(self._pushed, 0, 0), frames[i % N_NOISE])):
                self.localizations += len(one.localizations)
            self._pushed += 1

        pairs = _alternate(bare, whole, seconds)
        self.bare_s.append(float(np.median(pairs[:, 0])))
        self.fitter_s.append(float(np.median(pairs[:, 1])))
        self.chunk_ratios += list(pairs[:, 0] / pairs[:, 1])


def _alternate(a: Callable[[int], None], b: Callable[[int], None], seconds: float) -> np.ndarray:
    """(N, 2) seconds of a call of each, in chunks of the same number of calls, N >= 3; who begins changes."""
    for warm in range(3):
        a(warm)
        b(warm)
    start = time.perf_counter()
    a(0)
    calls = max(1, round(_CHUNK_S / max(time.perf_counter() - start, 1e-6)))
    rows: list[list[float]] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(rows) < 3:
        order = (0, 1) if len(rows) % 2 else (1, 0)
        row = [0.0, 0.0]
        for which in order:
            row[which] = _time_of((a, b)[which], calls)
        rows.append(row)
    return np.array(rows)


def _time_of(work: Callable[[int], None], calls: int) -> float:
    start = time.perf_counter()
    for i in range(calls):
        work(i)
    return (time.perf_counter() - start) / calls


def _at_size(
    bundles: dict[str, ModelBundle], large: ModelBundle, size: int, seconds: float, batches: tuple[int, ...]
) -> Iterator[tuple[str, Figures]]:
    decode = _decode(large, size)
    of_batch = {batch: decode(batch, seconds) for batch in batches}
    best = min(of_batch, key=lambda batch: of_batch[batch])
    rates = {f"batch_{batch}_fps": round(1 / took, 2) for batch, took in of_batch.items()}
    contenders: dict[str, Contender] = {}
    for name, bundle in bundles.items():
        for precision in PRECISIONS:
            try:
                contenders[f"{name} {precision}"] = Contender.of(bundle, precision, size)
            except (RtdecodeError, ValidationError) as error:
                yield f"{name} {precision} {size}x{size}", {"skipped": _reason(error)}
    measured, decode_s = [ceilings(seconds / 2)], [of_batch[best]]
    for _ in range(ROUNDS):
        decode_s.append(decode(best, seconds))
        for contender in contenders.values():
            contender.turn(seconds)
        measured.append(ceilings(seconds / 2))
    decode_s = decode_s[1:]  # the first chose the batch: it would be biased
    yield f"DECODE as published {size}x{size}", {**rates, "best_batch": best, **_rate(decode_s)}
    for name, contender in contenders.items():
        yield f"{name} {size}x{size}", _figures(contender, decode_s, measured[1:])
    yield f"ceilings {size}x{size}", _ceiling_figures(measured)


def _decode(large: ModelBundle, size: int) -> Callable[[int, float], float]:
    """(batch, seconds) -> seconds of a frame through DECODE's inference; at least one batch, triples ready-made."""
    import torch

    from rtdecode.fit.network import Network
    from rtdecode.train.decode_baseline import DecodeInference

    torch.manual_seed(0)
    inference = DecodeInference(Network(large.network), large.camera, large.card.scaling, large.detection)
    frames = torch.from_numpy(noise(large, (size, size)).astype(np.float32))
    inference(frames[:3][None], 0)  # warm

    def took(batch: int, seconds: float) -> float:
        at = torch.arange(batch)[:, None] + torch.arange(3)
        triples = frames[at % N_NOISE]  # (batch, 3, H, W)
        calls, began = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - began < seconds:
            inference(triples, calls * batch)
            calls += 1
        return (time.perf_counter() - began) / (calls * batch)

    return took


def _figures(contender: Contender, decode_s: list[float], measured: list[Ceilings]) -> Figures:
    """Rates, ratios round by round (median, least, greatest), floors and the part of them that is reached."""
    fitter_s = np.array(contender.fitter_s)
    at = partial(floor, contender.bundle, contender.precision, contender.size)
    floors = [at(one) for one in measured]
    figures = _rate(contender.fitter_s) | {
        "bare_fps": round(1 / float(np.median(contender.bare_s)), 1),
        "over_decode": _spread(np.array(decode_s) / fitter_s),
        "fitter_over_bare": round(float(np.median(contender.chunk_ratios)), 3),
        "bytes_floor_ms": round(float(np.median([one.bytes_ms for one in floors])), 3),
    }
    arithmetic_ms = np.array([one.arithmetic_ms for one in floors if one.arithmetic_ms is not None])
    if len(arithmetic_ms):
        figures["arithmetic_floor_ms"] = round(float(np.median(arithmetic_ms)), 3)
        figures["floor_over_time"] = _spread(arithmetic_ms / (fitter_s * 1e3))
    n_pushed = max(contender._pushed - 1, 1)
    return figures | {"localizations_per_frame": round(contender.localizations / n_pushed, 1)}


def _ceiling_figures(measured: list[Ceilings]) -> Figures:
    names = measured[0].macs_per_s
    best = {f"{name}_GMAC_per_s": round(max(one.macs_per_s[name] for one in measured) / 1e9) for name in names}
    return best | {"copy_GB_per_s": round(max(one.bytes_per_s for one in measured) / 1e9, 1)}


def _rate(seconds_of_a_frame: list[float]) -> Figures:
    """Median and best over the rounds."""
    middle, best = float(np.median(seconds_of_a_frame)), min(seconds_of_a_frame)
    return {"fps": round(1 / middle, 2), "best_fps": round(1 / best, 2)}


def _spread(ratios: np.ndarray) -> str:
    return f"{np.median(ratios):.3g} ({ratios.min():.3g}..{ratios.max():.3g})"


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "this version knows no such precision"
    return str(error).splitlines()[0]
