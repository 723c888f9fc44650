"""DECODE's released network written once more, with plain functions on a state dict of its names (§1.1, §1.6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

PARAM_RUN: dict[str, Any] = {
    "Camera": {
        "baseline": 398.6, "convert2photons": True, "e_per_adu": 5.0, "em_gain": 100.0, "mirror_dim": None,
        "px_size": [127.0, 117.0], "qe": 0.95, "read_sigma": 58.8, "spur_noise": 0.0015,
    },
    "CameraPreset": None,
    "Hardware": {"device": "cuda:0"},
    "HyperParameter": {
        "architecture": "SigmaMUNet",
        "arch_param": {
            "activation": "ELU", "depth_shared": 2, "depth_union": 2, "initial_features": 12, "inter_features": 12,
            "norm": None, "norm_head": None, "pool_mode": "StrideConv", "upsample_mode": "nearest", "use_last_nl": None,
        },
        "channels_in": 3, "disabled_attributes": None, "emitter_label_photon_min": 100.0,
    },
    "Scaling": {"bg_max": 240.0, "input_offset": 110.0, "input_scale": 140.0, "phot_max": 31000.0, "z_max": 960.0},
    "Simulation": {
        "bg_uniform": [20.0, 200.0], "density": None, "emitter_av": 25,
        "emitter_extent": [[-0.5, 39.5], [-0.5, 39.5], [-800, 800]], "img_size": [40, 40],
        "intensity_mu_sig": [7000.0, 3000.0], "lifetime_avg": 1.0,
    },
}  # fmt: skip


def random_weights(features: int, seed: int = 0) -> dict[str, Tensor]:
    """77 tensors of DECODE's names and sizes, loud enough that clamp, tanh and logistic are all bent."""
    random = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}

    def add(name: str, c_out: int, c_in: int, side: int, gain: float = 1.0) -> None:
        scale = gain * (2.0 / (c_in * side * side)) ** 0.5
        weights[f"{name}.weight"] = scale * torch.randn(c_out, c_in, side, side, generator=random)
        weights[f"{name}.bias"] = 0.1 * torch.randn(c_out, generator=random)

    c = features
    for net, c_in in (("unet_shared", 1), ("unet_union", 3 * c)):
        for block, (a, b) in {
            "encoder.0": (c_in, c), "encoder.1": (c, 2 * c), "base": (2 * c, 4 * c),
            "decoder.0": (4 * c, 2 * c), "decoder.1": (2 * c, c),
        }.items():  # fmt: skip
            add(f"{net}.{block}.0", b, a, 3)
            add(f"{net}.{block}.2", b, b, 3)
        for level, width in enumerate((c, 2 * c)):
            add(f"{net}.poolers.{level}", width, width, 2)
        for level, (a, b) in enumerate(((4 * c, 2 * c), (2 * c, c))):
            add(f"{net}.upsamplers.{level}.conv", b, a, 1)
        add(f"{net}.out_conv", c, c, 1)
    for head, (k, gain) in enumerate(((1, 8.0), (4, 1.0), (4, 1.0), (1, 1.0))):
        add(f"mt_heads.{head}.core.0", c, c, 3)
        add(f"mt_heads.{head}.out_conv", k, c, 1, gain)
    weights["sigma_eps"] = torch.tensor([0.001])
    return weights


def decode_maps(weights: dict[str, Tensor], frames_adu: np.ndarray, run: dict[str, Any]) -> dict[str, np.ndarray]:
    """DECODE's answer for the middle of three frames (3, H, W) in ADU: p, phot, x, y, z, their sigmas, bg, each (H, W).

    x is the offset along the rows (dimension 0 of the frame), y along the columns, as DECODE has them.
    """
    camera, scaling = run["Camera"], run["Scaling"]
    electrons = (torch.tensor(frames_adu, dtype=torch.float32) - camera["baseline"]) * camera["e_per_adu"]
    photons = (electrons / camera["em_gain"] - camera["spur_noise"]) / camera["qe"]
    scaled = (photons - scaling["input_offset"]) / scaling["input_scale"]
    each = [_unet(weights, "unet_shared", scaled[t][None, None]) for t in range(3)]
    union = _unet(weights, "unet_union", torch.cat(each, 1))
    heads = []
    for k in range(4):
        hidden = F.elu(_conv(weights, f"mt_heads.{k}.core.0", union, padding=1))
        heads.append(_conv(weights, f"mt_heads.{k}.out_conv", hidden)[0])
    means = torch.cat([torch.sigmoid(heads[1][:1]), torch.tanh(heads[1][1:])])
    sigmas = 3 * torch.sigmoid(heads[2]) + weights["sigma_eps"]
    units = {"phot": scaling["phot_max"], "x": 1.0, "y": 1.0, "z": scaling["z_max"]}
    maps = {"p": torch.sigmoid(torch.clamp(heads[0][0], -8, 8)), "bg": torch.sigmoid(heads[3][0]) * scaling["bg_max"]}
    for k, (name, unit) in enumerate(units.items()):
        maps[name], maps[f"{name}_sig"] = means[k] * unit, sigmas[k] * unit
    return {name: values.numpy() for name, values in maps.items()}


def _unet(weights: dict[str, Tensor], net: str, x: Tensor) -> Tensor:
    skips = []
    for level in range(2):
        x = _double(weights, f"{net}.encoder.{level}", x)
        skips.append(x)
        x = _conv(weights, f"{net}.poolers.{level}", x, stride=2)
    x = _double(weights, f"{net}.base", x)
    for level in range(2):
        x = F.interpolate(x, scale_factor=2, mode="nearest")  # first larger, then 1x1: as DECODE does it
        x = _conv(weights, f"{net}.upsamplers.{level}.conv", x)
        x = _double(weights, f"{net}.decoder.{level}", torch.cat([skips[1 - level], x], 1))
    return _conv(weights, f"{net}.out_conv", x)


def _double(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    x = F.elu(_conv(weights, f"{name}.0", x, padding=1))
    return F.elu(_conv(weights, f"{name}.2", x, padding=1))


def _conv(weights: dict[str, Tensor], name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=stride, padding=padding)
