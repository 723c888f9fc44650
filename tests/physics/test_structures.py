"""Tubes that look like tubes, and switching that holds its density and its photon budget."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtdecode.core.localizations import EMITTER_DTYPE, Emitters
from rtdecode.physics.structures import Field, Switching, random_field, switch, tubes


def _xy(emitters: Emitters) -> NDArray[np.float32]:
    return np.column_stack([emitters["x_nm"], emitters["y_nm"]])


def test_tubes_fill_the_field_and_z_and_leave_it_on_every_side() -> None:
    field = Field()
    molecules = tubes(field, seed=5)
    assert molecules.dtype == np.float32
    assert molecules.shape[1] == 3
    assert molecules[:, 2].min() < -380
    assert molecules[:, 2].max() > 380
    assert np.abs(molecules[:, 2]).max() <= 500
    outside = molecules[~field.holds(molecules)]
    assert outside[:, 0].min() < -50 < 6350 < outside[:, 0].max()
    assert outside[:, 1].min() < -50 < 6350 < outside[:, 1].max()


def test_one_tube_is_25_nm_wide_and_hollow() -> None:
    molecules = tubes(seed=1, singles=1, pairs=0, molecules_per_um=4000).astype(np.float64)
    middle = molecules[np.argsort(molecules[:, 0] + molecules[:, 1])]
    middle = middle[Field().holds(middle)]
    for k in range(0, len(middle) - 60, len(middle) // 20):
        piece = middle[k : k + 60] - middle[k : k + 60].mean(axis=0)  # about 15 nm of the tube: straight
        along = np.linalg.svd(middle[max(k - 400, 0) : k + 460] - middle[k + 30])[2][0]
        radial = np.linalg.norm(piece - np.outer(piece @ along, along), axis=1)
        assert radial.max() < 20
        assert np.median(radial) > 6


def test_a_pair_is_two_tubes_side_by_side() -> None:
    molecules = tubes(seed=2, singles=0, pairs=1, separation_nm=(150, 150), molecules_per_um=1000)
    inside = molecules[Field().holds(molecules)].astype(np.float64)
    order = np.argsort(inside @ np.linalg.svd(inside - inside.mean(axis=0), full_matrices=False)[2][0])
    piece = inside[order][len(inside) // 2 : len(inside) // 2 + 200]  # about 100 nm of the pair
    across = np.linalg.svd(piece - piece.mean(axis=0), full_matrices=False)[2][0]
    side = (piece - piece.mean(axis=0)) @ across
    assert side[side > 0].mean() - side[side < 0].mean() == pytest.approx(150, abs=15)
    assert np.abs(side).min() > 30  # nothing between the two


def test_same_seed_same_molecules_another_seed_others() -> None:
    np.testing.assert_array_equal(tubes(seed=7), tubes(seed=7))
    assert not np.array_equal(tubes(seed=7)[:100], tubes(seed=8)[:100])
    molecules = tubes(seed=7)
    np.testing.assert_array_equal(switch(molecules, 50, 1.0, seed=3), switch(molecules, 50, 1.0, seed=3))


@pytest.mark.parametrize("density", [0.2, 1.5])
def test_density_is_what_was_asked_from_first_to_last_frame(density: float) -> None:
    field = Field()
    emitters = switch(tubes(field, seed=3), 4000, density, field, seed=11)
    assert emitters.dtype == EMITTER_DTYPE
    assert np.all(np.diff(emitters["frame_index"]) >= 0)
    inside = emitters[field.holds(_xy(emitters))]
    per_frame = np.bincount(inside["frame_index"], minlength=4000) / field.area_um2
    assert per_frame.mean() == pytest.approx(density, rel=0.03)
    for part in (per_frame[:500], per_frame[-500:]):
        assert part.mean() == pytest.approx(density, rel=0.08)


def test_an_activation_spends_its_bleach_time_shining() -> None:
    molecules = random_field(400_000, seed=1)  # so many that an activation is a molecule
    switching = Switching(photons_mean=1000.0, photons_spread=0.0)
    emitters = switch(molecules, 1000, 0.5, switching=switching, seed=4, min_photons=0.0)
    assert emitters["photons"].max() == pytest.approx(1000.0, rel=1e-5)
    _, which = np.unique(_xy(emitters), axis=0, return_inverse=True)
    shone = np.bincount(which.ravel(), emitters["photons"]) / 1000.0
    assert shone.mean() == pytest.approx(switching.bleach_frames, rel=0.05)
    assert np.quantile(shone, 0.5) == pytest.approx(switching.bleach_frames * np.log(2), rel=0.06)


def test_one_record_for_each_molecule_and_frame_and_no_dim_ones() -> None:
    emitters = switch(random_field(300_000, seed=1), 300, 1.0, seed=4, min_photons=50.0)
    assert emitters["photons"].min() >= 50.0
    records = np.column_stack([emitters["frame_index"], emitters["x_nm"], emitters["y_nm"]])
    assert len(np.unique(records, axis=0)) > 0.999 * len(records)
    assert emitters["frame_index"].min() == 0
    assert emitters["frame_index"].max() == 299


def test_random_field_is_relative_to_the_centre_of_the_first_pixel() -> None:
    field = Field.of_shape(20, 40, (100.0, 120.0))
    points = random_field(20_000, field, z_range_nm=(-300, 600), margin_nm=100, seed=0)
    np.testing.assert_allclose(points.min(axis=0), [-150, -160, -300], atol=3)
    np.testing.assert_allclose(points.max(axis=0), [4050, 2440, 600], atol=3)
    assert field.holds(points).mean() == pytest.approx(4000 * 2400 / (4200 * 2600), abs=0.02)


def test_nothing_asked_gives_nothing() -> None:
    assert len(switch(np.empty((0, 3), np.float32), 10, 1.0, seed=1)) == 0
    assert len(switch(tubes(seed=1), 10, 0.0, seed=1)) == 0
    assert len(tubes(seed=1, singles=0, pairs=0)) == 0
    with pytest.raises(ValueError, match="above 0"):
        Switching(on_frames=0)
