"""From a configuration to a run's record: everything filled in and checked before anything is started."""

from __future__ import annotations

from pathlib import Path

from rtdecode.core import plugins
from rtdecode.core.config import RunConfig
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import check_camera
from rtdecode.sources import BUILT_IN
from rtdecode.sources.replay import ReplaySource
from rtdecode.stages.build import build_source
from rtdecode.stages.run_record import RunRecord, versions


def resolve(config: RunConfig, origin: str = "configuration") -> RunRecord:
    """Model found and verified, camera held against it, built-in source's keys checked, paths absolute.

    A user's own source or policy is not loaded here: the session runs no user code; its worker checks it
    before the camera is touched. Raises BundleError, CameraMismatch, ConfigError.
    """
    bundle = ModelBundle.load(config.model)
    camera = config.camera or bundle.camera
    check_camera(bundle.camera, camera, config.allow_camera_mismatch)
    here = Path.cwd()
    record = RunRecord(
        **config.model_dump(exclude={"source", "policies", "model", "camera", "out"}),
        source=plugins.absolute(config.source, here),
        policies=tuple(plugins.absolute(policy, here) for policy in config.policies),
        model=str(bundle.folder.resolve()),
        camera=camera,
        out=config.out.resolve(),
        origin=origin,
        camera_assumed=config.camera is None and not _is_simulated(config),
        model_name=bundle.name,
        model_sha256=bundle.sha256,
        versions=versions(),
    )
    if record.source.use in BUILT_IN:
        _check_source(record)
    return record


def _is_simulated(config: RunConfig) -> bool:
    """Such a source is given the run's camera and obeys it."""
    return config.source.use == "simulated" or config.source.fields.get("simulated") is not None


def _check_source(record: RunRecord) -> None:
    """Keys and values; and a recording is opened, so that what is refused leaves no run folder behind."""
    source = build_source(record, None)
    if isinstance(source, ReplaySource):
        try:
            source.open()
        finally:
            source.close()
