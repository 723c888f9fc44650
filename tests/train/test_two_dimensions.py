"""A 2D bundle from fitter to figures: z is neither stated, matched nor judged, and no table or picture speaks of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_model import export_tiny, noise_frames

from rtdecode.analysis.evaluate import judge
from rtdecode.analysis.single_fit import SingleEmitterFit
from rtdecode.cli.app import run
from rtdecode.core.camera import Camera
from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import BundleError
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.physics.judge_scenes import SceneConfig, lone_movie
from rtdecode.physics.psf import GaussianPsf, load_psf, spline_of
from rtdecode.train.benchmark import run_benchmark
from rtdecode.train.benchmark_config import load_benchmark
from rtdecode.train.benchmark_tables import markdown_of, print_sheets
from rtdecode.train.score import (
    Plan,
    bounds_of,
    errors_over_bound,
    evaluate_bundle,
    fit_frames,
    print_scores,
    rules_for,
)

CONFIGS = Path(__file__).parents[2] / "configs"
CAMERA = Camera(px_nm=(100.0, 100.0), baseline_adu=100, e_per_adu=0.46, read_noise_e=1.6)
ONE_THREAD = EngineConfig(use="onnxruntime", threads=1)
TINY = """
models: [flat]
engine: {use: onnxruntime, threads: 1}
scene: {shape_px: [24, 24], structures: [filaments]}
densities: [{per_um2: 0.5, frames: 8}, {per_um2: 1, frames: 6}]
signal: {frames: 6, photons_mean: [5000], background: [50]}
isolated: {photons: [2000, 10000], emitters: 8}
grid: {densities: [1], localizations: 40}
"""


def gaussian(psf_sigma_px: float) -> GaussianPsf:
    return GaussianPsf(psf_sigma_px, 0.0, float("inf"), roi_px=21)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Random weights that find something everywhere, under the 2D card that a training writes."""
    folder = tmp_path_factory.mktemp("flat")
    psf = load_psf(CONFIGS / "gaussian-2d.psf.safetensors")
    fields = {"psf_path": CONFIGS / "gaussian-2d.psf.safetensors", "psf_summary": psf.summary()}
    weak = DetectionThresholds(peak=0.001, accept=0.002, readout="fused")
    (folder / "flat.yaml").write_text(TINY)
    return export_tiny(folder / "flat", "half", name="flat", camera=CAMERA, detection=weak, **fields)


def test_kinds_say_whether_they_tell_z(flat: ModelBundle, tiny_bundle: ModelBundle) -> None:
    assert not gaussian(1.3).tells_z and not spline_of(gaussian(1.3)).tells_z
    assert GaussianPsf().tells_z and spline_of(GaussianPsf()).tells_z
    assert load_psf(CONFIGS / "double-helix.psf.safetensors").tells_z
    assert tiny_bundle.tells_z and not flat.tells_z
    astigmatic = flat.card.model_copy(update={"psf": GaussianPsf().summary()})
    assert replace(flat, card=astigmatic).tells_z


def test_the_fitter_states_no_z_of_a_2d_bundle(flat: ModelBundle) -> None:
    frames = noise_frames(6, 24, 24)
    found = fit_frames(flat, frames, ONE_THREAD)
    assert len(found) > 20 and found.is_2d
    assert not found.z_nm.any() and not found.sigma_z_nm.any() and (found.sigma_x_nm > 0).all()
    as_3d = replace(flat, card=flat.card.model_copy(update={"psf": GaussianPsf().summary()}))
    with_z = fit_frames(as_3d, frames, ONE_THREAD)
    assert with_z.z_nm.any() and (with_z.sigma_z_nm > 0).all() and not with_z.is_2d


