"""The network with its camera and units inside, as one graph over a block of frames: what is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtdecode.core.camera import Camera
from rtdecode.fit.network import Network, physical_maps
from rtdecode.fit.scaling import Scaling


class BlockGraph(nn.Module):
    """ADU in, physical units out; the features of the last two frames are carried by the caller."""

    def __init__(self, network: Network, camera: Camera, scaling: Scaling) -> None:
        super().__init__()
        self.network, self.scaling = network, scaling
        # ((adu - baseline) e_per_adu / gain - spurious) / qe, then (photons - offset) / scale, as a line
        self.baseline_adu = camera.baseline_adu
        self.gain = 1.0 / (camera.adu_per_photon * scaling.input_scale)
        self.offset = (camera.spurious_e / camera.qe + scaling.input_offset) / scaling.input_scale

    def forward(self, frames_adu: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 1, H, W) after features (2, C, h, w) -> maps (B, 10, H, W), features (2, C, h, w).

        Map b belongs to the frame before frame b.
        """
        scaled = (frames_adu - self.baseline_adu) * self.gain - self.offset  # (B, 1, H, W)
        chain = torch.cat([features, self.network.frame_features(scaled)], 0)  # (B + 2, C, h, w)
        raw = self.network.context(chain[:-2], chain[1:-1], chain[2:])  # (B, 10, H, W)
        return physical_maps(raw, self.scaling), chain[-2:]
