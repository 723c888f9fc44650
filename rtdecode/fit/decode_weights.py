"""DECODE's trained weights (.pt) as a network of ours; names as in decode-method §1.6, x and y swapped once, here."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from rtdecode.core.errors import BundleError
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.network import SIGMA_FLOOR, Network

FIRST, LAST, SIGMA_EPS = "unet_shared.encoder.0.0.weight", "unet_shared.out_conv.weight", "sigma_eps"
_NETS = {"frame_net": "unet_shared", "context_net": "unet_union"}
_PARTS = {
    "enc0": "encoder.0", "enc1": "encoder.1", "base": "base", "dec0": "decoder.0", "dec1": "decoder.1",
    "pool0": "poolers.0", "pool1": "poolers.1", "up0": "upsamplers.0.conv", "up1": "upsamplers.1.conv",
    "out": "out_conv",
}  # fmt: skip
_HEADS = {"hidden": "core.0", "last": "out_conv"}
_MEANS, _SIGMAS = "heads.last.1.", "heads.last.2."
_Z, _DISABLED_SIGMA = 3, 0.1
_SWAPPED = (0, 2, 1, 3)
"""Of photons, x, y, z: DECODE's x runs along the rows of the same frame, our y. Only the names of two output channels
differ, so only those rows of the last 1x1 convolutions change places. The kernels stay as they are: to transpose
them as well would be a network for transposed frames."""


def decode_network(path: Path, activation: Literal["elu", "relu"], *, tells_z: bool = True) -> Network:
    """The network whose weights DECODE saved at `path`, on the CPU, fp32; raises BundleError.

    The file is read as tensors only (`weights_only`): nothing in it is run. Named in the error: entries that are
    missing, that are too many, and those of another size. `tells_z` False: z is 0 and its sigma a tenth of the range,
    whatever the weights say, as in DECODE where attribute 3 is disabled.
    """
    found = _read_tensors(path)
    network = Network(_layout(found, activation, path))
    ours = network.state_dict()
    theirs = {decode_name(name): name for name in ours}
    _check_names(set(found), {*theirs, SIGMA_EPS}, path)
    sizes = [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(ours[theirs[name]].shape)}"
        for name in theirs
        if found[name].shape != ours[theirs[name]].shape
    ]
    if sizes:
        raise BundleError(f"{path}: not the weights of DECODE's network: {_listed(sizes)}")
    _check_values(found, path)
    network.load_state_dict({theirs[name]: _swapped(theirs[name], found[name].float()) for name in theirs})
    if not tells_z:
        _disable_z(network)
    return network.eval()


def _disable_z(network: Network) -> None:
    """The last rows of the heads give constants: tanh(0) = 0, and 3 logistic(bias) + floor = 0.1."""
    share = (_DISABLED_SIGMA - SIGMA_FLOOR) / 3
    constants = ((_MEANS, 0.0), (_SIGMAS, math.log(share / (1 - share))))
    state = network.state_dict()
    for head, bias in constants:
        state[f"{head}weight"][_Z] = 0.0
        state[f"{head}bias"][_Z] = bias


def decode_name(name: str) -> str:
    """Name in DECODE's state dict of a parameter of ours."""
    part, rest = name.split(".", 1)
    if part == "heads":
        kind, number, field = rest.split(".")
        return f"mt_heads.{number}.{_HEADS[kind]}.{field}"
    layer, rest = rest.split(".", 1)
    return f"{_NETS[part]}.{_PARTS[layer]}.{rest}"


def _swapped(name: str, values: Tensor) -> Tensor:
    return values[list(_SWAPPED)] if name.startswith((_MEANS, _SIGMAS)) else values


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BundleError(
            f"{path}: there is no such file; name DECODE's model_0.pt, model_1.pt or model_2.pt"
        ) from error
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path} holds more than tensors, and opening it could run foreign code: refused. Save the weights alone "
            "where the model comes from: torch.save(model.state_dict(), 'weights.pt')"
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError and others for what is no such file
        raise BundleError(f"{path}: cannot be read as a file of torch: {error}") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        what = (
            f"a dict of {_listed([str(key) for key in found])}" if isinstance(found, Mapping) else type(found).__name__
        )
        raise BundleError(
            f"{path}: expected DECODE's state dict (names and tensors), found {what}; "
            "take model_0.pt, model_1.pt or model_2.pt, not the checkpoint ckpt.pt"
        )
    return {str(name): value for name, value in found.items()}


def _layout(found: Mapping[str, Tensor], activation: Literal["elu", "relu"], path: Path) -> NetworkConfig:
    """Features from the first and last convolution of the frame network, which must agree."""
    if FIRST not in found or LAST not in found:
        raise BundleError(f"{path}: not the weights of DECODE's network: {FIRST} or {LAST} is missing")
    first, last = len(found[FIRST]), len(found[LAST])
    if first != last or not 4 <= first <= 256:
        raise BundleError(
            f"{path}: initial_features {first} and inter_features {last}: they must be equal, and from 4 to 256"
        )
    return NetworkConfig(features=first, stem="full", activation=activation, heads="separate")


def _check_names(found: set[str], expected: set[str], path: Path) -> None:
    faults = [f"{words} {_listed(sorted(names))}" for words, names in
              (("missing:", expected - found), ("not of it:", found - expected)) if names]  # fmt: skip
    if faults:
        raise BundleError(f"{path}: not the weights of DECODE's network ({len(expected)} tensors): {'; '.join(faults)}")


def _check_values(found: Mapping[str, Tensor], path: Path) -> None:
    eps = found[SIGMA_EPS]
    if eps.numel() != 1 or not math.isclose(float(eps), SIGMA_FLOOR, rel_tol=1e-3):
        raise BundleError(f"{path}: sigma_eps is {eps.tolist()}, expected [{SIGMA_FLOOR}]: another version of DECODE")
    if broken := [name for name, values in found.items() if not bool(torch.isfinite(values).all())]:
        raise BundleError(
            f"{path}: weights that are not finite in {_listed(sorted(broken))}; take an earlier checkpoint"
        )


def _listed(words: list[str]) -> str:
    more = f" and {len(words) - 4} more" if len(words) > 4 else ""
    return ", ".join(words[:4]) + more
