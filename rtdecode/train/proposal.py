"""From the estimate of a recording to a training: ranges with stated margins, scaling, and the configuration's text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from rtdecode.analysis.estimated import Estimate
from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.fit.scaling import Scaling
from rtdecode.physics.camera import CameraVariation

Pair = tuple[float, float]
SPARE = 0.25  # of each end of the background
_ITERATIONS = 11_000
_START = "astigmatic-light"  # shipped; its body reads spots that tell z, its heads are trained anew


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a training covers; the reason for each margin is in the text of the configuration."""

    density_um2: Pair
    photons_mean: float
    photons_sd: float
    photons: Pair
    z_nm: Pair
    lifetime_frames: Pair
    background: Pair
    background_structure: float

    @classmethod
    def of(cls, found: Estimate) -> Ranges:
        """Wider than what was found: a network reads what lies within its training, and is wrong outside."""
        mean, sd = found.photons.full_frame, max(found.photons.sd, 0.3 * found.photons.full_frame)
        on_time = found.on_time_frames if math.isfinite(found.on_time_frames) else 1.0
        b = found.background
        low = min(b.over_space[0], b.over_time[0]) * (1 - SPARE)
        high = max(b.over_space[1], b.over_time[1]) * (1 + SPARE)
        return cls(
            density_um2=(0.0, _ceil(max(1.5 * found.density.busiest, 2 * found.density.mean, 0.5))),
            photons_mean=_round(mean),
            photons_sd=_round(sd),
            photons=(_round(max(mean / 10, 50.0)), _round(max(4 * mean, mean + 4 * sd))),
            z_nm=(math.floor(found.z.used_nm[0] / 10) * 10.0, math.ceil(found.z.used_nm[1] / 10) * 10.0)
            if found.z.tells
            else (-1.0, 1.0),
            lifetime_frames=(_round(max(0.5 * on_time, 0.3)), _round(2 * on_time)),
            background=(_round(max(low, 0.0)), _round(max(high, 1.0))),
            background_structure=_round(min(max(3 * b.structure, 0.25), 1.0)),
        )

    @property
    def scaling(self) -> Scaling:
        """DECODE's, with room for the brightest light of the range."""
        z_half_nm = max(abs(self.z_nm[0]), abs(self.z_nm[1]), 100.0)
        made = Scaling.from_ranges(self.photons_mean, self.photons_sd, self.background, z_half_nm)
        most = max(made.photons_max, 1.4 * self.photons[1])
        return made.model_copy(update={"photons_max": _round(most), "background_max": _round(1.4 * self.background[1])})


