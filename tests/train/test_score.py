"""The standard evaluation: an efficient estimator reaches ratio 1, bins are right, a real bundle goes through."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_model import export_tiny

from rtdecode.analysis.evaluate import Judged
from rtdecode.core.camera import Camera
from rtdecode.core.config import EngineConfig
from rtdecode.core.localizations import EMITTER_DTYPE, LOCALIZATION_DTYPE, Emitters, Localizations
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.physics.crlb import Bounds
from rtdecode.physics.psf import SplinePsf
from rtdecode.train.score import (
    BACKGROUND,
    ISOLATED_SHAPE_PX,
    Frames,
    Isolated,
    Plan,
    density_movie,
    evaluate_bundle,
    isolated_movie,
    isolated_score,
    print_scores,
    recall_by_bound,
)

PSF = Path(__file__).parents[2] / "configs" / "challenge-astigmatic.psf.safetensors"
CAMERA = Camera(
    px_nm=(100.0, 100.0), baseline_adu=100, e_per_adu=45, read_noise_e=74.4, em_gain=300.0, spurious_e=0.002
)


def likelihood_fit(psf: SplinePsf, frames: Frames, truth: Emitters, kind: Isolated) -> Localizations:
    """Fisher scoring of the Poisson likelihood from the truth on, for the middle frame of each emitter's group."""
    first = truth["frame_index"].reshape(-1, kind.frames_on)[:, 0]
    groups = CAMERA.photons(frames)[first[:, None] + np.arange(kind.frames_on)].mean(axis=1)  # (n, H, W)
    start = truth.reshape(-1, kind.frames_on)[:, 0]
    guess = np.column_stack([start["x_nm"] / 100, start["y_nm"] / 100, start["z_nm"], start["photons"]])
    guess = np.column_stack([guess.astype(np.float64), np.full(len(start), BACKGROUND)])  # (n, 5)
    for _ in range(6):
        value, *slopes = psf.with_derivatives(*guess[:, :3].T, ISOLATED_SHAPE_PX)
        expected = guess[:, 3, None, None] * value + guess[:, 4, None, None]
        slopes = [guess[:, 3, None, None] * s for s in slopes] + [value, np.ones_like(value)]
        design = np.stack(slopes, axis=1).reshape(len(guess), 5, -1) / np.sqrt(expected).reshape(len(guess), 1, -1)
        residual = ((groups - expected) / np.sqrt(expected)).reshape(len(guess), -1, 1)
        guess += np.linalg.solve(design @ design.transpose(0, 2, 1), design @ residual)[:, :, 0]
        guess = np.clip(guess, [0, 0, -745, 200, 5], [40, 40, 745, 50_000, 500])
    records = np.zeros(len(guess), LOCALIZATION_DTYPE)
    records["frame_index"] = first + kind.frames_on // 2
    for name, values in zip(("x_nm", "y_nm", "z_nm", "photons"), guess.T * [[100], [100], [1], [1], [1]], strict=False):
        records[name] = values
    return Localizations.from_records(records)


@pytest.mark.parametrize(("frames_on", "ideal"), [(1, 1.0), (3, 1 / np.sqrt(3))])
def test_an_efficient_estimator_reaches_the_bound(frames_on: int, ideal: float) -> None:
    psf, kind = SplinePsf.load(PSF), Isolated(5000, frames_on)
    frames, truth = isolated_movie(psf, CAMERA, kind, 150)
    result = isolated_score(lambda given: likelihood_fit(psf, given, truth, kind), psf, CAMERA, kind, 150)
    assert len(frames) == 1 + 150 * (frames_on + 1)
    assert result["recall"] == result["localizations_per_emitter"] == 1.0
    assert result["photon_ratio"] == pytest.approx(1.0, abs=0.02)
    for axis, ratio in [*result["rmse_over_bound"].items(), *result["total_over_total"].items()]:
        assert ratio == pytest.approx(ideal, rel=0.2), axis  # 150 emitters: 6 % standard error, model z clamped


def test_density_is_what_the_name_says_and_movies_repeat() -> None:
    psf = SplinePsf.load(PSF)
    frames, truth = density_movie(psf, CAMERA, 1.0, 120)
    again, _ = density_movie(psf, CAMERA, 1.0, 120)
    np.testing.assert_array_equal(frames, again)
    assert frames.shape == (120, 64, 64)
    assert len(truth) / 120 / 40.96 == pytest.approx(1.0, abs=0.08)
    empty, nothing = density_movie(psf, CAMERA, 0.0, 20)
    assert len(nothing) == 0
    assert CAMERA.photons(empty).mean() == pytest.approx(BACKGROUND, rel=0.01)


def test_recall_by_bound() -> None:
    judged = Judged(np.zeros(5, EMITTER_DTYPE), Localizations.empty(), np.array([[0, 0], [3, 1]]), 1)
    side = np.array([5.0, 10.5, 12.0, 30.0, np.inf])  # radial: 7.1, 14.8, 17, 42, inf
    bounds = Bounds(side, side, side, side, side)
    got = recall_by_bound(judged, bounds)
    assert {name: part["recall"] for name, part in got.items()} == {
        "0-15": 0.5,
        "15-30": 0.0,
        "30-60": 1.0,
        "above 60": 0.0,
    }
    assert got["0-15"]["share"] == pytest.approx(0.4)


@pytest.fixture
def random_bundle(tmp_path: Path) -> ModelBundle:
    """With a PSF and a camera to simulate for, and thresholds under which weak answers are localizations."""
    weak = DetectionThresholds(peak=0.001, accept=0.002)
    return export_tiny(tmp_path / "random", "half", camera=CAMERA, detection=weak, psf_path=PSF)


def test_a_seed_names_a_scene() -> None:
    psf = SplinePsf.load(PSF)
    scenes = [isolated_movie(psf, CAMERA, Isolated(5000, 1), 2, seed)[0] for seed in (0, 0, 1)]
    assert np.array_equal(scenes[0], scenes[1])
    assert not np.array_equal(scenes[0], scenes[2])


def test_a_bundle_is_measured_and_its_card_takes_the_numbers(
    random_bundle: ModelBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    plan = Plan(frames={0.2: 10, 2.0: 6}, isolated=5, empty=10)
    scores = evaluate_bundle(random_bundle, EngineConfig(use="onnxruntime"), plan, said.append)
    json.dumps(scores, allow_nan=False)
    assert list(scores["density_per_um2"]) == ["0.2", "2"]
    dense = scores["density_per_um2"]["2"]
    assert dense["n_frames"] == 6
    assert dense["n_emitters"] > 200
    assert 0 <= dense["jaccard"] < 0.6  # random weights know nothing
    assert sum(part["share"] for part in dense["recall_by_bound_nm"].values()) == pytest.approx(1)
    assert scores["isolated"]["three_frames"]["frames_on"] == 3
    assert scores["empty"]["frames"] == 10
    assert len(said) == 7
    card = ModelBundle.load(random_bundle.write_scores(scores).folder).card
    assert card.scores["density_per_um2"]["2"]["jaccard"] == dense["jaccard"]
    print_scores(scores)
    shown = capsys.readouterr().out
    assert "Jaccard" in shown
    assert f"{dense['recall']:.3f}" in shown
    assert "in 10 empty frames" in shown
