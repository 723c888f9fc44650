"""The command `calibrate`: bead stacks, SMAP's calibrations or a plain width to a PSF file, checked and drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtdecode.cli.files import pixel_size
from rtdecode.cli.making import new_file
from rtdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rtdecode.physics.calibrate import Calibration
    from rtdecode.physics.psf import Psf
    from rtdecode.physics.pupil import Pupil
    from rtdecode.view.bead_page import PageOf

SMAP, OURS = ".mat", ".safetensors"
KINDS: dict[str, tuple[str, ...]] = {
    "spline": (),
    "gaussian": (),
    "gaussian-2d": ("--psf-sigma-px",),
    "double-helix": ("--na", "--wavelength-nm"),
}
"""What each kind is made from in place of beads; a kind without is made from these."""


def calibrate(
    out: Annotated[Path, typer.Option(help="PSF to write, .safetensors, or .mat as SMAP has it; must not exist.")],
    beads: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Bead stacks through focus (TIFF, OME-TIFF, .npy ...), or one PSF: .safetensors, SMAP's .mat."
        ),
    ] = None,
    dz_nm: Annotated[
        float | None, typer.Option(help="Step between slices; below 0 where z falls. Default: what the file states.")
    ] = None,
    px_nm: Annotated[
        str | None,
        typer.Option(help="Pixel size in the sample: 100, or 100,110 for x and y. Default: what the file states."),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="spline, gaussian (astigmatic); without beads: gaussian-2d, double-helix.")
    ] = "spline",
    psf_sigma_px: Annotated[float | None, typer.Option(min=0.3, max=10, help="Width of gaussian-2d.")] = None,
    na: Annotated[float | None, typer.Option(min=0.1, max=1.7, help="Of double-helix: numerical aperture.")] = None,
    wavelength_nm: Annotated[float | None, typer.Option(min=200, max=2000, help="Of double-helix: emission.")] = None,
    refractive_index: Annotated[float, typer.Option(min=1, max=2, help="Of double-helix: immersion.")] = 1.518,
    z_nm: Annotated[str, typer.Option(help="Of double-helix: lowest and highest z.")] = "-900,900",
    slices: Annotated[int | None, typer.Option(min=7, help="Slices of a stack, where a file holds several.")] = None,
    focus_slice: Annotated[float | None, typer.Option(help="Slice in focus, from 0. Default: the middle one.")] = None,
    roi_px: Annotated[int, typer.Option(min=9, help="Side of the PSF, odd.")] = 37,
    page: Annotated[Path | None, typer.Option(help="Picture page. Default: beside --out, as .png.")] = None,
) -> None:
    """Make a PSF from bead stacks, with a picture page and a verdict; or read and write SMAP's calibrations.

    Beads are found, aligned in 3D over all stacks and averaged; those left out are told with the reason.

    Example: [bold]rtdecode calibrate beads1.tif beads2.tif --dz-nm 10 --px-nm 100 --out psf.safetensors[/bold]

    Without beads: [bold]rtdecode calibrate --kind gaussian-2d --psf-sigma-px 1.3 --out psf.safetensors[/bold]

    From optics: [bold]rtdecode calibrate --kind double-helix --na 1.4 --wavelength-nm 670 --out psf.safetensors[/bold]

    From SMAP: [bold]rtdecode calibrate cell_3dcal.mat --px-nm 100 --out psf.safetensors[/bold]
    """
    files = beads or []
    picture = page or out.with_suffix(".png")
    _check(files, out, picture, kind, {"--psf-sigma-px": psf_sigma_px, "--na": na, "--wavelength-nm": wavelength_nm})
    pixels = None if px_nm is None else pixel_size(px_nm)
    if na is not None and wavelength_nm is not None:
        from rtdecode.physics.pupil import Pupil

        pupil = Pupil(na, wavelength_nm, refractive_index, pixels or _usual())
        drawn = _double_helix(pupil, _z_range(z_nm), abs(dz_nm or 20.0), roi_px)
    elif kind == "gaussian-2d":
        drawn = _plain_gaussian(psf_sigma_px, roi_px, pixels or _usual())
    elif len(files) == 1 and files[0].suffix in (SMAP, OURS):
        drawn = _of_psf_file(files[0], pixels)
    else:
        drawn = _of_beads(files, dz_nm, pixels, kind, slices, focus_slice, roi_px)
    _write(out, drawn.psf)
    _draw(picture, drawn)
    _say(drawn, out, picture)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(calibrate)


def _check(files: list[Path], out: Path, picture: Path, kind: str, given: dict[str, float | None]) -> None:
    """Known before minutes of work, not after."""
    if kind not in KINDS:
        raise ConfigError(f"--kind {kind!r}: expected {', '.join(KINDS)}")
    for option, value in given.items():
        if (option in KINDS[kind]) != (value is not None):
            other = next(name for name, needed in KINDS.items() if option in needed)
            raise ConfigError(f"--kind {other} and {option} belong together: it is given, not fitted to beads")
    if KINDS[kind] and files:
        raise ConfigError(f"--kind {kind} takes no beads; for their PSF use --kind spline or gaussian")
    if not KINDS[kind] and not files:
        raise ConfigError("name a bead stack, a *_3dcal.mat or a PSF; without beads: --kind gaussian-2d, double-helix")
    if out.suffix not in (SMAP, OURS):
        raise ConfigError(f"--out {out}: expected a name that ends in {OURS} or {SMAP} (SMAP's)")
    new_file(out)
    if picture.exists():
        raise ConfigError(f"{picture}: exists already; choose another --page or remove it")


def _z_range(text: str) -> tuple[float, float]:
    """(low, high) nm from `-900,900`."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--z-nm {text!r}: expected the lowest and the highest z in nm, such as -900,900") from None
    return low, high


