"""From a training's averaged weights to a bundle that can be mailed."""

from __future__ import annotations

from pathlib import Path

from rtdecode.fit.bundle import DetectionThresholds, ModelBundle, RecommendedFilter, TrainingRanges
from rtdecode.fit.export import export_bundle
from rtdecode.physics.psf import load_psf
from rtdecode.train.config import TrainingConfig
from rtdecode.train.loop import averaged_network

RECOMMENDED = RecommendedFilter(sigma_xy_max_nm=40.0, sigma_z_max_nm=80.0)
"""The filter of DECODE's fitting notebook (decode-method §6.3)."""

RECOMMENDED_2D = RecommendedFilter(sigma_xy_max_nm=40.0)
"""The same where no sigma of z is stated."""

DETECTION = DetectionThresholds(peak=0.1, accept=0.42, readout="fused")
"""Chosen on simulated movies of `evaluate`'s kind and other seeds, for precision above 0.95 up to 2 emitters per um²
(at 0.3 Jaccard is 4 points higher, precision 0.90 at 2 per um²). Until a calibration chooses `accept` anew.
"""


def make_bundle(config: TrainingConfig, training: Path, folder: Path, overwrite: bool = False) -> ModelBundle:
    """Export the newest checkpoint in `training`; the graph is held against torch. Scores come from `evaluate`.

    `train.yaml` of the bundle is the configuration as resolved, the training's iteration in its description.
    """
    network, iteration = averaged_network(config, training)
    psf = load_psf(config.psf)
    return export_bundle(
        folder,
        network,
        name=config.name,
        description=f"{config.description} Trained {iteration} of {config.iterations} iterations, seed {config.seed}.",
        camera=config.camera,
        scaling=config.scaling,
        ranges=training_ranges(config),
        train_yaml=config_as_yaml(config),
        psf_path=config.psf,
        psf_summary=psf.summary(),
        detection=DETECTION,
        recommended_filter=RECOMMENDED if psf.tells_z else RECOMMENDED_2D,
        overwrite=overwrite,
    )


def training_ranges(config: TrainingConfig) -> TrainingRanges:
    """What the network saw, read off its simulation: photons to two standard deviations or the wide part's end."""
    simulation, photons = config.simulation, config.simulation.photons
    high = photons.mean + 2 * photons.sd
    if photons.log_uniform_share > 0:
        high = max(high, photons.range[1])
    low_bg, high_bg = simulation.background
    texture, blobs = simulation.background_texture, simulation.background_blobs
    swing = min(1.0, simulation.background_structure + (texture.swing if texture is not None else 0.0))
    glow = blobs.height[1] if blobs is not None else 0.0
    return TrainingRanges(
        photons=(config.min_photons, high),
        background=(low_bg * (1 - swing), high_bg * (1 + swing + glow)),
        density_per_um2=(0.0, simulation.density_um2[1]),
        z_nm=simulation.z_nm,
    )


def config_as_yaml(config: TrainingConfig) -> str:
    """The configuration as resolved; the PSF's path is the bundle's own copy, a start is named by its identity."""
    import yaml

    fields = config.model_dump(mode="json") | {"psf": "psf.safetensors"}
    if config.start_from is not None:
        fields["start_from"] = f"bundle-{ModelBundle.load(config.start_from).sha256[:12]}"
    return str(yaml.safe_dump(fields, sort_keys=False))
