"""Training: learns, resumes to the same numbers after a kill, refuses foreign checkpoints, becomes a bundle."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rtdecode.core.camera import Camera
from rtdecode.core.errors import ConfigError, TrainingError
from rtdecode.fit.bundle import ModelBundle, RecommendedFilter
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.scaling import Scaling
from rtdecode.physics.psf import GaussianPsf, SplinePsf, load_psf
from rtdecode.physics.simulate import SimulationConfig
from rtdecode.train.batches import HELD_OUT, batch_of
from rtdecode.train.config import BatchConfig, OptimiserConfig, TrainingConfig
from rtdecode.train.finish import make_bundle
from rtdecode.train.look import look
from rtdecode.train.loop import averaged_network, learning_rate, load_training, train
from rtdecode.train.score import Plan, evaluate_bundle


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    folder = tmp_path_factory.mktemp("training")
    z = torch.arange(-5, 6).numpy() * 100.0
    samples = GaussianPsf(roi_px=15).with_derivatives([7] * 11, [7] * 11, z, (15, 15))[0]
    SplinePsf.from_samples(samples, 100.0, 5, (100.0, 100.0)).save(folder / "psf.safetensors")
    return TrainingConfig(
        name="tiny",
        description="A test.",
        psf=folder / "psf.safetensors",
        camera=Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, em_gain=300, read_noise_e=74.4),
        network=NetworkConfig(features=8, stem="half", activation="silu", heads="shared"),
        scaling=Scaling(input_offset=90, input_scale=120, photons_max=20000, z_max_nm=600, background_max=200),
        simulation=SimulationConfig(shape_px=(16, 16), margin_px=6, z_nm=(-500, 500), density_um2=(0.5, 1.5)),
        batch=BatchConfig(clips=2, frames=4),
        optimiser=OptimiserConfig(warmup_iterations=2),
        iterations=6,
        checkpoint_every=3,
    )


def weights(config: TrainingConfig, out: Path) -> dict[str, torch.Tensor]:
    return averaged_network(config, out)[0].state_dict()


def test_a_resumed_training_ends_with_the_same_bytes(config: TrainingConfig, tmp_path: Path) -> None:
    """A kill after iteration 4: checkpoint 3 is on disk, the curve is one row ahead of it."""
    reporting = config.model_copy(update={"report_every": 2})
    train(reporting, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rtdecode.train.loop.batches", _cut_after(4))
        with pytest.raises(KeyboardInterrupt):
            train(reporting, tmp_path / "cut")
    assert averaged_network(config, tmp_path / "cut")[1] == 3
    assert [row[0] for row in curve(tmp_path / "cut")] == ["iteration", "2", "4"]
    train(reporting, tmp_path / "cut")
    whole, resumed = (checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut") and len(curve(tmp_path / "cut")) == 4


def checkpoint(out: Path) -> dict[str, torch.Tensor]:
    """All that a checkpoint holds but the clock: weights, averages, the optimiser's moments, counts."""
    held = torch.load(out / "checkpoint.pt", weights_only=True)
    moments = {
        f"optimiser.{k}.{name}": value for k, one in held["optimiser"]["state"].items() for name, value in one.items()
    }
    of_network = {f"{part}.{name}": value for part in ("network", "average") for name, value in held[part].items()}
    return moments | of_network | {"iteration": torch.tensor(held["iteration"])}


def curve(out: Path) -> list[list[str]]:
    """Header and rows of curve.csv without the column of seconds."""
    rows = [line.split(",") for line in (out / "curve.csv").read_text().splitlines()]
    seconds = rows[0].index("seconds")
    return [row[:seconds] + row[seconds + 1 :] for row in rows]


def _cut_after(n: int) -> object:
    from rtdecode.train import loop

    whole = loop.batches

    def cut(*arguments: object) -> object:
        for number, batch in enumerate(whole(*arguments)):  # type: ignore[arg-type]
            if number == n:
                raise KeyboardInterrupt
            yield batch

    return cut


def test_training_lowers_the_loss_on_held_out_clips(config: TrainingConfig, tmp_path: Path) -> None:
    longer = config.model_copy(
        update={"iterations": 100, "optimiser": OptimiserConfig(learning_rate=5e-3, warmup_iterations=5, ema_decay=0.8)}
    )
    train(longer, tmp_path)
    rows = [line.split(",") for line in (tmp_path / "curve.csv").read_text().splitlines()]
    end = float(rows[1][rows[0].index("validation")])
    from rtdecode.train.loop import _fresh, validate

    psf = SplinePsf.load(config.psf)
    assert end < 0.85 * validate(longer, _fresh(longer), batch_of(longer, psf, HELD_OUT))


def test_batches_depend_on_seed_and_iteration_only(config: TrainingConfig) -> None:
    psf = SplinePsf.load(config.psf)
    assert torch.equal(batch_of(config, psf, 3).frames, batch_of(config, psf, 3).frames)
    assert not torch.equal(batch_of(config, psf, 3).frames, batch_of(config, psf, 4).frames)


def test_targets_are_the_inner_frames_emitters(config: TrainingConfig) -> None:
    batch = batch_of(config, SplinePsf.load(config.psf), 2)
    targets = batch.targets
    assert batch.frames.shape == (2, 4, 16, 16)
    assert targets.background.shape == (4, 16, 16)
    assert targets.count.sum() == len(targets.sample) > 0
    assert targets.units[:, 0].min() >= 100 / 20000
    bright = targets.units[:, 0] > 0.2
    assert bright.any()
    rows, columns = (targets.units[bright, axis].round().long().clamp(0, 15) for axis in (2, 1))
    inner = batch.frames[:, 1:-1].flatten(0, 1)
    assert (inner[targets.sample[bright], rows, columns] > 0.2).float().mean() > 0.8


