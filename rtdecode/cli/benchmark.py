"""`rtdecode benchmark-accuracy`: models held against a judge that shares only camera and PSF with their training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rtdecode.fit.bundle import ModelBundle
    from rtdecode.train.benchmark_config import BenchmarkConfig


def benchmark_accuracy(
    config: Annotated[Path, typer.Argument(help="YAML of the benchmark; see configs/benchmark-accuracy.yaml.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Bundle folder or shipped name, in place of the YAML's; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make: accuracy.json, tables.md, pictures.")] = None,
    write: Annotated[bool, typer.Option(help="Keep a summary in each bundle's card, beside its scores.")] = False,
    quick: Annotated[float, typer.Option(min=0.001, max=1, help="Share of the frames to simulate, for a look.")] = 1.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Other scenes of the same kind.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge models on scenes that no training draws, beside a single-emitter fit; nothing is trained.

    Example: [bold]rtdecode benchmark-accuracy configs/benchmark-accuracy.yaml --out benchmarks/light[/bold]
    """
    from rtdecode.fit.bundle import ModelBundle
    from rtdecode.train.benchmark import run_benchmark
    from rtdecode.train.benchmark_tables import print_sheets

    wanted = _config(config, model, quick, seed)
    bundles = [ModelBundle.load(name) for name in wanted.models]
    _make_folder(out)
    contestants = run_benchmark(wanted, bundles, lambda words: typer.echo(words, err=True))
    result = {"config": wanted.model_dump(mode="json"), "quick": quick, "contestants": contestants}
    if out is not None:
        _write_files(out, wanted, bundles, result)
    if write:
        _write_cards(wanted, bundles, contestants)
    if as_json:
        typer.echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        print_sheets(contestants)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("benchmark-accuracy")(benchmark_accuracy)


def _config(path: Path, models: list[str] | None, quick: float, seed: int | None) -> BenchmarkConfig:
    from rtdecode.train.benchmark_config import load_benchmark, scaled

    config = scaled(load_benchmark(path), quick)
    changed = {"models": tuple(models) if models else config.models, "seed": config.seed if seed is None else seed}
    config = config.model_copy(update=changed)
    if not config.models:
        raise ConfigError(f"{path}: key 'models' names none, and there is no --model; name a bundle or a shipped model")
    return config


def _make_folder(out: Path | None) -> None:
    """Before minutes of work, not after; pictures that cannot be drawn are told then too."""
    if out is None:
        return
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ConfigError('--out draws with matplotlib, which is not installed here: pip install "rtdecode[plots]"')
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: a new folder cannot be made there: {error}") from error


def _write_files(out: Path, config: BenchmarkConfig, bundles: list[ModelBundle], result: dict[str, Any]) -> None:
    from rtdecode.train.benchmark_pages import draw_pages
    from rtdecode.train.benchmark_tables import markdown_of

    (out / "accuracy.json").write_text(json.dumps(result, indent=1, allow_nan=False), encoding="utf-8")
    heading = f"Accuracy, seed {config.seed}" + (f", {result['quick']:g} of the frames" if result["quick"] < 1 else "")
    (out / "tables.md").write_text(markdown_of(result["contestants"], heading), encoding="utf-8")
    pages = draw_pages(out, config, bundles, result["contestants"])
    typer.echo(f"{out}: accuracy.json, tables.md, {', '.join(page.name for page in pages)}", err=True)


def _write_cards(config: BenchmarkConfig, bundles: list[ModelBundle], contestants: dict[str, Any]) -> None:
    from rtdecode.train.benchmark import summary_of

    for bundle, figures in zip(bundles, _of_bundles(contestants), strict=True):
        bundle.write_scores({**bundle.card.scores, "benchmark": summary_of(figures, config)})


def _of_bundles(contestants: dict[str, Any]) -> list[dict[str, Any]]:
    return [figures for figures in contestants.values() if figures["about"]["kind"] == "bundle"]
