"""`rtdecode calibrate-model`: what a model's probabilities and sigmas are worth, measured and put into a new bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rtdecode.fit.bundle import ModelBundle


def calibrate_model(
    model: Annotated[str, typer.Argument(help="Bundle folder or shipped name, with its PSF and train.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of the calibrated bundle; must not exist.")],
    engine: Annotated[str, typer.Option(help="openvino, onnxruntime or torch.")] = "openvino",
    quick: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the frames to simulate, for a look.")] = 1.0,
) -> None:
    """Calibrate the probabilities and sigmas of a model on its training's own simulation, and choose its threshold.

    As `rtdecode train` does at its end; one or two minutes on one core, without torch. A calibration that the model
    has is made anew. Scores that were measured before go.

    Example: [bold]rtdecode calibrate-model train_runs/light/bundle --out models/light[/bold]
    """
    from rtdecode.cli.making import new_folder
    from rtdecode.core.config import EngineConfig
    from rtdecode.core.yaml_files import validate
    from rtdecode.fit.bundle import CARD, ModelBundle

    config = validate({"use": engine}, EngineConfig, "--engine")
    bundle = ModelBundle.load(model)
    with new_folder(out):
        for name in (*bundle.card.files, CARD):
            shutil.copyfile(bundle.folder / name, out / name)
        finish(ModelBundle.load(out), out, config.use, quick)
    typer.echo(f"{out}: now `rtdecode evaluate --model {out} --write`")


def finish(bundle: ModelBundle, pictures: Path, engine: str = "openvino", share: float = 1.0) -> None:
    """Calibrate a bundle in place, tell what comes of it, and draw it into the folder `pictures`."""
    from rtdecode.core.config import EngineConfig
    from rtdecode.train.calibration import calibrate_bundle
    from rtdecode.train.calibration_page import PAGE, draw_calibration

    config = EngineConfig.model_validate({"use": engine})
    made = calibrate_bundle(bundle, config, share, lambda words: typer.echo(words, err=True))
    draw_calibration(pictures / PAGE, made.name, made.card.scores["calibration"])
    typer.echo(f"{pictures / PAGE}: p and sigmas before and after")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("calibrate-model")(calibrate_model)
