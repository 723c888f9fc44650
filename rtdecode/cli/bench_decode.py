"""`rtdecode bench --decode`: this project beside DECODE's inference as published, on the same frames, turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rtdecode.cli.bench_floors import Ceilings, best_of, ceilings, floor
from rtdecode.cli.bench_line import N_NOISE, Figures, movie
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
Decode = Callable[[int, int, float], float]
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
        frames = movie(light, (size, size))
        yield from _at_size({"48 features": large, light.name: light}, frames, seconds, batches)


@dataclass
class Contender:
    """One bundle at one precision and size: the network alone, and the whole fitter over the same engine."""

    bundle: ModelBundle
    precision: str
    frames: NDArray[np.uint16]  # (16, H, W) ADU, in turn
    engine: Engine
    fitter: Fitter
    bare_s: list[float] = field(default_factory=list)  # a frame's time in each round
    fitter_s: list[float] = field(default_factory=list)
    chunk_ratios: list[float] = field(default_factory=list)  # fitter's rate over the network's
    localizations: int = 0
    pushed: int = 0

    @classmethod
    def of(cls, bundle: ModelBundle, precision: str, frames: NDArray[np.uint16]) -> Contender:
        """Built and warm; raises EngineError or ValidationError where this machine or version has no such thing."""
        engine = engines.host_engine(EngineConfig.model_validate({"precision": precision}), bundle)
        roi = Roi(0, 0, height_px=frames.shape[1], width_px=frames.shape[2])
        return cls(bundle, precision, frames, engine, Fitter(bundle, engine, roi))

    def turn(self, seconds: float) -> None:
        """Network and fitter in short alternation; one entry in the lists of times."""
        padded = self.frames.astype(np.float32)[:, None]  # (16, 1, H, W); sizes are multiples of the stride
        features = self.engine.zero_features()

        def bare(i: int) -> None:
            nonlocal features
            _, features = self.engine.infer(padded[i % N_NOISE], features)

        def whole(i: int) -> None:
            for one in self.fitter.push(Frame(FrameInfo(self.pushed, 0, 0), self.frames[i % N_NOISE])):
                self.localizations += len(one.localizations)
            self.pushed += 1

        pairs = _alternate(bare, whole, seconds)
        self.bare_s.append(float(np.median(pairs[:, 0])))
        self.fitter_s.append(float(np.median(pairs[:, 1])))
        self.chunk_ratios += list(pairs[:, 0] / pairs[:, 1])


def _alternate(a: Callable[[int], None], b: Callable[[int], None], seconds: float) -> NDArray[np.float64]:
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
    bundles: dict[str, ModelBundle], frames: NDArray[np.uint16], seconds: float, batches: tuple[int, ...]
) -> Iterator[tuple[str, Figures]]:
    where = f"{frames.shape[1]}x{frames.shape[2]}"
    decode, best, chosen = _best_decode(next(iter(bundles.values())), frames, seconds, batches)
    contenders: dict[str, Contender] = {}
    for name, bundle in bundles.items():
        for precision in PRECISIONS:
            try:
                contenders[f"{name} {precision}"] = Contender.of(bundle, precision, frames)
            except (RtdecodeError, ValidationError) as error:
                yield f"{name} {precision} {where}", {"skipped": _reason(error)}
    measured: list[Ceilings] = []
    decode_s: list[float] = []
    for _ in range(ROUNDS):
        decode_s.append(decode(*best, seconds))
        for contender in contenders.values():
            contender.turn(seconds)
        measured.append(ceilings(seconds / 2))
    yield f"DECODE as published {where}", chosen | _rate(decode_s)
    for name, contender in contenders.items():
        yield f"{name} {where}", _figures(contender, decode_s, best_of(measured))
    yield f"ceilings {where}", _ceiling_figures(best_of(measured))


def _best_decode(
    large: ModelBundle, frames: NDArray[np.uint16], seconds: float, batches: tuple[int, ...]
) -> tuple[Decode, tuple[int, int], Figures]:
    """DECODE's inference, its best (batch, threads), and the rate of each that was tried.

    On busy cores one thread may beat two, which wait for each other: then DECODE gets one.
    """
    import torch

    decode, threads = _decode(large, frames), torch.get_num_threads()
    took = {(batch, threads): decode(batch, threads, seconds) for batch in batches}
    batch = min(took, key=lambda one: took[one])[0]
    took[batch, 1] = decode(batch, 1, seconds)
    best = min(took, key=lambda one: took[one])
    rates = {f"batch_{batch}_threads_{n}_fps": round(1 / took[batch, n], 2) for batch, n in took}
    return decode, best, rates | {"chosen_batch": best[0], "chosen_threads": best[1]}


def _decode(large: ModelBundle, frames_adu: NDArray[np.uint16]) -> Decode:
    """(batch, threads, seconds) -> seconds of a frame; at least one batch, its triples ready-made: a gift to DECODE."""
    import torch

    from rtdecode.fit.network import Network
    from rtdecode.train.decode_baseline import DecodeInference

    torch.manual_seed(0)
    inference = DecodeInference(Network(large.network), large.camera, large.card.scaling, large.detection)
    frames = torch.from_numpy(frames_adu.astype(np.float32))
    inference(frames[:3][None], 0)  # warm

    def took(batch: int, threads: int, seconds: float) -> float:
        usual = torch.get_num_threads()
        torch.set_num_threads(threads)
        at = torch.arange(batch)[:, None] + torch.arange(3)
        triples = frames[at % N_NOISE]  # (batch, 3, H, W)
        calls, began = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - began < seconds:
            inference(triples, calls * batch)
            calls += 1
        torch.set_num_threads(usual)
        return (time.perf_counter() - began) / (calls * batch)

    return took


def _figures(contender: Contender, decode_s: list[float], best: Ceilings) -> Figures:
    """Rates; ratio to DECODE round by round, and best against best; floors and how much of a frame's time they are."""
    fitter_s = np.array(contender.fitter_s)
    least = floor(contender.bundle, contender.precision, contender.frames.shape[1:], best)
    figures = _rate(contender.fitter_s) | {
        "bare_fps": round(1 / float(np.median(contender.bare_s)), 1),
        "over_decode": _spread(np.array(decode_s) / fitter_s),
        "best_over_best": round(min(decode_s) / float(fitter_s.min()), 1),
        "fitter_over_bare": round(float(np.median(contender.chunk_ratios)), 3),
        "bytes_floor_ms": round(least.bytes_ms, 3),
    }
    if least.arithmetic_ms is not None:
        figures["arithmetic_floor_ms"] = round(least.arithmetic_ms, 3)
        figures["floor_over_best_time"] = round(least.arithmetic_ms / (float(fitter_s.min()) * 1e3), 2)
    return figures | {"localizations_per_frame": round(contender.localizations / max(contender.pushed - 1, 1), 1)}


def _ceiling_figures(best: Ceilings) -> Figures:
    macs = {f"{name}_GMAC_per_s": round(per_s / 1e9) for name, per_s in best.macs_per_s.items()}
    return macs | {"copy_GB_per_s": round(best.bytes_per_s / 1e9, 1)}


def _rate(seconds_of_a_frame: list[float]) -> Figures:
    """Median and best over the rounds."""
    middle, best = float(np.median(seconds_of_a_frame)), min(seconds_of_a_frame)
    return {"fps": round(1 / middle, 2), "best_fps": round(1 / best, 2)}


def _spread(ratios: NDArray[np.float64]) -> str:
    return f"{np.median(ratios):.3g} ({ratios.min():.3g}..{ratios.max():.3g})"


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "this version knows no such precision"
    return str(error).splitlines()[0]
