"""Commands that make things: simulated movies, trained models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.core.errors import ConfigError, EndOfStream
from rtdecode.core.extras import install, is_there

if TYPE_CHECKING:
    from rtdecode.core.contracts import Source


def simulate(
    out: Annotated[Path, typer.Option(help="Folder to make: movie.tif, truth.csv, camera.yaml.")],
    frames: Annotated[int, typer.Option(min=1)] = 1000,
    density: Annotated[float, typer.Option(min=0, help="Emitters per square micrometre and frame.")] = 1.0,
    structure: Annotated[str, typer.Option(help="tubes or random.")] = "tubes",
    width: Annotated[int, typer.Option(min=8, help="Pixels.")] = 64,
    height: Annotated[int, typer.Option(min=8, help="Pixels.")] = 64,
    background: Annotated[float, typer.Option(min=0, help="Photons per pixel.")] = 90.0,
    seed: int = 1,
    model: Annotated[str | None, typer.Option(help="Take this bundle's camera and PSF.")] = None,
) -> None:
    """Simulate a movie with known truth, to be replayed and scored.

    Example: [bold]rtdecode simulate --frames 500 --density 0.5 --model astigmatic-light --out movies/a[/bold]
    """
    scene = {"frames": frames, "paced": False, "density_um2": density, "structure": structure, "width_px": width,
             "height_px": height, "background": background, "seed": seed}  # fmt: skip
    source, camera_yaml = _simulated(scene, model, out / "truth.csv")
    with new_folder(out):
        _write_tiff(source, out / "movie.tif")
        (out / "camera.yaml").write_text(camera_yaml, encoding="utf-8")
    typer.echo(f"{out / 'movie.tif'}, {out / 'truth.csv'}, {out / 'camera.yaml'}")


def train(
    config: Annotated[Path, typer.Argument(help="YAML of the training; see configs/.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the training. Default: train_runs/<name>.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle. Default: <out>/bundle.")] = None,
) -> None:
    """Train a model, or go on with one that was interrupted; makes a bundle at the end and calibrates it. Needs torch.

    Example: [bold]rtdecode train configs/train-astigmatic-light.yaml --out train_runs/light[/bold]

    On several GPUs (or CPUs): [bold]torchrun --nproc-per-node 2 -m rtdecode train CONFIG[/bold]
    """
    _need_torch()
    from rtdecode.cli.calibrating_model import finish
    from rtdecode.train.finish import make_bundle
    from rtdecode.train.loop import load_training
    from rtdecode.train.loop import train as run_training
    from rtdecode.train.ranks import started_by_torchrun

    training = load_training(config)
    place = out or Path("train_runs") / training.name
    with started_by_torchrun(training.device) as ranks:
        run_training(training, place, ranks)
        batch = ranks.resolved(training).batch
    if ranks.is_first:
        training = training.model_copy(update={"batch": batch})  # the bundle tells how many shares there were
        made = make_bundle(training, place, bundle or place / "bundle", overwrite=True)
        if training.calibration_share > 0:
            finish(made, place, share=training.calibration_share)
        typer.echo(f"{made.folder}: now `rtdecode evaluate --model {made.folder} --write`")


def read_stack(path: Path) -> Any:
    """All frames (Z, H, W) of a recording as they are stored; raises RecordingError."""
    import numpy as np

    from rtdecode.sources.replay import ReplaySource

    source = ReplaySource(path=path, units="adu")
    source.open()
    try:
        source.start()
        return np.stack(list(frames_of(source)))
    finally:
        source.close()


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (simulate, train):
        app.command()(command)


def frames_of(source: Source) -> Any:
    """Each frame (H, W) of a source that can wait."""
    import numpy as np

    while True:
        pixels = np.empty(source.roi.shape, source.dtype)
        try:
            info = source.read(pixels)
        except EndOfStream:
            return
        if info is not None:
            yield pixels


def _simulated(scene: dict[str, Any], model: str | None, truth: Path) -> tuple[Source, str]:
    """The camera, closed, and its noise chain as YAML."""
    import yaml

    from rtdecode.core.config import Plugin
    from rtdecode.core.plugins import build
    from rtdecode.fit.bundle import PSF, ModelBundle
    from rtdecode.sources import BUILT_IN
    from rtdecode.sources.scene import CHALLENGE_CAMERA

    bundle = ModelBundle.load(model) if model is not None else None
    camera = bundle.camera if bundle is not None else CHALLENGE_CAMERA
    psf = bundle.folder / PSF if bundle is not None and (bundle.folder / PSF).exists() else None
    known: dict[str, Any] = {"camera": camera, "psf": psf, "truth": truth}
    source: Source = build(Plugin(use="simulated", **scene), BUILT_IN, "rtdecode simulate", **known)
    return source, yaml.safe_dump(camera.model_dump(mode="json"), sort_keys=False)


def _write_tiff(source: Source, path: Path) -> None:
    from tifffile import TiffWriter

    source.open()
    try:
        source.start()
        with TiffWriter(path, bigtiff=True) as tiff:
            for pixels in frames_of(source):
                tiff.write(pixels, contiguous=True)
    finally:
        source.close()


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """A folder that is there, and whole, only where the body came to its end; raises ConfigError."""
    from rtdecode.streams.files import why_not

    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--out {path}: a new folder cannot be made there: {error}") from error
    try:
        yield
    except BaseException as error:  # Ctrl-C, too
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise ConfigError(f"--out {path}: cannot be written: {why_not(path, error)}") from error
        raise


def new_file(path: Path) -> None:
    """Known before minutes of work, not after; what is there may be the PSF of a training."""
    if path.exists():
        raise ConfigError(f"--out {path}: exists already; choose another name or remove it")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}; make it first")


def _need_torch() -> None:
    if not is_there("torch"):
        raise ConfigError(f"training needs torch, which is not installed here; {install('train')}")
