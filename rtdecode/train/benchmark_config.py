"""What `rtdecode benchmark-accuracy` simulates and whom it judges, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from rtdecode.core.config import EngineConfig
from rtdecode.core.yaml_files import StrictModel, load_yaml
from rtdecode.fit.bundle import CARD
from rtdecode.physics.judge_scenes import BackgroundConfig, SceneConfig

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Several = Field(min_length=1)


class DensityConfig(StrictModel):
    """A movie of the scene."""

    per_um2: Positive  # emitters per um² of the field and frame
    frames: Count


class SignalConfig(StrictModel):
    """The scene at each pair of brightness and background."""

    per_um2: Positive = 0.3
    frames: Count = 100
    photons_mean: Annotated[tuple[Positive, ...], Several] = (1000.0, 3000.0, 10000.0)
    background: Annotated[tuple[Positive, ...], Several] = (40.0, 80.0, 160.0)


class IsolatedConfig(StrictModel):
    """Emitters alone in the field for one whole frame."""

    photons: Annotated[tuple[Positive, ...], Several] = (1000.0, 2000.0, 5000.0, 10000.0, 20000.0)
    emitters: Count = 600  # of each brightness
    z_nm: tuple[float, float] = (-600.0, 600.0)
    background: BackgroundConfig = BackgroundConfig(level=90.0, gradient=0.0, blobs=0, fade=0.0)


class GridConfig(StrictModel):
    """Emitters at independent uniform places, each for one frame."""

    densities: Annotated[tuple[Positive, ...], Several] = (0.2, 1.0)
    localizations: Count = 6000  # emitters in all frames together, at each density


class BenchmarkConfig(StrictModel):
    """A benchmark: the same configuration gives the same movies for every model with the same PSF and camera."""

    models: tuple[str, ...] = ()
    floor: bool = True
    engine: EngineConfig = EngineConfig()
    scene: SceneConfig = SceneConfig()
    densities: Annotated[tuple[DensityConfig, ...], Several]
    signal: SignalConfig = SignalConfig()
    isolated: IsolatedConfig = IsolatedConfig()
    grid: GridConfig = GridConfig()
    lowest_probability: Annotated[float, Field(gt=0, le=1)] = 0.1
    seed: Annotated[int, Field(ge=0)] = 40


def load_benchmark(path: Path) -> BenchmarkConfig:
    """Read a benchmark's configuration; models that are folders beside it become absolute. Raises ConfigError."""
    config = load_yaml(path, BenchmarkConfig)
    beside = {name: (path.parent / name).resolve() for name in config.models}
    models = tuple(str(beside[name]) if (beside[name] / CARD).is_file() else name for name in config.models)
    return config.model_copy(update={"models": models})


def scaled(config: BenchmarkConfig, share: float) -> BenchmarkConfig:
    """The same benchmark on `share` of the frames and emitters, at least 4 of each."""

    def part(n: int) -> int:
        return max(4, round(n * share))

    densities = tuple(d.model_copy(update={"frames": part(d.frames)}) for d in config.densities)
    signal = config.signal.model_copy(update={"frames": part(config.signal.frames)})
    isolated = config.isolated.model_copy(update={"emitters": part(config.isolated.emitters)})
    grid = config.grid.model_copy(update={"localizations": part(config.grid.localizations)})
    parts = {"densities": densities, "signal": signal, "isolated": isolated, "grid": grid}
    return config.model_copy(update=parts)
