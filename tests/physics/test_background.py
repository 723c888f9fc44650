"""Backgrounds: within their bounds, as rough as asked for, blobs where nothing sharp may be, seeds kept."""

import numpy as np
import pytest

from rtdecode.physics.background import Blobs, Texture, draw_background

SHAPE, PX = (48, 60), (100.0, 110.0)


def drawn(seed: int = 0, **asked: object) -> np.ndarray:
    return draw_background(100.0, SHAPE, PX, np.random.default_rng(seed), **asked)  # type: ignore[arg-type]


def test_nothing_asked_for_is_flat_and_takes_no_numbers() -> None:
    rng = np.random.default_rng(5)
    assert (draw_background(70.0, SHAPE, PX, rng) == 70).all()
    assert rng.random() == np.random.default_rng(5).random()


def test_texture_stays_within_its_swing_and_uses_most_of_it() -> None:
    fields = np.array([drawn(seed, texture=Texture(swing=0.4)) for seed in range(40)])
    assert fields.shape == (40, *SHAPE)
    assert fields.min() > 60 - 1e-3 and fields.max() < 140 + 1e-3
    assert fields.max() > 120
    assert fields.mean() == pytest.approx(100, abs=2)


def test_more_octaves_are_rougher() -> None:
    def roughness(octaves: int) -> float:
        fields = [drawn(seed, texture=Texture(octaves=octaves, persistence=1.0)) - 100 for seed in range(30)]
        return float(np.mean([np.diff(f, axis=1).std() / f.std() for f in fields]))

    assert roughness(1) < 0.6 * roughness(3)


def test_blobs_add_light_of_their_height_and_width() -> None:
    one = Blobs(per_um2=(0.02, 0.02), psf_sigma_px=(5, 5), height=(0.5, 0.5))
    fields = np.array([drawn(seed, blobs=one) for seed in range(60)])
    assert fields.min() >= 100
    assert fields.mean() - 100 == pytest.approx(50 * 2 * np.pi * 25 * 0.02 * PX[0] * PX[1] / 1e6, rel=0.2)
    slopes = np.abs(np.diff(fields, axis=2)).max((1, 2))  # the steepest of one Gaussian: height / sigma * exp(-1/2)
    assert np.median(slopes) == pytest.approx(50 / 5 * np.exp(-0.5), rel=0.3)


def test_fields_add_up_and_never_go_below_zero() -> None:
    deep = [drawn(seed, structure=1.0, texture=Texture(swing=1.0)) for seed in range(60)]
    assert min(field.min() for field in deep) == 0
    assert all(np.isfinite(field).all() and field.dtype == np.float32 for field in deep)


def test_a_seed_gives_the_same_field() -> None:
    asked = {"texture": Texture(), "blobs": Blobs()}
    assert drawn(3, **asked).tobytes() == drawn(3, **asked).tobytes()
    assert drawn(3, **asked).tobytes() != drawn(4, **asked).tobytes()
