"""The command `estimate-camera`: baseline, gain, read noise and maps from dark frames and frames with light."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.cli.files import pixel_size
from rtdecode.cli.making import frames_of, new_folder
from rtdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rtdecode.physics.photon_transfer import CameraEstimate, Moments

MAPS = "camera-maps.safetensors"


def estimate_camera(
    out: Annotated[Path, typer.Option(help="Folder to make: camera.yaml, camera.png, maps.")],
    px_nm: Annotated[str, typer.Option(help="Pixel size in the sample: 100, or 100,110 for x and y.")],
    dark: Annotated[Path | None, typer.Option(help="Recording with the shutter shut, 200 frames or more.")] = None,
    light: Annotated[
        list[Path] | None,
        typer.Option(help="Recording of steady light, or of anything that stands still; again for each level."),
    ] = None,
    em_gain: Annotated[float | None, typer.Option(min=1.01, help="EM gain of an EMCCD, as set on the camera.")] = None,
    e_per_adu: Annotated[
        float | None, typer.Option(min=1e-6, help="Electrons per ADU of the data sheet, where there is no --light.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a camera: baseline and read noise from dark frames, gain from how the noise grows with light.

    Example: [bold]rtdecode estimate-camera --dark dark.tif --light flat1.tif --light flat2.tif --px-nm 100 --out camera[/bold]

    EMCCD: [bold]rtdecode estimate-camera --dark dark.tif --light flat.tif --em-gain 300 --px-nm 100 --out camera[/bold]
    """  # noqa: E501
    from rtdecode.physics.photon_transfer import estimate_camera as measure

    pixels = pixel_size(px_nm)
    if e_per_adu is not None and light:
        raise ConfigError("--e-per-adu is for dark frames alone; with --light the gain is measured")
    if out.exists():
        raise ConfigError(f"--out {out}: exists already; choose another name or remove it")
    found = measure(_moments(dark) if dark else None, [_moments(path) for path in light or []], em_gain)
    fields = _fields(found, pixels, e_per_adu)
    with new_folder(out):
        _write(out, found, fields)
    if as_json:
        typer.echo(json.dumps({**fields, "told": list(found.told), "out": str(out)}, indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join([*_sentences(found, fields), *(f"! {sentence}" for sentence in found.told)]))
        typer.echo(", ".join(str(path) for path in sorted(out.iterdir())))


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("estimate-camera")(estimate_camera)


def _moments(path: Path) -> Moments:
    from rtdecode.physics.photon_transfer import Moments
    from rtdecode.sources.replay import ReplaySource

    source = ReplaySource(path=path, units="adu")
    source.open()
    try:
        source.start()
        return Moments.of(frames_of(source), str(path))
    finally:
        source.close()


def _fields(found: CameraEstimate, px_nm: tuple[float, float], stated: float | None) -> dict[str, Any]:
    """What `Camera` has, as far as it is known."""
    gain = found.e_per_adu if found.e_per_adu is not None else stated
    noise = found.read_noise_adu
    known = {
        "px_nm": list(px_nm),
        "baseline_adu": found.baseline_adu,
        "e_per_adu": gain,
        "read_noise_e": None if noise is None or gain is None else noise * gain,
        "em_gain": found.em_gain,
    }
    return {name: _round(value) if isinstance(value, float) else value for name, value in known.items() if value}


def _write(out: Path, found: CameraEstimate, fields: dict[str, Any]) -> None:
    import yaml

    from rtdecode.view.camera_page import write_camera_page

    if found.maps is not None:
        found.maps.save(out / MAPS)
    missing = [name for name in ("baseline_adu", "e_per_adu", "read_noise_e") if name not in fields]
    text = "# Made by `rtdecode estimate-camera`; qe 1: photons are detected photo-electrons.\n"
    text += "".join(f"# {name}: could not be told; fill it in\n" for name in missing)
    text += yaml.safe_dump(fields, sort_keys=False, default_flow_style=None)
    if found.maps is not None:
        text += f"maps: {MAPS}\n"
    (out / "camera.yaml").write_text(text, encoding="utf-8")
    maps = {} if found.maps is None else {
        "baseline, ADU": found.maps.baseline_adu,
        "read noise, e": found.maps.read_noise_e,
        "e per ADU": found.maps.e_per_adu,
    }  # fmt: skip
    title, words = f"Camera: {out.name}", _sentences(found, fields)
    write_camera_page(out / "camera.png", title, found.signal, found.variance, found.line, maps, words, found.told)


def _sentences(found: CameraEstimate, fields: dict[str, Any]) -> list[str]:
    lines = [f"{name:14} {value:g}" for name, value in fields.items() if isinstance(value, float)]
    if found.read_noise_adu is not None and "read_noise_e" not in fields:
        lines.append(f"read noise     {found.read_noise_adu:.4g} ADU")
    if found.adu_per_e is not None and found.adu_per_e_error is not None:
        error = found.adu_per_e_error / found.adu_per_e
        lines.append(f"one photo-electron makes {found.adu_per_e:.4g} ADU (known to {max(error, 1e-4):.2%})")
    if found.maps is not None:
        spread = float(found.maps.e_per_adu.std() / found.maps.e_per_adu.mean())
        lines.append(f"maps of {found.maps.e_per_adu.shape[1]} x {found.maps.e_per_adu.shape[0]} px in {MAPS}; gains "
                     f"differ by {spread:.2%} between pixels, freed of the noise of this measurement")  # fmt: skip
    return lines


def _round(value: float) -> float:
    return float(f"{value:.5g}")
