"""The network's layout, its sane start, and the streaming form that equals the published one."""

import pytest
import torch

from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.network import Network, macs_per_pixel, network_units, physical_maps
from rtdecode.fit.scaling import Scaling

DECODE = NetworkConfig()
LIGHT = NetworkConfig(features=32, stem="half", activation="silu", heads="shared")
SHIPPED = LIGHT.model_copy(update={"fine": 8})
SMALL_HALF = NetworkConfig(features=8, stem="half", heads="shared", activation="silu")
SMALL = [
    NetworkConfig(features=8),
    NetworkConfig(features=8, context="dilated"),
    SMALL_HALF,
    SMALL_HALF.model_copy(update={"fine": 4}),
    SMALL_HALF.model_copy(update={"context": "dilated"}),
]


def test_published_layout_has_its_number_of_parameters() -> None:
    assert sum(p.numel() for p in Network(DECODE).parameters()) == 2_199_418


def test_cost_of_the_published_layout_and_of_the_light_one() -> None:
    frame, context = macs_per_pixel(DECODE)
    # 4 MACs fewer for each 1x1 before upsampling than after it: 579 instead of 593 kMAC / px.
    assert frame + context == pytest.approx(579_216)
    assert sum(macs_per_pixel(LIGHT)) < 61_000
    assert sum(macs_per_pixel(SHIPPED)) < 60_000


def test_fine_heads_need_a_half_stem() -> None:
    with pytest.raises(ValueError, match="fine is for `stem: half`"):
        NetworkConfig(features=8, fine=4)


def test_default_scaling_is_golden() -> None:
    scaling = Scaling.from_ranges(10_000, 3_000, (90, 150), 750)
    assert scaling == Scaling(input_offset=120, input_scale=200, photons_max=34_000, z_max_nm=900, background_max=180)


@pytest.mark.parametrize("config", SMALL)
def test_a_stream_of_frames_equals_triples(config: NetworkConfig) -> None:
    torch.manual_seed(1)
    network, clip = Network(config).eval(), torch.randn(2, 6, 24, 32)
    with torch.no_grad():
        stream = network(clip)
        triples = torch.stack([network(clip[:, t : t + 3])[:, 0] for t in range(4)], 1)
    torch.testing.assert_close(stream, triples, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", SMALL)
def test_all_three_frames_matter_and_no_other(config: NetworkConfig) -> None:
    torch.manual_seed(2)
    network, clip = Network(config).eval(), torch.randn(1, 5, 16, 16)
    with torch.no_grad():
        reference = network(clip)[:, 1]
        for t in range(5):
            changed = clip.clone()
            changed[:, t] += 1
            moved = (network(changed)[:, 1] - reference).abs().max() > 1e-4
            assert bool(moved) == (t in (1, 2, 3))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("config", [NetworkConfig(features=24), LIGHT, SHIPPED])
def test_every_seed_starts_sanely(config: NetworkConfig, seed: int) -> None:
    torch.manual_seed(seed)
    frames = 0.37 + 0.8 * torch.randn(4, 3, 40, 40)  # mean and sd of real input, decode-method §1.3
    with torch.no_grad():
        logit, _, sigmas, _ = network_units(Network(config)(frames)[:, 0])
    assert 1 < torch.sigmoid(logit).sum((-1, -2)).mean() < 40
    assert 0.3 < sigmas.mean() < 0.8


def test_physical_maps_carry_units() -> None:
    scaling = Scaling(input_offset=0, input_scale=1, photons_max=1000, z_max_nm=500, background_max=200)
    raw = torch.zeros(1, 10, 4, 4)
    raw[:, 2], raw[:, 3], raw[:, 4] = 0.5, -0.5, 1.0
    maps = physical_maps(raw, scaling)[0, :, 0, 0]
    expected = [0.5, 500, 0.4621, -0.4621, 380.8, 1501, 1.501, 1.501, 750.5, 100]
    torch.testing.assert_close(maps, torch.tensor(expected), rtol=1e-3, atol=1e-3)


def test_sizes_that_are_no_multiple_of_the_stride_are_named_by_the_config() -> None:
    assert (DECODE.stride, LIGHT.stride) == (4, 8)
