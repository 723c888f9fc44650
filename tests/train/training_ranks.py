"""A process among several that train, with a fault: `python training_ranks.py CONFIG OUT FAULT`.

The last process is killed in the middle (FAULT `killed`), or has a folder of its own in which nothing lies (`apart`).
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
    place, fault = Path(sys.argv[2]), sys.argv[3]
    try:
        with started_by_torchrun("cpu") as ranks:
            assert ranks.world == 2
            if not ranks.is_first and fault == "killed":
                batches.batch_of = killed
            elif not ranks.is_first:
                place = place.with_name(place.name + "-apart")
            train(load_training(Path(sys.argv[1])), place, ranks)
    except TrainingError as error:
        sys.exit(str(error))
