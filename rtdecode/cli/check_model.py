"""`rtdecode check-model`: is this model right for my data?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from rtdecode.core.errors import ConfigError, EndOfStream

if TYPE_CHECKING:
    from rtdecode.analysis.model_check import ModelCheck
    from rtdecode.core.contracts import Source
    from rtdecode.core.localizations import Localizations
    from rtdecode.fit.bundle import ModelBundle
    from rtdecode.stages.run_record import RunRecord

MOST_PIXELS = 256_000_000  # of a recording that are looked at: 512 MB of uint16


def check_model(
    recording: Annotated[Path, typer.Argument(help="Movie or recorded run, as for `rtdecode replay`.")],
    model: Annotated[str, typer.Option(help="Folder of a bundle, or the name of a shipped one.")] = "astigmatic-light",
    camera: Annotated[
        Path | None, typer.Option(help="YAML of its camera. Default: a recorded run's own, else the model's.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="adu or photons; needed for float recordings.")] = None,
    first: Annotated[int, typer.Option(min=0, help="First frame to look at.")] = 0,
    frames: Annotated[int, typer.Option(min=3, help="Frames to look at, at most; more tell more.")] = 2000,
    scan_step_nm: Annotated[
        float | None,
        typer.Option(
            help="The focus moved while recording (beads or sample): z grows by so much each frame; may be below 0."
        ),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write a picture page (.png).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a recording against a model: gain, baseline, pixel size, orientation of the PSF, photons, background,
    density, sigma. Each misfit is a named warning that says what to do; the exit status is 2 when there is one.

    Example: [bold]rtdecode check-model movie.tif --model astigmatic-light --camera emccd.yaml --page check.png[/bold]
    """
    from rtdecode.core.config import EngineConfig, RunConfig
    from rtdecode.core.yaml_files import validate
    from rtdecode.fit.bundle import ModelBundle
    from rtdecode.session.resolve import resolve

    given = {"use": "replay", "path": str(recording.resolve()), "units": units, "first": first}
    fields = {"source": given, "model": model, "camera": _camera(camera), "allow_camera_mismatch": True, "out": "."}
    record = resolve(validate(fields, RunConfig, "rtdecode check-model"), "rtdecode check-model")
    bundle = ModelBundle.load(record.model)
    pixels = _read(record, frames)
    found = _localize(pixels, bundle, record, EngineConfig())
    check = _check(pixels, found, bundle, record, scan_step_nm)
    if page is not None:
        _write_page(page, f"{recording.name}: {bundle.name} on {len(pixels)} frames", check)
    typer.echo(_as_json(check, record, bundle) if as_json else _as_text(check, record))
    if check.warnings:
        raise typer.Exit(2)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(name="check-model")(check_model)


def _camera(path: Path | None) -> Any:
    from rtdecode.core.camera import Camera
    from rtdecode.core.yaml_files import load_yaml

    return None if path is None else load_yaml(path, Camera)


def _read(record: RunRecord, most: int) -> Any:
    """(T, H, W) the first frames, as many as asked for and as memory allows."""
    from rtdecode.stages.build import build_source

    source: Source = build_source(record, None)
    source.open()
    try:
        source.start()
        most = min(most, max(3, MOST_PIXELS // (source.roi.height_px * source.roi.width_px)))
        taken: list[Any] = []
        while len(taken) < most and (one := _next(source)) is not None:
            taken.append(one)
    finally:
        source.close()
    if len(taken) < 3:
        raise ConfigError(f"{record.source.fields['path']}: {len(taken)} frames are too few to check a model with")
    return np.stack(taken)


def _next(source: Source) -> Any:
    """The next frame (H, W), None at the end."""
    pixels = np.empty(source.roi.shape, source.dtype)
    try:
        while source.read(pixels) is None:
            pass
    except EndOfStream:
        return None
    return pixels


def _localize(pixels: Any, bundle: ModelBundle, record: RunRecord, engine: Any) -> Localizations:
    """Frames counted from 0."""
    from rtdecode.core.frames import Frame, FrameInfo, Roi
    from rtdecode.core.localizations import Localizations
    from rtdecode.fit import engines
    from rtdecode.fit.fitter import Fitter

    roi = Roi(0, 0, pixels.shape[2], pixels.shape[1])
    fitter = Fitter(bundle, engines.build(engine, bundle), roi, record.camera, allow_camera_mismatch=True)
    parts = [one for t, frame in enumerate(pixels) for one in fitter.push(Frame(FrameInfo(t, 0, 0), frame))]
    return Localizations.concatenate(one.localizations for one in [*parts, *fitter.finish()])


def _check(
    pixels: Any, found: Localizations, bundle: ModelBundle, record: RunRecord, step_nm: float | None
) -> ModelCheck:
    from rtdecode.analysis.doubts import Trained
    from rtdecode.analysis.model_check import check_model as check
    from rtdecode.fit.bundle import PSF
    from rtdecode.physics.psf import load_psf, spline_of

    psf = spline_of(load_psf(bundle.psf_path)) if PSF in bundle.card.files else None
    trained = Trained(**bundle.card.ranges.model_dump(), background_end=bundle.scaling.background_max)
    return check(pixels, found, record.camera or bundle.camera, psf, trained, step_nm)


def _write_page(path: Path, title: str, check: ModelCheck) -> None:
    from rtdecode.view.check_page import write_check_page

    findings = [(finding.check, finding.verdict, finding.sentence) for finding in check.findings]
    try:
        write_check_page(path, title, findings, check.residuals, check.excess)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--page {path}: cannot be written: {error}") from error


def _cautions(record: RunRecord) -> list[str]:
    """What is known before a frame is looked at."""
    assumed = ["no camera was given: gain, baseline and pixel size are assumed to be the model's"]
    return [*record.cautions, *(assumed if record.camera_assumed else [])]


def _as_json(check: ModelCheck, record: RunRecord, bundle: ModelBundle) -> str:
    findings = [{"check": f.check, "verdict": f.verdict, "sentence": f.sentence} for f in check.findings]
    fits = {
        "model": bundle.name,
        "fits": not check.warnings,
        "warnings": [f.check for f in check.warnings],
        "unknown": _unknown(check),
    }
    more = {"findings": findings, "numbers": check.numbers, "ranges": bundle.card.ranges.model_dump(mode="json")}
    return json.dumps(fits | more | {"cautions": _cautions(record)}, indent=2, ensure_ascii=False)


def _as_text(check: ModelCheck, record: RunRecord) -> str:
    lines = [f"{f.verdict:8} {f.check:12} {f.sentence}" for f in check.findings]
    told = [f"note     {'':12} {sentence}" for sentence in _cautions(record)]
    warned = ", ".join(finding.check for finding in check.warnings)
    verdict = f"this model does not fit the recording: {warned}" if warned else "nothing speaks against this model"
    open_ = ", ".join(_unknown(check))
    return "\n".join([*lines, *told, verdict + (f"; not known: {open_}" if open_ else "")])


def _unknown(check: ModelCheck) -> list[str]:
    """Checks that this recording cannot answer: silence of theirs is no praise."""
    return [finding.check for finding in check.findings if finding.verdict == "unknown"]