def test_learning_rate_warms_up_and_ends_at_zero(config: TrainingConfig) -> None:
    rates = [learning_rate(config, i) for i in range(config.iterations + 1)]
    assert rates[0] < rates[1] <= config.optimiser.learning_rate
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_training_takes_no_camera_maps(config: TrainingConfig) -> None:
    fields = config.model_dump()
    fields["camera"]["maps"] = "maps.safetensors"
    with pytest.raises(ValueError, match="camera_variation"):
        TrainingConfig.model_validate(fields)


def test_foreign_checkpoints_are_refused(config: TrainingConfig, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt"):
        train(config, tmp_path)
    train(config, tmp_path / "a")
    other = config.model_copy(update={"network": NetworkConfig(features=12, stem="half", heads="shared")})
    with pytest.raises(TrainingError, match="not a checkpoint of this training"):
        train(other, tmp_path / "a")


def test_a_training_becomes_a_bundle(config: TrainingConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run")
    made = make_bundle(config, tmp_path / "run", tmp_path / "bundle")
    bundle = ModelBundle.load(tmp_path / "bundle")
    assert bundle.sha256 == made.sha256
    assert bundle.card.ranges.z_nm == (-500, 500)
    again = load_training(tmp_path / "bundle" / "train.yaml")
    assert again.model_copy(update={"psf": config.psf}) == config


def test_a_2d_training_recommends_no_sigma_of_z_and_its_page_has_none(config: TrainingConfig, tmp_path: Path) -> None:
    GaussianPsf(1.3, 0.0, math.inf, roi_px=15).save(tmp_path / "psf.safetensors")
    simulation = config.simulation.model_copy(update={"z_nm": (-1.0, 1.0)})
    fields = {"psf": tmp_path / "psf.safetensors", "simulation": simulation, "report_every": 3, "page_every": 1}
    flat = config.model_copy(update=fields)
    train(flat, tmp_path / "run")
    bundle = make_bundle(flat, tmp_path / "run", tmp_path / "bundle")
    assert not bundle.tells_z
    assert bundle.card.recommended_filter == RecommendedFilter(sigma_xy_max_nm=40.0)
    seen = look(flat, averaged_network(flat, tmp_path / "run")[0], load_psf(flat.psf))
    assert seen.judged.dims == 2 and not seen.found.z_nm.any() and not seen.found.sigma_z_nm.any()
    assert np.isnan(seen.z_scores()[:, 2]).all()
    assert (tmp_path / "run" / "progress.png").exists()


def test_shipped_configurations_are_valid() -> None:
    for path in (Path(__file__).parents[2] / "configs").glob("train-*.yaml"):
        assert load_training(path).psf.exists()


def test_a_wrong_key_is_named_with_its_line(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "configs/train-astigmatic-light.yaml").read_text()
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace("\niterations:", "\niteration:"))
    line = text[: text.index("\niterations:")].count("\n") + 2
    with pytest.raises(
        ConfigError, match=rf"wrong\.yaml, line {line}: unknown key 'iteration'; did you mean 'iterations'"
    ):
        load_training(path)


def test_a_training_may_start_from_a_bundle_of_the_same_network(config: TrainingConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "first")
    made = make_bundle(config, tmp_path / "first", tmp_path / "bundle")
    further = config.model_copy(update={"start_from": made.folder, "iterations": 1, "checkpoint_every": 1})
    still = further.model_copy(update={"optimiser": OptimiserConfig(learning_rate=1e-12, weight_decay=0.0)})
    train(still, tmp_path / "second")
    first, second = weights(config, tmp_path / "first"), weights(still, tmp_path / "second")
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    again = make_bundle(still, tmp_path / "second", tmp_path / "again")
    said = again.train_path.read_text(encoding="utf-8")  # a bundle is mailed: no path of this machine
    assert f"start_from: bundle-{made.sha256[:12]}" in said and str(tmp_path) not in said
    other = further.model_copy(update={"network": NetworkConfig(features=12, stem="half", heads="shared")})
    with pytest.raises(TrainingError, match="start_from has the network"):
        train(other, tmp_path / "third")
    fine = still.model_copy(update={"network": config.network.model_copy(update={"fine": 4})})
    train(fine, tmp_path / "fourth")
    body = {name: weight for name, weight in weights(fine, tmp_path / "fourth").items() if "heads." not in name}
    assert body and all(torch.allclose(first[name], body[name], atol=1e-6) for name in body)


def test_a_2d_gaussian_trains_and_its_bundle_is_scored(config: TrainingConfig, tmp_path: Path) -> None:
    psf = GaussianPsf(depth_nm=float("inf"), roi_px=15)
    psf.save(tmp_path / "gaussian.safetensors")
    short = config.model_copy(update={"psf": tmp_path / "gaussian.safetensors", "iterations": 3})
    train(short, tmp_path / "run")
    bundle = make_bundle(short, tmp_path / "run", tmp_path / "bundle")
    assert bundle.card.psf["kind"] == "2D Gaussian"
    scores = evaluate_bundle(bundle, plan=Plan(frames={1.0: 4}, isolated=4, empty=2))
    assert scores["density_per_um2"]["1"]["n_frames"] == 4
