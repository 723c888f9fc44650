"""A look at the network while it trains: what it finds on held-out clips, and how honest its figures are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rtdecode.analysis.evaluate import Judged, Rules, Score, judge, score_of
from rtdecode.analysis.honesty import z_scores
from rtdecode.core.localizations import Emitters, Localizations
from rtdecode.fit.bundle import DetectionThresholds
from rtdecode.fit.emitters import find_emitters, without_z
from rtdecode.fit.network import physical_maps
from rtdecode.physics.psf import Psf
from rtdecode.train.batches import HELD_OUT, as_batch, clips_of, forward
from rtdecode.train.config import TrainingConfig

F8 = NDArray[np.float64]
SENSITIVE = DetectionThresholds(peak=0.05, accept=0.05, readout="fused")
ACCEPT = 0.5  # what is shown and scored; the reliability of p is judged below it too
N_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Look:
    """S supervised frames of held-out clips: photons, truth and findings; frame_index counts the S frames."""

    photons: NDArray[np.float32]  # (S, H, W)
    emitters: Emitters
    found: Localizations
    judged: Judged  # of all found
    score: Score  # of those with a probability of at least ACCEPT

    def reliability(self, n_bins: int = 8) -> F8:
        """(K, 3) of the bins that hold something: mean probability said, share that is true, how many."""
        said = self.judged.localizations.probability.astype(np.float64)
        true = np.zeros(len(said))
        true[self.judged.pairs[:, 1]] = 1
        which = np.minimum((said * n_bins).astype(int), n_bins - 1)
        rows = [(said[which == k].mean(), true[which == k].mean(), (which == k).sum()) for k in np.unique(which)]
        return np.array(rows, np.float64).reshape(-1, 3)

    def z_scores(self) -> F8:
        """(P, 4) error over sigma in x, y, z (2D: NaN), photons of the pairs with a probability of at least ACCEPT."""
        columns = self.judged.pairs[:, 1]
        return z_scores(self.judged)[self.judged.localizations.probability[columns] >= ACCEPT]


def look(config: TrainingConfig, network: nn.Module, psf: Psf) -> Look:
    """Take N_BATCHES held-out batches through the (averaged) network; about 0.3 s on a CPU for 100 frames."""
    network.eval()
    parts = [_batch(config, network, psf, HELD_OUT + number) for number in range(N_BATCHES)]
    photons = np.concatenate([part[0] for part in parts])
    n_frames = len(parts[0][0])
    emitters = np.concatenate([_later(part[1], k * n_frames) for k, part in enumerate(parts)])
    maps = np.concatenate([part[2] for part in parts])
    maps = maps if psf.tells_z else without_z(maps)
    found = Localizations.concatenate(
        find_emitters(one, frame, config.camera.px_nm, SENSITIVE) for frame, one in enumerate(maps)
    )
    rules = Rules(dims=3 if psf.tells_z else 2, min_photons=config.min_photons)
    frames = range(len(photons))
    sure = found[found.probability >= ACCEPT]
    judged = judge(emitters, found, frames=frames, rules=rules)
    return Look(photons, emitters, found, judged, score_of(judge(emitters, sure, frames=frames, rules=rules)))


def _batch(
    config: TrainingConfig, network: nn.Module, psf: Psf, iteration: int
) -> tuple[NDArray[np.float32], Emitters, NDArray[np.float32]]:
    """Photons (S, H, W), truth and maps (S, 10, H, W) of the inner frames of one batch."""
    clips = clips_of(config, psf, iteration)
    with torch.no_grad():
        raw, _ = forward(config, network, as_batch(config, clips))
        maps = physical_maps(raw.float(), config.scaling).cpu().numpy()
    photons = config.camera.photons(clips.frames_adu, clips.maps)[:, 1:-1]  # (B, T - 2, H, W)
    clip, frame = np.divmod(clips.emitters["frame_index"], clips.n_frames)
    inner = (frame >= 1) & (frame <= clips.n_frames - 2)
    emitters = clips.emitters[inner].copy()
    emitters["frame_index"] = clip[inner] * (clips.n_frames - 2) + frame[inner] - 1
    return photons.reshape(-1, *photons.shape[2:]), emitters, maps


def _later(emitters: Emitters, n_frames: int) -> Emitters:
    emitters["frame_index"] += n_frames
    return emitters
