"""Commands on what is there already: view, export, evaluate, report, models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.core.errors import ConfigError, FileFormatError

if TYPE_CHECKING:
    from rtdecode.core.localizations import Localizations
    from rtdecode.physics.structures import Field

Run = Annotated[Path, typer.Argument(help="Run folder.")]


def view(run: Run) -> None:
    """Watch a run grow, or look at a finished one.

    Example: [bold]rtdecode view runs/2026-11-23_1440_cell3[/bold]
    """
    from rtdecode.view.window import view as open_viewer

    raise typer.Exit(open_viewer(run, measure=_resolution_words))


def evaluate(
    what: Annotated[Path | None, typer.Argument(help="ThunderSTORM CSV or run folder.")] = None,
    truth: Annotated[Path | None, typer.Option(help="CSV: frame_index,x_nm,y_nm,z_nm,photons.")] = None,
    model: Annotated[str | None, typer.Option(help="A bundle, on freshly simulated movies.")] = None,
    write: Annotated[bool, typer.Option(help="Keep the bundle's scores in its bundle.yaml.")] = False,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Score frames 0 to N - 1. Default: a run's fitted ones; of a CSV, to the last named."),
    ] = None,
    px_nm: Annotated[
        str | None,
        typer.Option(help="Pixel size of a CSV, one number or x,y: it counts from a corner. Default: 100."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --model: other simulations of the same kind.")] = 0,
    psf: Annotated[
        Path | None, typer.Option(help="With --model: simulate with this PSF (of `calibrate`), not the bundle's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score localizations against the truth, or a model on fresh simulations; of 2D models x and y alone.

    Example: [bold]rtdecode evaluate runs/first --truth runs/first/truth.csv --json[/bold], or
    [bold]rtdecode evaluate --model astigmatic-light[/bold]
    """
    if psf is not None and (model is None or write):
        raise ConfigError("--psf goes with --model and without --write: scores on the card are those of its own PSF")
    if (what is None) == (model is None):
        raise ConfigError("evaluate needs either a CSV or run folder with --truth, or --model BUNDLE")
    if model is not None:
        return _evaluate_model(model, write, seed, as_json, psf)
    if what is None or truth is None:
        raise ConfigError("evaluate FILE.csv|RUN needs --truth TRUTH.csv")
    if px_nm is None and not what.is_dir():
        typer.echo(f"rtdecode: {what} counts from a pixel's corner; its pixels are assumed to be 100 nm wide, "
                   "else give --px-nm", err=True)  # fmt: skip
    scores = _score(what, truth, frames, pixel_size(px_nm or "100"))
    typer.echo(json.dumps(scores, indent=2) if as_json else "\n".join(_score_lines(scores)))


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folder; of several, their figures side by side.")],
    out: Annotated[Path | None, typer.Option(help="With several runs: also write the comparison as a page.")] = None,
) -> None:
    """Print a run's summary and make its page again (report.html), or compare runs.

    Makes report.json and picture.png, too, where the session died before it could.

    Example: [bold]rtdecode report runs/cell3[/bold], or
    [bold]rtdecode report runs/cell3 runs/cell4 --out cells.html[/bold]
    """
    from rtdecode.cli.aftermath import files_of, make_files, make_page
    from rtdecode.cli.reporting import closed_report, compare
    from rtdecode.cli.terminal import print_summary
    from rtdecode.streams.run_folder import RunFolder

    if len(runs) > 1:
        return compare(runs, out)
    if out is not None:
        raise ConfigError("--out goes with several runs; the page of one is report.html in its folder")
    folder = RunFolder.open(runs[0])
    made = closed_report(folder)
    if not folder.picture.exists():
        make_files(folder, csv=False)
    make_page(folder)
    print_summary(folder, made, files_of(folder))


def models() -> None:
    """List the models that come with rtdecode.

    Example: [bold]rtdecode models[/bold]
    """
    from rtdecode.fit.bundle import ModelBundle, shipped_bundles

    shipped = shipped_bundles()
    for name, folder in sorted(shipped.items()):
        bundle = ModelBundle.load(str(folder))
        card, z = bundle.card, f"z {bundle.card.ranges.z_nm} nm" if bundle.tells_z else "2D"
        typer.echo(f"{name}: {card.description}\n    {folder}")
        typer.echo(f"    photons {card.ranges.photons}, background {card.ranges.background}, {z}")
    if not shipped:
        typer.echo("no model is shipped with this version; make one with `rtdecode train`")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (view, evaluate, report, models):
        app.command()(command)


