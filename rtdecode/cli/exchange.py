"""Commands that hand localizations to other programs and take theirs: export, import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rtdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rtdecode.core.quality import QualityFilter
    from rtdecode.streams.run_folder import RunFolder

FormatName = Annotated[
    str | None,
    typer.Option("--format", help="picasso, thunderstorm, smap, decode or parquet. Default: by the file's name."),
]
PxNm = Annotated[str | None, typer.Option(help="Pixel size where the file states none, one number or x,y.")]


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    format: FormatName = None,
    filter: Annotated[
        Literal["none", "recommended"], typer.Option(help="recommended: the model's own limits on sigma.")
    ] = "none",
    max_sigma_xy_nm: Annotated[float | None, typer.Option(min=0, help="Leave out what is less certain.")] = None,
    max_sigma_z_nm: Annotated[float | None, typer.Option(min=0, help="The same of z.")] = None,
    min_probability: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out what is less likely.")] = None,
    photons: Annotated[str | None, typer.Option(help="Least and most, e.g. 500,20000.")] = None,
    z_nm: Annotated[str | None, typer.Option(help="Lowest and highest, e.g. -300,300.")] = None,
    drift: Annotated[bool, typer.Option("--drift", help="Take the drift off that `rtdecode drift` measured.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out where it exists.")] = False,
) -> None:
    """Write a run's localizations for another program, all of them or those that pass a filter.

    Units, axes, half pixels and frame counts become the format's own; where they come from (model, versions, camera,
    filter) travels along where the format has room for it.

    Example: [bold]rtdecode export runs/cell3 --out cell3.hdf5[/bold] (Picasso), or
    [bold]rtdecode export runs/cell3 --format thunderstorm --filter recommended --out cell3.csv[/bold]
    """
    from rtdecode.cli.analysing import drift_change, drift_said
    from rtdecode.session.exporting import export_run
    from rtdecode.streams.run_folder import RunFolder

    name = format_of(format, out)
    folder = RunFolder.open(run)
    check_target(folder, name, out, overwrite)
    limits = {"sigma_xy_nm": max_sigma_xy_nm, "sigma_z_nm": max_sigma_z_nm, "probability": min_probability}
    quality = quality_of(folder, filter, limits, {"photons": photons, "z_nm": z_nm})
    rows = export_run(folder, name, out, quality, drift_change(folder, drift), {"drift": drift_said(folder, drift)})
    typer.echo(f"{rows} localizations in {out} ({quality.words})")


def import_(
    file: Annotated[Path, typer.Argument(help="Localizations of another program.")],
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    format: FormatName = None,
    px_nm: PxNm = None,
) -> None:
    """Make a run folder of another program's localizations, so that view, report, export and evaluate read them.

    Example: [bold]rtdecode import cell3_locs.hdf5 --out runs/cell3_picasso[/bold], or
    [bold]rtdecode import table.csv --px-nm 100 --out runs/theirs[/bold]
    """
    from rtdecode.cli.aftermath import make_page
    from rtdecode.cli.files import pixel_size
    from rtdecode.core.errors import FileFormatError
    from rtdecode.session.importing import import_table

    if not file.is_file():
        raise FileFormatError(f"{file}: there is no such file")
    folder, words = import_table(file, format_of(format, file), out, pixel_size(px_nm) if px_nm else None)
    make_page(folder)
    typer.echo(f"{words}\nrun folder: {folder.path}")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(export)
    app.command(name="import")(import_)


def format_of(name: str | None, path: Path) -> str:
    """The format that was named, or that the file's name tells."""
    from rtdecode.formats import FORMATS

    if name is not None:
        if name not in FORMATS:
            raise ConfigError(f"--format {name!r} is not known; formats: {', '.join(sorted(FORMATS))}")
        return name
    lower = path.name.lower()
    for known, form in FORMATS.items():
        if lower.endswith(form.extension) or (form.extension.endswith(".mat") and lower.endswith(".mat")):
            return known
    ends = ", ".join(f"{form.extension} ({known})" for known, form in FORMATS.items())
    raise ConfigError(f"{path}: which format? Its name ends in none of {ends}; give --format")


def quality_of(
    folder: RunFolder,
    filter: str,
    limits: dict[str, float | None] | None = None,
    spans: dict[str, str | None] | None = None,
) -> QualityFilter:
    """The recommended limits or none, and over them those that were given."""
    from dataclasses import replace

    from rtdecode.core.quality import SHOW_ALL
    from rtdecode.session.exporting import bundle_of, recommended_filter
    from rtdecode.stages.run_record import IMPORTED, RunRecord

    base = SHOW_ALL
    if filter == "recommended":
        bundle = bundle_of(record := RunRecord.of_run(folder))
        if bundle is None and record.source.use == IMPORTED:
            raise ConfigError(
                "--filter recommended: an imported table has no model; give the limits, e.g. --max-sigma-xy-nm"
            )
        if bundle is None:
            raise ConfigError(f"--filter recommended: the model {record.model} is not there any more; give the limits")
        base = recommended_filter(bundle)
    given: dict[str, float | tuple[float, float]] = {name: v for name, v in (limits or {}).items() if v is not None}
    given |= {name: _span(name, text) for name, text in (spans or {}).items() if text is not None}
    quality = replace(base, **given)  # type: ignore[arg-type]
    _check_known(folder, quality)
    return quality


def _check_known(folder: RunFolder, quality: QualityFilter) -> None:
    """Refuse a limit on what this run does not know of any localization: nothing would be left."""
    import numpy as np

    from rtdecode.session.exporting import parts_of

    part = next(parts_of(folder), None)
    limited = {"probability": quality.probability, "photons": quality.photons, "sigma_x_nm": quality.sigma_xy_nm}
    for name, limit in limited.items():
        if part is not None and limit is not None and np.isnan(getattr(part, name)).all():
            raise ConfigError(f"{folder.path}: holds no {name} (another program's table?), so it cannot be limited")


def _span(name: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not low <= high:
        raise ConfigError(f"--{name.replace('_', '-')} {text!r}: expected two numbers, the smaller first: 500,20000")
    return low, high


def check_target(folder: RunFolder, name: str, out: Path, overwrite: bool) -> None:
    """Refuse what an export may not replace; a run's own files never: its log cannot be made again.

    Inside the run folder only tables of the format's own extension may lie, and not where the truth lies. Raises
    ConfigError.
    """
    from rtdecode.formats import FORMATS
    from rtdecode.streams.drift_file import NAME as DRIFT

    place, extension = out.resolve(), FORMATS[name].extension
    inside = place.is_relative_to(folder.path.resolve())
    if inside and not place.name.endswith(extension):
        raise ConfigError(
            f"--out {out}: is or may become a file of the run itself; choose a place outside {folder.path}"
        )
    if place.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file, e.g. {out / (folder.name + extension)}")
    if not place.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {place.parent}")
    for file in FORMATS[name].files(place):
        if file in (own.resolve() for own in (folder.run_yaml, folder.truth_csv, folder.path / DRIFT)):
            raise ConfigError(f"--out {out}: {file.name} is a file of the run itself; choose another name")
        if file.exists() and not overwrite:
            shown = f"{out}: exists" if file == place else f"{out}: {file.name} beside it would be replaced, it exists"
            raise ConfigError(f"--out {shown} already; choose another name, or --overwrite to replace it")
