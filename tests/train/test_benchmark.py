"""The benchmark: whoever is exact scores exactly, the same seed gives the same numbers, the command writes it all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import export_tiny

from rtdecode.cli.app import run
from rtdecode.core.errors import ConfigError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle, RecommendedFilter
from rtdecode.physics.judge_scenes import Movie, flash_movie, lone_movie, structure_movie
from rtdecode.physics.psf import SplinePsf
from rtdecode.train import benchmark
from rtdecode.train.benchmark import (
    TAKE_FLASH,
    TAKE_LONE,
    Bench,
    Contestant,
    benches_of,
    binned,
    filtered,
    run_benchmark,
    seed_of,
)
from rtdecode.train.benchmark_config import load_benchmark, scaled
from rtdecode.train.benchmark_tables import markdown_of, sheets_of

ROOT = Path(__file__).parents[2]
PSF = ROOT / "configs" / "challenge-astigmatic.psf.safetensors"
SHIPPED = ROOT / "configs" / "benchmark-accuracy.yaml"
TINY = """
models: [tiny]
engine: {use: onnxruntime, threads: 1}
scene: {shape_px: [24, 24], structures: [filaments, clusters]}
densities: [{per_um2: 0.5, frames: 12}, {per_um2: 2, frames: 6}]
signal: {frames: 6, photons_mean: [5000], background: [50, 100]}
isolated: {photons: [2000, 10000], emitters: 8}
grid: {densities: [1], localizations: 40}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.yaml and the bundle `tiny`, which finds something everywhere."""
    folder = tmp_path_factory.mktemp("benchmark")
    weak = DetectionThresholds(peak=0.001, accept=0.002)
    bundle = export_tiny(folder / "tiny", "half", detection=weak, psf_path=PSF)
    bundle.write_scores({"empty": {"frames": 7}})
    (folder / "tiny.yaml").write_text(TINY)
    return folder


class Oracle:
    """Has made the judge's movies itself: gives the truth with honest normal errors of 10 nm and 50 photons."""

    def __init__(self, movies: list[Movie]) -> None:
        self.movies = movies

    def __call__(self, frames: np.ndarray) -> Localizations:
        (truth,) = (m.emitters for m in self.movies if np.array_equal(m.frames_adu, frames))
        rng = np.random.default_rng(1)
        out = np.zeros(len(truth), LOCALIZATION_DTYPE)
        out["frame_index"], out["probability"] = truth["frame_index"], 0.9
        for name, sigma in (("x_nm", 10), ("y_nm", 10), ("z_nm", 10), ("photons", 50)):
            out[name], out[f"sigma_{name}"] = truth[name] + rng.normal(0, sigma, len(truth)), sigma
        return Localizations.from_records(out)


def test_whoever_knows_the_truth_scores_one(tiny: Path) -> None:
    config = load_benchmark(tiny / "tiny.yaml")
    lone_config = config.isolated.model_copy(update={"emitters": 300, "photons": (5000.0,)})
    config = config.model_copy(update={"isolated": lone_config})
    psf, camera = SplinePsf.load(PSF), ModelBundle.load(tiny / "tiny").camera
    scene, seed = config.scene, config.seed
    lone_scene = scene.model_copy(update={"z_nm": lone_config.z_nm, "background": lone_config.background})
    n_flash_frames = int(np.ceil(40 / (2.4 * 2.64)))  # 40 emitters in 2.4 x 2.64 um
    movies = [
        structure_movie(psf, camera, scene, 0.5, 12, seed, 500),
        structure_movie(psf, camera, scene, 2.0, 6, seed, 2000),
        lone_movie(psf, camera, lone_scene, 5000.0, 300, seed_of(seed, TAKE_LONE)),
        flash_movie(psf, camera, scene, 1.0, n_flash_frames, seed_of(seed, TAKE_FLASH)),
    ]
    contestant = Contestant("oracle", Oracle(movies), 0.5, RecommendedFilter(), {"kind": "oracle"})
    bench = Bench(psf, camera, (contestant,))
    ((_, by_density),) = benchmark.densities(config, bench, lambda _: None)
    one = by_density["2"]
    assert one["jaccard"] > 0.95
    assert one["rmse_axial_nm"] == pytest.approx(10, rel=0.15)
    assert one["sigma"]["photons"]["variance"] == pytest.approx(1.0, abs=0.3)
    assert one["reliability"][0]["stated"] == pytest.approx(0.9)
    assert sum(b["n"] for b in one["by_z_nm"]) == one["n_emitters"]
    ((_, lone),) = benchmark.isolated(config, bench, lambda _: None)
    level = lone["by_photons"]["5000"]
    assert level["recall"] == 1.0 and level["split"] == 0.0
    assert lone["bias"]["x_in_pixel"]["x"]["rms"] < 3.0
    assert abs(lone["bias"]["photons"]["photons"]["largest"]) < 0.01
    ((_, grid),) = benchmark.uniformity(config, bench, lambda _: None)
    assert grid["1"]["x"]["uniform"] and 10 < grid["1"]["x"]["n"] < 60


