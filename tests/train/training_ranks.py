"""A process among several that train: `python training_ranks.py CONFIG OUT`, its place in the environment."""

import sys
from pathlib import Path

import torch

from rtdecode.train.loop import load_training, train
from rtdecode.train.ranks import started_by_torchrun

if __name__ == "__main__":
    torch.set_num_threads(1)
    with started_by_torchrun("cpu") as ranks:
        assert ranks.world == 2
        train(load_training(Path(sys.argv[1])), Path(sys.argv[2]), ranks)
