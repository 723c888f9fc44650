"""DECODE's inference as published gives what ours gives: only its clock is another."""

from __future__ import annotations

import numpy as np
import torch

from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds
from rtdecode.fit.emitters import find_emitters
from rtdecode.fit.network import Network, NetworkConfig, physical_maps
from rtdecode.fit.scaling import Scaling
from rtdecode.train.decode_baseline import DecodeInference, find_in_torch
from tests.tiny_model import TINY_CAMERA, noise_frames

SCALING = Scaling.from_ranges(10000, 3000, (90, 150), 750)
PEAK = DetectionThresholds(peak=0.02, accept=0.04, split=0.3, readout="peak")


def loud_network() -> Network:
    torch.manual_seed(5)
    network = Network(NetworkConfig(features=8))
    with torch.no_grad():
        for layer in network.heads.last:  # type: ignore[union-attr]
            layer.weight *= 12.0
    return network


def same(a: Localizations, b: Localizations) -> None:
    ours, theirs = a.records(), b.records()
    assert len(ours) == len(theirs)
    for name in ours.dtype.names or ():
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, atol=2e-3, err_msg=name)


def test_three_passes_and_late_convolutions_change_no_value() -> None:
    network = loud_network()
    clip = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        naive = DecodeInference(network, TINY_CAMERA, SCALING, PEAK).raw_maps(clip)
        torch.testing.assert_close(naive, network(clip)[:, 0], rtol=1e-4, atol=1e-4)


def test_detection_in_torch_finds_what_find_emitters_finds() -> None:
    network = loud_network()
    frames = noise_frames(4, 32, 40)
    adu = torch.from_numpy(np.stack([frames[0:3], frames[1:4]]).astype(np.float32))
    decode = DecodeInference(network, TINY_CAMERA, SCALING, PEAK)
    found = decode(adu, first_index=1)
    photons = np.stack([TINY_CAMERA.photons(frame) for frame in frames])
    scaled = torch.from_numpy((photons - SCALING.input_offset) / SCALING.input_scale)
    with torch.no_grad():
        maps = physical_maps(network(scaled[None].float())[0], SCALING).numpy()
    for b in range(2):
        expected = find_emitters(maps[b], 1 + b, TINY_CAMERA.px_nm, PEAK)
        assert len(expected) > 10, "the noise must give something to compare"
        same(found[b], expected)


def test_ties_neighbours_and_thresholds_are_treated_alike() -> None:
    random = np.random.default_rng(2)
    maps = random.uniform(0, 1, (1, 10, 20, 20)).astype(np.float32)
    maps[0, 0] = np.round(random.uniform(0, 1, (20, 20)) ** 4, 2)  # coarse steps make exact ties
    rows = find_in_torch(torch.from_numpy(maps), PEAK).numpy()
    expected = find_emitters(maps[0], 0, (1.0, 1.0), PEAK)
    assert len(rows) == len(expected) > 20
    np.testing.assert_allclose(rows[:, 2] + rows[:, 5], expected.x_nm, rtol=1e-5)
    np.testing.assert_allclose(rows[:, 3], expected.probability, rtol=1e-5)
