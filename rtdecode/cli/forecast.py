"""`rtdecode doctor --camera`: will this camera, region, rate and bundle keep up here? By a short measurement."""

from __future__ import annotations

import math
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rtdecode.cli.bench_line import BLOCK, Line, timed
from rtdecode.core.config import EngineConfig
from rtdecode.core.contracts import Engine
from rtdecode.core.errors import ConfigError
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.device import DeviceEngine

MOST_PIXELS = 512 * 512
"""Larger regions are measured on one of this area and scaled: the time of a frame grows with its pixels."""
SECONDS = 2.5
COMFORT = 0.7
"""Share of the time up to which there is room for the camera's driver, the viewer and policies on the same cores."""
Verdict = Literal["keeps up with margin", "keeps up barely", "will lose frames"]


@dataclass(frozen=True, slots=True)
class CameraLoad:
    """What a camera sends: width and height in px, frames a second."""

    width_px: int
    height_px: int
    fps: float

    @classmethod
    def parse(cls, text: str) -> CameraLoad:
        """From WIDTHxHEIGHT@FPS, as 128x128@100; raises ConfigError."""
        found = re.fullmatch(r"(\d+)x(\d+)@(\d+(?:\.\d+)?(?:e\d+)?)", text.strip())
        load = cls(int(found[1]), int(found[2]), float(found[3])) if found else None
        if load is None or min(load.width_px, load.height_px) < 1 or not 0 < load.fps < math.inf:
            raise ConfigError(f"--camera {text!r}: expected WIDTHxHEIGHT@FPS in px and frames/s, such as 128x128@100")
        return load

    @property
    def n_pixels(self) -> int:
        """Of a frame."""
        return self.width_px * self.height_px


@dataclass(frozen=True, slots=True)
class Forecast:
    """A camera's load against a measured rate."""

    camera: CameraLoad
    rate_fps: float  # of the whole line: ring, fitter, log
    p99_ms: float  # of one frame
    measured_on: tuple[int, int]  # height, width

    @property
    def share(self) -> float:
        """Of the time that fitting takes; above 1 it cannot keep up."""
        return self.camera.fps / self.rate_fps

    @property
    def verdict(self) -> Verdict:
        """In three steps."""
        if self.share > 1.0:
            return "will lose frames"
        return "keeps up with margin" if self.share <= COMFORT else "keeps up barely"


def forecast(load: CameraLoad, bundle: ModelBundle, engine: EngineConfig, seconds: float = SECONDS) -> Forecast:
    """Measure for about `seconds` on simulated frames through ring, fitter and log; raises EngineError."""
    return forecast_of(load, bundle, engines.build(engine, bundle, frame_dtype="uint16"), seconds)


def forecast_of(load: CameraLoad, bundle: ModelBundle, built: Engine | DeviceEngine, seconds: float) -> Forecast:
    """As `forecast`, of an engine not yet started. A GPU's is faster in blocks, which it gets when it is behind."""
    shape = _measured_shape(load)
    with tempfile.TemporaryDirectory() as scratch, Line.open(bundle, built, Path(scratch) / "run", shape) as line:
        figures = timed(line.one, seconds)
        rate_fps = figures["frames_per_s"]
        if getattr(built, "largest_block", 1) > 1:
            rate_fps = max(rate_fps, BLOCK * timed(line.several, seconds)["frames_per_s"])
    scale = shape[0] * shape[1] / load.n_pixels
    return Forecast(load, rate_fps * scale, figures["p99_ms"] / scale, shape)


def _measured_shape(load: CameraLoad) -> tuple[int, int]:
    if load.n_pixels <= MOST_PIXELS:
        return load.height_px, load.width_px
    shrink = math.sqrt(MOST_PIXELS / load.n_pixels)
    return max(1, round(load.height_px * shrink)), max(1, round(load.width_px * shrink))


def told(found: Forecast, bundle: ModelBundle, engine: EngineConfig, able_bf16: bool) -> list[tuple[str, str]]:
    """(what, words) for a person: what was measured, the share, the verdict and what to do."""
    load, (height, width) = found.camera, found.measured_on
    scaled = "" if load.n_pixels == height * width else f", measured on {width} x {height} px and scaled by area"
    rows = [
        ("camera", f"{load.width_px} x {load.height_px} px at {load.fps:g} frames/s"),
        ("model", f"{bundle.name}, {engine.use} {engine.precision}"),
        ("this machine", f"{found.rate_fps:.4g} frames/s, 99 of 100 frames within {found.p99_ms:.3g} ms{scaled}"),
        ("time used", f"{found.share:.0%} of it"),
        ("verdict", _verdict(found)),
    ]
    return rows + [("what to do", words) for words in _advice(found, engine, able_bf16)]


def _verdict(found: Forecast) -> str:
    if found.verdict == "will lose frames":
        lost = found.camera.fps - found.rate_fps
        return f"will lose frames: {lost:.4g} of {found.camera.fps:g} per second, once the ring is full"
    return found.verdict


def _advice(found: Forecast, engine: EngineConfig, able_bf16: bool) -> list[str]:
    if found.verdict == "keeps up with margin":
        return []
    factor = COMFORT / found.share
    side = math.floor(math.sqrt(found.camera.n_pixels * factor) / 8) * 8
    advice = [f"at most {found.rate_fps * COMFORT:.3g} frames/s at this size"]
    if side >= 16:
        advice.append(f"or a region of about {side} x {side} px at this rate")
    if able_bf16 and (engine.precision or engines.REFERENCE) == "fp32":
        advice.append("or `engine: {precision: bf16}`: this CPU has bf16, about half the time")
    return [*advice, "or a lighter model, an idle machine with more cores, or a GPU"]
