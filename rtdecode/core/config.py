"""The configuration of a run: source, model, camera, engine, ring, limits, policies; unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.core.camera import Camera
from rtdecode.core.yaml_files import StrictModel


class Plugin(BaseModel):
    """`use:` names a class (built-in name, `path/file.py:Class` or `package.module:Class`); the rest are its fields.

    The remaining keys are checked by the class itself when it is built (`core.plugins.build`).
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    use: str

    @property
    def fields(self) -> dict[str, Any]:
        """All keys but `use`."""
        return dict(self.model_extra or {})


class EngineConfig(StrictModel):
    """Which engine runs the bundle's graph. No fallback: what is named is used or refused.

    `use: auto`: TensorRT or torch on an NVIDIA GPU where one can be used, else OpenVINO; told when a run begins.
    """

    use: Literal["auto", "openvino", "onnxruntime", "torch", "tensorrt", "tensorrt-rtx", "torch-cuda"] = "openvino"
    precision: Literal["fp32", "bf16", "fp16", "int8"] | None = None  # None: bf16 where it is had and passes, else fp32
    allow_unchecked: bool = False  # run a reduced precision although the bundle has no PSF to check it with
    threads: Annotated[int, Field(ge=0, le=256)] = 0  # 0: the engine's own choice
    tile_px: Annotated[int, Field(ge=0)] | None = None  # largest side of a tile; None: large frames only; 0: never
    halo_px: Annotated[int, Field(ge=8)] | None = None  # overlap of tiles; None: as wide as makes seams exact


class DetectionConfig(StrictModel):
    """Thresholds of the detection (decode-method §6.2); None takes the bundle's own."""

    peak: Annotated[float, Field(gt=0, lt=1)] | None = None  # a pixel below this is never a candidate
    accept: Annotated[float, Field(gt=0, le=1)] | None = None  # a probability below this is dropped


class RingConfig(StrictModel):
    """Shared-memory ring between acquire and localize; its size is time, so that it means the same everywhere."""

    seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    max_mb: Annotated[float, Field(gt=0)] = 1024.0


class AllowedProperty(StrictModel):
    """One device property that policies may set, within limits."""

    device: str
    property: str
    minimum: float
    maximum: float

    @model_validator(mode="after")
    def _ordered(self) -> AllowedProperty:
        if self.minimum > self.maximum:
            raise ValueError(f"expected minimum <= maximum, found {self.minimum:g} > {self.maximum:g}")
        return self


class ControlConfig(StrictModel):
    """What may act on the microscope. `advise` (default): words only. `act`: Stop and the listed properties."""

    mode: Literal["advise", "act"] = "advise"
    allowed: tuple[AllowedProperty, ...] = ()


class LimitsConfig(StrictModel):
    """Bounds that the session holds by itself, whatever becomes of policies."""

    frames: Annotated[int, Field(gt=0)] | None = None  # stop after this many received frames
    minutes: Annotated[float, Field(gt=0)] | None = None
    restarts: Annotated[int, Field(ge=0, le=100)] = 5  # of a worker that died
    late_ms: Annotated[float, Field(gt=0)] = 1000.0  # a live frame logged later than this after arrival is marked late


class RunConfig(StrictModel):
    """Everything that defines a run; written as resolved to `run.yaml`."""

    source: Plugin
    model: str  # path of a bundle or name of a shipped one
    camera: Camera | None = None  # None: the bundle's own
    allow_camera_mismatch: bool = False
    engine: EngineConfig = EngineConfig()
    detection: DetectionConfig = DetectionConfig()
    ring: RingConfig = RingConfig()
    policies: tuple[Plugin, ...] = ()
    control: ControlConfig = ControlConfig()
    limits: LimitsConfig = LimitsConfig()
    record: bool = False  # keep the raw frames in the run folder
    check: bool = True  # hold what comes in against the model, in a process beside the line, and warn
    view: bool = False
    out: Path
