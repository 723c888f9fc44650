"""The finishing step of a training: probabilities and sigmas measured on held-out scenes and corrected on the card."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.analysis.honesty import QUANTITIES, calibration_error, reliability
from rtdecode.core.config import EngineConfig
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.calibration import Calibration, ProbabilityMap
from rtdecode.train.calibration_maps import (
    Choice,
    OfSigma,
    choose_accept,
    corrections,
    mapped,
    of_sigma,
    probability_map,
    sigma_table,
)
from rtdecode.train.held_out import ALONE_PER_CLIP, CLIP_FRAMES, Seen, World, look_at

F8 = NDArray[np.float64]
Figures = dict[str, Any]
Report = Callable[[str], None]

DENSITIES = {0.1: 24, 0.2: 24, 0.5: 16, 1.0: 12, 2.0: 8, 3.0: 6}
"""Clips by density per um²; about as many localizations in each, fewer where they are crowded."""
ALONE, EMPTY = 75, 8  # clips
TO_FIT, TO_JUDGE = 1, 2  # seeds: figures are of scenes that the maps were not fitted to
PHOTON_STEPS = (500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0)


@dataclass(frozen=True, slots=True)
class Look:
    """What a bundle finds in all kinds of held-out scenes."""

    by_density: dict[float, Seen]
    alone: Seen
    empty: Seen

    @property
    def kinds(self) -> list[Seen]:
        """Those with something in them."""
        return [*self.by_density.values(), self.alone]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, the threshold that goes with it, and the figures for the card."""

    calibration: Calibration
    choice: Choice
    figures: Figures


def calibrate_bundle(
    bundle: ModelBundle, engine: EngineConfig = EngineConfig(), share: float = 1.0, report: Report = lambda _: None
) -> ModelBundle:
    """Measure the maps, choose `accept`, and write both on the bundle's card; one that stands there is replaced.

    Simulates `share` of the usual clips (a minute or two on one core) with the training's own simulation, without PSF
    jitter. Scores on the card were of other thresholds and go; `scores.calibration` comes. Raises BundleError,
    CalibrationError, ConfigError, EngineError.
    """
    began = time.monotonic()
    found = measured(bundle, engine, share, report)
    detection = bundle.detection.model_copy(update={"accept": found.choice.accept})
    figures = {**found.figures, "engine": engine.use, "seconds": round(time.monotonic() - began, 1)}
    return bundle.write_calibration(found.calibration, detection, {"calibration": figures})


def measured(bundle: ModelBundle, engine: EngineConfig, share: float, report: Report) -> Calibrated:
    """The calibration of a bundle; nothing is written."""
    world = World.of(bundle)
    to_fit = look(world, engine, TO_FIT, share, report)
    to_judge = look(world, engine, TO_JUDGE, share, report)
    probability = probability_map(to_fit.kinds)
    choice = choose_accept(to_judge.by_density, to_judge.empty, probability, bundle.detection.accept)
    report(f"accept {choice.accept:g}: {choice.reason}")
    table = sigma_table(list(to_fit.by_density.values()), to_fit.alone, probability, choice.accept)
    calibration = Calibration(probability=probability, sigma=table)
    return Calibrated(calibration, choice, figures_of(to_judge, calibration, choice))


def look(world: World, engine: EngineConfig, seed: int, share: float, report: Report) -> Look:
    """Clips at each density, emitters alone, and empty frames."""
    by_density = {}
    for density in world.densities(tuple(DENSITIES)):
        n = _part(DENSITIES.get(density, 12), share)
        report(f"{n * CLIP_FRAMES} held-out frames at {density:g} emitters per um²")
        by_density[density] = look_at(world.bundle, world.clips(density, n, seed), engine)
    n = _part(ALONE, share)
    report(f"{n * ALONE_PER_CLIP} emitters alone")
    alone = look_at(world.bundle, world.alone(n, seed), engine)
    return Look(by_density, alone, look_at(world.bundle, world.clips(0.0, _part(EMPTY, share), seed), engine))


def figures_of(seen: Look, calibration: Calibration, choice: Choice) -> Figures:
    """Plain numbers: reliability of p and z-score variances, before and after, and the threshold with its reason."""
    return {
        "accept": {
            "chosen": choice.accept,
            "reason": choice.reason,
            "empty_frames": len(seen.empty.frames),
            "by_density": {
                f"{d:g}": {"jaccard": s.jaccard, "precision": s.precision, "recall": s.recall}
                for d, s in choice.scores.items()
            },
        },
        "reliability": _reliabilities(seen, calibration.probability),
        "z_score_variance": _variances(seen, calibration, choice.accept),
    }


def _reliabilities(seen: Look, by: ProbabilityMap) -> Figures:
    stated = np.concatenate([s.judged.localizations.probability for s in seen.kinds])
    true = np.concatenate([s.true for s in seen.kinds])
    out: Figures = {}
    for name, values in (("before", stated), ("after", mapped(stated, by))):
        curve = reliability(values, true)
        out[name] = {"error": calibration_error(curve), "bins": curve}
    return out


def _variances(seen: Look, calibration: Calibration, accept: float) -> Figures:
    """By density, and of emitters alone by photons; of localizations that are accepted."""
    out: Figures = {"by_density": {}, "alone_by_photons": []}
    for density, one in seen.by_density.items():
        pairs = of_sigma(one, calibration.probability, accept)
        out["by_density"][f"{density:g}"] = _before_and_after(pairs, calibration)
    pairs = of_sigma(seen.alone, calibration.probability, accept)
    for low, high in pairwise(PHOTON_STEPS):
        here = (pairs.photons >= low) & (pairs.photons < high)
        if here.any():
            part = {"from": low, "to": high, **_before_and_after(pairs[here], calibration)}
            out["alone_by_photons"].append(part)
    return out


def _before_and_after(pairs: OfSigma, calibration: Calibration) -> Figures:
    after = pairs.z_score / corrections(calibration.sigma, pairs.signal, pairs.crowding)
    figures = {"before": pairs.z_score, "after": after}
    return {"n": len(after)} | {name: _variance(values) for name, values in figures.items()}


def _variance(z_scores: F8) -> dict[str, float | None]:
    if not len(z_scores):
        return dict.fromkeys(QUANTITIES)
    return dict(zip(QUANTITIES, z_scores.var(axis=0).round(4).tolist(), strict=True))


def _part(n: int, share: float) -> int:
    return max(1, round(n * share))
