"""Detection where the maps are, in torch: ten maps to the rows of each frame's candidates, in static shapes.

The same rules as `emitters.py` (decode-method §6.2; "fused": docs/decisions/0007) up to calibration and `accept`,
which the host applies to the few rows. `detector_graph.py` says the same in ONNX for TensorRT.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtdecode.fit.bundle import DetectionThresholds
from rtdecode.fit.device import N_ROW
from rtdecode.fit.emitters import GATE


class Detector(nn.Module):
    """Maps (B, 10, H, W) in physical units -> rows (B, G, K, 12) and candidates (B, G).

    A frame is cut into G equal runs of pixels, each with K slots, best p first: TopK is limited in TensorRT and slow
    for large K. More candidates than K are not lost silently: the count says so. A frame with a value that is not
    finite has the counts -1.
    """

    factors: Tensor
    empty: Tensor  # buffers: constants made on the fly cannot be captured

    def __init__(
        self,
        thresholds: DetectionThresholds,
        slots: int,
        groups: int = 1,
        windows: tuple[int, int] | None = None,
        tells_z: bool = True,
    ) -> None:
        """`windows`: (window_px, core_px) of a SigmaTable, None: the rows' crowding is 0; `tells_z` False: z is 0."""
        super().__init__()
        self.windows = windows
        z_factor = 1.0 if tells_z else 0.0
        self.register_buffer(
            "factors", torch.tensor([1.0] * 4 + [z_factor] + [1.0] * 3 + [z_factor, 1.0])[:, None, None]
        )
        self.thresholds, self.slots, self.groups = thresholds, slots, groups
        self.register_buffer("empty", torch.tensor([0.0] * 10 + [-1.0, 0.0]))

    def forward(self, maps: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """float32 maps; `inside` (1, 1, H, W) is 1 on the frame and 0 on its padding, which counts as beyond."""
        finite = maps.sum((1, 2, 3)).abs() < 3e38  # False for NaN too
        maps = maps * self.factors
        p = maps[:, :1] * inside  # (B, 1, H, W)
        hits = self._candidates(p)
        score = torch.where(hits, p, -1.0).reshape(len(maps), self.groups, -1)  # (B, G, n)
        best, place = torch.topk(F.pad(score, (0, self.slots), value=-1.0), self.slots)  # (B, G, K)
        first = torch.arange(self.groups, device=maps.device)[None, :, None] * score.shape[-1]
        pixel = torch.where(best > 0, place + first, 0)
        read = self._read(maps, p, hits, pixel.reshape(len(maps), -1))  # (B, 10, G K)
        near = self._crowding(p, inside, read[:, 2], read[:, 3], pixel.flatten(1))
        rows = torch.cat([read, pixel.reshape(len(maps), 1, -1).to(maps.dtype), near[:, None]], 1)
        table = rows.transpose(1, 2).reshape(*best.shape, N_ROW)
        counts = (score > 0).sum(-1)
        return torch.where((best > 0)[..., None], table, self.empty), torch.where(finite[:, None], counts, -1).to(
            torch.int32
        )

    def _candidates(self, p: Tensor) -> Tensor:
        """A 3x3 maximum above `peak` (equal neighbours both), or any pixel above `split`; thresholds as float32."""
        peaks = (p == F.max_pool2d(p, 3, 1, 1)) & (p > self.thresholds.peak)
        return peaks | (p > self.thresholds.split)

    def _crowding(self, p: Tensor, inside: Tensor, dx: Tensor, dy: Tensor, pixel: Tensor) -> Tensor:
        """(B, N) as calibration.crowding: around the pixel where the emitter lies, which may be a neighbour."""
        if self.windows is None:
            return torch.zeros_like(dx)
        width = p.shape[3]
        height_px, width_px = inside[0, 0, :, 0].sum(), inside[0, 0, 0].sum()  # without padding
        row = torch.minimum((pixel // width + dy).round().clamp(min=0), height_px - 1)
        column = torch.minimum((pixel % width + dx).round().clamp(min=0), width_px - 1)
        sums = _box(p, self.windows[0]) - _box(p, self.windows[1])
        place = (row * width + column).nan_to_num().to(torch.int64)  # of empty slots anything
        return _gather(sums, place.clamp(0, sums[0].numel() - 1)[..., None])[:, 0, :, 0]

    def _read(self, maps: Tensor, p: Tensor, hits: Tensor, pixel: Tensor) -> Tensor:
        """(B, 10, N) values of the emitters at `pixel` (B, N)."""
        around, inside, steps = _around(pixel, p.shape[2], p.shape[3])  # (B, N, 9), (B, N, 9), (2, 9)
        p_around = _gather(p, around)[:, 0] * inside  # (B, N, 9)
        if self.thresholds.readout == "peak":
            cross = p_around[..., 4] + p_around[..., 1]  # in the order of emitters.py: here, above, below, sides
            for side in (7, 3, 5):
                cross = cross + p_around[..., side]
            return torch.cat([cross.clamp(max=1.0)[:, None], _gather(maps, pixel[..., None])[:, 1:, :, 0]], 1)
        others = _gather(hits.to(maps.dtype), around)[:, 0].clone()
        others[..., 4] = 0.0  # itself
        values = _gather(maps, around)  # (B, 10, N, 9)
        return _fused(values, p_around * (1.0 - others), steps.to(maps.dtype))


def _box(p: Tensor, reach: int) -> Tensor:
    """Sum of p (B, 1, H, W) over squares of 2 reach + 1 pixels, zero beyond the frame."""
    n = 2 * reach + 1
    rows = F.avg_pool2d(p, (n, 1), 1, (reach, 0))
    return F.avg_pool2d(rows, (1, n), 1, (0, reach)) * float(n * n)


def _around(pixel: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of the 3x3 around each pixel, clamped to the frame; 1 where on it; their (rows, columns) steps."""
    nine = torch.arange(9, device=pixel.device)
    steps = torch.stack([nine // 3 - 1, nine % 3 - 1])  # (2, 9)
    rows, columns = (pixel // width)[..., None] + steps[0], (pixel % width)[..., None] + steps[1]
    i, j = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return i * width + j, ((i == rows) & (j == columns)).float(), steps


def _gather(planes: Tensor, index: Tensor) -> Tensor:
    """(B, C, H, W) at flat pixels (B, N, k) -> (B, C, N, k)."""
    b, c = planes.shape[:2]
    flat = index.reshape(b, 1, -1).expand(b, c, -1)
    return planes.flatten(2).gather(2, flat).reshape(b, c, *index.shape[1:])


def _fused(values: Tensor, p: Tensor, steps: Tensor) -> Tensor:
    """(B, 10, N) of the mixture; `values` (B, 10, N, 9), `p` (B, N, 9) with 0 for who does not count."""
    zero = torch.zeros_like(steps[0])
    shift = torch.stack([zero, steps[1], steps[0], zero])[None, :, None]  # of photons, dx, dy, z
    means, sigmas = values[:, 1:5] + shift, values[:, 5:9]  # (B, 4, N, 9), from the middle pixel
    apart = (means - means[..., 4:5])[:, 1:]
    spread = (sigmas.square() + sigmas[..., 4:5].square())[:, 1:]
    distance = (apart.square() / spread.clamp(min=1e-12)).sum(1)
    weight = (p * torch.exp(distance * (-0.5 / GATE**2)))[:, None]  # (B, 1, N, 9)
    whole = weight.sum(-1)  # (B, 1, N)
    shares = torch.cat([weight, weight / sigmas[:, 1:].clamp(min=1e-6)], 1)
    mean = (shares * means).sum(-1) / shares.sum(-1)  # (B, 4, N)
    variance = (weight * (sigmas.square() + (means - mean[..., None]).square())).sum(-1) / whole
    return torch.cat([whole.clamp(max=1.0), mean, variance.sqrt(), values[:, 9:10, :, 4]], 1)
