"""DECODE's param_run.yaml in our terms: camera, scaling, layout, training ranges; x and y swapped once, here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rtdecode.core.camera import Camera
from rtdecode.core.errors import ConfigError
from rtdecode.core.yaml_files import load_yaml
from rtdecode.fit.bundle import DetectionThresholds, TrainingRanges
from rtdecode.fit.scaling import Scaling

DECODE_DETECTION = DetectionThresholds(peak=0.1, accept=0.1, split=0.6, readout="peak")
"""Of DECODE's fitting notebook (decode-method §6.2); its training validated with 0.5."""

Pair = tuple[float, float]


class _Foreign(BaseModel):
    """DECODE's keys that we need; it has many more, which are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _DecodeCamera(_Foreign):
    """Its chain is ours (decode-method §4.5); `px_size` begins with the rows, which DECODE calls x."""

    baseline: float
    e_per_adu: float
    em_gain: float | None
    px_size: Pair
    qe: float
    read_sigma: float
    spur_noise: float
    convert2photons: Literal[True] = True
    mirror_dim: int | list[int] | None = None


class _Architecture(_Foreign):
    """The one network that we can take over: SigmaMUNet as released (decode-method §1.1)."""

    activation: Literal["ELU", "ReLU"] = "ELU"
    depth_shared: Literal[2] = 2
    depth_union: Literal[2] = 2
    norm: None = None
    norm_head: None = None
    pool_mode: Literal["StrideConv"] = "StrideConv"
    upsample_mode: Literal["nearest"] = "nearest"
    use_last_nl: None = None


class _HyperParameter(_Foreign):
    architecture: Literal["SigmaMUNet"] = "SigmaMUNet"
    arch_param: _Architecture = _Architecture()
    channels_in: Literal[3] = 3
    disabled_attributes: int | list[int] | None = None  # 3: z is not asked for, the model is 2D
    emitter_label_photon_min: float = 100.0


class _DecodeScaling(_Foreign):
    """Filled in by DECODE when its training begins."""

    input_offset: float
    input_scale: float
    phot_max: float
    z_max: float
    bg_max: float


class _Simulation(_Foreign):
    bg_uniform: float | Pair
    emitter_extent: tuple[Pair, Pair, Pair]
    intensity_mu_sig: Pair
    density: float | None = None  # per px² and frame; or emitter_av per frame
    emitter_av: float | None = None


class DecodeRun(_Foreign):
    """param_run.yaml as far as a bundle needs it."""

    camera: Annotated[_DecodeCamera, Field(alias="Camera")]
    hyper_parameter: Annotated[_HyperParameter, Field(alias="HyperParameter")]
    scaling: Annotated[_DecodeScaling, Field(alias="Scaling")]
    simulation: Annotated[_Simulation, Field(alias="Simulation")]

    @property
    def activation(self) -> Literal["elu", "relu"]:
        """In the words of NetworkConfig."""
        return "elu" if self.hyper_parameter.arch_param.activation == "ELU" else "relu"

    @property
    def tells_z(self) -> bool:
        """False for a model that was trained with z disabled."""
        return self.hyper_parameter.disabled_attributes in (None, [])

    @property
    def our_camera(self) -> Camera:
        """Pixel sizes as (x, y), x along the columns; raises pydantic's ValidationError."""
        rows_nm, columns_nm = self.camera.px_size
        return Camera(
            px_nm=(columns_nm, rows_nm),
            baseline_adu=self.camera.baseline,
            e_per_adu=self.camera.e_per_adu,
            read_noise_e=self.camera.read_sigma,
            qe=self.camera.qe,
            em_gain=self.camera.em_gain,
            spurious_e=self.camera.spur_noise,
        )

    @property
    def our_scaling(self) -> Scaling:
        """The five numbers by our names; raises pydantic's ValidationError."""
        given = self.scaling
        return Scaling(
            input_offset=given.input_offset,
            input_scale=given.input_scale,
            photons_max=given.phot_max,
            z_max_nm=given.z_max,
            background_max=given.bg_max,
        )

    @property
    def ranges(self) -> TrainingRanges:
        """What DECODE simulated; photons up to two standard deviations above their mean, as our own trainings state."""
        simulation = self.simulation
        mean, sd = simulation.intensity_mu_sig
        level = simulation.bg_uniform
        return TrainingRanges(
            photons=(self.hyper_parameter.emitter_label_photon_min, mean + 2 * sd),
            background=level if isinstance(level, tuple) else (level, level),
            density_per_um2=(0.0, self._density_um2()),
            z_nm=simulation.emitter_extent[2],
        )

    def _density_um2(self) -> float:
        simulation = self.simulation
        (x0, x1), (y0, y1), _ = simulation.emitter_extent
        per_px2 = simulation.density
        if per_px2 is None:
            per_px2 = (simulation.emitter_av or 0.0) / ((x1 - x0) * (y1 - y0))
        return per_px2 / (self.camera.px_size[0] * self.camera.px_size[1] / 1e6)


def read_decode_run(path: Path) -> DecodeRun:
    """Read and check DECODE's param_run.yaml; raises ConfigError with file, line, key.

    Refused: keys missing or empty (the file that a user gave to DECODE lacks what DECODE fills in), another
    architecture than the released one, mirrored frames, disabled attributes other than z, no density.
    """
    try:
        run = load_yaml(path, DecodeRun)
    except ConfigError as error:
        raise ConfigError(f"{error}\n{path} must be the param_run.yaml that DECODE wrote beside its model") from error
    _check_taken(run, path)
    if (run.simulation.density is None) == (run.simulation.emitter_av is None):
        raise ConfigError(f"{path}: key 'Simulation': expected exactly one of density and emitter_av")
    try:
        _ = run.our_camera, run.our_scaling
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']} (found {fault['input']})" for fault in error.errors())
        raise ConfigError(f"{path}: Camera or Scaling has impossible values: {faults}{_advice(run)}") from error
    return run


def _check_taken(run: DecodeRun, path: Path) -> None:
    """What DECODE does beyond the network, and we do not."""
    if run.camera.mirror_dim not in (None, []):
        raise ConfigError(
            f"{path}: key 'Camera.mirror_dim' is {run.camera.mirror_dim}: DECODE mirrors each frame before it fits it, "
            "rtdecode fits frames as they come. The weights do not depend on it: set it to null in a copy of the file, "
            "and mirror the recordings, or the camera's images where they are taken"
        )
    if run.hyper_parameter.disabled_attributes not in (None, [], 3, [3]):
        raise ConfigError(
            f"{path}: key 'HyperParameter.disabled_attributes' is {run.hyper_parameter.disabled_attributes}; taken "
            "over is 3 (z not asked for, 2D) or nothing: without photons, x or y there is no localization"
        )


def _advice(run: DecodeRun) -> str:
    gain = run.camera.em_gain
    return "; em_gain is empty (null) for a camera without multiplication" if gain is not None and gain <= 1 else ""
