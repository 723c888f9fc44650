"""From a configuration to a run's record: everything filled in and checked before anything is started."""

from __future__ import annotations

from pathlib import Path

from rtdecode.core import plugins
from rtdecode.core.config import RunConfig
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import check_camera
from rtdecode.sources import BUILT_IN
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
        model_name=bundle.name,
        model_sha256=bundle.sha256,
        versions=versions(),
    )
    if record.source.use in BUILT_IN:
        build_source(record, None)
    return record
