"""The training loop: simulate in one thread, step in another, checkpoint, resume to the same numbers."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rtdecode.core.errors import TrainingError
from rtdecode.core.yaml_files import load_yaml
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.network import Network
from rtdecode.physics.psf import Psf, load_psf
from rtdecode.train.batches import HELD_OUT, batch_of, batches, forward
from rtdecode.train.config import TrainingConfig
from rtdecode.train.look import look
from rtdecode.train.loss import loss_terms, total_loss
from rtdecode.train.page import draw_page
from rtdecode.train.ranks import ALONE, Ranks
from rtdecode.train.target import Batch
from rtdecode.train.telling import Telling

CHECKPOINT, CURVE = "checkpoint.pt", "curve.csv"


@dataclass
class State:
    """All that changes while training."""

    network: Network
    average: AveragedModel
    optimiser: torch.optim.AdamW
    iteration: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the terms since the last report
    seconds: float = 0.0  # trained before this start


def load_training(path: Path) -> TrainingConfig:
    """Read a training configuration; the PSF's path becomes absolute."""
    config = load_yaml(path, TrainingConfig)
    absolute = {"psf": (path.parent / config.psf).resolve()}
    if config.start_from is not None:
        absolute["start_from"] = start_beside(path, config.start_from)
    return config.model_copy(update=absolute)


def start_beside(path: Path, given: Path) -> Path:
    """A folder beside the configuration, else the shipped bundle of this name."""
    beside = (path.parent / given).resolve()
    return ModelBundle.load(given).folder if len(given.parts) == 1 and not beside.exists() else beside


def train(config: TrainingConfig, out: Path, ranks: Ranks = ALONE) -> State:
    """Train to the end, resuming from `out` where a checkpoint of the same training stands.

    Writes `checkpoint.pt`, `curve.csv` (iteration, learning rate, loss terms, seconds) and `progress.png`. Clips are
    seeded by (seed, iteration, share), so a resumed training sees what an uninterrupted one would have seen, and
    ends with the same bytes on the same CPU with the same number of threads.
    """
    config = ranks.resolved(config)
    out.mkdir(parents=True, exist_ok=True)
    state = _resume(config, out) or _fresh(config)
    ranks.check_agreement(config, state.iteration)
    if ranks.is_first:
        cut_curve(out, state.iteration)
    psf = load_psf(config.psf)
    validation = batch_of(config, psf, HELD_OUT, range(1))
    network = _called(config, state, ranks)
    started = time.monotonic() - state.seconds
    with Telling(config.name, state.iteration, config.iterations, ranks.is_first) as telling:
        for batch in batches(config, psf, state.iteration, ranks):
            for name, value in _step(config, state, network, batch).items():
                state.sums[name] = state.sums.get(name, 0.0) + value / config.report_every
            state.seconds = time.monotonic() - started
            telling.step(state.iteration)
            if state.iteration % config.report_every == 0:
                means, state.sums = ranks.mean(state.sums, config.device), {}
                if ranks.is_first:
                    means |= {"seconds": state.seconds, "validation": validate(config, state, validation)}
                    telling.report(_report(out, config, state, means))
            if ranks.is_first:
                _keep(config, state, out, psf)
    return state


def _keep(config: TrainingConfig, state: State, out: Path, psf: Psf) -> None:
    """Checkpoint and progress page, when they are due."""
    is_last = state.iteration == config.iterations
    if state.iteration % config.checkpoint_every == 0 or is_last:
        _save(config, state, out)
    every = config.report_every * config.page_every
    if every and (state.iteration % every == 0 or is_last) and (out / CURVE).exists():
        draw_page(config, out, state.iteration, state.seconds, look(config, state.average, psf))


def _called(config: TrainingConfig, state: State, ranks: Ranks) -> nn.Module:
    """What a step calls: the network, its gradients shared between processes, compiled where asked for."""
    network = ranks.wrapped(state.network)
    return torch.compile(network) if config.compile else network  # type: ignore[return-value]


def averaged_network(config: TrainingConfig, out: Path) -> tuple[Network, int]:
    """The averaged weights of the newest checkpoint in `out`, and its iteration; raises TrainingError if none."""
    state = _resume(config, out)
    if state is None:
        raise TrainingError(f"{out}: no {CHECKPOINT} there; train first, or name the folder given to --out")
    network = state.average.module
    assert isinstance(network, Network)
    return network.eval(), state.iteration


def learning_rate(config: TrainingConfig, iteration: int) -> float:
    """Linear warm-up, then a cosine to zero at the last iteration; most of the gain comes while it falls."""
    warmup = config.optimiser.warmup_iterations
    if iteration < warmup:
        return config.optimiser.learning_rate * (iteration + 1) / warmup
    progress = (iteration - warmup) / max(1, config.iterations - warmup)
    return config.optimiser.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def validate(config: TrainingConfig, state: State, batch: Batch) -> float:
    """Total loss of the averaged weights on clips that training never sees."""
    state.average.eval()
    with torch.no_grad():
        raw, targets = forward(config, state.average, batch)
        return float(total_loss(loss_terms(raw, targets, config.loss), targets, config.loss))


