"""`rtdecode import-decode`: a model that DECODE trained becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtdecode.core.errors import ConfigError


def import_decode(
    weights: Annotated[Path, typer.Argument(help="DECODE's model_0.pt (a state dict; not ckpt.pt).")],
    configuration: Annotated[Path, typer.Argument(help="The param_run.yaml that DECODE wrote beside it.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; must not exist.")],
    psf: Annotated[
        Path | None, typer.Option(help="The PSF it was trained with (.safetensors, as `rtdecode calibrate` writes).")
    ] = None,
) -> None:
    """Make a bundle of weights and configuration of DECODE. Needs torch; nothing in the file is run.

    x and y are swapped here, once: DECODE's x runs along the rows. Without --psf the model runs, but nothing can be
    simulated for it.

    Example: [bold]rtdecode import-decode model_0.pt param_run.yaml --psf psf.safetensors --out models/cell3[/bold]
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise ConfigError('the import needs torch, which is not installed here: pip install "rtdecode[train]"')
    from rtdecode.fit.decode_configuration import read_decode_run
    from rtdecode.fit.decode_weights import decode_network
    from rtdecode.train.decode_bundle import bundle_of_decode

    run = read_decode_run(configuration)
    made = bundle_of_decode(decode_network(weights, run.activation, tells_z=run.tells_z), run, configuration, out, psf)
    card = made.card
    typer.echo(f"{made.folder}: {card.network.features} features, held against torch; camera {card.camera.px_nm} nm")
    typer.echo(f"photons {card.ranges.photons}, background {card.ranges.background}, z {card.ranges.z_nm} nm")
    if not run.tells_z:
        typer.echo("2D: z was disabled in DECODE's training; it comes out as 0")
    typer.echo(f"now `rtdecode check-model RECORDING --model {made.folder}`" if psf else "no PSF: --psf adds it")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(name="import-decode")(import_decode)
