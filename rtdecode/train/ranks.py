"""Several processes that train one network: who is who, what each simulates, and where their gradients meet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rtdecode.core.errors import RtdecodeError, TrainingError
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

    def check_agreement(self, config: TrainingConfig, iteration: int) -> None:
        """Every process must call it before its first step; raises TrainingError, in all of them, where one would go
        on from elsewhere or train something else: gradients would meet all the same, and mean nothing.
        """
        if self.world == 1:
            return
        mine = torch.tensor([iteration, _fingerprint(config)], dtype=torch.int64, device=config.device)
        all_of_them = [torch.empty_like(mine) for _ in range(self.world)]
        torch.distributed.all_gather(all_of_them, mine)
        places = [tuple(place.tolist()) for place in all_of_them]
        for rank, (there, what) in enumerate(places):
            if there != places[0][0]:
                raise TrainingError(
                    f"process {rank} of {self.world} would go on at iteration {there}, process 0 at {places[0][0]}: "
                    "give all of them the same --out, on a disk that all of them see"
                )
            if what != places[0][1]:
                raise TrainingError(f"process {rank} of {self.world} has another configuration than process 0")

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


def _fingerprint(config: TrainingConfig) -> int:
    """Of all but paths and the device, which differ between machines; 60 bits."""
    text = config.model_dump_json(exclude={"device", "psf", "start_from"})
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


@contextmanager
def started_by_torchrun(device: str) -> Iterator[Ranks]:
    """This process's place as torchrun's environment gives it; gloo on CPUs, nccl on GPUs. `ALONE` without torchrun.

    Raises TrainingError where another process is lost in the middle; errors of all but the first name their process.
    """
    world = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if world == 1:
        yield ALONE
        return
    ranks = Ranks(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0")))
    on_gpu = device.startswith("cuda")
    try:
        if on_gpu:
            _take_gpu(ranks.local_rank)
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
        yield ranks
    except RtdecodeError as error:
        raise error if ranks.is_first else type(error)(f"process {ranks.rank} of {world}: {error}") from error
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        first_line = str(error).partition("\n")[0]
        raise TrainingError(
            f"process {ranks.rank} of {world}: another process of this training ended or cannot be reached "
            f"({first_line}); see what it said, then the same command goes on from the last checkpoint"
        ) from error
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _take_gpu(local_rank: int) -> None:
    if local_rank >= torch.cuda.device_count():
        raise TrainingError(
            f"this machine has {torch.cuda.device_count()} GPUs that torch can use, and this is its process number "
            f"{local_rank + 1}; start torchrun with --nproc-per-node {max(1, torch.cuda.device_count())}"
        )
    torch.cuda.set_device(local_rank)


def _is_about_others(error: RuntimeError) -> bool:
    """Whether torch.distributed lost a peer; gloo has no class of its own for that."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
