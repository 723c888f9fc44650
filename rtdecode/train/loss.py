"""The loss: count, mixture and background terms of DECODE, and a pixel cross-entropy that empty frames feel.

decode-method §3 (Speiser et al. 2021, Methods): DECODE's own weighting is `LossConfig.as_published()`. The
default follows what a short training needs: no factor K on the count term, each frame weighted 1 / (K + 4).
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from rtdecode.core.yaml_files import StrictModel
from rtdecode.fit.network import network_units
from rtdecode.train.target import Targets

LOG_2PI = math.log(2 * math.pi)
NotNegative = Annotated[float, Field(ge=0)]


class LossConfig(StrictModel):
    """Weights of the four terms, and how frames are weighted against each other."""

    mixture: NotNegative = 1.0
    count: NotNegative = 0.9
    count_times_emitters: bool = False
    background: NotNegative = 1.0
    cross_entropy: NotNegative = 1.0
    frame_weight_offset: NotNegative | None = 4.0  # frame weight 1 / (K + offset); None: every frame 1
    window_px: Annotated[int, Field(ge=1)] = 5  # pixels around an emitter that may explain it
    axis_weights: tuple[NotNegative, NotNegative, NotNegative, NotNegative] = (1.0, 1.0, 1.0, 1.0)
    """Of photons, x, y, z in an emitter's log density; both halves of a Gaussian are weighted, so that its best
    mean and sigma stay what they are. z learns slower than x and y: 2 there makes up for it."""

    @classmethod
    def as_published(cls) -> LossConfig:
        """DECODE's: -(K C + G) + B."""
        return cls(count=1.0, count_times_emitters=True, cross_entropy=0.0, frame_weight_offset=None)


def loss_terms(raw: Tensor, targets: Targets, config: LossConfig) -> dict[str, Tensor]:
    """Raw maps (S, 10, H, W) -> each term for every frame, (S,), before weights."""
    logit, means, sigmas, background = network_units(raw.float())
    p = torch.sigmoid(logit.clamp(-8.0, 8.0))  # (S, H, W)
    return {
        "count": -count_log_likelihood(p, targets.count),
        "mixture": -mixture_log_likelihood(logit, means, sigmas, targets, config.window_px, config.axis_weights),
        "background": (background - targets.background).square().sum((-1, -2)),
        "cross_entropy": pixel_cross_entropy(logit, targets),
    }


def total_loss(terms: dict[str, Tensor], targets: Targets, config: LossConfig) -> Tensor:
    """Weighted mean over frames, a scalar."""
    count = terms["count"] * targets.count if config.count_times_emitters else terms["count"]
    each = (
        config.mixture * terms["mixture"]
        + config.count * count
        + config.background * terms["background"]
        + config.cross_entropy * terms["cross_entropy"]
    )
    if config.frame_weight_offset is not None:
        each = each / (targets.count + config.frame_weight_offset)
    return each.mean()


def count_log_likelihood(p: Tensor, count: Tensor) -> Tensor:
    """ln N(K; sum p, sum p (1 - p)) of each frame, (S,): Gaussian for the Poisson-binomial number of emitters."""
    mean, variance = p.sum((-1, -2)), (p * (1 - p)).sum((-1, -2))
    return -0.5 * ((count - mean).square() / variance + torch.log(variance) + LOG_2PI)


def mixture_log_likelihood(
    logit: Tensor,
    means: Tensor,
    sigmas: Tensor,
    targets: Targets,
    window_px: int,
    axis_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
) -> Tensor:
    """Sum over emitters of ln sum_k (p_k / sum p) prod_d N(u_d; mu_kd, s_kd), (S,).

    Pixels further than `window_px` // 2 from the emitter's pixel cannot explain it (their offsets reach one
    pixel only); leaving them out makes the cost independent of the frame size.
    """
    n_samples, height, width = logit.shape
    log_p = F.logsigmoid(logit)
    log_share = log_p - torch.logsumexp(log_p.flatten(1), 1)[:, None, None]  # ln p_k / sum p
    k, inside, row, column = _window(targets, window_px, height, width)  # each (N, window²)
    flat_means = means.permute(0, 2, 3, 1).reshape(-1, 4)[k]  # (N, window², 4)
    flat_sigmas = sigmas.permute(0, 2, 3, 1).reshape(-1, 4)[k]
    centre = torch.stack([torch.zeros_like(row), column, row, torch.zeros_like(row)], -1)
    z_score = (targets.units[:, None] - flat_means - centre) / flat_sigmas
    of_axis = -0.5 * z_score.square() - torch.log(flat_sigmas) - 0.5 * LOG_2PI  # (N, window², 4)
    log_density = (of_axis * of_axis.new_tensor(axis_weights)).sum(-1)
    log_density = (log_share.reshape(-1)[k] + log_density).masked_fill(~inside, -torch.inf)
    of_emitter = torch.logsumexp(log_density, 1)  # (N,)
    return torch.zeros(n_samples, device=logit.device).index_add(0, targets.sample, of_emitter)


def pixel_cross_entropy(logit: Tensor, targets: Targets) -> Tensor:
    """Cross-entropy of p against 'an emitter's centre lies in this pixel', summed over each frame, (S,)."""
    n_samples, height, width = logit.shape
    row, column = _pixel(targets, height, width)
    wanted = torch.zeros(n_samples * height * width, device=logit.device)
    wanted[(targets.sample * height + row) * width + column] = 1.0
    wanted = wanted.reshape(logit.shape)
    return F.binary_cross_entropy_with_logits(logit, wanted, reduction="none").sum((-1, -2))


def _pixel(targets: Targets, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Row and column of the pixel that each emitter lies in, (N,)."""
    column = torch.round(targets.units[:, 1]).long().clamp(0, width - 1)
    row = torch.round(targets.units[:, 2]).long().clamp(0, height - 1)
    return row, column


def _window(targets: Targets, window_px: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flat pixel numbers around each emitter, which of them are inside the frame, their rows and columns."""
    row, column = _pixel(targets, height, width)
    steps = torch.arange(window_px, device=row.device) - window_px // 2
    rows = (row[:, None, None] + steps[:, None]).expand(-1, window_px, window_px).flatten(1)  # (N, window²)
    columns = (column[:, None, None] + steps[None, :]).expand(-1, window_px, window_px).flatten(1)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    safe_rows, safe_columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    k = (targets.sample[:, None] * height + safe_rows) * width + safe_columns
    return k, inside, rows.float(), columns.float()
