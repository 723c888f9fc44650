"""The finishing step: honest maps of known distortions, a threshold that is precise enough, a mended bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from rtdecode.analysis.evaluate import Rules, judge
from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import BundleError
from rtdecode.core.localizations import EMITTER_DTYPE, LOCALIZATION_DTYPE, Localizations
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.calibration import Calibration, ProbabilityMap
from rtdecode.fit.export import export_bundle
from rtdecode.fit.network import Network
from rtdecode.train.calibration import calibrate_bundle
from rtdecode.train.calibration_maps import (
    choose_accept,
    corrections,
    of_sigma,
    probability_map,
    sigma_table,
)
from rtdecode.train.calibration_page import SIZE, draw_calibration
from rtdecode.train.held_out import Seen, World, look_at

ENGINE = EngineConfig(use="onnxruntime", threads=1)
IDENTITY = ProbabilityMap(stated=(0.0, 1.0), true=(0.0, 1.0))


def seen(n: int, seed: int, crowded: float, true_share: float = 1.0) -> Seen:
    """n localizations, one a frame: p**0.5 of them true, z-scores 0.5 + crowding in x, 2 in z where signal is high."""
    rng = np.random.default_rng(seed)
    emitters, records = np.zeros(n, EMITTER_DTYPE), np.zeros(n, LOCALIZATION_DTYPE)
    emitters["frame_index"] = records["frame_index"] = np.arange(n)
    emitters["photons"] = records["photons"] = np.exp(rng.uniform(np.log(1000), np.log(10000), n))
    records["probability"] = rng.uniform(0.05, 1, n)
    real = rng.random(n) < np.sqrt(records["probability"]) * true_share
    near = np.full(n, crowded)
    records["x_nm"] = rng.normal(0, 10 * (0.5 + near), n) + np.where(real, 0, 5000)
    records["y_nm"], records["z_nm"] = rng.normal(0, 10, n), rng.normal(0, np.where(records["photons"] > 3000, 40, 20))
    records["background"], records["photons"] = 100.0, records["photons"] + rng.normal(0, 100, n)
    for name, sigma in (("sigma_x_nm", 10), ("sigma_y_nm", 10), ("sigma_z_nm", 20), ("sigma_photons", 100)):
        records[name] = sigma
    found, rules = Localizations.from_records(records), Rules()
    judged = judge(emitters, found, frames=np.arange(n), rules=rules)
    return Seen(emitters, found, judged, near, np.arange(n), rules)


def test_the_map_of_p_is_found() -> None:
    found = probability_map([seen(4000, 1, 0.0), seen(400, 2, 0.0)])
    at = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(np.interp(at, found.stated, found.true), np.sqrt(at), atol=0.05)
    assert probability_map([]) == IDENTITY


def test_factors_follow_signal_and_crowding() -> None:
    quiet, loud = seen(6000, 3, 0.1), seen(6000, 4, 3.1)
    table = sigma_table([quiet, loud], quiet, IDENTITY, 0.2)
    for one, x in ((quiet, 0.6), (loud, 3.6)):
        pairs = of_sigma(one, IDENTITY, 0.2)
        factors = corrections(table, pairs.signal, pairs.crowding)
        np.testing.assert_allclose(np.median(factors, axis=0)[:2], [x, 1.0], rtol=0.05)
        after = pairs.z_score[:, :3] / factors[:, :3]
        np.testing.assert_allclose(after.var(axis=0), 1.0, atol=0.08)
        dim, bright = factors[pairs.signal < 200, 2], factors[pairs.signal > 600, 2]
        assert dim.mean() == pytest.approx(1, rel=0.1) and bright.mean() == pytest.approx(2, rel=0.1)


def test_a_table_of_few_or_no_localizations_is_a_table() -> None:
    nothing = seen(1, 1, 0.0, true_share=0.0)
    assert np.array_equal(sigma_table([nothing], nothing, IDENTITY, 0.5).x, np.ones((5, 4)))
    few = sigma_table([seen(3, 1, 0.0)], nothing, IDENTITY, 0.0)
    assert np.all(np.array(few.z) >= 0.1) and np.all(np.array(few.z) <= 10)


def test_accept_is_the_best_that_is_precise_and_silent() -> None:
    """A localization of p is true with sqrt(p): the mean over p above t is 0.95 or more from about t = 0.8 on."""
    movie, empty = seen(6000, 5, 0.0), seen(1, 1, 0.0, true_share=0.0)
    none = Localizations.empty()
    judged = judge(empty.emitters[:0], none, frames=range(9))
    silent = Seen(empty.emitters, none, judged, np.empty(0), np.arange(9), Rules())
    chosen = choose_accept({0.2: movie}, silent, IDENTITY, 0.5)
    assert 0.74 <= chosen.accept <= 0.84
    assert chosen.scores[0.2].precision >= 0.95
    free = choose_accept({0.5: movie}, silent, IDENTITY, 0.5)  # no precision is wanted there
    assert free.accept < 0.2 and free.scores[0.5].jaccard > chosen.scores[0.2].jaccard
    loud = choose_accept({0.5: movie}, movie, IDENTITY, 0.5)
    assert loud.accept == 0.96 and "but for empty frames 0.12 would do" in loud.reason
    assert choose_accept({0.2: silent}, silent, IDENTITY, 0.37).accept == 0.37


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Not to be changed: the shipped network with sigmas three times too small and p far too modest."""
    import torch

    good = ModelBundle.load("astigmatic-light")
    network = Network(good.network)
    network.load_state_dict(load_file(good.weights_path))
    copies = network.heads.last.out_channels // 10
    with torch.no_grad():  # a raw sigma is a logit, small sigmas are its exponential; so is the raw p
        network.heads.last.bias[5 * copies : 9 * copies] -= np.log(3.0)
        network.heads.last.bias[:copies] -= 1.0
    return export_bundle(
        tmp_path_factory.mktemp("wrong") / "bundle", network.eval(), name="wrong", description="", camera=good.camera,
        scaling=good.scaling, ranges=good.card.ranges, train_yaml=good.train_path.read_text(encoding="utf-8"),
        psf_path=good.psf_path, detection=good.detection, scores={"empty": 1},
    )  # fmt: skip


