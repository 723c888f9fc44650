"""The judge's scenes: density as asked, structures in place, background uneven and fading, the same again."""

from __future__ import annotations

import numpy as np
import pytest

from rtdecode.core.camera import Camera
from rtdecode.physics.judge_scenes import (
    MOLECULES,
    BackgroundConfig,
    SceneConfig,
    clusters,
    filaments,
    flash_movie,
    lone_movie,
    molecules_of,
    structure_movie,
)
from rtdecode.physics.psf import GaussianPsf
from rtdecode.physics.structures import Field, Switching

CAMERA = Camera(px_nm=(100.0, 110.0), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.5)
PSF = GaussianPsf()
SCENE = SceneConfig(shape_px=(48, 40))


def test_density_is_what_the_name_says_and_movies_repeat() -> None:
    field = Field.of_shape(48, 40, CAMERA.px_nm)
    movie = structure_movie(PSF, CAMERA, SCENE, 1.0, 150, seed=3)
    inside = field.holds(np.column_stack([movie.emitters["x_nm"], movie.emitters["y_nm"]]))
    assert inside.sum() / 150 / field.area_um2 == pytest.approx(1.0, abs=0.1)
    again = structure_movie(PSF, CAMERA, SCENE, 1.0, 150, seed=3)
    np.testing.assert_array_equal(movie.frames_adu, again.frames_adu)
    np.testing.assert_array_equal(movie.emitters, again.emitters)
    other = structure_movie(PSF, CAMERA, SCENE, 1.0, 150, seed=3, take=1)
    assert not np.array_equal(movie.frames_adu, other.frames_adu)
    places = [{tuple(p) for p in m.emitters[["x_nm", "y_nm", "z_nm"]].tolist()} for m in (movie, other)]
    assert places[0] & places[1]  # another take of the same molecules


def test_each_structure_gives_the_same_share_within_z() -> None:
    field = Field.of_shape(48, 40, CAMERA.px_nm)
    molecules = molecules_of(SCENE, field, 1)
    assert len(molecules) == 3 * MOLECULES
    assert np.all(np.abs(molecules[:, 2]) <= 651)
    assert field.holds(molecules).mean() > 0.3


def test_filaments_are_thin_and_clusters_are_clustered() -> None:
    field = Field()
    thread = filaments(field, (-300.0, 300.0), seed=2, n=1)
    step = np.diff(thread[:, :2], axis=0)
    assert np.median(np.hypot(*step.T)) < 12  # nm between neighbours on the thread
    assert np.abs(thread[:, 2]).max() <= 300
    spots = clusters(field, (-300.0, 300.0), seed=2, molecules=50).reshape(-1, 50, 3)
    assert np.hypot(*spots[:, :, :2].std(axis=1).T).max() < 160  # two axes of at most 80 and a little
    assert len(spots) == pytest.approx(2.0 * field.area_um2, rel=0.5)


def test_the_background_is_uneven_and_fades() -> None:
    config = BackgroundConfig(level=100.0, gradient=0.4, blobs=0, fade=0.5)
    field = config.field((40, 60), np.random.default_rng(1))
    assert field.mean() == pytest.approx(100, rel=0.02)
    assert field.max() <= 141 and field.max() - field.min() > 50
    blobs = config.model_copy(update={"blobs": 4}).field((40, 60), np.random.default_rng(1))
    assert np.all(blobs - field > -1e-3) and (blobs - field).max() > 10
    scene = SCENE.model_copy(update={"background": config})
    movie = structure_movie(PSF, CAMERA, scene, 0.001, 20, seed=4)
    photons = CAMERA.photons(movie.frames_adu).mean(axis=(1, 2))
    assert photons[0] == pytest.approx(100, rel=0.05)
    assert photons[-1] == pytest.approx(50, rel=0.05)
    at = np.zeros(2, movie.emitters.dtype)
    at["frame_index"] = [0, 19]
    below = movie.background_at(at, CAMERA.px_nm)
    assert below == pytest.approx([movie.background[0, 0], movie.background[0, 0] / 2])


def test_flashes_are_independent_and_lone_emitters_alone() -> None:
    movie = flash_movie(PSF, CAMERA, SCENE, 2.0, 60, seed=5)
    assert len(np.unique(movie.emitters["x_nm"])) == len(movie.emitters)
    field = Field.of_shape(48, 40, CAMERA.px_nm)
    inside = field.holds(np.column_stack([movie.emitters["x_nm"], movie.emitters["y_nm"]]))
    assert inside.sum() / 60 / field.area_um2 == pytest.approx(2.0, rel=0.1)
    assert 0 < inside.mean() < 0.8  # light comes in from beyond the rim
    still = SCENE.model_copy(update={"background": BackgroundConfig(fade=0.0)})
    alone = lone_movie(PSF, CAMERA, still, 3000.0, 10, seed=6)
    assert alone.frames_adu.shape == (21, 40, 40)
    assert alone.emitters["frame_index"].tolist() == list(range(1, 21, 2))
    assert np.all(alone.emitters["photons"] == 3000)
    brightness = CAMERA.photons(alone.frames_adu).sum(axis=(1, 2))
    assert (brightness[1::2] - brightness[:-1:2]).mean() == pytest.approx(3000, rel=0.25)  # shot noise: 7 %


def test_log_normal_photons_have_the_mean_and_spread_that_are_asked_for() -> None:
    drawn = Switching(photons_mean=5000, photons_spread=3000, photons_shape="log_normal").brightness(
        40_000, np.random.default_rng(7)
    )
    assert drawn.mean() == pytest.approx(5000, rel=0.03)
    assert drawn.std() == pytest.approx(3000, rel=0.06)
    assert np.median(drawn) < 4500 and drawn.min() > 0
