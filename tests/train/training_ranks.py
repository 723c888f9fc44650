"""A process among several that train, with two faults: `python training_ranks.py CONFIG OUT`.

First each has a folder of its own, which is refused; then they train, and the last one is killed in the middle.
"""

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from rtdecode.core.errors import TrainingError
from rtdecode.physics.psf import Psf
from rtdecode.train import batches
from rtdecode.train.config import TrainingConfig
from rtdecode.train.loop import load_training, train
from rtdecode.train.ranks import started_by_torchrun
from rtdecode.train.target import Batch

DIES_AT = 8
whole = batches.batch_of


def killed(config: TrainingConfig, psf: Psf, iteration: int, shares: Iterable[int] | None = None) -> Batch:
    if iteration == DIES_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(config, psf, iteration, shares)


if __name__ == "__main__":
    torch.set_num_threads(1)
    config, out = load_training(Path(sys.argv[1])), Path(sys.argv[2])
    try:
        with started_by_torchrun("cpu") as ranks:
            assert ranks.world == 2
            try:
                train(config, out.with_name(f"apart-{ranks.rank}"), ranks)
            except TrainingError as error:
                print(error, file=sys.stderr)
            if not ranks.is_first:
                batches.batch_of = killed
            train(config, out, ranks)
    except TrainingError as error:
        sys.exit(str(error))
