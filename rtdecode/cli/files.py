"""Commands on what is there already: view, report, models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rtdecode.core.localizations import Localizations

Run = Annotated[Path, typer.Argument(help="Run folder.")]


def view(run: Run) -> None:
    """Watch a run grow, or look at a finished one.

    Example: [bold]rtdecode view runs/2026-11-23_1440_cell3[/bold]
    """
    from rtdecode.view.window import view as open_viewer

    raise typer.Exit(open_viewer(run, measure=_resolution_words))


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
    for command in (view, report, models):
        app.command()(command)


def _resolution_words(localizations: Localizations) -> str:
    """Of a region drawn in the viewer, which knows no analysis."""
    from rtdecode.analysis.resolution import resolution

    found = resolution(localizations)
    if found.frc_nm is None:
        return "cannot be told yet"
    interval = "" if found.interval_nm is None else f" ({found.interval_nm[0]:.0f} to {found.interval_nm[1]:.0f})"
    return f"{found.frc_nm:.0f} nm{interval}"


def pixel_size(text: str) -> tuple[float, float]:
    """(x, y) nm from `100` or `127,117`."""
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or not all(0 < size < 1e6 for size in sizes):
        raise ConfigError(f"--px-nm {text!r}: expected one size in nm above 0, or two as x,y")
    return sizes[0], sizes[-1]
