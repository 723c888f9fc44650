"""Commands on volumes: volume (planes become one), render (slices, stacks, the maximum by z)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rtdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rtdecode.core.quality import QualityFilter
    from rtdecode.session.rendering import Rendering
    from rtdecode.session.volume import Made
    from rtdecode.streams.run_folder import RunFolder
    from rtdecode.view.canvas import Canvas, Region

DEFAULT_STEP_NM = 100.0


def volume(
    plan: Annotated[Path, typer.Argument(help="YAML: the planes' runs, their stage z, registration, filter.")],
    out: Annotated[Path, typer.Option(help="Run folder to make; with channels one in it for each.")],
) -> None:
    """Put finished runs of many planes together: one run folder in stage coordinates, that view, export, render read.

    Each stage z belongs to one plane, so what two planes saw is kept once. Offsets between planes are given, or found
    from what neighbours both see.

    Example: [bold]rtdecode volume configs/lls-paint-volume.yaml --out runs/cell3_volume[/bold]
    """
    from rtdecode.cli.aftermath import make_page
    from rtdecode.session.volume import make_volumes
    from rtdecode.session.volume_plan import load_plan

    for made in make_volumes(load_plan(plan), plan, out):
        _tell(made)
        make_page(made.folder)
        typer.echo(f"run folder: {made.folder.path}")


def render(
    run: Annotated[Path, typer.Argument(help="Run folder, or the volume that `rtdecode volume` made.")],
    out: Annotated[Path, typer.Option(help="Picture to write: .png in colours, .tif in localizations per um².")],
    z_nm: Annotated[str | None, typer.Option(help="One slice, or the z within which to slice: LOW,HIGH.")] = None,
    slices: Annotated[
        float | None, typer.Option(min=1, help="A stack of slices this thick (nm), as pages of a .tif.")
    ] = None,
    max_by_z: Annotated[
        bool, typer.Option("--max-by-z", help="In each pixel the densest slice, coloured by its z (slices of 100 nm).")
    ] = False,
    px_nm: Annotated[float, typer.Option(min=0.5, help="Pixel of the picture.")] = 10.0,
    region_nm: Annotated[str | None, typer.Option(help="A part of the field: X,Y,WIDTH,HEIGHT.")] = None,
    filter: Annotated[
        Literal["none", "recommended"] | None, typer.Option(help="Default: recommended, where the model is there.")
    ] = None,
    drift: Annotated[bool, typer.Option("--drift", help="Take the measured drift off first.")] = False,
    memory_gb: Annotated[float, typer.Option(min=0.01, help="For pictures in the making; more: fewer passes.")] = 1.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out where it exists.")] = False,
) -> None:
    """Draw a run or volume: all of it, a slice of z, a stack of slices, or the maximum by z, coloured by z.

    Each localization is a Gaussian of its own sigma; a slice takes the part of it that lies in the slice.

    Example: [bold]rtdecode render runs/volume --z-nm 1000,1200 --out slice.png[/bold], or
    [bold]rtdecode render runs/volume --slices 100 --out stack.tif[/bold], or
    [bold]rtdecode render runs/volume --max-by-z --px-nm 20 --out volume.png[/bold]
    """
    from rtdecode.cli.analysing import drift_change
    from rtdecode.session.rendering import Rendering, field_of, z_range_of
    from rtdecode.streams.run_folder import RunFolder

    folder = RunFolder.open(run)
    _check_target(folder, out, slices, max_by_z, overwrite)
    quality, change = _quality(folder, filter), drift_change(folder, drift)
    region = _region(region_nm) if region_nm is not None else field_of(folder)
    drawing = Rendering(folder, region, px_nm, quality, change, round(memory_gb * 1e9))
    known = z_range_of(folder, quality, change)
    if known is None and (z_nm is not None or slices is not None or max_by_z):
        raise ConfigError(f"{run}: its model tells no z, so it has no slices; leave --z-nm, --slices, --max-by-z out")
    asked = _span(z_nm) if z_nm is not None else None
    if max_by_z or slices is not None:
        _write_slices(drawing, out, asked or known or (0.0, 0.0), slices or DEFAULT_STEP_NM, max_by_z)
    else:
        _write_one(drawing, out, asked, known)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(volume)
    app.command()(render)


def _tell(made: Made) -> None:
    """The planes, lowest first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for name in ("plane", "z (nm)", "speaks of z (nm)", "offset x, y (nm)", "±", "kept", "neighbour's", "filtered"):
        table.add_column(name, justify="left" if name == "plane" else "right")
    for plane, counts in zip(made.planes, made.counts, strict=True):
        x, y = (given + found for given, found in zip(plane.given_nm[:2], plane.found_nm[:2], strict=True))
        table.add_row(
            plane.folder.name, f"{plane.place_nm[2]:.0f}", f"{plane.owns_nm[0]:.0f} to {plane.owns_nm[1]:.0f}",
            f"{x:.1f}, {y:.1f}", f"{max(plane.sigma_nm[:2]):.1f}", f"{counts.kept:,}", f"{counts.of_neighbour:,}",
            f"{counts.filtered:,}",
        )  # fmt: skip
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table, highlight=False)


