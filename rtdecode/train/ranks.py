"""Several processes that train one network: who is who, what each simulates, and where their gradients meet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rtdecode.core.errors import TrainingError
from rtdecode.train.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of one training; by itself where nothing else is said.

    A step's clips come in shares of `batch.clips`, seeded by (seed, iteration, share) and dealt to the processes. So
    the shares decide the weights (to rounding), and the number of processes only how fast they come.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # on this machine: the number of its GPU

    @property
    def is_first(self) -> bool:
        """The one that writes and speaks."""
        return self.rank == 0

    def resolved(self, config: TrainingConfig) -> TrainingConfig:
        """The configuration with `batch.shares` filled in and this process's own GPU; raises TrainingError."""
        shares = config.batch.shares or self.world
        if shares % self.world:
            raise TrainingError(
                f"batch.shares {shares} cannot be dealt evenly to {self.world} processes; "
                f"start a number of processes that divides {shares}, or leave `shares` out"
            )
        device = f"cuda:{self.local_rank}" if config.device == "cuda" and self.world > 1 else config.device
        batch = config.batch.model_copy(update={"shares": shares})
        return config.model_copy(update={"batch": batch, "device": device})

    def shares(self, config: TrainingConfig) -> range:
        """The shares that this process simulates."""
        return range(self.rank, config.batch.shares or self.world, self.world)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network to call forward on, after whose backward every process has the mean of all gradients."""
        return network if self.world == 1 else DistributedDataParallel(network)

    def mean(self, values: dict[str, float], device: str) -> dict[str, float]:
        """Means over all processes; every one of them must call it with the same names."""
        if self.world == 1:
            return values
        sums = torch.tensor(list(values.values()), dtype=torch.float32, device=device)
        torch.distributed.all_reduce(sums)
        return dict(zip(values, (sums / self.world).tolist(), strict=True))


ALONE = Ranks()


@contextmanager
def started_by_torchrun(device: str) -> Iterator[Ranks]:
    """This process's place as torchrun's environment gives it; gloo on CPUs, nccl on GPUs. `ALONE` without torchrun."""
    world = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if world == 1:
        yield ALONE
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(local_rank)
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Ranks(torch.distributed.get_rank(), world, local_rank)
    finally:
        torch.distributed.destroy_process_group()
