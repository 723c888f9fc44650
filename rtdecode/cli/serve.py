"""`rtdecode serve`: publish the camera of this machine to the one with the GPU; its control stays here."""

from __future__ import annotations

import secrets
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.core.errors import ConfigError, StreamError

if TYPE_CHECKING:
    from rtdecode.core.config import RunConfig
    from rtdecode.core.contracts import Source
    from rtdecode.core.interrupt import Interrupt
    from rtdecode.stages.serve import ServeStage

_NAP_S = 0.0005
_SOURCE_METHODS = ("open", "start", "read", "apply", "close")


def serve(
    config: Annotated[Path, typer.Argument(help="YAML with `source:`, e.g. that of the live run.", exists=False)],
    to: Annotated[str | None, typer.Option(help="Address of the receiver's `use: stream`.")] = None,
    bind: Annotated[str | None, typer.Option(help="Wait here for a receiver that connects, instead.")] = None,
    allow_stop: Annotated[bool, typer.Option("--allow-stop", help="The receiver's Stop stops the camera.")] = False,
    stop_silent_s: Annotated[
        float | None, typer.Option(min=1, help="Stop the camera when the receiver says nothing for so long.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Name of the series. Default: a new one.")] = None,
    buffer_s: Annotated[float, typer.Option(min=0.1, help="Frames kept while the receiver is away, in seconds.")] = 10,
    buffer_mb: Annotated[float, typer.Option(min=1, help="... and at most so much memory.")] = 1024,
    wait_s: Annotated[float, typer.Option(min=0, help="Wait for a receiver after the last frame.")] = 60,
    truth: Annotated[Path | None, typer.Option(help="CSV that a simulated camera writes at its end.")] = None,
) -> None:
    """Publish a local camera to `rtdecode live` with `use: stream` on another machine.

    Nothing is lost that the receiver has acknowledged, whichever side is restarted. The port above the address is used.

    Example: [bold]rtdecode serve configs/live-demo.yaml --to tcp://gpu-box:31001 --allow-stop[/bold]
    """
    from rtdecode.cli import interrupt
    from rtdecode.stages.serve import ServeConfig, ServeStage
    from rtdecode.streams.frame_sockets import DEFAULT_ADDRESS, acknowledged_address

    if to is not None and bind is not None:
        raise ConfigError("serve takes either --to or --bind, not both")
    address = acknowledged_address(to or bind or DEFAULT_ADDRESS)
    plan = ServeConfig(
        address, bind is not None, series or _new_name(), allow_stop, stop_silent_s, buffer_s, buffer_mb, wait_s
    )
    stage = ServeStage(local_source(config, truth), plan, _say)
    _loop(stage, interrupt)
    counts = stage.counts
    _say(f"{counts['made']} frames made, {counts['lost_here']} lost here, {counts['waiting']} not taken")
    if stage.outcome is None or not stage.outcome.as_asked:
        raise StreamError(stage.outcome.reason if stage.outcome is not None else "ended by an error")


def local_source(path: Path, truth: Path | None) -> Source:
    """The source of a YAML, closed; a simulated one gets camera and PSF of the YAML's model, as in the live run."""
    from rtdecode.core import plugins
    from rtdecode.core.yaml_files import key_lines
    from rtdecode.sources import BUILT_IN

    config = _load(path)
    if config.source.use == "stream":
        raise ConfigError(f"{path}: `use: stream` receives frames; serve publishes a camera or a recording of its own")
    lines = {key[1:]: line for key, line in key_lines(path).items() if key[:1] == ("source",)}
    source: Source = plugins.build(
        plugins.absolute(config.source, path), BUILT_IN, str(path), lines=lines, methods=_SOURCE_METHODS,
        truth=truth, **_camera_and_psf(config),
    )  # fmt: skip
    return source


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(serve)


def _loop(stage: ServeStage, interrupt: Interrupt) -> None:
    """Until it is over; the first Ctrl-C stops the camera, the second waits for nothing."""
    heard = 0
    try:
        while (did := stage.step()) is not None:
            if interrupt.times > heard:
                heard = interrupt.times
                stage.stop(interrupt.reason or "interrupted")
            if not did:
                time.sleep(_NAP_S)
    finally:
        stage.close()


def _load(path: Path) -> RunConfig:
    """A live run's YAML; of its keys `source`, `model` and `camera` matter here, and only the first must be there."""
    from rtdecode.core.config import RunConfig
    from rtdecode.core.yaml_files import load_yaml

    class ServeFile(RunConfig):
        """What a live YAML may leave out where frames are only published."""

        model: str = ""
        out: Path = Path()

    return load_yaml(path, ServeFile)


def _camera_and_psf(config: RunConfig) -> dict[str, Any]:
    if not config.model or not (config.source.use == "simulated" or config.source.fields.get("simulated")):
        return {"camera": config.camera, "psf": None}
    from rtdecode.fit.bundle import PSF, ModelBundle

    bundle = ModelBundle.load(config.model)
    psf = bundle.folder / PSF
    return {"camera": config.camera or bundle.camera, "psf": psf if psf.exists() else None}


def _new_name() -> str:
    return f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z}-{secrets.token_hex(4)}"


def _say(sentence: str) -> None:
    print(f"serve: {sentence}", file=sys.stderr, flush=True)
