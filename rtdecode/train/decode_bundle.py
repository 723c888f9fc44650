"""A network that DECODE trained, as a bundle like any other."""

from __future__ import annotations

from pathlib import Path

from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.decode_configuration import DECODE_DETECTION, DecodeRun
from rtdecode.fit.export import export_bundle
from rtdecode.fit.network import Network
from rtdecode.physics.psf import load_psf
from rtdecode.train.finish import RECOMMENDED


def bundle_of_decode(
    network: Network, run: DecodeRun, param_run: Path, folder: Path, psf: Path | None = None
) -> ModelBundle:
    """Export it with DECODE's camera, scaling, ranges and thresholds; `train.yaml` is DECODE's own file.

    Raises BundleError (folder taken), EngineError (graph differs from the network), CalibrationError (no PSF file).
    """
    summary = load_psf(psf).summary() if psf is not None else {}
    return export_bundle(
        folder,
        network,
        name=folder.name,
        description=f"Trained with DECODE, {network.config.features} features; imported from its param_run.yaml.",
        camera=run.our_camera,
        scaling=run.our_scaling,
        ranges=run.ranges,
        train_yaml=f"# DECODE's param_run.yaml as it was, in DECODE's terms\n{param_run.read_text(encoding='utf-8')}",
        psf_path=psf,
        psf_summary=summary,
        detection=DECODE_DETECTION,
        recommended_filter=RECOMMENDED,
    )
