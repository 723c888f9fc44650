"""The simulated camera: deterministic, at the wanted density, and its truth is where the light is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from source_contract import SourceContract, drain, read_next, slot_for

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.camera import Camera
from rtdecode.core.errors import CalibrationError, FileFormatError, SourceError
from rtdecode.physics.psf import SplinePsf
from rtdecode.sources.scene import CHALLENGE_CAMERA, SimulatedScene, Specimen, load_psf
from rtdecode.sources.simulated import SimulatedCamera
from rtdecode.streams.truth import read_truth


class TestPacedContract(SourceContract):
    def make(self, folder: Path) -> SimulatedCamera:
        return SimulatedCamera(frames=12, fps=200, seed=3)


class TestUnpacedOddSizeContract(SourceContract):
    shape = (41, 53)

    def make(self, folder: Path) -> SimulatedCamera:
        return SimulatedCamera(frames=12, paced=False, width_px=53, height_px=41, structure="random", seed=3)


def played(**fields: object) -> np.ndarray:
    """(n, H, W) all frames of a simulated camera at full speed."""
    source = SimulatedCamera(paced=False, **fields)
    source.open()
    source.start()
    pixels = np.array([pixels for _, pixels in drain(source)])
    source.close()
    return pixels


def test_another_seed_is_another_movie() -> None:
    a, b = (played(frames=5, seed=seed) for seed in (1, 2))
    assert not np.array_equal(a, b)


def test_an_empty_scene_is_background_and_noise() -> None:
    photons = CHALLENGE_CAMERA.photons(played(frames=40, density_um2=0, background=90))
    assert abs(photons.mean() - 90) < 0.5
    assert abs(photons.var() / (2 * 90) - 1) < 0.05  # EM gain doubles the shot noise


@pytest.mark.parametrize("structure", ["tubes", "random"])
def test_density_is_as_asked(structure: str, tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    source = SimulatedCamera(frames=1500, density_um2=1.2, structure=structure, truth=truth, paced=False)
    specimen = Specimen(source, 1500, load_psf(None), CHALLENGE_CAMERA)
    emitters = specimen.truth(1500)
    assert abs(len(emitters) / 1500 / (6.4 * 6.4) / 1.2 - 1) < 0.1


def test_truth_holds_the_frames_made_and_only_what_lies_on_pixels(tmp_path: Path) -> None:
    source = SimulatedCamera(frames=30, truth=tmp_path / "truth.csv", paced=False, density_um2=1.5)
    source.open()
    source.start()
    out = slot_for(source)
    for _ in range(10):
        read_next(source, out)
    source.apply(Stop("enough"))
    source.close()
    assert source.made == 10
    truth = read_truth(tmp_path / "truth.csv")
    assert set(truth["frame_index"]) == set(range(10))
    for name in ("x_nm", "y_nm"):
        assert truth[name].min() >= -50 and truth[name].max() < 6350
    whole = Specimen(source, 30, load_psf(None), CHALLENGE_CAMERA).truth(30)
    assert np.array_equal(truth, whole[whole["frame_index"] < 10])


def test_light_is_where_truth_says(tmp_path: Path) -> None:
    """Centre of mass of one bright frame against truth: axes, units and the half pixel."""
    source = SimulatedCamera(
        frames=400, width_px=40, height_px=24, density_um2=0.02, structure="random", background=0, seed=4, paced=False
    )
    specimen = Specimen(source, 400, load_psf(None), CHALLENGE_CAMERA)
    truth = specimen.truth(400)
    frames, counts = np.unique(truth["frame_index"], return_counts=True)
    alone = [truth[truth["frame_index"] == f][0] for f in frames[counts == 1]]
    inner = [e for e in alone if 800 < e["x_nm"] < 3200 and 800 < e["y_nm"] < 1500 and e["photons"] > 3000]
    assert len(inner) >= 3
    for emitter in inner:
        photons = CHALLENGE_CAMERA.photons(specimen.frame(int(emitter["frame_index"])))
        rows, columns = np.indices(photons.shape)
        bright = np.where(photons > 15, photons, 0)
        assert abs((bright * columns).sum() / bright.sum() * 100 - emitter["x_nm"]) < 60
        assert abs((bright * rows).sum() / bright.sum() * 100 - emitter["y_nm"]) < 60


def test_light_from_outside_reaches_in() -> None:
    """Molecules beyond the border are rendered though they are no truth."""
    scene = SimulatedScene(density_um2=0.2, structure="random", background=0, seed=5, width_px=16, height_px=16)
    specimen = Specimen(scene, 200, load_psf(None), CHALLENGE_CAMERA)
    empty = set(range(200)) - set(specimen.truth(200)["frame_index"].tolist())
    lit = [k for k in empty if CHALLENGE_CAMERA.photons(specimen.frame(k)).sum() > 200]
    assert lit


def test_a_calibrated_psf_is_taken_and_must_fit_the_camera(tmp_path: Path) -> None:
    z, y, x = np.indices((5, 15, 15)) - np.array([2, 7, 7])[:, None, None, None]
    samples = np.exp(-(x**2 + y**2) / (2 * (1.5 + 0.1 * z) ** 2)).astype("f4")
    path = tmp_path / "psf.safetensors"
    SplinePsf.from_samples(samples / samples[2].sum(), 250.0, 2.0, (100.0, 100.0)).save(path)
    a, b = played(frames=3, psf=path), played(frames=3)
    assert not np.array_equal(a, b)
    other = Camera(px_nm=(127, 117), baseline_adu=100, e_per_adu=1, read_noise_e=1)
    with pytest.raises(SourceError, match=r"pixels of 100 x 100 nm.*127 x 117"):
        SimulatedCamera(frames=3, psf=path, camera=other).open()
    path.write_bytes(b"no psf")
    with pytest.raises(CalibrationError):
        SimulatedCamera(frames=3, psf=path).open()


def test_saturation_is_flagged() -> None:
    camera = CHALLENGE_CAMERA.model_copy(update={"full_scale_adu": 150.0})
    source = SimulatedCamera(frames=2, camera=camera, paced=False)
    source.open()
    source.start()
    assert [info.flags for info, _ in drain(source)] == [2, 2]
    source.close()


def test_truth_that_cannot_be_written_is_an_error_after_closing(tmp_path: Path) -> None:
    source = SimulatedCamera(frames=2, truth=tmp_path / "nowhere" / "truth.csv", paced=False)
    source.open()
    with pytest.raises(FileFormatError, match="nowhere"):
        source.close()
    source.close()


def test_only_stop_can_be_carried_out() -> None:
    source = SimulatedCamera(frames=2)
    source.open()
    with pytest.raises(SourceError, match="no property"):
        source.apply(SetProperty("Laser", "Power", 1.0))
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.start()
