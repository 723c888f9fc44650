"""How often a stopping rule is wrong: Monte-Carlo over simulated localizations, against the true coverage.

    python tools/benchmark_stopping.py --runs 200              all scenes, about 20 minutes on one core
    python tools/benchmark_stopping.py --runs 20 --only drift  scenes whose name contains a word

Each run simulates localizations and hands them to the very policy class (plugins/density_stop.py:DensityStop), 500
frames at a time. `false` is the share of runs in which the rule stopped below the target coverage, with its 95 %
interval (Clopper-Pearson); `never` did not stop within the cap; `oracle` is the first frame at which the truth is at
the target. Plateau, Good-Turing and Chao1 see the same blinks in the same cells. Seeds are 0, 1, 2, ...: the same
table comes again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

sys.path.insert(0, str(Path(__file__).parents[1]))

from stopping_scenes import Movie, Scene, film

from plugins.density_stop import DensityStop
from rtdecode.analysis.blinks import BlinkCounter
from rtdecode.analysis.richness import RULES, Plateau
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations

TARGET = 0.95
FIXED = 30_000  # frames, what people take today
CAP = 60_000
CHUNK = 500
HOPELESS = "bleached before the target: should never stop"
FLICKER = "a pattern lit every 300 frames: should never stop"

SCENES: dict[str, Scene] = {
    **{
        f"spread {spread:g} background {share:.0%}": Scene(spread, share)
        for spread in (0.0, 0.35, 0.7)
        for share in (0.0, 0.1, 0.3)
    },
    "random cells, spread 0 background 0%": Scene(0.0, 0.0, "random"),
    "random cells, spread 0.7 background 0%": Scene(0.7, 0.0, "random"),
    "random cells, spread 0.7 background 30%": Scene(0.7, 0.3, "random"),
    "bleaching 20,000 frames, spread 0.35 background 10%": Scene(0.35, 0.1, bleach_frames=20_000),
    HOPELESS: Scene(0.7, 0.1, bleach_frames=8_000),
    "drift 10 nm, spread 0.35 background 10%": Scene(0.35, 0.1, drift_nm=10),
    "drift 20 nm, spread 0.35 background 10%": Scene(0.35, 0.1, drift_nm=20),
    "spread 1.0 background 10%": Scene(1.0, 0.1),
    "spread 1.2 background 10%": Scene(1.2, 0.1),
    "one molecule a cell, spread 0.35 background 10%": Scene(0.35, 0.1, sites=1),
    "sigma said 20% too small, spread 0.35 background 10%": Scene(0.35, 0.1, sigma_error=0.8),
    "sigma said 20% too large, spread 0.35 background 10%": Scene(0.35, 0.1, sigma_error=1.2),
    "small field (1,000 cells), spread 0.35 background 10%": Scene(0.35, 0.1, field_cells=128, structure_cells=1000),
    FLICKER: Scene(background=0.1, field_cells=128, structure_cells=1000, period=300),
}


@dataclass(frozen=True)
class Stopped:
    """Where a rule stopped: frame (None: never) and the true coverage there."""

    frame: int | None
    coverage: float


def main() -> None:
    """Run what is asked for, print a line for each scene and rule, write everything as JSON if asked."""
    options = _options()
    results = {}
    print(_HEAD, flush=True)
    for name, scene in SCENES.items():
        if options.only in name:
            begun = time.process_time()
            results[name] = rows = _scene(scene, options.runs, options.baselines)
            for row in rows:
                print(_line(name, row), flush=True)
            print(f"{'':58} {(time.process_time() - begun) / options.runs:.2f} s of CPU a run", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="for each scene")
    parser.add_argument("--only", default="", help="part of the scenes' names")
    parser.add_argument("--baselines", type=int, default=20, help="runs that the simple rules see, too")
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args()


def _scene(scene: Scene, runs: int, baselines: int) -> list[dict[str, Any]]:
    stops: dict[str, list[Stopped]] = {}
    oracles = []
    for seed in range(runs):
        movie = film(scene, CAP, seed)
        oracles.append(movie.oracle(TARGET))
        stops.setdefault("DensityStop", []).append(_density_stop(scene, movie))
        if seed < baselines:
            for name, stopped in _baselines(scene, movie).items():
                stops.setdefault(name, []).append(stopped)
    return [_row(name, found, float(np.median(oracles))) for name, found in stops.items()]


def _density_stop(scene: Scene, movie: Movie) -> Stopped:
    """Through the policy, as a run would; where it stopped is the frame its reason names."""
    policy = DensityStop(resolution_nm=scene.cell_nm, target=TARGET)
    for end, found in _chunks(movie.localizations):
        progress = Progress(end, 0, 0, end - 1, (scene.field_cells * scene.cell_nm) ** 2 / 1e6)
        if policy.update(found, progress):
            frame = int(policy.state()["frames"])
            return Stopped(frame, movie.coverage(frame))
    return Stopped(None, movie.coverage(CAP))


def _baselines(scene: Scene, movie: Movie) -> dict[str, Stopped]:
    blinks, plateau = BlinkCounter(scene.cell_nm), Plateau(2000, 0.02)
    stops: dict[str, Stopped] = {}
    for end, found in _chunks(movie.localizations):
        blinks.add(found)
        blinks.close_before(end)
        often = np.bincount(blinks.counts.ravel())
        said = {name: rule(often) >= TARGET for name, rule in RULES.items()}
        said["plateau"] = plateau.reached(end, int(often[1:].sum()))
        for name in [name for name, yes in said.items() if yes and name not in stops]:
            stops[name] = Stopped(end, movie.coverage(end))
    never = Stopped(None, movie.coverage(CAP))
    return {name: stops.get(name, never) for name in ("plateau", *RULES)}


def _chunks(localizations: Localizations) -> Iterator[tuple[int, Localizations]]:
    """(frames so far, the new localizations), CHUNK frames at a time."""
    ends, records = range(CHUNK, CAP + 1, CHUNK), localizations.records()
    bounds = np.searchsorted(localizations.frame_index, [0, *ends])
    for end, start, stop in zip(ends, bounds[:-1], bounds[1:], strict=True):
        yield end, Localizations.from_records(records[start:stop])


def _row(name: str, stops: list[Stopped], oracle: float) -> dict[str, Any]:
    frames = [stop.frame for stop in stops if stop.frame is not None]
    false = sum(stop.frame is not None and stop.coverage < TARGET for stop in stops)
    low, high = _interval(false, len(stops))
    return {
        "rule": name,
        "runs": len(stops),
        "false": false,
        "false_interval": [low, high],
        "never": len(stops) - len(frames),
        "median_frames": float(np.median(frames)) if frames else None,
        "median_oracle": oracle if np.isfinite(oracle) else None,
        "mean_coverage": _mean(stop.coverage for stop in stops if stop.frame is not None),
        "least_coverage": min((stop.coverage for stop in stops if stop.frame is not None), default=None),
    }


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return float(np.mean(found)) if found else None


def _interval(k: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson, 95 %."""
    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    return low, float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0


_HEAD = f"{'scene':58} {'rule':12} {'runs':>4} {'false stops':>20} {'never':>6} {'frames':>7} {'oracle':>7} " + (
    f"{'saved':>6} {'coverage':>9} {'least':>6}"
)


def _line(name: str, row: dict[str, Any]) -> str:
    n, (low, high) = row["runs"], row["false_interval"]
    false = f"{row['false'] / n:5.1%} ({low:.1%}-{high:.1%})"
    frames, oracle = row["median_frames"], row["median_oracle"]
    saved = f"{1 - frames / FIXED:6.0%}" if frames else f"{'--':>6}"
    return (
        f"{name:58} {row['rule']:12} {n:4} {false:>20} {row['never'] / n:6.1%} {_number(frames)} {_number(oracle)} "
        f"{saved} {_share(row['mean_coverage']):>9} {_share(row['least_coverage']):>6}"
    )


def _number(value: float | None) -> str:
    return f"{value:7.0f}" if value is not None else f"{'--':>7}"


def _share(value: float | None) -> str:
    return f"{value:.1%}" if value is not None else "--"


if __name__ == "__main__":
    main()
