"""Commands on what a finished run's localizations say: drift, resolution, group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rtdecode.core.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtdecode.analysis.grouping import Groups
    from rtdecode.session.exporting import Change
    from rtdecode.streams.run_folder import RunFolder

BLINKS = "blinks.hdf5"
Run = Annotated[Path, typer.Argument(help="Run folder.")]


def drift(run: Run) -> None:
    """Measure how the sample drifted, from the localizations themselves; keeps drift.csv and drift.png in the run.

    The log is not changed: `rtdecode export --drift`, `group --drift` and `rtdecode resolution` take the drift off.

    Example: [bold]rtdecode drift runs/cell3[/bold]
    """
    from rtdecode.cli.aftermath import make_page
    from rtdecode.session.measuring import drift_path, drift_verdict, drift_words, good_of, measure_drift
    from rtdecode.view.analysis_pages import write_drift_page

    folder = _finished(run)
    found = measure_drift(folder)
    words, verdict = drift_words(found), drift_verdict(found, good_of(folder))
    picture = folder.path / "drift.png"
    if len(found) > 1:
        write_drift_page(picture, found, f"{folder.name}: drift", [words, verdict])
    else:
        picture.unlink(missing_ok=True)  # of an earlier try: it would not belong to this drift.csv
    make_page(folder)
    typer.echo(f"drift: {words}\n{verdict}")
    if picture.exists():
        typer.echo(f"{drift_path(folder)}, {picture.name}")


def resolution(run: Run) -> None:
    """Measure how finely a run resolves: Fourier ring correlation and what the density allows, both with interval.

    The known drift is taken off first. Keeps resolution.json and resolution.png in the run folder.

    Example: [bold]rtdecode resolution runs/cell3[/bold]
    """
    import numpy as np

    from rtdecode.cli.aftermath import make_page
    from rtdecode.session.measuring import measure_resolution, resolution_words
    from rtdecode.view.analysis_pages import write_resolution_page

    folder = _finished(run)
    said = measure_resolution(folder)
    words, picture = resolution_words(said), folder.path / "resolution.png"
    curve = (np.array(said["curve"][0]), np.array(said["curve"][1])) if "curve" in said else None
    title = f"{folder.name}: resolution"
    write_resolution_page(picture, curve, said["frc_nm"], said["trend"], said["nyquist_nm"], title, [words])
    make_page(folder)
    typer.echo(f"resolution: {words}")
    for frame, nm in said["trend"]:
        typer.echo(f"  up to frame {frame}: {'-' if nm is None else f'{nm:.0f} nm'}")
    typer.echo(str(picture))


def group(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: blinks.hdf5 in the run folder.")] = None,
    format: Annotated[str | None, typer.Option("--format", help="As of `export`. Default: by the file's name.")] = None,
    radius_nm: Annotated[
        float | None, typer.Option(min=0, help="Default: 3.5 sigma of the pair, at most 100 nm.")
    ] = None,
    dark_frames: Annotated[int, typer.Option(min=0, max=100, help="Empty frames that a blink may have.")] = 1,
    filter: Annotated[Literal["none", "recommended"], typer.Option(help="As of `export`.")] = "none",
    drift: Annotated[bool, typer.Option("--drift", help="Take the measured drift off first.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out where it exists.")] = False,
) -> None:
    """Put the localizations of one blink together: positions weighted by 1/sigma², photons summed; counts the blinks.

    Writes what Picasso's Link writes (with its columns len, n and photon_rate) into the run folder as blinks.hdf5; the
    log is not changed. Another format with --out.

    Example: [bold]rtdecode group runs/cell3 --dark-frames 2[/bold], or
    [bold]rtdecode group runs/cell3 --drift --out cell3_blinks.csv[/bold]
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
    said = {
        "grouped": {"radius_nm": radius_nm, "dark_frames": dark_frames},
        "filter": quality.as_json(),
        "drift": drift_said(folder, drift),
    }
    if out is None:
        if (folder.path / BLINKS).exists():
            typer.echo(f"{BLINKS} of an earlier `group` is replaced")
        _write(folder, folder.path / BLINKS, format, True, groups, said)
    else:
        _write(folder, out, format, overwrite, groups, said)


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
    folder: RunFolder, out: Path, format: str | None, overwrite: bool, groups: Groups, said: dict[str, Any]
) -> None:
    from dataclasses import replace

    from rtdecode.cli.exchange import check_target, format_of
    from rtdecode.formats import FORMATS
    from rtdecode.formats.picasso import write_picasso_linked
    from rtdecode.session.exporting import about_run, absent_of

    name, blinks = format_of(format, out), groups.localizations
    about = replace(about_run(folder, said), absent=absent_of(folder))
    check_target(folder, name, out, overwrite)
    if name == "picasso":
        write_picasso_linked(out, blinks, groups.on_frames, groups.n_localizations, about)
    else:
        FORMATS[name].write(out, [blinks], about)
    typer.echo(f"{len(blinks)} blinks in {out}")


def _median(sigma: NDArray[np.float32]) -> str:
    import numpy as np

    known = sigma[np.isfinite(sigma) & (sigma > 0)]
    return f"{np.median(known):.1f}" if len(known) else "-"
