"""Sweeps: a plan expanded and refused, trainings run in processes of their own, nothing made twice, nothing mixed."""

import json
from pathlib import Path
from threading import Thread
from time import sleep

import pytest
import yaml
from tiny_training import write_training

from rtdecode.cli.app import run
from rtdecode.core.errors import ConfigError, TrainingError
from rtdecode.train.sweep import finished, train_one
from rtdecode.train.sweep_plan import JudgeConfig, load_sweep
from rtdecode.train.sweep_run import Outcome, Sweep, table_of

JUDGE = JudgeConfig(share=0.01)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YAML of a training of three steps."""
    folder = tmp_path_factory.mktemp("sweep")
    write_training(folder / "base.yaml", 8, iterations=3, report_every=1)
    (folder / "broken.safetensors").write_bytes(b"no PSF")
    return folder / "base.yaml"


def plan_of(base: Path, text: str) -> Path:
    path = base.with_name("plan.yaml")
    path.write_text(f"base: base.yaml\n{text}")
    return path


def test_a_plan_is_every_training_with_every_point_of_the_grid(base: Path) -> None:
    plan = plan_of(
        base,
        "trainings:\n"
        "  - {name: plain}\n"
        "  - {name: wide, changes: {simulation.photons.mean: 9000, simulation.background_texture: {swing: 0.2}}}\n"
        "grid: {optimiser.learning_rate: [0.001, 2e-3], seed: [1, 2]}\n",
    )
    variants = load_sweep(plan)[1]
    assert [v.config.name for v in variants][:2] == [
        "tiny-plain-learning-rate-0-001-seed-1", "tiny-plain-learning-rate-0-001-seed-2",
    ]  # fmt: skip
    assert len(variants) == len({v.folder for v in variants}) == 8
    last = variants[-1].config
    assert (last.optimiser.learning_rate, last.seed, last.simulation.photons.mean) == (0.002, 2, 9000)
    assert last.simulation.background_texture is not None and last.psf == base.with_name("psf.safetensors")
    assert last.optimiser.ema_decay == 0.5  # as the base has it


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grid:\n  optimiser.learning_rat: [1]\n", "line 3: unknown key 'optimiser.learning_rat'; did you mean"),
        ("grid:\n  seed: [1, two]\n", r"line 3: key 'seed': .*integer.*'two'"),
        ("trainings:\n  - name: a\n    changes:\n      iterations: 0\n", r"line 5: key 'iterations': .*greater than"),
        ("grids: {seed: [1]}\n", "line 2: unknown key 'grids'; did you mean 'grid'"),
        ("grid: {name: [a, b]}\n", "key 'name' cannot be swept"),
        ("grid: {device: [cpu, cuda]}\n", "are the same training"),
        ("trainings: [{name: a, changes: {seed: 2}}, {name: a, changes: {seed: 3}}]\n", "two trainings have the name"),
        ("grid: {psf: [nowhere.safetensors]}\n", "nowhere.safetensors: the PSF of tiny-psf-nowhere.* cannot be read"),
    ],
)  # fmt: skip
def test_what_fits_no_training_is_refused_with_its_line(base: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_sweep(plan_of(base, text))


@pytest.fixture(scope="module")
def swept(base: Path) -> tuple[Path, Path, int]:
    """Plan, folder and exit status of a sweep of two, of which one cannot be trained."""
    text = "judge: {share: 0.01}\ntrainings: [{name: bad, changes: {psf: broken.safetensors}}, {name: good}]\n"
    plan = plan_of(base, text).rename(base.with_name("two.yaml"))
    return plan, base.parent / "out", run(["sweep", str(plan), "--out", str(base.parent / "out"), "--workers", "2"])


def test_one_that_fails_stops_no_other_and_nothing_is_made_twice(
    swept: tuple[Path, Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out, status = swept
    assert status == 1
    bad, good = json.loads((out / "sweep.json").read_text())["trainings"]
    assert (bad["status"], good["status"]) == ("failed", "done") and "broken.safetensors" in bad["error"]
    assert list(good["summary"]["density_per_um2"]) == ["0.2", "1", "2"] and good["summary"]["validation"] > 0
    table = (out / "sweep.md").read_text()
    assert "| tiny-good |" in table and "J at 0.2" in table and "failed: " in table
    made = (out / good["folder"] / "checkpoint.pt").stat().st_mtime_ns
    only = plan.with_name("good.yaml")
    only.write_text(yaml.safe_dump(yaml.safe_load(plan.read_text()) | {"trainings": [{"name": "good"}]}))
    assert run(["sweep", str(only), "--out", str(out)]) == 0
    assert "tiny-good: done already" in capsys.readouterr().err
    assert (out / good["folder"] / "checkpoint.pt").stat().st_mtime_ns == made


def test_a_lost_end_is_made_again_from_the_checkpoint_to_the_same_bundle(swept: tuple[Path, Path, int]) -> None:
    plan, out, _ = swept
    variant = load_sweep(plan)[1][1]
    folder = out / variant.folder
    before = finished(folder, variant.key, JUDGE)
    assert before is not None and finished(folder, variant.key, JudgeConfig(share=0.01, seed=1)) is None
    (folder / "summary.json").unlink()
    (folder / "bundle" / "weights.safetensors").write_bytes(b"cut short")
    curve = (folder / "curve.csv").read_text()
    after = train_one(variant.config.model_dump(mode="json"), folder, JUDGE, threads=1)
    assert (after["bundle"], after["density_per_um2"]) == (before["bundle"], before["density_per_um2"])
    assert (folder / "curve.csv").read_text() == curve  # not a step was made again


def test_a_folder_has_one_training_and_one_process(swept: tuple[Path, Path, int], tmp_path: Path) -> None:
    import fcntl

    plan, out, _ = swept
    variant = load_sweep(plan)[1][1]
    other = variant.config.model_copy(update={"seed": 7})
    with pytest.raises(TrainingError, match="holds another training"):
        train_one(other, out / variant.folder, JUDGE)
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(TrainingError, match="holds a training that no sweep began"):
        train_one(variant.config, tmp_path, JUDGE)
    with (out / variant.folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another process trains here"):
            train_one(variant.config, out / variant.folder, JUDGE)


def test_a_process_that_is_killed_is_a_failure_with_a_reason(base: Path, tmp_path: Path) -> None:
    variant = load_sweep(plan_of(base, "grid: {iterations: [100000]}\n"))[1][0]

    def kill_it(words: str) -> None:
        if "begins" not in words:
            return
        Killer(tmp_path / "out" / variant.folder / "curve.csv", sweep).start()

    sweep = Sweep(tmp_path / "out", JUDGE, 1, kill_it)
    (outcome,) = sweep.run([variant], 1)
    assert outcome.summary is None and "ended by SIGKILL, as a machine without memory" in outcome.error
    assert "SIGKILL" in table_of("Sweep", [outcome, Outcome(variant, None, "x")]).markdown()


class Killer(Thread):
    """Kills the sweep's process once it trains."""

    def __init__(self, curve: Path, sweep: Sweep) -> None:
        super().__init__(daemon=True)
        self.curve, self.sweep = curve, sweep

    def run(self) -> None:
        for _ in range(600):
            if self.curve.exists():
                break
            sleep(0.1)
        for process in list(self.sweep._running):
            process.kill()
