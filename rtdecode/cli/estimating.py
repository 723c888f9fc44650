"""The command `estimate`: what a recording holds, and a training configuration made for it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.cli.making import new_folder
from rtdecode.core.errors import ConfigError, EndOfStream, RecordingError

if TYPE_CHECKING:
    from rtdecode.analysis.estimated import Estimate
    from rtdecode.core.camera import Camera
    from rtdecode.physics.camera import CameraVariation
    from rtdecode.train.proposal import Ranges

MAX_PIXELS = 30_000_000  # of frames looked at: half a minute, 1 GB
MIN_FRAMES = 60
BLOCKS = 4
MAX_SIDE_PX = 512


def estimate(
    recording: Annotated[Path, typer.Argument(help="Recording: TIFF, .npy, NDTiff, Picasso .raw, a folder ...")],
    camera: Annotated[Path, typer.Option(help="YAML of the camera: pixel size, baseline, gain.")],
    psf: Annotated[Path, typer.Option(help="PSF file of `rtdecode calibrate`.")],
    out: Annotated[Path | None, typer.Option(help="Folder to make. Default: <recording>-estimate here.")] = None,
    frames: Annotated[int, typer.Option(min=20, help="Look at this many at most, in four stretches.")] = 1000,
    units: Annotated[str | None, typer.Option(help="adu or photons, where the recording does not say.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what to train for: background, photons, density, on-times, z range and PSF width of a recording.

    Writes a training configuration with margins, ready for `rtdecode train`, a picture page and all figures as JSON.

    Example: [bold]rtdecode estimate cell3.tif --camera camera.yaml --psf psf.safetensors --out cell3-estimate[/bold]
    """
    from rtdecode.analysis.estimate import estimate as look
    from rtdecode.core.camera import Camera
    from rtdecode.core.yaml_files import load_yaml
    from rtdecode.sources.scene import load_psf
    from rtdecode.train.proposal import Ranges

    taken = load_yaml(camera, Camera).with_maps_in(camera.parent)
    psf_model = load_psf(psf, taken)
    place = out or Path(f"{recording.stem}-estimate")
    if place.exists():
        raise ConfigError(f"--out {place}: exists already; choose another name or remove it")
    blocks = _read_blocks(recording, taken, units, frames)
    found = look(blocks, taken, psf_model)
    ranges = Ranges.of(found)
    simulated = taken.model_copy(update={"maps": None})  # a training draws its own
    with new_folder(place):
        _write(place, found, ranges, simulated, recording, psf, _pixels(taken))
    if as_json:
        typer.echo(json.dumps({**found.as_dict(), "out": str(place)}, indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join([*_sentences(found), *(f"! {doubt}" for doubt in found.doubts())]))
        typer.echo(f"{place / 'estimate.png'}; now `rtdecode train {place / 'train.yaml'}`")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(estimate)


def _read_blocks(path: Path, camera: Camera, units: str | None, most: int) -> list[Any]:
    """Photons (T, H, W) of up to four stretches spread over the recording; of large frames the middle."""
    from rtdecode.sources.opening import open_recording

    if units not in (None, "adu", "photons"):
        raise ConfigError(f"--units {units!r}: expected adu or photons")
    opened = open_recording(path)
    n_there, (height, width) = opened.n_frames, opened.shape
    opened.close()
    side = (min(height, MAX_SIDE_PX), min(width, MAX_SIDE_PX))
    n = min(n_there, most, max(MIN_FRAMES, MAX_PIXELS // (side[0] * side[1])))
    n_blocks = BLOCKS if n < n_there and n >= BLOCKS * 50 else 1
    starts = [round(k * (n_there - n // n_blocks) / max(n_blocks - 1, 1)) for k in range(n_blocks)]
    return [_read(path, camera, units, start, start + n // n_blocks, side) for start in starts]


def _read(path: Path, camera: Camera, units: Any, first: int, last: int, side: tuple[int, int]) -> Any:
    import numpy as np

    from rtdecode.sources.replay import ReplaySource

    source = ReplaySource(path=path, units=units, camera=camera, first=first, last=last)
    source.open()
    try:
        source.start()
        height, width = source.roi.shape
        top, left = (height - side[0]) // 2, (width - side[1]) // 2
        pixels, maps = np.empty(source.roi.shape, source.dtype), camera.load_maps(source.roi)
        found: list[Any] = []
        while len(found) < last - first:
            try:
                if source.read(pixels) is not None:
                    found.append(camera.photons(pixels, maps)[top : top + side[0], left : left + side[1]])
            except EndOfStream:
                break
    finally:
        source.close()
    if not found or not all(np.isfinite(frame).all() for frame in found):
        raise RecordingError(f"{path}: frames {first} to {last} are missing or hold values that are not finite")
    return np.stack(found)


def _pixels(camera: Camera) -> CameraVariation | None:
    """How the camera's pixels differ, where it has maps."""
    from rtdecode.core.camera_maps import CameraMaps
    from rtdecode.train.proposal import pixels_of

    return None if camera.maps is None else pixels_of(camera, CameraMaps.load(camera.maps))


def _write(
    place: Path,
    found: Estimate,
    ranges: Ranges,
    camera: Camera,
    recording: Path,
    psf: Path,
    pixels: CameraVariation | None,
) -> None:
    from rtdecode.train.proposal import training_yaml
    from rtdecode.view.estimate_page import write_estimate_page

    shutil.copyfile(psf, place / "psf.safetensors")
    name = re.sub(r"[^a-z0-9]+", "-", recording.stem.lower()).strip("-") or "estimated"
    names = {"name": name, "recording": recording.name, "psf": "psf.safetensors"}
    text = training_yaml(found, ranges, camera, **names, pixels=pixels)
    (place / "train.yaml").write_text(text, encoding="utf-8")
    words = json.dumps(found.as_dict(), indent=2, ensure_ascii=False)
    (place / "estimate.json").write_text(words + "\n", encoding="utf-8")
    write_estimate_page(place / "estimate.png", _view(found, ranges, recording.name))


def _view(found: Estimate, ranges: Ranges, title: str) -> Any:
    from rtdecode.view.estimate_page import EstimateView

    s = found.samples
    return EstimateView(
        title=f"{title}: {found.frames} frames; green bands are the ranges proposed for training",
        photons=s.photons, z_nm=s.z_nm if found.z.tells else None, sigmas_px=s.sigmas_px,
        psf_sigmas_px=s.psf_sigmas_px, lags=s.lags, covariance=s.covariance, modelled=s.modelled,
        mean_frame=s.mean_frame, background=found.background.field, background_even=not found.background.structured,
        background_levels=found.background.levels,
        frames=s.frames, spots=s.spots, isolated=s.isolated,
        ranges={"photons": ranges.photons, "z_nm": ranges.z_nm, "background": ranges.background,
                "lifetime_frames": ranges.lifetime_frames},
        figures=_sentences(found), doubts=found.doubts(),
    )  # fmt: skip


def _sentences(found: Estimate) -> list[str]:
    b, p, d, z, w = found.background, found.photons, found.density, found.z, found.width
    structured = "structured" if b.structured else "even"
    return [
        f"background   {b.mean:.4g} photons per pixel; over time {b.over_time[0]:.4g} to {b.over_time[1]:.4g}, "
        f"over the field {b.over_space[0]:.4g} to {b.over_space[1]:.4g} ({structured}, sd {b.structure:.1%})",
        f"photons      {p.full_frame:.0f} +- {p.sd:.0f} in a full frame (isolated spots {p.from_spots:.0f}, "
        f"{p.full_exposures} of them; flicker {_known(p.from_flicker)})",
        f"density      {d.mean:.2g} emitters per µm² and frame, {d.busiest:.2g} at the busiest place; "
        f"{d.found:.2g} stand out as spots, {d.isolated_share:.0%} of those alone",
        f"on-time      {_known(found.on_time_frames, '.2g')} frames",
        f"z            {z.middle_nm[0]:.0f} to {z.middle_nm[1]:.0f} nm (5 to 95 %), taken as {z.used_nm[0]:.0f} to "
        f"{z.used_nm[1]:.0f}" if z.tells else "z            the PSF tells none",
        f"PSF width    spots are {w.scale:.2f} times as wide as the PSF file's ({w.spots} spots), chi2 {w.chi2:.2f}",
    ]  # fmt: skip


def _known(value: float, form: str = ".0f") -> str:
    return format(value, form) if value == value else "unknown"