def _usual() -> tuple[float, float]:
    typer.echo("--px-nm is not given: pixels of 100 nm are taken")
    return (100.0, 100.0)


def _plain_gaussian(psf_sigma_px: float | None, roi_px: int, px_nm: tuple[float, float]) -> PageOf:
    from rtdecode.physics.psf import GaussianPsf
    from rtdecode.physics.psf_check import Verdict
    from rtdecode.view.bead_page import PageOf

    psf = GaussianPsf(psf_sigma_px or 1.3, 0.0, float("inf"), roi_px=roi_px, px_nm=px_nm)
    words = "For 2D: the spot has the same width at all heights, so z cannot be measured."
    return PageOf(f"2D Gaussian, {psf.psf_sigma_px:g} px", psf, Verdict("good", None, words))


def _double_helix(pupil: Pupil, z_nm: tuple[float, float], dz_nm: float, roi_px: int) -> PageOf:
    from rtdecode.physics.psf_check import alike_heights, verdict
    from rtdecode.physics.pupil import double_helix, pupil_psf
    from rtdecode.view.bead_page import PageOf

    psf = pupil_psf(pupil, double_helix(), z_nm, dz_nm, roi_px)
    title = f"Double helix by scalar optics, NA {pupil.na:g}, {pupil.wavelength_nm:g} nm; no beads have seen it"
    return PageOf(title, psf, verdict(psf, 0, None, alike_heights(psf)))


def _of_psf_file(path: Path, px_nm: tuple[float, float] | None) -> PageOf:
    from rtdecode.formats.smap import read_smap
    from rtdecode.physics.psf import load_psf
    from rtdecode.physics.psf_check import alike_heights, verdict
    from rtdecode.view.bead_page import PageOf

    if px_nm is not None and path.suffix == OURS:
        raise ConfigError(f"--px-nm: {path} has its own pixel size")
    psf = read_smap(path, px_nm) if path.suffix == SMAP else load_psf(path)
    return PageOf(path.name, psf, verdict(psf, 0, None, alike_heights(psf)))


def _of_beads(
    files: list[Path],
    dz_nm: float | None,
    px_nm: tuple[float, float] | None,
    kind: str,
    slices: int | None,
    focus_slice: float | None,
    roi_px: int,
) -> PageOf:
    from rtdecode.cli.bead_files import read_bead_file, settled
    from rtdecode.physics.calibrate import CalibrationSettings, calibrate
    from rtdecode.physics.gaussian_fit import fit_gaussian
    from rtdecode.physics.psf_check import alike_heights, verdict, z_ramp
    from rtdecode.view.bead_page import PageOf

    if dz_nm is not None and abs(dz_nm) < 0.1:
        raise ConfigError(f"--dz-nm {dz_nm:g}: expected a step of 0.1 nm or more, or -0.1 nm or less")
    read = [(path, read_bead_file(path, slices)) for path in files]
    pixels, step_nm, words = settled(read, px_nm, dz_nm)
    for sentence in words:
        typer.echo(f"! {sentence}")
    stacks = [stack for _, file in read for stack in file.stacks]
    made = calibrate(stacks, CalibrationSettings(pixels, step_nm, focus_slice, roi_px))
    psf: Psf = fit_gaussian(made.psf) if kind == "gaussian" else made.psf
    ramp = z_ramp(psf, made.used)
    judged = verdict(psf, len(made.used), ramp, alike_heights(psf), made.noise)
    if kind == "gaussian" and judged.grade != "good":
        judged = replace(
            judged, words=f"{judged.words} These spots are no Gaussians: --kind spline follows their shape."
        )
    judged = replace(judged, words=" ".join([judged.words, *(f"{note[0].upper()}{note[1:]}." for note in made.notes)]))
    name = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    return PageOf(f"{name}: {_kind_words(psf, made)}", psf, judged, made.beads, stacks, ramp)


def _kind_words(psf: Psf, made: Calibration) -> str:
    low, high = psf.z_range_nm
    return f"{psf.summary()['kind']}, {len(made.used)} bead{'s' * (len(made.used) > 1)}, z {low:.0f} to {high:.0f} nm"


def _write(out: Path, psf: Psf) -> None:
    if out.suffix == SMAP:
        from rtdecode.formats.smap import write_smap

        write_smap(out, psf)
    else:
        psf.save(out)


def _draw(picture: Path, drawn: PageOf) -> None:
    from rtdecode.view.bead_page import write_bead_page

    write_bead_page(picture, drawn)


def _say(drawn: PageOf, out: Path, picture: Path) -> None:
    used = [bead for bead in drawn.beads if bead.used]
    if drawn.beads:
        alike = min(bead.similarity for bead in used)
        typer.echo(f"{len(used)} of {len(drawn.beads)} beads used, each at least {alike:.4f} like their average")
    for n, bead in enumerate(drawn.beads):
        if not bead.used:
            where = f"row {bead.row_px:.0f}, column {bead.column_px:.0f} of stack {bead.stack + 1}"
            typer.echo(f"  left out: bead {n + 1} at {where}: {bead.reason}")
    low, high = drawn.psf.z_range_nm
    kind, side = drawn.psf.summary()["kind"], drawn.psf.roi_px
    typer.echo(f"{out}: {kind}, {side} x {side} px, z {low:.0f} to {high:.0f} nm")
    typer.echo(drawn.verdict.words)
    typer.echo(f"{picture}: look at it before you train")