def test_a_miscalibrated_bundle_is_mended(wrong: ModelBundle, tmp_path: Path) -> None:
    said: list[str] = []
    copied = ModelBundle.load(Path(shutil.copytree(wrong.folder, tmp_path / "copy")))
    made = calibrate_bundle(copied, ENGINE, 0.04, said.append)
    assert ModelBundle.load(copied.folder) == made
    assert list(made.card.scores) == ["calibration"]  # what was measured with the old threshold is gone
    figures = made.card.scores["calibration"]
    json.dumps(figures, allow_nan=False)
    assert made.detection.accept == figures["accept"]["chosen"]
    assert any(words.startswith(f"accept {made.detection.accept:g}: Jaccard") for words in said)
    before, after = (figures["reliability"][when]["error"] for when in ("before", "after"))
    assert after < 0.5 * before
    crowded = figures["z_score_variance"]["by_density"]["2"]
    assert min(crowded["before"].values()) > 3
    assert all(0.6 < value < 1.6 for value in crowded["after"].values())
    draw_calibration(tmp_path / "page.png", "wrong", figures)
    with Image.open(tmp_path / "page.png") as page:
        assert page.size == SIZE and len(page.getcolors()) > 20


def test_a_second_calibration_starts_from_the_network(wrong: ModelBundle, tmp_path: Path) -> None:
    """What is measured are the network's own answers, whatever calibration and threshold the card has."""
    copied = ModelBundle.load(Path(shutil.copytree(wrong.folder, tmp_path / "copy")))
    few, half = seen(3, 1, 0.0), ProbabilityMap(stated=(0.0, 1.0), true=(0.0, 0.5))
    calibration = Calibration(probability=half, sigma=sigma_table([few], few, IDENTITY, 0.0))
    clips, high = World.of(copied).clips(1.0, 1, 9), copied.detection.model_copy(update={"accept": 0.9})
    first = look_at(copied, clips, ENGINE)
    second = look_at(copied.write_calibration(calibration, high, {}), clips, ENGINE)
    np.testing.assert_array_equal(first.found.records(), second.found.records())
    assert len(first.found) > 20 and first.crowding.max() > 0.5


def test_held_out_clips_repeat_and_differ_by_seed(wrong: ModelBundle) -> None:
    world = World.of(wrong)
    one, same, other = (world.clips(1.0, 1, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.frames_adu, same.frames_adu) and not np.array_equal(one.frames_adu, other.frames_adu)
    alone = world.alone(2, 1)
    assert np.array_equal(np.unique(alone.emitters["frame_index"] % alone.n_frames), np.arange(1, 80, 2))
    assert world.densities((0.2, 1.0, 50.0)) == (0.2, 1.0) and world.densities((50.0,)) == (3.5,)


def test_a_bundle_without_a_training_of_ours_is_refused(tiny_bundle: ModelBundle) -> None:
    with pytest.raises(BundleError, match="no key `simulation` there"):
        calibrate_bundle(tiny_bundle)