def _check_target(folder: RunFolder, out: Path, slices: float | None, max_by_z: bool, overwrite: bool) -> None:
    """Refuse what the name of the file says it cannot be, and what would be lost."""
    kind = out.suffix.lower()
    if kind not in (".png", ".tif", ".tiff"):
        raise ConfigError(f"--out {out}: expected a name that ends in .png or .tif")
    if slices is not None and not max_by_z and kind == ".png":
        raise ConfigError(f"--out {out}: a stack of slices has many pages; name a .tif, or add --max-by-z")
    if max_by_z and kind != ".png":
        raise ConfigError(f"--out {out}: the maximum by z is coloured; name a .png (--slices writes the numbers)")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}")
    if out.resolve() == folder.picture.resolve():
        raise ConfigError(f"--out {out}: is the run's own picture; choose another name")
    if out.exists() and not overwrite:
        raise ConfigError(f"--out {out}: exists already; choose another name, or --overwrite to replace it")


def _quality(folder: RunFolder, filter: str | None) -> QualityFilter:
    from rtdecode.cli.exchange import quality_of
    from rtdecode.session.exporting import bundle_of, recommended_filter
    from rtdecode.stages.run_record import RunRecord

    if filter is None:
        return recommended_filter(bundle_of(RunRecord.of_run(folder)))
    return quality_of(folder, filter)


def _numbers(option: str, text: str, example: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != len(example.split(",")):
        raise ConfigError(f"{option} {text!r}: expected {example}")
    return found


def _span(text: str) -> tuple[float, float]:
    low, high = _numbers("--z-nm", text, "LOW,HIGH")
    if low >= high:
        raise ConfigError(f"--z-nm {text!r}: expected the smaller first, perhaps {high:g},{low:g}")
    return low, high


def _region(text: str) -> Region:
    from rtdecode.view.canvas import Region

    x, y, width, height = _numbers("--region-nm", text, "X,Y,WIDTH,HEIGHT")
    if width <= 0 or height <= 0:
        raise ConfigError(f"--region-nm {text!r}: width and height must be above 0")
    return Region(x, y, width, height)


def _write_slices(drawing: Rendering, out: Path, span: tuple[float, float], step: float, max_by_z: bool) -> None:
    from rtdecode.session.rendering import density_um2, write_stack
    from rtdecode.view.slices import slabs_of

    slabs = slabs_of(*span, step)
    if max_by_z:
        canvas = drawing.maximum(slabs)
        words = (
            f"In each pixel the densest of {len(slabs)} slices of {step:g} nm; colour is its z, lightness its density."
        )
        _write_png(drawing, out, canvas, f"{drawing.folder.name}: maximum by z", words, coloured=True)
        return
    from rtdecode.view.canvas import Canvas

    shape = Canvas(drawing.region, drawing.px_nm).shape
    pages = (density_um2(canvas) for canvas in drawing.slices(slabs))
    write_stack(out, pages, len(slabs), shape, (drawing.px_nm, step))
    typer.echo(f"{out}: {len(slabs)} slices of {step:g} nm from z {slabs[0].low_nm:g} to {slabs[-1].high_nm:g} nm")


def _write_one(
    drawing: Rendering, out: Path, asked: tuple[float, float] | None, known: tuple[float, float] | None
) -> None:
    from rtdecode.session.rendering import density_um2, write_stack
    from rtdecode.view.canvas import ColourScale
    from rtdecode.view.slices import Slab

    if asked is not None:
        (canvas,) = drawing.slices([Slab(*asked)])
        heading, words = f"z {asked[0]:g} to {asked[1]:g} nm", "Of each localization the part that lies in the slice."
    else:
        canvas = drawing.whole(ColourScale(*known) if known is not None else ColourScale())
        heading, words = "all z" if known is not None else "all", "Everything, whatever its z." if known else ""
    if out.suffix.lower() != ".png":
        thick = asked or known or (0.0, 1.0)
        write_stack(out, iter([density_um2(canvas)]), 1, canvas.shape, (drawing.px_nm, thick[1] - thick[0]))
        typer.echo(f"{out}: {_held(canvas)} in localizations per um²")
        return
    words = f"{_held(canvas)}. {words}"
    _write_png(drawing, out, canvas, f"{drawing.folder.name}: {heading}", words, coloured=known is not None)


def _write_png(drawing: Rendering, out: Path, canvas: Canvas, heading: str, words: str, *, coloured: bool) -> None:
    from rtdecode.view.volume_picture import write_volume_picture

    how = f"{words} Gaussians of their own sigma, {drawing.px_nm:g} nm per pixel, {drawing.quality.words}."
    write_volume_picture(out, canvas, heading, how, coloured=coloured)
    typer.echo(f"{out}: {canvas.shape[1]} x {canvas.shape[0]} px. {how}")


def _held(canvas: Canvas) -> str:
    return f"{float(canvas.weight.sum(dtype='f8')):,.0f} localizations"
