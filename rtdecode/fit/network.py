"""The network: one U-Net over each frame, a second over three frames' features, heads for every pixel.

Layouts by configuration: DECODE's public one (`full` stem, separate heads; 2,199,418 parameters at 48
features) and half-resolution ones (2 x 2 space-to-depth in, pixel shuffle out) at a fraction of its cost.
Source: Speiser et al., Nat. Methods 18, 1082 (2021), Extended Data Fig. 1, and decode-method §1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rtdecode.fit.layout import DILATIONS
from rtdecode.fit.layout import NetworkConfig as NetworkConfig  # lives there so that bundles load without torch
from rtdecode.fit.scaling import Scaling

N_MAPS = 10
"""Channels: p, photons, dx (columns), dy (rows), z, sigma of photons, x, y, z, background."""
SIGMA_FLOOR = 0.001
SIGMA_RANGE = 3.0
P_BIAS = -5.5  # about 0.4 % of pixels hold an emitter at the start
SIGMA_BIAS = math.log(0.5 / (SIGMA_RANGE - 0.5))  # sigma starts at 0.5 px (0.5 z_max)

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU, "silu": nn.SiLU}


def double_conv(c_in: int, c_out: int, activation: type[nn.Module]) -> nn.Sequential:
    """Two 3x3 convolutions, each activated; zero padding keeps the size."""
    first, second = nn.Conv2d(c_in, c_out, 3, padding=1), nn.Conv2d(c_out, c_out, 3, padding=1)
    return nn.Sequential(first, activation(), second, activation())


class UNet(nn.Module):
    """Two-level U-Net, c_in -> c maps at the input's size; widths c, 2c, 4c."""

    def __init__(self, c_in: int, c: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.enc0, self.pool0 = double_conv(c_in, c, activation), nn.Conv2d(c, c, 2, stride=2)
        self.enc1, self.pool1 = double_conv(c, 2 * c, activation), nn.Conv2d(2 * c, 2 * c, 2, stride=2)
        self.base = double_conv(2 * c, 4 * c, activation)
        self.up0, self.dec0 = nn.Conv2d(4 * c, 2 * c, 1), double_conv(4 * c, 2 * c, activation)
        self.up1, self.dec1 = nn.Conv2d(2 * c, c, 1), double_conv(2 * c, c, activation)
        self.out = nn.Conv2d(c, c, 1)
        # A 1x1 convolution before nearest upsampling equals one after it, for a quarter of the arithmetic.
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        s0 = self.enc0(x)  # (B, c, h, w)
        s1 = self.enc1(self.pool0(s0))  # (B, 2c, h/2, w/2)
        y = self.base(self.pool1(s1))  # (B, 4c, h/4, w/4)
        y = self.dec0(torch.cat([s1, self.upsample(self.up0(y))], 1))  # (B, 2c, h/2, w/2)
        y = self.dec1(torch.cat([s0, self.upsample(self.up1(y))], 1))  # (B, c, h, w)
        return self.out(y)  # type: ignore[no-any-return]


class SeparateHeads(nn.Module):
    """DECODE's four heads at full resolution: p (1), means (4), sigmas (4), background (1)."""

    def __init__(self, c: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for _ in range(4))
        self.last = nn.ModuleList(nn.Conv2d(c, k, 1) for k in (1, 4, 4, 1))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        maps = [last(self.activation(hidden(x))) for hidden, last in zip(self.hidden, self.last, strict=True)]
        return torch.cat(maps, 1)  # (B, 10, h, w)

    def start_sanely(self) -> None:
        """Small last layers, so that a fresh network says 'nothing here, not sure' instead of a lottery."""
        for layer, bias in zip(self.last, (P_BIAS, 0.0, SIGMA_BIAS, 0.0), strict=True):
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.normal_(layer.weight, std=0.1 / math.sqrt(layer.in_channels))
            nn.init.constant_(layer.bias, bias)


class SharedHeads(nn.Module):
    """One 3x3 and one 1x1 convolution for all ten maps; pixel shuffle back to camera resolution for `half`."""

    def __init__(self, c: int, scale: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.hidden, self.activation = nn.Conv2d(c, 2 * c, 3, padding=1), activation()
        self.last = nn.Conv2d(2 * c, N_MAPS * scale * scale, 1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.last(self.activation(self.hidden(x))))  # type: ignore[no-any-return]

    def start_sanely(self) -> None:
        """As in SeparateHeads."""
        _start_shared(self.last)


def _start_shared(last: nn.Conv2d) -> None:
    """Channel m of a pixel shuffle's output comes from scale² consecutive channels."""
    nn.init.normal_(last.weight, std=0.1 / math.sqrt(last.in_channels))
    biases = torch.tensor([P_BIAS] + [0.0] * 4 + [SIGMA_BIAS] * 4 + [0.0])
    copies = last.out_channels // N_MAPS
    assert last.bias is not None
    with torch.no_grad():
        last.bias.copy_(biases.repeat_interleave(copies))


class DilatedContext(nn.Module):
    """c_in -> c maps at one resolution: a 3x3 convolution, then residual pairs with dilations 1, 2, 4, 8."""

    def __init__(self, c_in: int, c: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.activation = nn.Conv2d(c_in, c, 3, padding=1), activation()
        self.pairs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c, 3, padding=d, dilation=d), activation(), nn.Conv2d(c, c, 3, padding=1))
            for d in DILATIONS
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.first(x))  # (B, c, h, w)
        for pair in self.pairs:
            y = y + self.activation(pair(y))
        return y  # type: ignore[no-any-return]


