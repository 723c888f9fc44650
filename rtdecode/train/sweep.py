"""One training of a sweep from its configuration to its figures, in any process: resumable, and never made twice."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import BundleError, RtdecodeError, TrainingError
from rtdecode.core.yaml_files import validate
from rtdecode.fit.bundle import ModelBundle
from rtdecode.streams.files import try_lock, write_atomically
from rtdecode.train.calibration import calibrate_bundle
from rtdecode.train.calibration_page import PAGE, draw_calibration
from rtdecode.train.config import TrainingConfig
from rtdecode.train.finish import make_bundle
from rtdecode.train.loop import CHECKPOINT, CURVE, load_training, train
from rtdecode.train.ranks import ALONE
from rtdecode.train.score import evaluate_bundle
from rtdecode.train.sweep_plan import JudgeConfig, key_of

SUMMARY, CLAIM, BUNDLE = "summary.json", "training.json", "bundle"
Summary = dict[str, Any]


def train_one(
    config: TrainingConfig | Path | dict[str, Any], out: Path, judge: JudgeConfig = JudgeConfig(), threads: int = 0
) -> Summary:
    """Train, bundle, calibrate and judge one configuration in the folder `out`; its figures, also in summary.json.

    Goes on where an earlier call was cut short; what is there already is not made again (known by content, see
    `key_of`). A mapping's paths must be absolute. `threads`: of torch and the engine; 0: their own choice. Raises
    TrainingError where `out` holds another training or another process is at it, and what its steps raise.
    """
    training = _as_config(config)
    key = key_of(training)
    out.mkdir(parents=True, exist_ok=True)
    with _alone_in(out):
        held = finished(out, key, judge)
        if held is not None:
            return held
        if threads:
            torch.set_num_threads(threads)
        engine = EngineConfig(threads=threads)
        bundle, seconds = _bundle(training, out, key, engine)
        scores = evaluate_bundle(bundle, engine, judge.plan())
        summary = _summary(training, key, judge, bundle, scores)
        summary |= {"seconds": round(seconds, 1), "threads": threads, "validation": _last_validation(out)}
        write_atomically(out / SUMMARY, json.dumps(summary, indent=1, allow_nan=False))
    return summary


def finished(out: Path, key: str, judge: JudgeConfig) -> Summary | None:
    """The figures in `out` if they are of this training and judged like this."""
    held = _read(out / SUMMARY)
    return held if (held.get("key"), held.get("judge")) == (key, judge.model_dump()) else None


def _as_config(config: TrainingConfig | Path | dict[str, Any]) -> TrainingConfig:
    if isinstance(config, Path):
        return load_training(config)
    return validate(config, TrainingConfig, "training of a sweep") if isinstance(config, dict) else config


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    with (out / "lock").open("a") as file:
        if not try_lock(file.fileno()):
            raise TrainingError(f"{out}: another process trains here; wait for it, or end it first")
        yield


def _bundle(training: TrainingConfig, out: Path, key: str, engine: EngineConfig) -> tuple[ModelBundle, float]:
    """The calibrated bundle in `out`, made if need be, and the seconds that its training took."""
    claim = _claim(out, key)
    if claim.get("bundle") is not None:
        try:
            made = ModelBundle.load(out / BUNDLE)
            if made.sha256 == claim["bundle"]:
                return made, float(claim["seconds"])
        except BundleError:
            pass  # damaged since: the checkpoint makes it again
    state = train(training, out)
    training = ALONE.resolved(training)  # the bundle tells how many shares there were
    made = make_bundle(training, out, out / BUNDLE, overwrite=True)
    if training.calibration_share > 0:
        made = calibrate_bundle(made, engine, training.calibration_share)
        draw_calibration(out / PAGE, made.name, made.card.scores["calibration"])
    claim = {"key": key, "bundle": made.sha256, "seconds": state.seconds}
    write_atomically(out / CLAIM, json.dumps(claim))
    return made, state.seconds


def _claim(out: Path, key: str) -> dict[str, Any]:
    """What `out` says of its training, after it was checked to be this one; an empty folder becomes this one's."""
    held = _read(out / CLAIM)
    if not held and (out / CHECKPOINT).exists():
        raise TrainingError(f"{out}: holds a training that no sweep began; choose another folder")
    if held.get("key", key) != key:
        raise TrainingError(f"{out}: holds another training (its configuration or PSF differs); choose another folder")
    if not held:
        write_atomically(out / CLAIM, json.dumps({"key": key}))
    return held


def _read(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _summary(
    training: TrainingConfig, key: str, judge: JudgeConfig, bundle: ModelBundle, scores: dict[str, Any]
) -> Summary:
    kept = ("jaccard", "precision", "recall", "rmse_lateral_nm", "rmse_axial_nm", "efficiency_lateral", "efficiency_3d")
    by_density = scores["density_per_um2"].items()
    return {
        "name": training.name,
        "key": key,
        "judge": judge.model_dump(),
        "iterations": training.iterations,
        "bundle": bundle.sha256,
        "accept": bundle.detection.accept,
        "density_per_um2": {density: {name: one.get(name) for name in kept} for density, one in by_density},
        "conditions": scores["conditions"],
    }


def _last_validation(out: Path) -> float | None:
    """The curve's last; a training shorter than one report has none."""
    try:
        rows = list(csv.DictReader((out / CURVE).read_text(encoding="utf-8").splitlines()))
    except OSError:
        return None
    return float(rows[-1]["validation"]) if rows else None


def main(arguments: list[str]) -> int:
    """`python -m rtdecode.train.sweep CONFIG OUT JUDGE-AS-JSON THREADS`, a process of `rtdecode sweep`."""
    config, out, judge, threads = arguments
    try:
        train_one(Path(config), Path(out), JudgeConfig.model_validate_json(judge), int(threads))
    except RtdecodeError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