def _resolution_words(localizations: Localizations) -> str:
    """Of a region drawn in the viewer, which knows no analysis."""
    from rtdecode.analysis.resolution import resolution

    found = resolution(localizations)
    if found.frc_nm is None:
        return "cannot be told yet"
    interval = "" if found.interval_nm is None else f" ({found.interval_nm[0]:.0f} to {found.interval_nm[1]:.0f})"
    return f"{found.frc_nm:.0f} nm{interval}"


def _evaluate_model(model: str, write: bool, seed: int, as_json: bool, psf: Path | None) -> None:
    from rtdecode.fit.bundle import ModelBundle
    from rtdecode.physics.psf import load_psf
    from rtdecode.train.score import Plan, evaluate_bundle, print_scores

    bundle = ModelBundle.load(model)
    other = load_psf(psf) if psf is not None else None
    scores = evaluate_bundle(bundle, plan=Plan(seed=seed), report=lambda words: typer.echo(words, err=True), psf=other)
    if write:
        bundle.write_scores({**bundle.card.scores, **scores})  # a benchmark's figures stay
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
    else:
        print_scores(scores)


def _score(what: Path, truth: Path, n_frames: int | None, px_nm: tuple[float, float]) -> dict[str, Any]:
    """Over the fitted frames of a run, or over all frames of a CSV up to the last one named."""
    import numpy as np

    from rtdecode.analysis.evaluate import Rules, score
    from rtdecode.streams.truth import read_truth

    emitters = read_truth(truth)
    found, frames, field = _run_table(what) if what.is_dir() else (_csv_table(what, px_nm), None, None)
    if n_frames is not None:
        frames = np.arange(n_frames)
    elif frames is None:
        last = max([int(part.max()) for part in (emitters["frame_index"], found.frame_index) if len(part)], default=-1)
        frames = np.arange(last + 1)
    rules = Rules(dims=2 if found.is_2d else 3, field=field)
    scores = score(emitters, found, frames=frames, rules=rules).as_dict()
    return {name: value for name, value in scores.items() if rules.dims == 3 or not _is_of_z(name)}


def _is_of_z(name: str) -> bool:
    return "axial" in name or "3d" in name or name in ("mean_error_z_nm", "z_score_variance_z")


def _score_lines(scores: dict[str, Any]) -> list[str]:
    """One number a line, under each other."""
    shown = {name: _shown(name, value) for name, value in scores.items()}
    widths = max(map(len, shown)), max(map(len, shown.values()))
    return [f"{name:{widths[0]}}  {text:>{widths[1]}}" for name, text in shown.items()]


def _shown(name: str, value: float | int | None) -> str:
    """`-` where there is no number."""
    if value is None:
        return "-"
    return f"{value:.{1 if name.endswith('_nm') else 3}f}" if isinstance(value, float) else str(value)


def pixel_size(text: str) -> tuple[float, float]:
    """(x, y) nm from `100` or `127,117`."""
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or not all(0 < size < 1e6 for size in sizes):
        raise ConfigError(f"--px-nm {text!r}: expected one size in nm above 0, or two as x,y")
    return sizes[0], sizes[-1]


def _csv_table(path: Path, px_nm: tuple[float, float]) -> Localizations:
    from rtdecode.formats.thunderstorm import read_thunderstorm

    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file or run folder")
    return read_thunderstorm(path, px_nm)


def _run_table(path: Path) -> tuple[Localizations, Any, Field | None]:
    """Localizations, fitted frames and field of a run."""
    from rtdecode.physics.structures import Field
    from rtdecode.stages.build import camera_px_nm
    from rtdecode.stages.notes import read_roi
    from rtdecode.stages.run_record import RunRecord
    from rtdecode.streams.log import LogReader
    from rtdecode.streams.run_folder import RunFolder

    folder = RunFolder.open(path)
    commits, found = LogReader.open(path).all()
    roi, px_nm = read_roi(folder), camera_px_nm(RunRecord.of_run(folder))
    field = Field.of_shape(roi.height_px, roi.width_px, px_nm) if roi is not None else None
    return found, commits["frame_index"][commits["fate"] == 0].astype("int64"), field
