"""Ranges in configuration files: reversed or impossible ones are refused with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtdecode.core.config import AllowedProperty
from rtdecode.core.errors import ConfigError
from rtdecode.core.yaml_files import StrictModel, parse_yaml
from rtdecode.fit.bundle import TrainingRanges
from rtdecode.sources.scene import SimulatedScene
from rtdecode.train.loop import load_training

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("right", "wrong", "key"),
    [
        ("z_nm: [-750, 750]", "z_nm: [750, -750]", "simulation.z_nm"),
        ("range: [500, 25000]", "range: [25000, 500]", "simulation.photons.range"),
        ("background: [40, 180]", "background: [180, 40]", "simulation.background"),
        ("lifetime_frames: [1.0, 3.5]", "lifetime_frames: [3.5, 1.0]", "simulation.lifetime_frames"),
        ("density_um2: [0.0, 2.5]", "density_um2: [2.5, 0.0]", "simulation.density_um2"),
        ("background: [40, 180]", "background: [-4, 180]", "simulation.background.0"),
        ("shape_px: [48, 48]", "shape_px: [0, 48]", "simulation.shape_px.0"),
    ],
)
def test_a_wrong_range_names_file_line_and_key(right: str, wrong: str, key: str, tmp_path: Path) -> None:
    text = (CONFIGS / "train-astigmatic-light.yaml").read_text()
    line = 1 + text[: text.index(right)].count("\n")
    (tmp_path / "t.yaml").write_text(text.replace(right, wrong))
    with pytest.raises(ConfigError, match=rf"t\.yaml, line {line}: key '{key}': ") as caught:
        load_training(tmp_path / "t.yaml")
    assert key[-1] == "0" or "expected [low, high] with low <= high" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (SimulatedScene, "seed: 3\nz_range_nm: [500, -500]\n"),
        (TrainingRanges, "photons: [1, 2]\nbackground: [9, 1]\ndensity_per_um2: [0, 1]\nz_nm: [0, 1]\n"),
        (AllowedProperty, "device: Laser\nproperty: Power\nminimum: 5\nmaximum: 1\n"),
    ],
)
def test_reversed_ranges_are_refused(model: type[StrictModel], text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected .* <= "):
        parse_yaml(text, model, "x.yaml")
