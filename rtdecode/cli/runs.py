"""Commands that run, stop, and the hidden one that is a worker: demo, live, replay, stop, worker."""

from __future__ import annotations

import math
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.core.errors import ConfigError, DoorError

if TYPE_CHECKING:
    from rtdecode.core.config import RunConfig

DEMO_MODEL = "astigmatic-light"
_STOP_WAIT_S = 120.0

Out = Annotated[Path | None, typer.Option(help="Run folder; must not exist. Default: runs/<date>_<time>_<name>.")]
NoView = Annotated[bool, typer.Option("--no-view", help="Do not open the viewer.")]
Model = Annotated[str, typer.Option(help="Folder of a bundle, or the name of a shipped one (`rtdecode models`).")]
Engine = Annotated[
    str,
    typer.Option(
        help="CPU: openvino, onnxruntime, torch. NVIDIA GPU: tensorrt, tensorrt-rtx, torch-cuda; auto: what is here."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="fp32, bf16, fp16 (GPU) or int8 (CPU). Default: bf16 where it can be had and the model passes, else fp32."
    ),
]


def demo(
    out: Out = None,
    no_view: NoView = False,
    model: Model = DEMO_MODEL,
    frames: Annotated[int, typer.Option(min=3, help="Frames to acquire.")] = 6000,
    fps: Annotated[float, typer.Option(min=1, help="Frames per second of the simulated camera.")] = 100.0,
    density: Annotated[float, typer.Option(min=0, help="Emitters per square micrometre and frame.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the simulated sample.")] = 1,
    engine: Engine = "openvino",
    precision: Precision = None,
) -> None:
    """Main job on a simulated camera behind a real Micro-Manager core: live, about a minute, with a score.

    Example: [bold]rtdecode demo --no-view --out runs/first[/bold]
    """
    scene = {"density_um2": density, "seed": seed}
    config = _config(
        "demo",
        source={"use": "mmcore", "frames": frames, "exposure_ms": 1000.0 / fps, "simulated": scene},
        model=model,
        engine={"use": engine, "precision": precision},
        out=_out(out, "demo"),
        view=not no_view,
    )
    _run(config, "rtdecode demo", csv=True)


def live(
    config: Annotated[Path, typer.Argument(help="YAML of the run; see configs/.", exists=False)],
    out: Out = None,
    no_view: NoView = False,
) -> None:
    """Acquire and localize live, as a configuration file says.

    Example: [bold]rtdecode live configs/live-demo.yaml --out runs/cell3[/bold]
    """
    run_config = _load(config)
    place = out or (run_config.out if run_config.out != Path() else _out(None, config.stem))
    _run(run_config.model_copy(update={"out": place, "view": run_config.view and not no_view}), str(config))


def replay(
    recording: Annotated[
        str, typer.Argument(help="TIFF, .npy, NDTiff, OME-Zarr, .dax, .nd2, .raw, a recorded run; or s3://...")
    ],
    model: Model = DEMO_MODEL,
    camera: Annotated[
        Path | None, typer.Option(help="YAML of its camera. Default: a recorded run's own, else the model's.")
    ] = None,
    out: Out = None,
    pace: Annotated[str, typer.Option(help="max, recorded, or frames per second.")] = "max",
    units: Annotated[str | None, typer.Option(help="adu or photons; needed for float recordings.")] = None,
    engine: Engine = "openvino",
    precision: Precision = None,
    allow_camera_mismatch: Annotated[bool, typer.Option(help="Run although the cameras differ.")] = False,
    first: Annotated[int, typer.Option(min=0, help="First frame of the recording to take.")] = 0,
    last: Annotated[int | None, typer.Option(min=1, help="Frame before which to end.")] = None,
    channel: Annotated[str | None, typer.Option(help="Channel to take, by name or number from 0.")] = None,
    position: Annotated[str | None, typer.Option(help="Position to take, by name or number from 0.")] = None,
    z: Annotated[str | None, typer.Option(help="Height to take, by number from 0.")] = None,
    lose: Annotated[
        str | None, typer.Option(help="Rehearse losses: every=100, share=0.01,seed=3 or frames=100-120,500.")
    ] = None,
    inline: Annotated[bool, typer.Option(help="All stages in one process.")] = False,
    no_view: NoView = False,
) -> None:
    """Localize a recording through the very line that runs live.

    Example: [bold]rtdecode replay movie.tif --model astigmatic-light --camera emccd.yaml --out runs/movie[/bold]
    """
    from rtdecode.sources.addresses import Address, place_of

    place = place_of(recording)
    place = Path(place).resolve() if not isinstance(place, Address) else place
    source: dict[str, Any] = {"use": "replay", "path": str(place), "pace": _pace(pace), "units": units}
    config = _config(
        "rtdecode replay",
        source=source | {"first": first, "last": last} | _part(channel, position, z) | _lose(lose),
        model=model,
        camera=_camera(camera),
        allow_camera_mismatch=allow_camera_mismatch,
        engine={"use": engine, "precision": precision},
        out=_out(out, Path(place.name).stem or "replay"),
        view=not no_view,
    )
    _run(config, "rtdecode replay", inline=inline)