def test_bins_are_of_the_truth() -> None:
    from rtdecode.analysis.evaluate import judge
    from rtdecode.core.localizations import EMITTER_DTYPE

    truth = np.zeros(3, EMITTER_DTYPE)
    truth["frame_index"], truth["photons"], truth["z_nm"] = [0, 1, 2], 1000.0, [-100, 100, 150]
    records = np.zeros(2, LOCALIZATION_DTYPE)
    records["frame_index"], records["x_nm"], records["z_nm"] = [0, 2], [30, 0], [-100, 190]
    records["y_nm"] = [40, 0]
    bins = binned(judge(truth, Localizations.from_records(records)), truth["z_nm"], [-200.0, 0.0, 200.0, np.inf])
    assert [b["recall"] for b in bins] == [1.0, 0.5, None]
    assert bins[0]["rmse_lateral_nm"] == pytest.approx(50) and bins[1]["rmse_axial_nm"] == pytest.approx(40)
    assert bins[2]["to"] is None and bins[2]["n"] == 0


def test_the_recommended_filter_is_applied() -> None:
    records = np.zeros(4, LOCALIZATION_DTYPE)
    records["sigma_x_nm"], records["sigma_y_nm"], records["sigma_z_nm"] = [10, 50, 10, 10], [10, 10, 50, 10], 70
    records["sigma_z_nm"][3] = 90
    found = Localizations.from_records(records)
    assert len(filtered(found, RecommendedFilter(sigma_xy_max_nm=40, sigma_z_max_nm=80))) == 1
    assert len(filtered(found, RecommendedFilter())) == 4


def test_low_thresholds_do_not_change_what_a_bundle_reports(tiny: Path) -> None:
    """The reliability curve needs weak detections; what is accepted must be what the bundle itself would report."""
    from rtdecode.train.score import fit_frames

    config, bundle = load_benchmark(tiny / "tiny.yaml"), ModelBundle.load(tiny / "tiny")
    for readout in ("peak", "fused"):
        detection = DetectionThresholds(peak=0.001, accept=0.3, readout=readout)
        changed = replace(bundle, card=bundle.card.model_copy(update={"detection": detection}))
        (bench,) = benches_of(config.model_copy(update={"lowest_probability": 0.01}), [changed])
        contestant = bench.contestants[0]
        frames = np.random.default_rng(1).integers(700, 1500, (6, 24, 24)).astype(np.uint16)
        everything, usual = contestant.fit(frames), fit_frames(changed, frames, config.engine)
        assert len(everything) > len(usual) > 0
        np.testing.assert_array_equal(contestant.accepted(everything).records(), usual.records())


def test_two_bundles_of_one_microscope_share_a_floor(tiny: Path) -> None:
    config, bundle = load_benchmark(tiny / "tiny.yaml"), ModelBundle.load(tiny / "tiny")
    (bench,) = benches_of(config, [bundle, bundle])
    assert [c.name for c in bench.contestants] == ["tiny 1", "tiny 2", "single-emitter fit"]
    other = bundle.card.camera.model_copy(update={"baseline_adu": 120.0})
    two = replace(bundle, card=bundle.card.model_copy(update={"camera": other, "name": "other"}))
    names = [[c.name for c in bench.contestants] for bench in benches_of(config, [bundle, two])]
    assert names == [["tiny", "single-emitter fit 1"], ["other", "single-emitter fit 2"]]


