"""The configuration of a training: everything that decides which weights come out, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from rtdecode.core.camera import Camera
from rtdecode.core.yaml_files import StrictModel
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.scaling import Scaling
from rtdecode.physics.simulate import SimulationConfig
from rtdecode.train.loss import LossConfig

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimiserConfig(StrictModel):
    """AdamW with warm-up and a cosine to zero; the gradient's norm is cut at `clip_norm`."""

    learning_rate: Positive = 1.5e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_iterations: Annotated[int, Field(ge=0)] = 300
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    clip_norm: Positive = 1.0
    skip_norm: Positive = 200.0  # after warm-up a step with a larger gradient is left out
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999


class BatchConfig(StrictModel):
    """One step: `shares` times `clips` of `frames` consecutive frames; the inner ones are supervised."""

    clips: Count = 8
    frames: Annotated[int, Field(ge=3)] = 5
    shares: Count | None = None  # dealt to the processes of torchrun; None: one for each


class TrainingConfig(StrictModel):
    """A training from nothing to a bundle. Paths are relative to the file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    description: str
    psf: Path
    start_from: Path | None = None  # folder or shipped name of a bundle of this network: its weights are the start
    camera: Camera
    network: NetworkConfig
    scaling: Scaling
    simulation: SimulationConfig
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    batch: BatchConfig = BatchConfig()
    iterations: Count
    seed: int = 1
    min_photons: Annotated[float, Field(ge=0)] = 100.0  # dimmer emitters are rendered but not asked for
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"
    compile: bool = False  # torch.compile: a minute at the start, fewer kernels on a GPU
    simulation_threads: Count = 1  # that simulate ahead; a GPU wants several
    checkpoint_every: Count = 500
    report_every: Count = 100  # iterations to a row of curve.csv
    calibration_share: Annotated[float, Field(ge=0, le=1)] = 1.0  # of the usual held-out clips at the end; 0: none
    page_every: Annotated[int, Field(ge=0)] = 5  # reports to a new progress page; 0: never

    @field_validator("camera")
    @classmethod
    def _has_no_maps(cls, camera: Camera) -> Camera:
        """A bundle is for every camera of its kind; the maps are those of one."""
        if camera.maps is not None:
            raise ValueError("a training takes no maps (they belong to a run); see simulation.camera_variation")
        return camera