def _part(*choices: str | None) -> dict[str, Any]:
    """Keys of the replay source for the part of a recording that was asked for."""
    given = zip(("channel", "position", "z"), choices, strict=True)
    return {key: int(text) if text.isdigit() else text for key, text in given if text is not None}


def _lose(text: str | None) -> dict[str, Any]:
    """`losses` of the replay source from `every=100`, `share=0.01,seed=3` or `frames=100-120,500`."""
    if text is None:
        return {}
    kind, _, rest = text.partition("=")
    try:
        if kind == "frames":
            ranges = [[int(number) for number in part.split("-")] for part in rest.split(",")]
            return {"losses": {"frames": [one if len(one) > 1 else one[0] for one in ranges]}}
        fields = dict(part.split("=") for part in text.split(","))
        return {"losses": {key: float(value) if key == "share" else int(value) for key, value in fields.items()}}
    except ValueError as error:
        raise ConfigError(f"--lose {text!r}: expected every=100, share=0.01,seed=3 or frames=100-120,500") from error


def stop(run: Annotated[Path, typer.Argument(help="Run folder of a running run.")]) -> None:
    """Stop a running run: camera idle, light off, what was acquired is fitted, the report is written.

    Example: [bold]rtdecode stop runs/2026-11-23_1440_cell3[/bold]
    """
    from rtdecode.core.actions import Stop
    from rtdecode.streams.door import DoorClient
    from rtdecode.streams.run_folder import RunFolder

    folder = RunFolder.open(run)
    if not folder.is_running or folder.door_endpoint is None:
        raise DoorError(f"{run}: nothing runs here; the run is over, or its session died")
    client = DoorClient(folder.door_endpoint, "stop")
    client.exchange({}, Stop("rtdecode stop"), timeout_ms=1000)
    deadline = time.monotonic() + _STOP_WAIT_S
    while folder.is_running and time.monotonic() < deadline:
        client.exchange({}, timeout_ms=200)
        time.sleep(0.05)
    client.close()
    if folder.is_running:
        raise DoorError(f"{run}: has not ended within {_STOP_WAIT_S:.0f} s after the stop; see {folder.logs}")
    typer.echo(f"stopped: {run}")


def worker(
    name: Annotated[str, typer.Argument(help="acquire, localize, decide or record.")],
    run: Annotated[Path, typer.Argument(help="Run folder.")],
) -> None:
    """One worker of a run; started by the session."""
    from rtdecode.stages.worker import run_worker

    raise typer.Exit(run_worker(name, run))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (demo, live, replay, stop):
        app.command()(command)
    app.command(hidden=True)(worker)


def _run(config: RunConfig, origin: str, *, csv: bool = False, inline: bool = False) -> None:
    from rtdecode import session
    from rtdecode.cli import interrupt
    from rtdecode.cli.aftermath import make_files
    from rtdecode.cli.terminal import Display, outliving, print_summary
    from rtdecode.view.window import screen_problem

    problem = screen_problem() if config.view else None
    if problem:
        config = config.model_copy(update={"view": False})
    with Display(config, f"no viewer: {problem}" if problem else None) as display:
        result = session.run(
            config, origin=origin, interrupt=interrupt, on_status=display.show, inline=inline, tell=display.tell
        )
    files = make_files(result.folder, csv=csv)
    with outliving(sys.stdout):
        print_summary(result.folder, result.report, files, reason=result.outcome.as_asked)  # else it is the last line
    if not result.outcome.as_asked:
        with outliving(sys.stderr):
            typer.echo(f"rtdecode: the run failed: {result.outcome.reason}", err=True)
        raise typer.Exit(1)


def _config(origin: str, **fields: Any) -> RunConfig:
    from rtdecode.core.config import RunConfig
    from rtdecode.core.yaml_files import validate

    return validate(fields, RunConfig, origin)


def _load(path: Path) -> RunConfig:
    """A run's YAML, in which `out` may be missing; `Path()` then."""
    from rtdecode.core.config import RunConfig
    from rtdecode.core.yaml_files import load_yaml

    class LiveFile(RunConfig):
        """A run's configuration whose folder may be named on the command line."""

        out: Path = Path()

    return load_yaml(path, LiveFile)


def _camera(path: Path | None) -> Any:
    from rtdecode.core.camera import Camera
    from rtdecode.core.yaml_files import load_yaml

    return None if path is None else load_yaml(path, Camera).with_maps_in(path.parent)


def _pace(text: str) -> str | float:
    if text in ("max", "recorded"):
        return text
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if not 0 < fps < math.inf:
        raise ConfigError(f"--pace {text!r}: expected max, recorded, or a number of frames per second above 0")
    return fps


def _out(out: Path | None, name: str) -> Path:
    return out or Path("runs") / f"{datetime.now().astimezone():%Y-%m-%d_%H%M%S}_{name}"
