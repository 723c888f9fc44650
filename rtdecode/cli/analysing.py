"""Commands on what a finished run's localizations say: drift, resolution, group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rtdecode.core.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtdecode.core.localizations import Localizations
    from rtdecode.session.exporting import Change
    from rtdecode.streams.run_folder import RunFolder

Run = Annotated[Path, typer.Argument(help="Run folder.")]


def drift(run: Run) -> None:
    """Measure how the sample drifted, from the localizations themselves; keeps drift.csv in the run folder.

    The log is not changed: `rtdecode export --drift` and `rtdecode resolution` take the drift off.

    Example: [bold]rtdecode drift runs/cell3[/bold]
    """
    from rtdecode.cli.aftermath import make_page
    from rtdecode.session.measuring import drift_path, drift_words, measure_drift

    folder = _finished(run)
    found = measure_drift(folder)
    make_page(folder)
    typer.echo(f"drift: {drift_words(found)}\n{drift_path(folder)}")


def resolution(run: Run) -> None:
    """Measure how finely a run resolves: Fourier ring correlation with its interval, and what the density allows.

    The known drift is taken off first. Keeps resolution.json in the run folder.

    Example: [bold]rtdecode resolution runs/cell3[/bold]
    """
    from rtdecode.cli.aftermath import make_page
    from rtdecode.session.measuring import measure_resolution, resolution_words

    folder = _finished(run)
    said = measure_resolution(folder)
    make_page(folder)
    typer.echo(f"resolution: {resolution_words(said)}")
    for frame, nm in said["trend"]:
        typer.echo(f"  up to frame {frame}: {'-' if nm is None else f'{nm:.0f} nm'}")


def group(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="Also write the blinks, as `export` would.")] = None,
    format: Annotated[str | None, typer.Option("--format", help="As of `export`. Default: by the file's name.")] = None,
    radius_nm: Annotated[
        float | None, typer.Option(min=0, help="Default: 3 sigma of the pair, at most 100 nm.")
    ] = None,
    dark_frames: Annotated[int, typer.Option(min=0, max=100, help="Empty frames that a blink may have.")] = 1,
    filter: Annotated[Literal["none", "recommended"], typer.Option(help="As of `export`.")] = "none",
    drift: Annotated[bool, typer.Option("--drift", help="Take the measured drift off first.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out where it exists.")] = False,
) -> None:
    """Put the localizations of one blink together: positions weighted by 1/sigma², photons summed; counts the blinks.

    Example: [bold]rtdecode group runs/cell3 --dark-frames 2 --out cell3_blinks.hdf5[/bold]
    """
    from rtdecode.analysis.grouping import grouped
    from rtdecode.cli.exchange import quality_of
    from rtdecode.core.localizations import Localizations
    from rtdecode.session.exporting import parts_of

    folder = _finished(run)
    quality, change = quality_of(folder, filter), drift_change(folder, drift)
    found = Localizations.concatenate(quality.of(change(part)) for part in parts_of(folder))
    groups = grouped(found, radius_nm, dark_frames)
    if not len(groups):
        typer.echo("0 blinks: there is no localization")
        return
    per, on = groups.n_localizations, groups.on_frames
    typer.echo(
        f"{len(groups)} blinks of {len(found)} localizations: {per.mean():.2f} each, on for {on.mean():.2f} frames; "
        f"median sigma x {_median(groups.localizations.sigma_x_nm)} nm, before {_median(found.sigma_x_nm)} nm"
    )
    if out is not None:
        said = {
            "grouped": {"radius_nm": radius_nm, "dark_frames": dark_frames},
            "filter": quality.as_json(),
            "drift": drift_said(folder, drift),
        }
        _write(folder, out, format, overwrite, groups.localizations, said)


def drift_change(folder: RunFolder, asked: bool) -> Change:
    """What takes the run's measured drift off; nothing where it is not asked for. Raises ConfigError."""
    from rtdecode.session.measuring import drift_of

    if not asked:
        return lambda found: found
    known = drift_of(folder)
    if known is None:
        raise ConfigError(f"--drift: it was not measured yet; run `rtdecode drift {folder.path}` first")
    return known.undone


def drift_said(folder: RunFolder, taken_off: bool) -> dict[str, Any]:
    """What an export tells of it: how far the sample went in x, y, z, where that was taken off."""
    from rtdecode.session.measuring import drift_of

    known = drift_of(folder) if taken_off else None
    if known is None:
        return {"taken_off": False}
    return {"taken_off": True, "blocks": len(known), "range_nm": [round(side, 2) for side in known.range_nm]}


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (drift, resolution, group):
        app.command()(command)


def _finished(run: Path) -> RunFolder:
    from rtdecode.streams.run_folder import RunFolder

    folder = RunFolder.open(run)
    if folder.is_running:
        raise RunFolderError(f"{run}: still running; wait for its end, or stop it with `rtdecode stop`")
    return folder


def _write(
    folder: RunFolder, out: Path, format: str | None, overwrite: bool, found: Localizations, said: dict[str, Any]
) -> None:
    from dataclasses import replace

    from rtdecode.cli.exchange import check_target, format_of
    from rtdecode.formats import FORMATS
    from rtdecode.session.exporting import about_run, absent_of

    name = format_of(format, out)
    check_target(folder, name, out, overwrite)
    rows = FORMATS[name].write(out, [found], replace(about_run(folder, said), absent=absent_of(folder)))
    typer.echo(f"{rows} blinks in {out}")


def _median(sigma: NDArray[np.float32]) -> str:
    import numpy as np

    known = sigma[np.isfinite(sigma) & (sigma > 0)]
    return f"{np.median(known):.1f}" if len(known) else "-"