def training_yaml(
    found: Estimate,
    ranges: Ranges,
    camera: Camera,
    *,
    name: str,
    recording: str,
    psf: str,
    pixels: CameraVariation | None = None,
) -> str:
    """Text of a configuration for `rtdecode train`; `psf` is the path of the PSF file, relative to it.

    `pixels`: how those of the camera differ by its maps; without, an sCMOS has the usual differences, uncorrected.
    """
    b, p, d, z = found.background, found.photons, found.density, found.z
    known = camera.model_dump(mode="json", exclude_none=True)
    known.pop("maps", None)  # a bundle is for every camera of its kind
    doubts = "".join(f"#   - {sentence}\n" for sentence in found.doubts()) or "#   none\n"
    lines = [
        f"# Made by `rtdecode estimate` from {recording} ({found.frames} frames of "
        f"{found.shape_px[1]} x {found.shape_px[0]} px).",
        "#   rtdecode train train.yaml",
        "# Where the estimate is to be doubted:",
        doubts.rstrip("\n"),
        f"name: {name}",
        f"description: {_flow('For recordings like ' + recording + ', estimated by rtdecode.')}",
        *([f"start_from: {_START}  # a head start; without it the training begins from nothing"] if z.tells else []),
        f"psf: {_flow(psf)}",
        f"camera: {_flow(known)}",
        "",
        "network: {features: 32, stem: half, activation: silu, heads: shared, fine: 8}",
        f"scaling: {_flow(ranges.scaling.model_dump(mode='json'))}",
        "",
        "simulation:",
        "  shape_px: [48, 48]",
        f"  # found: mean {d.mean:.2g} per um2 and frame, busiest place {d.busiest:.2g}; up to 1.5 times that, "
        "at least 2 times the mean and 0.5",
        f"  density_um2: {_flow(ranges.density_um2)}",
        "  density_power: 1.6              # more sparse clips than dense ones: isolated emitters must be exact too",
        "  empty_share: 0.05               # clips with nothing in them",
        f"  # found: {p.full_frame:.0f} +- {p.sd:.0f} in a full frame; sd at least 0.3 of it; 0.4 of the emitters "
        "log-uniform from a tenth to 4 times",
        f"  photons: {{mean: {ranges.photons_mean:g}, sd: {ranges.photons_sd:g}, log_uniform_share: 0.4, "
        f"range: {_flow(ranges.photons)}}}",
        f"  # found: 5 to 95 % within {z.middle_nm[0]:.0f} to {z.middle_nm[1]:.0f} nm; 2 to 98 % and 15 % on either "
        "side, within the PSF" if z.tells else "  # the PSF tells no z",
        f"  z_nm: {_flow(ranges.z_nm)}",
        f"  # found: {found.on_time_frames:.2g} frames; from half to twice that"
        if math.isfinite(found.on_time_frames)
        else "  # not found: from 0.5 to 2 frames",
        f"  lifetime_frames: {_flow(ranges.lifetime_frames)}",
        f"  # found: {b.mean:.4g} photons per pixel, {b.over_time[0]:.4g} to {b.over_time[1]:.4g} over time, "
        f"{b.over_space[0]:.4g} to {b.over_space[1]:.4g} over space; {SPARE:.0%} beyond",
        f"  background: {_flow(ranges.background)}",
        f"  # found: relative sd over space {b.structure:.2g}; swing of 3 times that, at least 0.25",
        f"  background_structure: {ranges.background_structure:g}",
        "  background_texture: {swing: 0.2}  # rougher, of several scales; and light far out of focus",
        "  background_blobs: {}",
        "  margin_px: 18                   # emitters beyond the rim",
        *_wrongness(z.tells, camera, pixels),
        "",
        "batch: {clips: 8, frames: 5}      # 24 supervised frames a step",
        *([] if z.tells else ["loss: {cross_entropy: 0.5, axis_weights: [1.0, 1.0, 1.0, 0.0]}  # photons, x, y, z"]),
        "optimiser: {learning_rate: 1.5e-3, weight_decay: 0.01, warmup_iterations: 300, clip_norm: 1.0, "
        f"{'' if z.tells else 'skip_norm: 5000, '}ema_decay: 0.999}}",
        f"iterations: {_ITERATIONS}",
        f"min_photons: {min(100.0, _round(0.3 * ranges.photons_mean)):g}  # dimmer ones are not asked for",
        "seed: 1",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def pixels_of(camera: Camera, maps: CameraMaps) -> CameraVariation:
    """How the pixels of maps (H, W) differ; robust, since the hot ones have a share of their own."""
    baseline, gain = (_spread(values) for values in (maps.baseline_adu, maps.e_per_adu / np.median(maps.e_per_adu)))
    read = np.log(np.maximum(maps.read_noise_e, 1e-3) / max(camera.read_noise_e, 1e-3))
    usual = min(_spread(read), 0.5)
    hot = float(np.mean(read - np.median(read) > max(4 * usual, math.log(2))))
    return CameraVariation(
        baseline_sd_adu=_round(baseline), e_per_adu_sd=_round(min(gain, 0.2)), read_noise_sd=_round(usual),
        hot_share=_round(hot), corrected=True,
    )  # fmt: skip


def _spread(values: NDArray[np.floating]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _wrongness(tells_z: bool, camera: Camera, pixels: CameraVariation | None) -> list[str]:
    """PSFs and pixels that are slightly wrong, so that a model survives a calibration that is."""
    jitter = "{blur_px: 0.2, lateral_scale: 0.02, z_scale: 0.02}" if tells_z else "{blur_px: 0.4, lateral_scale: 0.15}"
    lines = [f"  psf_jitter: {jitter}  # each clip's PSF a little wrong"]
    if pixels is not None:
        given = _flow(pixels.model_dump(mode="json", exclude={"hot_times"}))
        lines.append(f"  camera_variation: {given}  # by the camera's maps, which a run must have, too")
    elif camera.em_gain is None:
        lines.append("  camera_variation: {corrected: false}  # pixels of an sCMOS differ, and no maps were given")
    return lines


def _flow(value: Any) -> str:
    """One line of YAML."""
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _round(value: float) -> float:
    return float(f"{value:.2g}") if value < 10_000 else float(f"{value:.3g}")


def _ceil(value: float) -> float:
    return math.ceil(value * 10) / 10