class FineHeads(nn.Module):
    """Shared heads at half resolution plus a correction at camera resolution, which sees the frames once more.

    The correction starts at zero: a network with it, on the body of one without, starts as good as that was.
    """

    def __init__(self, c: int, fine: int, scale: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.hidden, self.activation = nn.Conv2d(c, c, 3, padding=1), activation()
        self.last = nn.Conv2d(c, N_MAPS * scale * scale, 1)
        self.narrow = nn.Conv2d(c, fine * scale * scale, 1)
        self.shuffle = nn.PixelShuffle(scale)
        self.mix, self.correct = nn.Conv2d(fine + 3, 2 * fine, 3, padding=1), nn.Conv2d(2 * fine, N_MAPS, 1)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """(B, c, h, w) and the three frames (B, 3, H, W) -> (B, 10, H, W)."""
        hidden = self.activation(self.hidden(x))  # (B, c, h, w)
        seen = torch.cat([self.shuffle(self.narrow(hidden)), frames], 1)  # (B, fine + 3, H, W)
        return self.shuffle(self.last(hidden)) + self.correct(self.activation(self.mix(seen)))  # type: ignore[no-any-return]

    def start_sanely(self) -> None:
        """As in SharedHeads; no correction at first."""
        _start_shared(self.last)
        nn.init.zeros_(self.correct.weight)


CONTEXTS: dict[str, type[UNet | DilatedContext]] = {"unet": UNet, "dilated": DilatedContext}


class Network(nn.Module):
    """Frame network, context network and heads; `scaling` and camera stay outside, in the bundle."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        c, activation, scale = config.features, ACTIVATIONS[config.activation], config.feature_stride
        self.fold = nn.PixelUnshuffle(scale)
        self.frame_net = UNet(scale * scale, c, activation)
        self.unfold = nn.PixelShuffle(scale)
        self.context_net = CONTEXTS[config.context](3 * c, c, activation)
        self.heads: SeparateHeads | SharedHeads | FineHeads
        if config.fine:
            self.heads = FineHeads(c, config.fine, scale, activation)
        elif config.heads == "shared" or scale > 1:
            self.heads = SharedHeads(c, scale, activation)
        else:
            self.heads = SeparateHeads(c, activation)
        self._start_sanely()

    def _start_sanely(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.heads.start_sanely()

    def frame_features(self, frames: Tensor) -> Tensor:
        """(B, 1, H, W) scaled frames -> (B, C, H/s, W/s) with C = `feature_channels`; once for each frame."""
        folded = self.fold(frames)  # (B, s², H/s, W/s)
        features = self.frame_net(folded)
        return torch.cat([features, folded], 1) if self.config.fine else features

    def context(self, before: Tensor, here: Tensor, after: Tensor) -> Tensor:
        """Features of three consecutive frames -> (B, 10, H, W) raw maps of the middle one."""
        if not self.config.fine:
            return self.heads(self.context_net(torch.cat([before, here, after], 1)))  # type: ignore[no-any-return]
        c, three = self.config.features, (before, here, after)
        y = self.context_net(torch.cat([one[:, :c] for one in three], 1))  # (B, c, h, w)
        return self.heads(y, torch.cat([self.unfold(one[:, c:]) for one in three], 1))  # type: ignore[no-any-return]

    def forward(self, clip: Tensor) -> Tensor:
        """(B, T, H, W) scaled clips -> (B, T - 2, 10, H, W) raw maps of the inner frames."""
        n, t, h, w = clip.shape
        features = self.frame_features(clip.reshape(n * t, 1, h, w))
        features = features.reshape(n, t, *features.shape[1:])
        parts = [features[:, i : t - 2 + i].flatten(0, 1) for i in range(3)]
        return self.context(*parts).reshape(n, t - 2, N_MAPS, h, w)


def network_units(raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Raw maps (..., 10, H, W) -> p logit (..., H, W), means and sigmas (..., 4, H, W), background (..., H, W).

    Means: photons 0..1, dx and dy -1..1 px, z -1..1. Sigmas 0.001..3.001. Background 0..1 (decode-method §1.2).
    """
    logit, photons, offsets = raw[..., 0, :, :], raw[..., 1:2, :, :], raw[..., 2:5, :, :]
    means = torch.cat([torch.sigmoid(photons), torch.tanh(offsets)], -3)
    sigmas = SIGMA_RANGE * torch.sigmoid(raw[..., 5:9, :, :]) + SIGMA_FLOOR
    return logit, means, sigmas, torch.sigmoid(raw[..., 9, :, :])


def physical_maps(raw: Tensor, scaling: Scaling) -> Tensor:
    """Raw maps (B, 10, H, W) -> p, photons, dx_px, dy_px, z_nm, their four sigmas, background in photons."""
    logit, means, sigmas, background = network_units(raw)
    units = torch.tensor([scaling.photons_max, 1.0, 1.0, scaling.z_max_nm], dtype=raw.dtype, device=raw.device)
    probability = torch.sigmoid(logit.clamp(-8.0, 8.0)).unsqueeze(-3)
    column = units.reshape(4, 1, 1)
    background_map = (background * scaling.background_max).unsqueeze(-3)
    return torch.cat([probability, means * column, sigmas * column, background_map], -3)


def macs_per_pixel(config: NetworkConfig) -> tuple[float, float]:
    """Multiply-accumulates for each camera pixel of a stream: (frame network, context network and heads)."""
    size = 4 * config.stride
    counts = {"frame": 0.0, "context": 0.0}

    def count(part: str) -> object:
        def hook(module: nn.Module, _: object, out: Tensor) -> None:
            assert isinstance(module, nn.Conv2d)
            counts[part] += out[0].numel() * module.weight[0].numel()

        return hook

    net = Network(config)
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count("frame" if name.startswith("frame_net") else "context"))  # type: ignore[arg-type]
    with torch.no_grad():
        features = net.frame_features(torch.zeros(1, 1, size, size))
        net.context(features, features, features)
    return counts["frame"] / size**2, counts["context"] / size**2
