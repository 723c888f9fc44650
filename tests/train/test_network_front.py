"""tools/network_front.py: a tiny family runs through to table and picture, skips what is done, refuses what differs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from rtdecode.core.camera import Camera
from rtdecode.core.errors import ConfigError, TrainingError
from rtdecode.fit.bundle import ModelBundle
from rtdecode.physics.psf import GaussianPsf, SplinePsf
from rtdecode.train.loop import load_training

pytest.importorskip("matplotlib")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import front_config  # noqa: E402
import front_pages  # noqa: E402
import network_front  # noqa: E402

NETWORKS = [
    {"name": "small", "network": {"features": 4, "stem": "half", "heads": "shared"}, "s_per_iteration": 0.2},
    {"name": "large", "network": {"features": 8, "stem": "full", "heads": "shared"}, "s_per_iteration": 0.21},
]
FAMILY = {
    "base": "base.yaml",
    "recipe": {"optimiser": {"warmup_iterations": 1}, "precision": "fp32"},
    "budgets": {"iterations": 3, "seconds": 0.6},
    "judge": {"frames": {1.0: 4}, "accepts": [0.01, 0.9], "peak": 0.005},
    "speed": {"sizes_px": [16], "seconds": 0.01, "rounds": 1},
    "networks": NETWORKS,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With base.yaml, its PSF and family.yaml."""
    folder = tmp_path_factory.mktemp("front")
    z = np.arange(-8, 9) * 100.0
    samples = GaussianPsf(roi_px=15).with_derivatives([7] * 17, [7] * 17, z, (15, 15))[0]
    SplinePsf.from_samples(samples, 100.0, 8, (100.0, 100.0)).save(folder / "psf.safetensors")
    camera = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, em_gain=300, read_noise_e=74.4)
    base = {
        "name": "base", "description": "A test.", "psf": "psf.safetensors",
        "camera": camera.model_dump(mode="json", exclude_none=True), "network": {},
        "scaling": {"input_offset": 90, "input_scale": 120, "photons_max": 2e4, "z_max_nm": 900, "background_max": 200},
        "simulation": {"shape_px": [16, 16], "margin_px": 6, "density_um2": [0.5, 1.5]},
        "batch": {"clips": 2, "frames": 3}, "iterations": 99,
    }  # fmt: skip
    (folder / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    (folder / "family.yaml").write_text(yaml.safe_dump(FAMILY), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> front_pages.Figures:
    """The figures of a front that was worked through in folder/out, a star beside it."""
    family = front_config.load_family(folder / "family.yaml")
    runs = list(network_front._runs(family, [], network_front.BUDGETS))
    network_front.work(family, folder / "out", runs, [])
    return dict(network_front.work(family, folder / "out", [], [str(folder / "out" / "small-3" / "bundle")]))


def test_both_budgets_of_every_network_are_trained_and_judged(folder: Path, done: front_pages.Figures) -> None:
    """Here both budgets come to three steps: one training each (an export to ONNX takes seconds)."""
    rows = [(row["name"], row["budget"], row["iterations"]) for row in done["networks"]]
    assert rows == [(name, budget, 3) for budget in network_front.BUDGETS for name in ("small", "large")]
    assert sorted(path.name for path in (folder / "out").iterdir() if path.is_dir()) == ["large-3", "small-3"]
    for row in done["networks"]:
        held = torch.load(folder / "out" / f"{row['name']}-{row['iterations']}" / "checkpoint.pt", weights_only=True)
        assert held["iteration"] == row["iterations"]
        assert row["frames_per_s"]["16"] > 0
        assert row["density_per_um2"]["1"]["n_emitters"] > 50
    costs = {row["name"]: row["kmac_per_px"] for row in done["networks"]}
    assert 0 < costs["small"] < costs["large"]
    bundle = ModelBundle.load(folder / "out" / "large-3" / "bundle")
    assert bundle.network.features == 8 and bundle.network.stem == "full"


def test_table_and_picture_show_them_all(folder: Path, done: front_pages.Figures) -> None:
    text = (folder / "out" / "front.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ") and "network" not in line]
    assert [row for row in rows if "---" not in row] == ["| small", "| large", "| small", "| large", "| small"]
    assert text == front_pages.table(done)
    assert (folder / "out" / "front.png").stat().st_size > 10_000


def test_what_is_done_is_not_done_again(folder: Path, done: front_pages.Figures) -> None:
    out = folder / "out"
    kept = ("checkpoint.pt", "judged.json", "bundle/bundle.yaml")
    before = {path: path.stat().st_mtime_ns for name in kept for path in out.glob(f"*/{name}")}
    family = front_config.load_family(folder / "family.yaml")
    again = network_front.work(family, out, list(network_front._runs(family, [], network_front.BUDGETS)), [])
    assert len(before) == 6 and {path: path.stat().st_mtime_ns for path in before} == before
    assert again["networks"] == done["networks"]


def test_another_recipe_in_the_same_folder_is_refused(folder: Path, done: front_pages.Figures) -> None:
    changed = FAMILY | {"recipe": {"optimiser": {"learning_rate": 1e-4}}}
    (folder / "other.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    family = front_config.load_family(folder / "other.yaml")
    with pytest.raises(TrainingError, match=r"small-3.training\.yaml"):
        network_front.work(family, folder / "out", list(network_front._runs(family, ["small"], ["iterations"])), [])


def test_the_threshold_is_the_best_on_the_choosing_movies(folder: Path, done: front_pages.Figures) -> None:
    """A network of three steps says less than 0.9 anywhere: finding nothing has Jaccard 0, and the lower one wins."""
    family = front_config.load_family(folder / "family.yaml")
    bundle = ModelBundle.load(folder / "out" / "small-3" / "bundle")
    few, none = network_front._scores(bundle, family.judge, 1.0, 4, family.judge.choosing_seed, (0.001, 0.9))
    assert few["n_localizations"] > none["n_localizations"] == 0
    assert {row["accept"] for row in done["networks"]} <= set(family.judge.accepts)


def test_the_front_is_what_nothing_cheaper_reaches() -> None:
    points = [(10.0, 0.3, "a"), (20.0, 0.2, "b"), (20.0, 0.5, "c"), (30.0, 0.5, "d"), (40.0, 0.6, "e")]
    assert [name for _, _, name in front_pages.front_of(points)] == ["a", "c", "e"]


def test_steps_follow_from_the_budget(folder: Path) -> None:
    fields = FAMILY | {"budgets": {"iterations": 7, "seconds": 2.1}}
    (folder / "longer.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    family = front_config.load_family(folder / "longer.yaml")
    runs = list(network_front._runs(family, [], network_front.BUDGETS))
    assert [run.folder_name for run in runs] == ["small-7", "large-7", "small-10", "large-10"]
    slow = family.networks[0].model_copy(update={"s_per_iteration": 9.0})
    assert family.iterations(slow, "iterations") == 7 and family.iterations(slow, "wall-clock") == 1


def test_faults_of_the_file_and_of_only_are_named(folder: Path) -> None:
    (folder / "twice.yaml").write_text(yaml.safe_dump(FAMILY | {"networks": NETWORKS[:1] * 2}), encoding="utf-8")
    with pytest.raises(ConfigError, match="small more than once"):
        front_config.load_family(folder / "twice.yaml")
    family = front_config.load_family(folder / "family.yaml")
    with pytest.raises(TrainingError, match="no network huge; the file has small, large"):
        list(network_front._runs(family, ["huge"], network_front.BUDGETS))


def test_the_shipped_family_trains_its_base() -> None:
    family = front_config.load_family(ROOT / "configs" / "network-front.yaml")
    base = load_training(family.base)
    run = front_config.run_of(family, family.networks[-1], "iterations")
    assert run.training.simulation == base.simulation and run.training.loss == base.loss
    assert run.training.network.features == 48 and run.training.network.heads == "separate"
    assert run.training.iterations == family.budgets.iterations
    least = min(family.iterations(m, budget) for m in family.networks for budget in network_front.BUDGETS)
    assert least > 2 * family.recipe.optimiser.warmup_iterations


def test_without_seconds_there_is_one_budget(folder: Path) -> None:
    (folder / "one.yaml").write_text(yaml.safe_dump(FAMILY | {"budgets": {"iterations": 7}}), encoding="utf-8")
    family = front_config.load_family(folder / "one.yaml")
    runs = list(network_front._runs(family, [], network_front.BUDGETS))
    assert [run.folder_name for run in runs] == ["small-7", "large-7"]
    assert front_pages.words_of({"family": family.model_dump(mode="json")}) == {"iterations": "7 steps each"}


def test_a_choosing_density_without_a_movie_is_refused(folder: Path) -> None:
    fields = FAMILY | {"judge": {"frames": {0.5: 4}}}
    (folder / "density.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"choosing_density: 1 is not among `frames`, which has 0\.5"):
        front_config.load_family(folder / "density.yaml")
