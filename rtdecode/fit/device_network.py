"""Network and detection as one torch module for a device: raw ADU and features in, rows and features out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtdecode.core.errors import EngineError
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.detector import Detector
from rtdecode.fit.device import crowding_windows
from rtdecode.fit.network import Network, network_units


class DeviceNetwork(nn.Module):
    """Convolutions in `kind`; camera conversion, physical units and detection in float32."""

    units: Tensor

    def __init__(self, bundle: ModelBundle, network: Network, detector: Detector, kind: torch.dtype) -> None:
        super().__init__()
        self.network, self.detector, self.kind = network, detector, kind
        camera, scaling = bundle.camera, bundle.scaling
        # A buffer: a constant made while a graph is captured would be a copy from pageable memory, which is refused.
        units = torch.tensor([scaling.photons_max, 1.0, 1.0, scaling.z_max_nm])
        self.register_buffer("units", units.reshape(4, 1, 1))
        self.background_max = scaling.background_max
        self.gain = 1.0 / (camera.qe * (camera.em_gain or 1.0) * scaling.input_scale)
        self.offset = (camera.spurious_e / camera.qe + scaling.input_offset) / scaling.input_scale

    def maps(self, frames: Tensor, features: Tensor, baseline_adu: Tensor, e_per_adu: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 1, H, W), float32 or the bits of uint16 as int16 -> maps (B, 10, H, W) float32, features."""
        adu = frames if frames.is_floating_point() else (frames.to(torch.int32) & 0xFFFF).to(torch.float32)
        scaled = (adu - baseline_adu) * (e_per_adu * self.gain) - self.offset
        low = scaled.to(self.kind).contiguous(memory_format=torch.channels_last)
        chain = torch.cat([features, self.network.frame_features(low)], 0)  # (B + 2, C, h, w)
        raw = self.network.context(chain[:-2], chain[1:-1], chain[2:])  # (B, 10, H, W)
        return self._physical(raw.float().contiguous()), chain[-2:]

    def _physical(self, raw: Tensor) -> Tensor:
        """As network.physical_maps."""
        logit, means, sigmas, background = network_units(raw)
        p = torch.sigmoid(logit.clamp(-8.0, 8.0)).unsqueeze(1)
        return torch.cat(
            [p, means * self.units, sigmas * self.units, (background * self.background_max).unsqueeze(1)], 1
        )

    def forward(
        self, frames: Tensor, features: Tensor, baseline_adu: Tensor, e_per_adu: Tensor, inside: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> rows (B, G, K, 12), candidates (B, G), features of the last two frames."""
        maps, carried = self.maps(frames, features, baseline_adu, e_per_adu)
        rows, candidates = self.detector(maps, inside)
        return rows, candidates, carried


def device_network(
    bundle: ModelBundle, detection: DetectionThresholds, slots: int, kind: torch.dtype, device: torch.device
) -> DeviceNetwork:
    """The bundle's network with its weights on a device; raises EngineError where they do not fit its card."""
    from safetensors.torch import load_file

    network = Network(bundle.network)
    try:
        network.load_state_dict(load_file(str(bundle.weights_path)), strict=True)
    except Exception as error:  # safetensors and torch raise several types
        raise EngineError(f"torch-cuda: {bundle.weights_path} does not fit {bundle.network}: {error}") from error
    network.to(device, kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    detector = Detector(detection, slots, windows=crowding_windows(bundle), tells_z=bundle.tells_z)
    whole = DeviceNetwork(bundle, network, detector, kind).to(device)
    whole.eval()
    return whole
