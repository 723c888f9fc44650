"""The family of networks whose front is sought: base training, recipe, budgets, judge, as one YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rtdecode.core.yaml_files import StrictModel, load_yaml
from rtdecode.fit.layout import NetworkConfig
from rtdecode.train.config import OptimiserConfig, TrainingConfig
from rtdecode.train.loop import load_training

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
BudgetName = Literal["iterations", "wall-clock"]


class Member(StrictModel):
    """One network. `s_per_iteration` was measured (`--measure`) and is written down, so that a re-run is the same."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    network: NetworkConfig
    s_per_iteration: Positive  # of CPU, one thread, simulation included
    optimiser: OptimiserConfig | None = None  # None: the recipe's


class Recipe(StrictModel):
    """What differs from the base training, for every network alike."""

    optimiser: OptimiserConfig
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: int = 1


class Budgets(StrictModel):
    """For a number of steps, and, where `seconds` is stated, once more for what one core does in this time."""

    iterations: Count
    seconds: Positive | None = None


class JudgeConfig(StrictModel):
    """Movies of `rtdecode evaluate`'s kind with other seeds: one set to choose a threshold on, one to judge."""

    frames: dict[float, Count] = Field(default={0.2: 700, 1.0: 200, 2.0: 125}, min_length=1)  # by density per um²
    choosing_density: Positive = 1.0  # per um², one of `frames`: short trainings state a lower p, each its own
    choosing_seed: Count = 4102
    judging_seed: Count = 4103
    peak: Share = 0.05  # short trainings spread p over neighbours; the same for all
    accepts: tuple[Share, ...] = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)

    @model_validator(mode="after")
    def _choosing_density_is_there(self) -> JudgeConfig:
        if self.choosing_density not in self.frames:
            has = ", ".join(f"{density:g}" for density in self.frames)
            raise ValueError(
                f"judge.choosing_density: {self.choosing_density:g} is not among `frames`, which has {has}"
            )
        return self


class SpeedConfig(StrictModel):
    """Frames a second of the default CPU engine: the best of `rounds` runs in turn, frames of sizes² pixels."""

    sizes_px: tuple[Count, ...] = (64, 128)
    seconds: Positive = 2.0
    rounds: Count = 3


class Family(StrictModel):
    """The file. Paths are relative to it."""

    base: Path
    recipe: Recipe
    budgets: Budgets
    judge: JudgeConfig = JudgeConfig()
    speed: SpeedConfig = SpeedConfig()
    networks: Annotated[tuple[Member, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Family:
        names = [member.name for member in self.networks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"networks: each needs its own name, found {', '.join(sorted(twice))} more than once")
        return self

    @property
    def budget_names(self) -> tuple[BudgetName, ...]:
        """The budgets that are stated."""
        return ("iterations",) if self.budgets.seconds is None else ("iterations", "wall-clock")

    def iterations(self, member: Member, budget: BudgetName) -> int:
        """Steps of one training; the cosine ends at zero with the last, so they must be known before the first."""
        if budget == "iterations" or self.budgets.seconds is None:
            return self.budgets.iterations
        return max(1, round(self.budgets.seconds / member.s_per_iteration))


@dataclass(frozen=True, slots=True)
class Run:
    """One training of one network; its folder's name tells both, so that equal runs of two budgets are one."""

    member: Member
    training: TrainingConfig

    @property
    def folder_name(self) -> str:
        return f"{self.member.name}-{self.training.iterations}"


def load_family(path: Path) -> Family:
    """Read the file; `base` becomes absolute. Raises ConfigError."""
    family = load_yaml(path, Family)
    return family.model_copy(update={"base": (path.parent / family.base).resolve()})


def run_of(family: Family, member: Member, budget: BudgetName) -> Run:
    """The base training with the recipe, this network and this number of iterations."""
    base = load_training(family.base)
    changed = {
        "name": member.name,
        "description": f"A short training of the network {member.name}, to compare networks; not for use.",
        "network": member.network,
        "optimiser": member.optimiser or family.recipe.optimiser,
        "precision": family.recipe.precision,
        "seed": family.recipe.seed,
        "iterations": family.iterations(member, budget),
    }
    return Run(member, base.model_copy(update=changed))
