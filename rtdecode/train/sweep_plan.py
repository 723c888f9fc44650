"""A sweep of trainings as YAML: one configuration, and what changes in it, expanded to named configurations."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rtdecode.core.errors import ConfigError
from rtdecode.core.yaml_files import KeyPath, StrictModel, key_lines, load_yaml, validate
from rtdecode.fit.bundle import ModelBundle
from rtdecode.train.config import TrainingConfig
from rtdecode.train.loop import load_training, start_beside
from rtdecode.train.score import Plan

Changes = dict[str, Any]  # dotted key of a training's configuration -> value
FORMAT = 1  # of what a key is made of
_PATHS = ("psf", "start_from")
_NO_MATTER = {"name", "description", "device", "compile", "simulation_threads", "checkpoint_every", "report_every",
              "page_every"}  # fmt: skip


class JudgeConfig(StrictModel):
    """How much each model is judged on at the end, with `rtdecode evaluate`'s conditions: the same for all."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the usual frames
    seed: Annotated[int, Field(ge=0)] = 0

    def plan(self) -> Plan:
        """For `evaluate_bundle`."""
        usual = Plan()

        def part(n: int) -> int:
            return max(4, round(n * self.share))

        frames = {density: part(n) for density, n in usual.frames.items()}
        return Plan(frames, part(usual.isolated), part(usual.empty), self.seed)


class NamedChanges(StrictModel):
    """One training of the list."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    changes: Changes = Field(default_factory=dict)


class SweepPlan(StrictModel):
    """Each of `trainings` (or the base alone) with every combination of `grid`. Paths are relative to the file."""

    base: Path
    trainings: tuple[NamedChanges, ...] = ()
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    judge: JudgeConfig = JudgeConfig()


@dataclass(frozen=True, slots=True)
class Variant:
    """One training of a sweep, valid and with absolute paths."""

    config: TrainingConfig
    changes: Changes
    key: str  # of all that decides the weights

    @property
    def folder(self) -> str:
        """Its name below the sweep's; a changed configuration never meets an older one's files."""
        return f"{self.config.name}-{self.key[:8]}"


def load_sweep(path: Path) -> tuple[SweepPlan, list[Variant]]:
    """Read and expand a plan; raises ConfigError with file and line where a change fits no training."""
    plan, lines = load_yaml(path, SweepPlan), key_lines(path)
    base = load_training(path.parent / plan.base)
    variants: dict[str, Variant] = {}
    names: set[str] = set()
    for words, changes, places in _combinations(plan):
        known = {_parts(key): lines[place] for key, place in places.items() if place in lines}
        variant = _variant(base, words, changes, path, known)
        if (same := variants.get(variant.key)) is not None:
            raise ConfigError(f"{path}: {same.config.name} and {variant.config.name} are the same training; drop one")
        if variant.config.name in names:
            raise ConfigError(f"{path}: two trainings have the name {variant.config.name}; name them in `trainings`")
        names.add(variant.config.name)
        variants[variant.key] = variant
    return plan, list(variants.values())


def key_of(config: TrainingConfig) -> str:
    """sha256 of everything that decides the weights: the configuration, the PSF's bytes, the bundle to start from."""
    fields = config.model_dump(mode="json", exclude=_NO_MATTER | set(_PATHS))
    start = None if config.start_from is None else ModelBundle.load(config.start_from).sha256
    try:
        psf = hashlib.sha256(config.psf.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{config.psf}: the PSF of {config.name} cannot be read: {error.strerror}") from error
    text = json.dumps([FORMAT, fields, psf, start], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _combinations(plan: SweepPlan) -> Iterator[tuple[list[str], Changes, dict[str, KeyPath]]]:
    """(words of the name, changes, where in the plan each change stands) of every training."""
    axes = [[(key, i, value) for i, value in enumerate(values)] for key, values in plan.grid.items()]
    for number, one in enumerate(plan.trainings or (None,)):
        for point in itertools.product(*axes):
            words = [] if one is None else [one.name]
            changes: Changes = {} if one is None else dict(one.changes)
            places: dict[str, KeyPath] = {key: ("trainings", number, "changes", key) for key in changes}
            for key, i, value in point:
                words.append(_word(key, value))
                changes[key], places[key] = value, ("grid", key, i)
            yield words, changes, places


def _variant(
    base: TrainingConfig, words: list[str], changes: Changes, path: Path, known: dict[KeyPath, int]
) -> Variant:
    fields = copy.deepcopy(base.model_dump(mode="json"))
    fields["name"] = "-".join([base.name, *words])
    for key, value in changes.items():
        if key == "name":
            raise ConfigError(f"{path}: key 'name' cannot be swept; give `trainings` names")
        _put(fields, _parts(key), _absolute(path, key, value))
    lines = {at[:n]: line for at, line in known.items() for n in range(1, len(at) + 1)} | known
    config = validate(fields, TrainingConfig, str(path), lines)
    return Variant(config, changes, key_of(config))


def _absolute(path: Path, key: str, value: Any) -> Any:
    if key == "psf":
        return str((path.parent / str(value)).resolve())
    return str(start_beside(path, Path(str(value)))) if key == "start_from" and value is not None else value


def _put(fields: dict[str, Any], parts: KeyPath, value: Any) -> None:
    """A mapping that is not there yet, such as an effect that the base leaves out, is made."""
    for part in parts[:-1]:
        if not isinstance(fields.get(str(part)), dict):
            fields[str(part)] = {}
        fields = fields[str(part)]
    fields[str(parts[-1])] = value


def _parts(key: str) -> KeyPath:
    return tuple(key.split("."))


def _word(key: str, value: Any) -> str:
    """`optimiser.learning_rate`, 0.002 -> learning-rate-0-002."""
    text = f"{key.rpartition('.')[2]}-{json.dumps(value) if not isinstance(value, str) else value}"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