def test_evaluate_judges_x_y_and_photons(flat: ModelBundle, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(frames={1.0: 8}, isolated=5, empty=4)
    scores = evaluate_bundle(flat, ONE_THREAD, plan)
    json.dumps(scores, allow_nan=False)
    one = scores["density_per_um2"]["1"]
    assert one["n_matched"] > 0 and one["rmse_lateral_nm"] > 0 and one["efficiency_lateral"] is not None
    assert [one[key] for key in ("rmse_axial_nm", "efficiency_3d", "z_score_variance_z", "mean_error_z_nm")] == [
        None
    ] * 4
    lone = scores["isolated"]["one_frame"]
    assert set(lone["rmse_over_bound"]) == set(lone["total_over_total"]) == {"x", "y", "photons"}
    assert lone["by_z"] == [] and scores["conditions"]["z_nm"] is None
    assert scores["conditions"]["tolerance_nm"] == [250.0]
    print_scores(scores)
    shown = capsys.readouterr().out
    assert "2D" in shown and "RMSE lateral" in shown
    assert not any(words in shown for words in ("axial", "3D", "z-score variance z", " z "))


def test_evaluate_on_another_width(flat: ModelBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(frames={1.0: 8}, isolated=2, empty=4)
    own, wide = (evaluate_bundle(flat, ONE_THREAD, plan, psf=psf) for psf in (None, gaussian(1.6)))
    assert own["conditions"]["psf"]["psf_sigma_px"] == 1.3 and wide["conditions"]["psf"]["psf_sigma_px"] == 1.6
    assert own["density_per_um2"] != wide["density_per_um2"]
    coarse = replace(gaussian(1.3), px_nm=(110.0, 110.0))
    for psf, words in ((GaussianPsf(), "on a 3D PSF"), (coarse, "the PSF is for pixels of 110 x 110 nm")):
        with pytest.raises(BundleError, match=words):
            evaluate_bundle(flat, ONE_THREAD, plan, psf=psf)
    gaussian(1.6).save(tmp_path / "w.safetensors")
    assert run(["evaluate", "--model", str(flat.folder), "--psf", str(tmp_path / "w.safetensors"), "--write"]) == 1
    assert "--psf goes with --model and without --write" in capsys.readouterr().err


@pytest.mark.parametrize("photons", [3000.0, 50_000.0])
def test_the_single_emitter_fit_reaches_the_bound_in_2d(photons: float) -> None:
    psf, scene = gaussian(1.3), SceneConfig()
    even = scene.background.model_copy(update={"level": 30.0, "gradient": 0.0, "blobs": 0, "fade": 0.0})
    movie = lone_movie(psf, CAMERA, scene.model_copy(update={"background": even}), photons, 150, 3)
    found = SingleEmitterFit(psf, CAMERA)(movie.frames_adu)
    assert found.is_2d and len(found) == 150
    judged = judge(movie.emitters, found, frames=movie.emitters["frame_index"], rules=rules_for(psf))
    bounds = bounds_of(psf, CAMERA, judged.emitters, (40, 40), 30.0)
    for quantity, ratio in errors_over_bound(judged, bounds)["rmse_over_bound"].items():
        assert ratio == pytest.approx(1.0, abs=0.2), quantity


def test_the_benchmark_has_no_word_of_z(flat: ModelBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    config = flat.folder.parent / "flat.yaml"
    assert run(["benchmark-accuracy", str(config), "--json", "--out", str(tmp_path / "out")]) == 0
    result = json.loads(capsys.readouterr().out)["contestants"]
    figures = result["flat"]
    assert set(figures["density_per_um2"]["1"]["sigma"]) == {"x", "y", "photons"}
    assert figures["density_per_um2"]["1"]["by_z_nm"] == []
    assert set(figures["isolated"]["bias"]) == {"x_in_pixel", "y_in_pixel", "photons"}
    assert set(figures["isolated"]["bias"]["photons"]) == {"x", "y", "photons"}
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert "x / y / photons" in tables and "RMSE lateral nm" in tables
    assert not any(words in tables for words in ("axial", "3D", "z nm", "/ z /", "By z", "z -"))
    assert len(list((tmp_path / "out").glob("*.png"))) == 5


def test_2d_and_3d_share_tables(flat: ModelBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    astigmatic = CONFIGS / "challenge-astigmatic.psf.safetensors"
    deep = export_tiny(
        tmp_path / "deep", "half", name="deep", camera=CAMERA, detection=flat.detection, psf_path=astigmatic
    )
    config = load_benchmark(flat.folder.parent / "flat.yaml").model_copy(update={"floor": False})
    figures = run_benchmark(config, [flat, deep])
    tables = markdown_of(figures, "both")
    widths = [
        [line.count(" | ") for line in part.splitlines() if line.startswith("| ")] for part in tables.split("###")
    ]
    assert all(len(set(counts)) <= 1 for counts in widths)
    assert "RMSE axial nm" in tables and "### By z" in tables
    print_sheets(figures)
    assert "By z" in capsys.readouterr().out