def _step(config: TrainingConfig, state: State, network: nn.Module, batch: Batch) -> dict[str, float]:
    """One optimiser step through `network` (see `_called`); returns the terms' means for the curve."""
    state.network.train()
    for group in state.optimiser.param_groups:
        group["lr"], group["betas"] = learning_rate(config, state.iteration), config.optimiser.betas
    raw, targets = forward(config, network, batch)
    terms = loss_terms(raw, targets, config.loss)
    loss = total_loss(terms, targets, config.loss)
    if not torch.isfinite(loss):
        raise TrainingError(f"the loss is {loss.item()} at iteration {state.iteration}; lower the learning rate")
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.optimiser.clip_norm)
    # One hopeless emitter (sigma at its floor, thousands of photons off) can make a step a thousand times
    # the usual; Adam would remember it for a thousand steps. Left out: about one step in a thousand.
    skipped = state.iteration >= config.optimiser.warmup_iterations and float(norm) > config.optimiser.skip_norm
    if not skipped:
        state.optimiser.step()
        state.average.update_parameters(state.network)
    state.iteration += 1
    per_emitter = max(1.0, float(targets.count.sum()))
    means = {name: float(term.detach().sum()) / per_emitter for name, term in terms.items()}
    return {"loss": float(loss.detach()), "gradient_norm": float(norm), "skipped": float(skipped), **means}


def _fresh(config: TrainingConfig) -> State:
    torch.manual_seed(config.seed)
    network = Network(config.network)
    if config.start_from is not None:
        _load_weights(network, config.start_from)
    network.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    decay = config.optimiser.ema_decay
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=config.optimiser.learning_rate,
        betas=config.optimiser.betas,
        weight_decay=config.optimiser.weight_decay,
        fused=True,
    )
    return State(network, average, optimiser)


def _load_weights(network: Network, folder: Path) -> None:
    """The weights of a bundle (every hash checked) as a start; raises BundleError, TrainingError.

    The bundle may lack `fine`: both U-Nets are taken then, and the heads start anew.
    """
    bundle = ModelBundle.load(folder)
    plain = network.config.model_copy(update={"fine": 0})
    if bundle.network not in (network.config, plain):
        raise TrainingError(f"{folder}: start_from has the network {bundle.network}, the training {network.config}")
    weights = load_file(bundle.weights_path)
    if bundle.network == network.config:
        network.load_state_dict(weights)
        return
    body = {name: weight for name, weight in weights.items() if not name.startswith("heads.")}
    network.load_state_dict(network.state_dict() | body)


def _save(config: TrainingConfig, state: State, out: Path) -> None:
    """Write the checkpoint beside the old one and swap, so that a kill leaves one whole."""
    held = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "iteration": state.iteration,
        "sums": state.sums,
        "seconds": state.seconds,
        "shares": config.batch.shares,
    }
    torch.save(held, out / (CHECKPOINT + ".new"))
    (out / (CHECKPOINT + ".new")).replace(out / CHECKPOINT)


def _resume(config: TrainingConfig, out: Path) -> State | None:
    path = out / CHECKPOINT
    if not path.exists():
        return None
    state = _fresh(config)
    try:
        held = torch.load(path, map_location=config.device, weights_only=True)
        state.network.load_state_dict(held["network"])
        state.average.load_state_dict(held["average"])
        state.optimiser.load_state_dict(held["optimiser"])
        state.iteration, state.seconds = int(held["iteration"]), float(held.get("seconds", 0.0))
        state.sums = dict(held.get("sums", {}))
    except (RuntimeError, KeyError, ValueError, EOFError, OSError, UnpicklingError) as error:
        raise TrainingError(
            f"{path}: not a checkpoint of this training ({error}); move it away or choose another --out"
        ) from error
    if config.batch.shares not in (None, held.get("shares", 1)):
        raise TrainingError(
            f"{path}: trained with batch.shares {held.get('shares', 1)}, now there are {config.batch.shares}; "
            "start as many processes as before, or state `batch.shares`"
        )
    return state


def cut_curve(out: Path, iteration: int) -> None:
    """Leave out the rows of `curve.csv` after `iteration`: a training that resumes makes them again."""
    path = out / CURVE
    if not path.exists():
        return
    header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) <= iteration]
    path.write_text("".join([header, *kept]), encoding="utf-8")


def _report(out: Path, config: TrainingConfig, state: State, sums: dict[str, float]) -> dict[str, float]:
    """One row in curve.csv, which is returned."""
    row = {"iteration": state.iteration, "learning_rate": learning_rate(config, state.iteration), **sums}
    path = out / CURVE
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
    return row
