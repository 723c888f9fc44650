"""From a configuration to a run's record: everything filled in and checked before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtdecode.core import plugins
from rtdecode.core.camera import Camera
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.config import RunConfig
from rtdecode.core.errors import CameraMismatch, RtdecodeError
from rtdecode.core.yaml_files import key_lines
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import check_camera
from rtdecode.sources import BUILT_IN
from rtdecode.sources.addresses import place_of
from rtdecode.sources.replay import ReplaySource
from rtdecode.stages.build import build_source
from rtdecode.stages.run_record import RunRecord, versions
from rtdecode.streams.run_folder import RunFolder


def resolve(config: RunConfig, origin: str = "configuration") -> RunRecord:
    """Model found and verified, camera held against it, built-in source's keys checked, paths absolute.

    A user's own source or policy is not loaded here: the session runs no user code; its worker checks it
    before the camera is touched. Raises BundleError, CameraMismatch, ConfigError, PluginError.
    """
    with told_where(origin, "model"):
        bundle = ModelBundle.load(config.model)
    with told_where(origin, "engine", "use"):
        engine, engine_chosen = engines.chosen(config.engine)
        engines.check(engine)
    recorded, camera_from = (None, "") if config.camera else _recorded_camera(config)
    camera = config.camera or recorded or bundle.camera
    with told_where(origin, "camera"), _told_of(camera_from):
        check_camera(bundle.camera, camera, config.allow_camera_mismatch)
        camera = camera.with_maps_in(plugins.beside(origin))
        if camera.maps is not None:
            CameraMaps.load(camera.maps)
    source = plugins.absolute(config.source, origin)
    policies = tuple(plugins.absolute(policy, origin) for policy in config.policies)
    for number, policy in enumerate(policies):
        with told_where(origin, "policies", number, "use"):
            plugins.check_place(policy.use, {})
    with told_where(origin, "source", "use"):
        plugins.check_place(source.use, BUILT_IN)
    record = RunRecord(
        **config.model_dump(exclude={"source", "policies", "model", "camera", "engine", "out"}),
        source=source,
        policies=policies,
        model=str(bundle.folder.resolve()),
        camera=camera,
        engine=engine,
        engine_chosen=engine_chosen,
        out=config.out.resolve(),
        origin=origin,
        camera_assumed=config.camera is None and recorded is None and not _is_simulated(config),
        camera_from=camera_from,
        model_name=bundle.name,
        model_sha256=bundle.sha256,
        versions=versions(),
    )
    if record.source.use not in BUILT_IN:
        return record
    return record.model_copy(update={"cautions": _check_source(record)})


@contextmanager
def told_where(origin: str, *key: str | int) -> Iterator[None]:
    """Errors of one value begin with its place in the file that the user wrote, where there is one."""
    try:
        yield
    except RtdecodeError as error:
        line = key_lines(Path(origin)).get(key) if Path(origin).is_file() else None
        if line is None:
            raise
        words = ".".join(str(part) for part in key)
        raise type(error)(f"{origin}, line {line}: key '{words}': {error}") from error


@contextmanager
def _told_of(camera_from: str) -> Iterator[None]:
    """A mismatch names the run that the camera was taken from."""
    try:
        yield
    except CameraMismatch as error:
        raise CameraMismatch(f"{camera_from}: {error}" if camera_from else str(error)) from error


def _recorded_camera(config: RunConfig) -> tuple[Camera | None, str]:
    """The camera that a recorded run was told of, and where; (None, "") for other sources, or where it was assumed."""
    path = config.source.fields.get("path")
    path = place_of(path)
    path = Path(path) if isinstance(path, str) else path
    if config.source.use != "replay" or not isinstance(path, Path) or not (path / "run.yaml").is_file():
        return None, ""
    try:
        run = RunRecord.of_run(folder := RunFolder.open(path))
    except RtdecodeError:
        return None, ""  # of another version: its frames are readable all the same
    return (None, "") if run.camera is None or run.camera_assumed else (run.camera, str(folder.run_yaml))


def _is_simulated(config: RunConfig) -> bool:
    """Such a source is given the run's camera and obeys it."""
    return config.source.use == "simulated" or config.source.fields.get("simulated") is not None


def _check_source(record: RunRecord) -> tuple[str, ...]:
    """Keys and values; and a recording is opened, so that what is refused leaves no run folder; gives its cautions."""
    source = build_source(record, None)
    if (check_installed := getattr(source, "check_installed", None)) is not None:
        check_installed()
    if not isinstance(source, ReplaySource):
        return ()
    try:
        source.open()
        return source.cautions
    finally:
        source.close()
