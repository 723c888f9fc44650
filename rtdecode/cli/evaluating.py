"""The command `evaluate`: localizations against the truth, or a model on fresh simulations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rtdecode.cli.files import pixel_size
from rtdecode.core.errors import ConfigError, FileFormatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtdecode.analysis.evaluate import Judged, Rules
    from rtdecode.analysis.score_parts import Part
    from rtdecode.core.localizations import Emitters, Localizations
    from rtdecode.physics.structures import Field

TOLERANCE_NM, MIN_PHOTONS = "250,500", 100.0


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
    shape_px: Annotated[
        str | None, typer.Option(help="Rows,columns of a CSV's frames: emitters outside do not count.")
    ] = None,
    matching: Annotated[
        Literal["optimal", "greedy"], typer.Option(help="Most pairs, then shortest; or the closest pair first.")
    ] = "optimal",
    tolerance_nm: Annotated[str, typer.Option(help="Lateral, axial: how far a pair may lie apart.")] = TOLERANCE_NM,
    border_nm: Annotated[
        float, typer.Option(min=0, help="Leave out what lies so near to the rim; the SMLM challenge: 450.")
    ] = 0.0,
    min_photons: Annotated[float, typer.Option(min=0, help="Dimmer emitters are not asked for.")] = MIN_PHOTONS,
    dims: Annotated[
        int | None, typer.Option(min=2, max=3, help="2: z is neither matched nor judged. Default: 3 where z is told.")
    ] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Also by density around an emitter and by its z.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for scores, parts as tables, and a picture.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --model: other simulations of the same kind.")] = 0,
    psf: Annotated[
        Path | None, typer.Option(help="With --model: simulate with this PSF (of `calibrate`), not the bundle's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score localizations against the truth, or a model on fresh simulations; of 2D models x and y alone.

    Example: [bold]rtdecode evaluate runs/first --truth runs/first/truth.csv --parts[/bold], as the SMLM challenge does
    [bold]rtdecode evaluate runs/first --truth runs/first/truth.csv --border-nm 450[/bold], or
    [bold]rtdecode evaluate --model astigmatic-light --seed 1[/bold]
    """
    if psf is not None and (model is None or write):
        raise ConfigError("--psf goes with --model and without --write: scores on the card are those of its own PSF")
    if (what is None) == (model is None):
        raise ConfigError("evaluate needs either a CSV or run folder with --truth, or --model BUNDLE")
    asked = _Asked(matching, _pair(tolerance_nm, "--tolerance-nm"), border_nm, min_photons, dims)
    if model is not None:
        if asked != _Asked() or parts or out is not None or shape_px is not None:
            raise ConfigError(
                "--matching, --tolerance-nm, --border-nm, --min-photons, --dims, --shape-px, --parts and --out go with "
                "a CSV or run folder; a model's parts are drawn by `rtdecode benchmark-accuracy --out`"
            )
        return _evaluate_model(model, write, seed, as_json, psf)
    if what is None or truth is None:
        raise ConfigError("evaluate FILE.csv|RUN needs --truth TRUTH.csv")
    if px_nm is None and not what.is_dir():
        typer.echo(f"rtdecode: {what} counts from a pixel's corner; its pixels are assumed to be 100 nm wide, "
                   "else give --px-nm", err=True)  # fmt: skip
    table = _table(what, pixel_size(px_nm or "100"), shape_px)
    _evaluate_table(table, truth, frames, asked, parts=parts, out=out, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(evaluate)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the options say of the rules."""

    matching: Literal["optimal", "greedy"] = "optimal"
    tolerance_nm: tuple[float, float] = (250.0, 500.0)
    border_nm: float = 0.0
    min_photons: float = MIN_PHOTONS
    dims: int | None = None

    def rules(self, found: Localizations, field: Field | None) -> Rules:
        from rtdecode.analysis.evaluate import Rules

        if self.border_nm and field is None:
            raise ConfigError("--border-nm: a CSV does not say where the rim is; give --shape-px ROWS,COLUMNS")
        if self.dims == 3 and found.is_2d:
            raise ConfigError("--dims 3: these localizations tell no z; leave it out, or give 2")
        dims: Literal[2, 3] = 2 if self.dims == 2 or found.is_2d else 3
        return Rules(*self.tolerance_nm, self.matching, dims, self.min_photons, field, self.border_nm)


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    found: Localizations
    fitted: NDArray[np.int64] | None  # frames; None: a CSV does not say
    field: Field | None


def _evaluate_table(
    table: _Table, truth: Path, n_frames: int | None, asked: _Asked, *, parts: bool, out: Path | None, as_json: bool
) -> None:
    from rtdecode.analysis.evaluate import judge, score_of
    from rtdecode.analysis.score_parts import by_density, by_z
    from rtdecode.streams.truth import read_truth

    emitters = read_truth(truth)
    rules = asked.rules(table.found, table.field)
    judged = judge(emitters, table.found, frames=_frames(table, emitters, n_frames), rules=rules)
    scores = {
        name: value for name, value in score_of(judged).as_dict().items() if rules.dims == 3 or not _is_of_z(name)
    }
    split = {}
    if parts or out is not None:
        split = {"by_density_um2": by_density(judged, emitters, table.field), "by_z_nm": by_z(judged)}
    if out is not None:
        _write(out, table.name, scores, split, judged, rules)
    if as_json:
        rows = {name: [part.as_dict() for part in of] for name, of in split.items()}
        typer.echo(json.dumps(scores | rows if parts else scores, indent=2))
        return
    typer.echo("\n".join(_score_lines(scores)))
    for title, name in (("emitters per um² around", "by_density_um2"), ("z, nm", "by_z_nm")):
        if parts and split[name]:
            typer.echo("\n" + "\n".join(_part_lines(title, split[name])))


def _frames(table: _Table, emitters: Emitters, n_frames: int | None) -> NDArray[np.int64]:
    """The fitted frames of a run, or all frames of a CSV up to the last one named."""
    import numpy as np

    if n_frames is not None:
        return np.arange(n_frames)
    if table.fitted is not None:
        return table.fitted
    both = (emitters["frame_index"], table.found.frame_index)
    return np.arange(max([int(part.max()) for part in both if len(part)], default=-1) + 1)


def _write(
    out: Path, name: str, scores: dict[str, Any], split: dict[str, list[Part]], judged: Judged, rules: Rules
) -> None:
    """scores.json, one CSV for each way to split, evaluation.png. Raises FileFormatError."""
    from rtdecode.view.analysis_pages import write_evaluation_page

    rows = {key: [part.as_dict() for part in of] for key, of in split.items()}
    how = {"matching": rules.method, "tolerance_nm": [rules.lateral_nm, rules.axial_nm][: rules.dims - 1],
           "border_nm": rules.border_nm, "min_photons": rules.min_photons, "dims": rules.dims}  # fmt: skip
    words, title = [_headline(scores, judged), _rules_words(rules)], f"{name}: evaluation"
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"rules": how, "scores": scores, **rows}, indent=2) + "\n"
        (out / "scores.json").write_text(text, encoding="utf-8")
        for key, of in rows.items():
            _write_csv(out / f"{key.removesuffix('_um2').removesuffix('_nm')}.csv", of)
        write_evaluation_page(out / "evaluation.png", rows["by_density_um2"], rows["by_z_nm"], title, words)
    except OSError as error:
        raise FileFormatError(f"--out {out}: cannot be written: {error}") from error


def _headline(scores: dict[str, Any], judged: Judged) -> str:
    n_found, n_true = len(judged.localizations), len(judged.emitters)
    names = [("Jaccard", "jaccard", ""), ("RMSE lateral", "rmse_lateral_nm", " nm"), ("axial", "rmse_axial_nm", " nm")]
    figures = [f"{words} {_shown(key, scores[key])}{unit}" for words, key, unit in names if key in scores]
    return f"{judged.n_frames} frames, {n_true} emitters, {n_found} localizations: " + ", ".join(figures)


def _rules_words(rules: Rules) -> str:
    deep = f", {rules.axial_nm:g} nm in z" if rules.dims == 3 else ""
    return (
        f"{rules.method} matching within {rules.lateral_nm:g} nm{deep}; emitters of {rules.min_photons:g} photons and "
        f"more, {rules.border_nm:g} nm and more from the rim"
    )


def _write_csv(path: Path, rows: list[dict[str, float | int | None]]) -> None:
    """Empty cells where there is no number."""
    if not rows:
        path.unlink(missing_ok=True)  # of an earlier evaluation
        return
    cells = [",".join("" if value is None else f"{value:.6g}" for value in row.values()) for row in rows]
    path.write_text("\n".join([",".join(rows[0]), *cells]) + "\n", encoding="utf-8")


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


def _is_of_z(name: str) -> bool:
    return "axial" in name or "3d" in name or name in ("mean_error_z_nm", "z_score_variance_z")


def _score_lines(scores: dict[str, Any]) -> list[str]:
    """One number a line, under each other."""
    shown = {name: _shown(name, value) for name, value in scores.items()}
    widths = max(map(len, shown)), max(map(len, shown.values()))
    return [f"{name:{widths[0]}}  {text:>{widths[1]}}" for name, text in shown.items()]


def _part_lines(title: str, parts: list[Part]) -> list[str]:
    """A table of the parts that hold something; axial columns where there is a number."""
    rows = [part.as_dict() for part in parts if part.n_emitters or part.n_false]
    names = [name for name in list(rows[0] if rows else {})[2:] if any(row[name] is not None for row in rows)]
    head = [title, *(name.removesuffix("_nm").removeprefix("n_").replace("_", " ") for name in names)]
    cells = [[_between(row), *(_shown(name, row[name]) for name in names)] for row in rows]
    widths = [max(len(line[k]) for line in [head, *cells]) for k in range(len(head))]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in [head, *cells]]


def _between(row: dict[str, float | int | None]) -> str:
    return f"{row['low']:g} and more" if row["high"] is None else f"{row['low']:g} to {row['high']:g}"


def _shown(name: str, value: float | int | None) -> str:
    """`-` where there is no number."""
    if value is None:
        return "-"
    return f"{value:.{1 if name.endswith('_nm') else 3}f}" if isinstance(value, float) else str(value)


def _pair(text: str, option: str) -> tuple[float, float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or not all(0 < number < 1e6 for number in numbers):
        raise ConfigError(f"{option} {text!r}: expected two numbers above 0, as in {TOLERANCE_NM}")
    return numbers[0], numbers[1]


def _table(what: Path, px_nm: tuple[float, float], shape_px: str | None) -> _Table:
    """A run's fitted localizations with frames and field, or those of a CSV. Raises ConfigError, FileFormatError."""
    from rtdecode.formats.thunderstorm import read_thunderstorm
    from rtdecode.physics.structures import Field

    if what.is_dir():
        if shape_px is not None:
            raise ConfigError("--shape-px goes with a CSV: a run knows the shape of its frames")
        return _run_table(what)
    if not what.is_file():
        raise FileFormatError(f"{what}: there is no such file or run folder")
    field = None
    if shape_px is not None:
        rows, columns = (round(side) for side in _pair(shape_px, "--shape-px"))
        field = Field.of_shape(rows, columns, px_nm)
    return _Table(what.name, read_thunderstorm(what, px_nm), None, field)


def _run_table(path: Path) -> _Table:
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
    return _Table(folder.name, found, commits["frame_index"][commits["fate"] == 0].astype("int64"), field)
