"""`estimate` and `estimate-camera` from files to files: a training that loads, pages, errors by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from rtdecode.cli.app import run
from rtdecode.core.camera import Camera
from rtdecode.core.frames import Roi
from rtdecode.core.yaml_files import load_yaml
from rtdecode.fit.bundle import ModelBundle
from rtdecode.physics.camera import CameraVariation, adu_from_photons
from rtdecode.physics.simulate import SimulationConfig, simulate_clips
from rtdecode.sources.scene import load_psf
from rtdecode.train.loop import load_training
from rtdecode.train.proposal import pixels_of

PSF = Path(__file__).parents[2] / "configs" / "challenge-astigmatic.psf.safetensors"
SCMOS = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.46, read_noise_e=1.6)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimate") / "movie"
    arguments = ["--frames", "240", "--density", "0.3", "--structure", "random", "--background", "60"]
    assert run(["simulate", "--model", "astigmatic-light", "--out", str(folder), *arguments]) == 0
    return folder


def test_estimate_writes_a_training_that_is_ready(movie: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "found"
    options = ["--camera", str(movie / "camera.yaml"), "--psf", str(PSF), "--out", str(out), "--frames", "200"]
    assert run(["estimate", str(movie / "movie.tif"), *options, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["frames"] == 200
    assert figures["background"]["mean"] == pytest.approx(60, rel=0.05)
    training = load_training(out / "train.yaml")
    simulated = training.simulation
    assert simulated.background[0] < 60 < simulated.background[1]
    assert simulated.photons.range[0] < 5000 < simulated.photons.range[1]
    assert simulated.photons.mean == pytest.approx(5000, rel=0.2)
    assert simulated.density_um2[1] >= 0.5
    assert simulated.z_nm[0] <= -450 and simulated.z_nm[1] >= 450
    assert training.scaling.photons_max >= simulated.photons.range[1]
    assert training.scaling.background_max > simulated.background[1]
    assert training.camera == load_yaml(movie / "camera.yaml", Camera)
    assert training.start_from == ModelBundle.load("astigmatic-light").folder
    assert training.network.fine == 8 and simulated.psf_jitter is not None
    assert simulated.camera_variation is None  # an EMCCD
    clips = simulate_clips(
        load_psf(out / "psf.safetensors"), training.camera, simulated, 2, 3, np.random.default_rng(1)
    )
    assert clips.frames_adu.shape == (2, 3, 48, 48)
    with Image.open(out / "estimate.png") as page:
        assert np.asarray(page).std() > 5 and page.width > 1000
    assert json.loads((out / "estimate.json").read_text())["density_um2"]["mean"] == figures["density_um2"]["mean"]


def test_the_training_trains(movie: Path, tmp_path: Path) -> None:
    """What `estimate` wrote, shortened: a few iterations to a bundle."""
    pytest.importorskip("torch")
    out = tmp_path / "found"
    options = ["--camera", str(movie / "camera.yaml"), "--psf", str(PSF), "--out", str(out), "--frames", "120"]
    assert run(["estimate", str(movie / "movie.tif"), *options]) == 0
    text = (out / "train.yaml").read_text()
    short = text.replace("iterations: 11000", "iterations: 2").replace("clips: 8", "clips: 1")
    short += "calibration_share: 0\n"  # it would take minutes
    assert short.count("iterations: 2\n") == 1 and "clips: 1," in short
    (out / "train.yaml").write_text(short)
    assert run(["train", str(out / "train.yaml"), "--out", str(tmp_path / "training")]) == 0
    bundle = ModelBundle.load(tmp_path / "training" / "bundle")
    assert bundle.network.fine == 8 and bundle.camera == load_yaml(movie / "camera.yaml", Camera)


def test_an_scmos_is_trained_for_its_own_pixels(tmp_path: Path) -> None:
    variation = CameraVariation(baseline_sd_adu=2.0, e_per_adu_sd=0.02, read_noise_sd=0.2, hot_share=0.01)
    maps = variation.draw(SCMOS, (300, 300), np.random.default_rng(1))
    found = pixels_of(SCMOS, maps)
    assert found.baseline_sd_adu == pytest.approx(2, rel=0.1) and found.e_per_adu_sd == pytest.approx(0.02, rel=0.1)
    assert found.read_noise_sd == pytest.approx(0.2, rel=0.1) and found.hot_share == pytest.approx(0.01, rel=0.5)
    assert found.corrected
    movie = simulate_clips(
        load_psf(PSF), SCMOS, SimulationConfig(shape_px=(64, 64), density_um2=(0.3, 0.3)), 1, 120,
        np.random.default_rng(2),
    ).frames_adu[0]  # fmt: skip
    np.save(tmp_path / "movie.npy", movie)
    maps.save(tmp_path / "maps.safetensors")
    plain = yaml.safe_dump(SCMOS.model_dump(mode="json", exclude={"maps"}))
    for name, more in (("bare", ""), ("mapped", "maps: maps.safetensors\n")):
        (tmp_path / f"{name}.yaml").write_text(plain + more)
        options = ["--camera", str(tmp_path / f"{name}.yaml"), "--psf", str(PSF), "--out", str(tmp_path / name)]
        assert run(["estimate", str(tmp_path / "movie.npy"), *options]) == 0
        varied = load_training(tmp_path / name / "train.yaml").simulation.camera_variation
        assert varied is not None and varied.corrected == (name == "mapped")
        assert (varied.baseline_sd_adu == pytest.approx(2, rel=0.1)) == (name == "mapped")


def refused(capsys: Captured, *arguments: str) -> str:
    assert run(list(arguments)) == 1
    said = capsys.readouterr().err
    assert said.startswith("rtdecode: ") and "Traceback" not in said
    return said


def test_faults_of_estimate_are_told_and_leave_nothing(movie: Path, tmp_path: Path, capsys: Captured) -> None:
    camera, out = ["--camera", str(movie / "camera.yaml")], tmp_path / "out"
    start = ["estimate", str(movie / "movie.tif"), *camera, "--out", str(out)]
    assert "cannot be read as a PSF file" in refused(capsys, *start, "--psf", str(movie / "truth.csv"))
    assert "expected adu or photons" in refused(capsys, *start, "--psf", str(PSF), "--units", "volts")
    broken = tmp_path / "broken.npy"
    np.save(broken, np.full((30, 64, 64), np.nan, np.float32))
    assert "not finite" in refused(capsys, "estimate", str(broken), *start[2:], "--psf", str(PSF), "--units", "adu")
    assert not out.exists()
    out.mkdir()
    assert "exists already" in refused(capsys, *start, "--psf", str(PSF))


def stack(path: Path, light: float, n: int = 250) -> Path:
    np.save(path, adu_from_photons(SCMOS, np.full((n, 20, 28), light), np.random.default_rng(int(light))))
    return path


def test_estimate_camera_writes_a_camera_and_its_maps(tmp_path: Path, capsys: Captured) -> None:
    dark, low, high = (stack(tmp_path / f"{level:g}.npy", level) for level in (0.0, 150.0, 600.0))
    out = tmp_path / "camera"
    given = ["--dark", str(dark), "--light", str(low), "--light", str(high), "--px-nm", "100,110", "--out", str(out)]
    assert run(["estimate-camera", *given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    camera = load_yaml(out / "camera.yaml", Camera).with_maps_in(out)
    assert camera.px_nm == (100, 110) and told["e_per_adu"] == camera.e_per_adu
    assert camera.e_per_adu == pytest.approx(0.46, rel=0.02)
    assert camera.read_noise_e == pytest.approx(1.6, rel=0.03)
    assert camera.baseline_adu == pytest.approx(100, abs=0.2)
    maps = camera.load_maps(Roi(0, 0, 28, 20))
    assert maps is not None and maps.e_per_adu.shape == (20, 28)
    frame = camera.photons(np.load(low)[:200].mean(0).astype(np.uint16), maps)
    assert frame.mean() == pytest.approx(150, rel=0.03)
    with Image.open(out / "camera.png") as page:
        assert np.asarray(page).std() > 5


def test_faults_of_estimate_camera_are_told(tmp_path: Path, capsys: Captured) -> None:
    dark, out = stack(tmp_path / "dark.npy", 0.0, 30), tmp_path / "camera"
    rest = ["--px-nm", "100", "--out", str(out)]
    assert "give --dark, --light or both" in refused(capsys, "estimate-camera", *rest)
    short = stack(tmp_path / "short.npy", 300.0, 4)
    said = refused(capsys, "estimate-camera", "--dark", str(dark), "--light", str(short), *rest)
    assert "short.npy: 4 frames are too few" in said
    both = ["--light", str(short), "--e-per-adu", "0.5"]
    assert "--e-per-adu is for dark frames alone" in refused(capsys, "estimate-camera", *both, *rest)
    assert not out.exists()
    assert run(["estimate-camera", "--dark", str(dark), "--e-per-adu", "0.46", *rest]) == 0
    assert load_yaml(out / "camera.yaml", Camera).read_noise_e == pytest.approx(1.6, rel=0.05)
    shutil.rmtree(out)
    assert run(["estimate-camera", "--dark", str(dark), *rest]) == 0
    assert "e_per_adu: could not be told" in (out / "camera.yaml").read_text()