def test_the_command_writes_figures_tables_and_pictures_and_keeps_scores(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    shutil.copytree(tiny, tmp_path / "t")
    command = ["benchmark-accuracy", str(tmp_path / "t" / "tiny.yaml")]
    assert run([*command, "--json", "--out", str(tmp_path / "out"), "--write"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert list(first["contestants"]) == ["tiny", "single-emitter fit"]
    figures = first["contestants"]["tiny"]
    assert set(figures["density_per_um2"]) == {"0.5", "2"}
    assert len(figures["signal_background"]) == 2
    assert json.loads((tmp_path / "out" / "accuracy.json").read_text()) == first
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert tables.count("### ") == len(sheets_of(first["contestants"]))
    assert f"{figures['density_per_um2']['2']['jaccard']:.3f}" in tables
    pages = sorted((tmp_path / "out").glob("*.png"))
    assert len(pages) == 5
    for page in pages:
        assert len(np.unique(np.asarray(Image.open(page).convert("L")))) > 20  # something is drawn
    card = ModelBundle.load(tmp_path / "t" / "tiny").card
    assert card.scores["empty"] == {"frames": 7}
    assert card.scores["benchmark"]["density_per_um2"]["2"]["jaccard"] == figures["density_per_um2"]["2"]["jaccard"]
    assert card.scores["benchmark"]["reliability"] == figures["reliability"]

    assert run([*command, "--out", str(tmp_path / "out")]) == 1
    assert "a new folder cannot be made" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = []
    for more in ((), (), ("--seed", "9")):
        assert run(["benchmark-accuracy", str(tiny / "tiny.yaml"), "--json", "--quick", "0.5", *more]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["config"]["densities"][0]["frames"] == 6
    assert results[0]["contestants"] == results[1]["contestants"] != results[2]["contestants"]
    assert results[2]["config"]["seed"] == 9


def test_tables_are_shown_on_the_terminal(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["benchmark-accuracy", str(tiny / "tiny.yaml"), "--quick", "0.3"]) == 0
    shown = capsys.readouterr().out
    for title in ("By density", "Isolated emitters", "Grid artefact", "Reliability"):
        assert title in shown


def test_the_shipped_configuration_is_read_and_scaled(tmp_path: Path) -> None:
    config = load_benchmark(SHIPPED)
    assert config.models == ("astigmatic-light",)
    assert [d.per_um2 for d in config.densities] == [0.1, 0.2, 0.5, 1, 2, 4]
    small = scaled(config, 0.01)
    assert small.isolated.emitters == 6 and small.densities[-1].frames == 4
    assert small.scene == config.scene
    with pytest.raises(ConfigError, match="line 2: unknown key 'denities'; did you mean 'densities'"):
        (tmp_path / "bad.yaml").write_text("models: [a]\ndenities: []\n")
        load_benchmark(tmp_path / "bad.yaml")
    (tmp_path / "none.yaml").write_text("densities: [{per_um2: 1, frames: 4}]\n")
    assert run(["benchmark-accuracy", str(tmp_path / "none.yaml")]) == 1


def test_nothing_found_is_no_error(tiny: Path) -> None:
    config = scaled(load_benchmark(tiny / "tiny.yaml"), 0.1).model_copy(update={"floor": False})
    bundle = ModelBundle.load(tiny / "tiny")
    deaf = DetectionThresholds(peak=0.999, accept=0.999, split=1.0)
    silent = replace(bundle, card=bundle.card.model_copy(update={"detection": deaf}))
    figures = run_benchmark(config.model_copy(update={"lowest_probability": 0.999}), [silent])
    json.dumps(figures, allow_nan=False)
    assert figures["tiny"]["density_per_um2"]["2"]["recall"] == 0.0
    assert "| tiny |" in markdown_of(figures, "nothing")
