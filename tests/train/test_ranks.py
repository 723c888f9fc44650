"""Several processes: the weights of one process with all the shares; one that dies; what cannot be dealt."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import write_training

from rtdecode.core.errors import TrainingError
from rtdecode.physics.psf import SplinePsf
from rtdecode.train.batches import batch_of
from rtdecode.train.config import BatchConfig, TrainingConfig
from rtdecode.train.loop import averaged_network, load_training, train
from rtdecode.train.ranks import ALONE, Ranks, started_by_torchrun


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YAML of a small training with `shares` left open."""
    folder = tmp_path_factory.mktemp("ranks")
    return write_training(folder / "train.yaml", iterations=12, report_every=2, checkpoint_every=2)


@pytest.fixture(scope="module")
def cut_short(path: Path) -> tuple[Path, list[int], list[str]]:
    """Folder of a training of two processes of which the second was killed; exit statuses, what each said."""
    out = path.parent / "two"
    train(with_both_shares(path).model_copy(update={"iterations": 2}), path.parent / "apart-0")
    return out, *start_two(path, out)


def test_a_process_that_dies_ends_the_other_with_one_clear_error(
    cut_short: tuple[Path, list[int], list[str]], path: Path, tmp_path: Path
) -> None:
    out, statuses, said = cut_short
    assert statuses == [1, -signal.SIGKILL]
    assert "\nprocess 0 of 2: another process of this training ended" in said[0] and "Traceback" not in said[0]
    kept = torch.load(out / "checkpoint.pt", weights_only=True)
    assert 2 <= kept["iteration"] <= 8 and kept["shares"] == 2
    shutil.copytree(out, tmp_path / "alone")
    with pytest.raises(TrainingError, match=r"trained with batch\.shares 2, now there are 1; start as many processes"):
        train(load_training(path), tmp_path / "alone")


def test_processes_that_do_not_share_their_folder_are_refused(
    cut_short: tuple[Path, list[int], list[str]],
) -> None:
    *_, said = cut_short
    refusal = "process 1 of 2 would go on at iteration 0, process 0 at 2: give all of them the same --out"
    assert all(words.startswith(refusal) for words in said)


def test_torchrun_goes_on_and_makes_what_one_process_with_both_shares_makes(
    cut_short: tuple[Path, list[int], list[str]], path: Path, tmp_path: Path
) -> None:
    two, *_ = cut_short
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "rtdecode"]
    done = subprocess.run(
        [*command, "train", str(path), "--out", str(two)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^iteration 12 ", done.stdout, re.M)) == 1  # the first speaks, and writes
    assert "shares: 2" in (two / "bundle" / "train.yaml").read_text(encoding="utf-8")
    both = with_both_shares(path)
    train(both, tmp_path / "one")
    weights = [averaged_network(both, out)[0].state_dict() for out in (tmp_path / "one", two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=2e-5)
    columns = [np.genfromtxt(out / "curve.csv", delimiter=",", names=True) for out in (tmp_path / "one", two)]
    assert columns[1]["iteration"].tolist() == [2, 4, 6, 8, 10, 12]
    for name in ("loss", "validation", "gradient_norm"):
        np.testing.assert_allclose(columns[1][name], columns[0][name], rtol=1e-3)
    alone = load_training(path).model_copy(update={"iterations": 2})  # half the clips: another loss
    train(alone, tmp_path / "half")
    assert np.genfromtxt(tmp_path / "half" / "curve.csv", delimiter=",", names=True)["loss"] != columns[0]["loss"][0]


def with_both_shares(path: Path) -> TrainingConfig:
    """For one process, what two do."""
    config = load_training(path)
    return config.model_copy(update={"batch": config.batch.model_copy(update={"shares": 2})})


def start_two(path: Path, out: Path) -> tuple[list[int], list[str]]:
    """Exit statuses of two processes placed as torchrun places them, and what they wrote to stderr."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    child = str(Path(__file__).with_name("training_ranks.py"))
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, child, str(path), str(out)],
            env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


def test_shares_are_dealt_and_together_make_the_batch(path: Path) -> None:
    config = load_training(path)
    config = config.model_copy(update={"batch": config.batch.model_copy(update={"shares": 4})})
    psf = SplinePsf.load(config.psf)
    whole, share = batch_of(config, psf, 5), batch_of(config, psf, 5, [3])
    assert whole.frames.shape == (8, 4, 16, 16)
    assert torch.equal(whole.frames[6:], share.frames)
    assert torch.equal(whole.targets.count[12:], share.targets.count)
    late = whole.targets.sample >= 12
    assert torch.equal(whole.targets.sample[late] - 12, share.targets.sample)
    assert torch.equal(whole.targets.units[late], share.targets.units)
    assert [list(Ranks(rank, 2).shares(config)) for rank in range(2)] == [[0, 2], [1, 3]]


def test_shares_that_cannot_be_dealt_are_refused(path: Path, tmp_path: Path) -> None:
    config = load_training(path)
    three = config.model_copy(update={"batch": BatchConfig(clips=1, frames=3, shares=3), "iterations": 1})
    with pytest.raises(TrainingError, match=r"batch\.shares 3 cannot be dealt evenly to 2 processes"):
        Ranks(0, 2).resolved(three)
    assert Ranks(1, 2).resolved(config).batch.shares == 2
    train(three, tmp_path)
    fewer = three.model_copy(update={"batch": three.batch.model_copy(update={"shares": None})})
    with pytest.raises(TrainingError, match=r"trained with batch\.shares 3, now there are 1"):
        train(fewer, tmp_path)


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # a cluster's word, not torchrun's
    monkeypatch.delenv("RANK", raising=False)
    with started_by_torchrun("cpu") as ranks:
        assert ranks == ALONE
