"""Batches of a training: which clips an iteration has, simulated ahead, and their way through the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from rtdecode.physics.psf import Psf
from rtdecode.physics.simulate import Clips, simulate_clips
from rtdecode.train.config import TrainingConfig
from rtdecode.train.ranks import ALONE, Ranks
from rtdecode.train.target import Batch, Targets, make_batch

PREFETCH = 2
HELD_OUT = 10**9  # iteration numbers from here on seed validation clips, which no training reaches


def batch_of(config: TrainingConfig, psf: Psf, iteration: int, shares: Iterable[int] | None = None) -> Batch:
    """The clips of one iteration, or of some of its shares: the same for the same seed and numbers, whoever asks."""
    chosen = range(config.batch.shares or 1) if shares is None else shares
    return Batch.joined([as_batch(config, clips_of(config, psf, iteration, share)) for share in chosen])


def clips_of(config: TrainingConfig, psf: Psf, iteration: int, share: int = 0) -> Clips:
    """The clips of one share of one iteration."""
    rng = np.random.default_rng([config.seed, iteration, *([share] if share else [])])
    return simulate_clips(psf, config.camera, config.simulation, config.batch.clips, config.batch.frames, rng)


def as_batch(config: TrainingConfig, clips: Clips) -> Batch:
    """Clips as the network and the loss take them."""
    return make_batch(clips, config.camera, config.scaling, config.min_photons)


def batches(config: TrainingConfig, psf: Psf, first: int, ranks: Ranks = ALONE) -> Iterator[Batch]:
    """Batches in order, simulated ahead by threads (the kernels release the GIL)."""
    shares, on_gpu = ranks.shares(config), config.device.startswith("cuda")

    def simulated(iteration: int) -> Batch:
        batch = batch_of(config, psf, iteration, shares)
        return batch.pinned() if on_gpu else batch

    with ThreadPoolExecutor(config.simulation_threads) as pool:
        ahead: list[Future[Batch]] = []
        for iteration in range(first, config.iterations):
            while len(ahead) <= PREFETCH * config.simulation_threads and iteration + len(ahead) < config.iterations:
                ahead.append(pool.submit(simulated, iteration + len(ahead)))
            yield ahead.pop(0).result()


def forward(config: TrainingConfig, network: nn.Module, batch: Batch) -> tuple[Tensor, Targets]:
    """Raw maps (S, 10, H, W) and targets of a batch, on the training's device."""
    device = torch.device(config.device)
    moved = batch.on(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        raw = network(moved.frames).flatten(0, 1)
    return raw, moved.targets
