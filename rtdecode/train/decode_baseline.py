"""DECODE's inference as published, for a fair clock: naive three-frame network and detection in eager torch.

Written from the method's description (Speiser et al., Nat. Methods 18, 1082 (2021); decode-method §1 and §6): the
frame network runs three times for each output, and the up-sampling comes before its 1x1 convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rtdecode.core.camera import Camera
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds
from rtdecode.fit.network import Network, UNet, physical_maps
from rtdecode.fit.scaling import Scaling

CROSS = ((0.0, 1.0, 0.0), (1.0, 1.0, 1.0), (0.0, 1.0, 0.0))


class DecodeInference:
    """Batches of frame triples in ADU -> localizations; everything in torch, as many threads as torch has."""

    def __init__(self, network: Network, camera: Camera, scaling: Scaling, thresholds: DetectionThresholds) -> None:
        """`network` in DECODE's own layout: full stem, U-Net context, separate heads."""
        self._net, self._scaling, self._thresholds = network.eval(), scaling, thresholds
        self._camera = camera

    def __call__(self, triples_adu: Tensor, first_index: int) -> list[Localizations]:
        """(B, 3, H, W) float32 in ADU; frame b is number `first_index` + b -> its localizations, B lists."""
        with torch.inference_mode():
            maps = physical_maps(self.raw_maps(self._scaled(triples_adu)), self._scaling)  # (B, 10, H, W)
            found = find_in_torch(maps, self._thresholds)
        return self._tables(found, len(triples_adu), first_index)

    def raw_maps(self, triples: Tensor) -> Tensor:
        """(B, 3, H, W) scaled frames -> (B, 10, H, W) raw maps of the middle frames; no feature is used twice."""
        each = [published_unet(self._net.frame_net, triples[:, t : t + 1]) for t in range(3)]
        context = self._net.context_net
        assert isinstance(context, UNet)
        return self._net.heads(published_unet(context, torch.cat(each, 1)))  # type: ignore[no-any-return]

    def _scaled(self, adu: Tensor) -> Tensor:
        camera = self._camera
        electrons = (adu - camera.baseline_adu) * camera.e_per_adu / (camera.em_gain or 1.0)
        photons = (electrons - camera.spurious_e) / camera.qe
        return (photons - self._scaling.input_offset) / self._scaling.input_scale

    def _tables(self, found: Tensor, n: int, first_index: int) -> list[Localizations]:
        """Columns as find_emitters gives them, from rows (frame, row, column, ten values)."""
        px_x_nm, px_y_nm = self._camera.px_nm
        tables = []
        for b in range(n):
            frame, row, column, p, photons, dx, dy, z, s_photons, s_x, s_y, s_z, background = found[found[:, 0] == b].T
            index = (frame.to(torch.int64) + first_index).numpy()
            x_nm, y_nm = (column + dx) * px_x_nm, (row + dy) * px_y_nm
            columns = (x_nm, y_nm, z, photons, background, s_x * px_x_nm, s_y * px_y_nm, s_z, s_photons, p)
            tables.append(Localizations(index, *(one.numpy() for one in columns)))
        return tables


def published_unet(unet: UNet, x: Tensor) -> Tensor:
    """The same values as `unet(x)` for more arithmetic: nearest up-sampling first, then the 1x1 convolution."""
    s0 = unet.enc0(x)  # (B, c, h, w)
    s1 = unet.enc1(unet.pool0(s0))  # (B, 2c, h/2, w/2)
    y = unet.base(unet.pool1(s1))  # (B, 4c, h/4, w/4)
    y = unet.dec0(torch.cat([s1, unet.up0(unet.upsample(y))], 1))
    y = unet.dec1(torch.cat([s0, unet.up1(unet.upsample(y))], 1))
    return unet.out(y)  # type: ignore[no-any-return]


def find_in_torch(maps: Tensor, thresholds: DetectionThresholds) -> Tensor:
    """Maps (B, 10, H, W) in physical units -> (N, 13): frame, row, column, then the ten maps, p as the cross sum.

    Local maxima by 3x3 max pooling of the thresholded p, and pixels above `split`; decode-method §6.2.
    """
    p = maps[:, :1]  # (B, 1, H, W)
    candidates = torch.where(p > thresholds.peak, p, torch.zeros_like(p))
    is_peak = (p == F.max_pool2d(candidates, 3, stride=1, padding=1)) & (p > thresholds.peak)
    is_hit = is_peak | (p > thresholds.split)
    cross = F.conv2d(p, torch.tensor(CROSS, dtype=p.dtype)[None, None], padding=1)
    total = (cross * is_hit).clamp(0.0, 1.0)
    where = torch.nonzero((total >= thresholds.accept) & is_hit)  # (N, 4): frame, 0, row, column
    frame, row, column = where[:, 0], where[:, 2], where[:, 3]
    values = maps[frame, :, row, column]  # (N, 10)
    values[:, 0] = total[frame, 0, row, column]
    return torch.cat([torch.stack([frame, row, column], 1).to(values.dtype), values], 1)
