"""Memory of the light: on-times without spots, brightness without density, returns seen, steadiness told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from rtdecode.analysis.flicker import Flicker, flicker


def blinking(on: float, n: int = 3000, brightness: float = 500.0, dark: float | None = None) -> NDArray[np.float32]:
    """(n, 16, 16) photons: in each pixel one emitter of a two-state process, sampled 20 times in a frame, and noise."""
    rng, steps = np.random.default_rng(1), 20
    off = dark or 20.0
    state, light = rng.random((16, 16)) < on / (on + off), np.zeros((n, 16, 16), np.float32)
    for k in range(n * steps):
        flip = rng.random((16, 16)) < np.where(state, 1 / (on * steps), 1 / (off * steps))
        state = state ^ flip
        light[k // steps] += state * np.float32(brightness / steps)
    return rng.poisson(light + 50).astype(np.float32)


def test_one_exponential_gives_the_rate_of_the_process() -> None:
    found = flicker([blinking(2.0)])
    assert found.memory_frames == pytest.approx(
        1 / (1 / 2.0 + 1 / 20.0), rel=0.08
    )  # a two-state process forgets by both
    assert not found.returns
    assert found.modelled(found.lags[:3].astype(float)) == pytest.approx(found.covariance[:3], rel=0.1)


def test_two_exponentials_give_the_time_between_breaks() -> None:
    lags = np.arange(1.0, 11.0)
    times, shares = np.array([0.85, 4.4]), np.array([0.7, 0.3])
    blur = times**2 * (1 - np.exp(-1 / times)) ** 2
    stretch = 1 / (shares / times).sum()
    made = Flicker(lags.astype(int), (shares * blur * np.exp(-(lags[:, None] - 1) / times)).sum(1), 0.0, times, shares)
    assert made.on_time_frames == pytest.approx(stretch)
    assert made.memory_frames > stretch and made.returns
    assert made.modelled(lags) == pytest.approx(made.covariance)


def test_steady_light_tells_no_on_time() -> None:
    steady = np.random.default_rng(3).poisson(90, (200, 32, 32)).astype(np.float32)
    found = flicker([steady])
    assert math.isnan(found.on_time_frames) and math.isnan(found.memory_frames)
    assert math.isnan(found.photons(10.0, 0.05)) and not found.returns
    assert found.modelled(np.array([1.0])).tolist() == [0.0]


def test_few_frames_still_give_an_answer() -> None:
    found = flicker([blinking(2.0, n=30)])
    assert found.lags.max() == 10
    assert 0.8 < found.memory_frames < 3.5
