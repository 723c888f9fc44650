"""The progress page: what it measures on held-out clips agrees with the truth, and it is drawn whatever is found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rtdecode.core.camera import Camera
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.network import Network
from rtdecode.fit.scaling import Scaling
from rtdecode.physics.psf import GaussianPsf, SplinePsf
from rtdecode.physics.simulate import SimulationConfig
from rtdecode.train.batches import HELD_OUT, as_batch, clips_of
from rtdecode.train.config import BatchConfig, OptimiserConfig, TrainingConfig
from rtdecode.train.look import look
from rtdecode.train.loop import train
from rtdecode.train.page import SIZE, time_left
from rtdecode.view.chart import around


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    folder = tmp_path_factory.mktemp("page")
    samples = GaussianPsf(roi_px=15).with_derivatives([7] * 11, [7] * 11, np.arange(-5, 6) * 100.0, (15, 15))[0]
    SplinePsf.from_samples(samples, 100.0, 5, (100.0, 100.0)).save(folder / "psf.safetensors")
    return TrainingConfig(
        name="tiny",
        description="A test.",
        psf=folder / "psf.safetensors",
        camera=Camera(px_nm=(100, 120), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.5),
        network=NetworkConfig(features=8, stem="half", activation="silu", heads="shared"),
        scaling=Scaling(input_offset=90, input_scale=120, photons_max=20000, z_max_nm=600, background_max=200),
        simulation=SimulationConfig(shape_px=(16, 24), margin_px=6, z_nm=(-500, 500), density_um2=(0.5, 1.5)),
        batch=BatchConfig(clips=2, frames=4),
        optimiser=OptimiserConfig(warmup_iterations=2),
        iterations=6,
        report_every=2,
        page_every=2,
    )


class Oracle(torch.nn.Module):
    """Answers with the truth of the held-out clips: p 0.73 and honest sigmas at each emitter's pixel."""

    def __init__(self, config: TrainingConfig, psf: SplinePsf) -> None:
        super().__init__()
        self.targets = [as_batch(config, clips_of(config, psf, HELD_OUT + k)).targets for k in range(4)]

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        n, t, h, w = clips.shape
        raw = torch.zeros(n * (t - 2), 10, h, w)
        raw[:, 0], raw[:, 5:9] = -8, -4
        targets = self.targets.pop(0)
        rng = np.random.default_rng(len(self.targets))
        for sample, (photons, x, y, z) in zip(targets.sample.tolist(), targets.units.tolist(), strict=True):
            column, row = min(max(round(x), 0), w - 1), min(max(round(y), 0), h - 1)
            sigma = 3 / (1 + np.exp(4.0)) + 0.001  # of a raw value of -4
            error = rng.normal(0, sigma, 4)
            means = np.clip([photons + error[0], x - column + error[1], y - row + error[2], z + error[3]], -0.99, 0.99)
            raw[sample, 0, row, column] = 1.0
            raw[sample, 1, row, column] = float(np.log(max(means[0], 1e-3) / (1 - max(means[0], 1e-3))))
            raw[sample, 2:5, row, column] = torch.atanh(torch.tensor(means[1:], dtype=torch.float32))
        return raw.reshape(n, t - 2, 10, h, w)


def test_a_look_at_the_truth_finds_it_honest(config: TrainingConfig) -> None:
    psf = SplinePsf.load(config.psf)
    seen = look(config, Oracle(config, psf), psf)
    assert seen.photons.shape == (16, 16, 24)
    assert seen.score.n_frames == 16 and seen.score.n_emitters > 50
    assert seen.score.precision == 1.0 and seen.score.recall > 0.85  # two in one pixel are one
    (said, true, count), *others = seen.reliability()
    assert said == pytest.approx(0.731, abs=0.01) and true == 1.0 and count > 50 and not others
    z_scores = seen.z_scores()
    assert z_scores.shape[1] == 4
    assert z_scores[:, 1:3].var(axis=0) == pytest.approx([1, 1], abs=0.4)


def test_a_training_draws_its_page(config: TrainingConfig, tmp_path: Path) -> None:
    """From a network that finds nothing yet."""
    train(config, tmp_path)
    with Image.open(tmp_path / "progress.png") as page:
        assert page.size == SIZE
        pixels = np.asarray(page.convert("L"))
    assert (pixels[420:600, 80:380] < 128).mean() > 0.3  # an example frame
    assert "progress.png?6" in (tmp_path / "progress.html").read_text()
    assert not list(tmp_path.glob("*.new"))


def test_a_training_may_go_without_a_page(config: TrainingConfig, tmp_path: Path) -> None:
    train(config.model_copy(update={"page_every": 0}), tmp_path)
    assert not (tmp_path / "progress.png").exists()


def test_ranges_and_times() -> None:
    low, high = around([1.0, float("nan"), 3.0])
    assert low < 1 and high > 3
    assert around([]) == (0.0, 1.0) and around([0.0], log=True) == (0.1, 1.0)
    assert around([2.0])[0] < 2.0 < around([2.0])[1]
    assert time_left(250, 1000, 60.0) == "0:03:00"


def test_a_network_that_finds_nothing_has_no_figures(config: TrainingConfig) -> None:
    torch.manual_seed(0)
    seen = look(config, Network(config.network), SplinePsf.load(config.psf))
    assert seen.z_scores().shape == (0, 4)
    assert np.isnan(seen.score.precision)
