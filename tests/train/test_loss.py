"""The loss against the golden numbers of the method's specification (computed there in float64)."""

import math

import pytest
import torch

from rtdecode.train.loss import LossConfig, count_log_likelihood, loss_terms, mixture_log_likelihood, total_loss
from rtdecode.train.target import Targets


def targets_of(units: list[list[float]], shape: tuple[int, int], background: float = 0.5) -> Targets:
    n = len(units)
    return Targets(
        torch.zeros(n, dtype=torch.int64),
        torch.tensor(units).reshape(n, 4),
        torch.full((1, *shape), background),
        torch.tensor([float(n)]),
    )


def logit(p: torch.Tensor) -> torch.Tensor:
    return torch.log(p / (1 - p))


@pytest.mark.parametrize(("count", "expected"), [(0, 0.0), (1, 0.990331), (3, 7.476687)])
def test_count_term_times_emitters_is_golden(count: int, expected: float) -> None:
    p = torch.sigmoid(torch.full((1, 8, 8), -4.0))
    value = -count * count_log_likelihood(p, torch.tensor([float(count)]))
    assert value.item() == pytest.approx(expected, abs=2e-5)


def test_published_loss_of_an_empty_frame_has_no_gradient_but_the_background() -> None:
    raw = torch.randn(1, 10, 8, 8, requires_grad=True)
    config = LossConfig.as_published()
    targets = targets_of([], (8, 8))
    total_loss(loss_terms(raw, targets, config), targets, config).backward()
    assert raw.grad is not None
    assert raw.grad[:, :9].abs().max() == 0
    assert raw.grad[:, 9].abs().max() > 0


def test_default_loss_pushes_p_down_on_an_empty_frame() -> None:
    raw = torch.zeros(1, 10, 8, 8, requires_grad=True)
    targets = targets_of([], (8, 8))
    total_loss(loss_terms(raw, targets, LossConfig()), targets, LossConfig()).backward()
    assert raw.grad is not None
    assert (raw.grad[:, 0] > 0).all()


def golden_raw() -> torch.Tensor:
    """Raw maps whose network units are those of the 2 x 2 golden frame, all four sigmas included."""
    raw = torch.empty(1, 10, 2, 2, dtype=torch.float64)
    raw[0, 0] = logit(torch.tensor([[0.9, 0.1], [0.2, 0.05]], dtype=torch.float64))
    # The specification's x runs along rows: its dx 0.1 is our dy, its dy -0.2 our dx.
    raw[0, 1] = 0.0
    for channel, mean in ((2, -0.2), (3, 0.1), (4, 0.3)):
        raw[0, channel] = math.atanh(mean)
    for channel, sigma in ((5, 0.1), (6, 0.2), (7, 0.2), (8, 0.3)):
        raw[0, channel] = logit(torch.tensor((sigma - 0.001) / 3))
    raw[0, 9] = logit(torch.tensor(0.4))
    return raw


def test_full_sample_loss_is_golden() -> None:
    targets = targets_of([[0.45, -0.1, 0.15, 0.25]], (2, 2))
    config = LossConfig.as_published()
    terms = loss_terms(golden_raw(), targets, config)
    assert -terms["count"].item() == pytest.approx(-0.5255640, abs=1e-5)
    assert -terms["mixture"].item() == pytest.approx(2.4260446, abs=1e-5)
    assert terms["background"].item() == pytest.approx(0.04, abs=1e-6)
    assert total_loss(terms, targets, config).item() == pytest.approx(-1.8604806, abs=2e-5)


def test_mixture_window_equals_the_whole_frame_where_far_pixels_cannot_explain() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 12, 12)
    means = torch.rand(1, 4, 12, 12) - 0.5
    sigmas = torch.full((1, 4, 12, 12), 0.15)
    targets = targets_of([[0.1, 5.3, 6.8, -0.2], [0.2, 0.1, 11.3, 0.3]], (12, 12))
    near = mixture_log_likelihood(logits, means, sigmas, targets, 5)
    everywhere = mixture_log_likelihood(logits, means, sigmas, targets, 25)
    assert near.item() == pytest.approx(everywhere.item(), abs=1e-4)


def test_moving_an_emitter_to_the_wrong_axis_costs_likelihood() -> None:
    raw = golden_raw()
    config = LossConfig()
    right = loss_terms(raw, targets_of([[0.5, 1 - 0.2, 0.1, 0.3]], (2, 2)), config)["mixture"]
    swapped = loss_terms(raw, targets_of([[0.5, 0.1, 1 - 0.2, 0.3]], (2, 2)), config)["mixture"]
    assert swapped.item() != pytest.approx(right.item(), abs=0.1)


def test_an_axis_of_no_weight_does_not_count() -> None:
    raw, right, wrong = golden_raw(), [[0.45, -0.1, 0.15, 0.25]], [[0.05, -0.1, 0.15, 0.25]]
    for weights, differs in (((0.0, 1.0, 1.0, 1.0), False), ((0.5, 1.0, 1.0, 2.0), True)):
        config = LossConfig(axis_weights=weights)
        mixture = [loss_terms(raw, targets_of(units, (2, 2)), config)["mixture"].item() for units in (right, wrong)]
        assert (abs(mixture[0] - mixture[1]) > 1e-3) is differs
