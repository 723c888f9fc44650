"""A volume from frames: two planes of one sample, simulated, fitted by the shipped model, put together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

import rtdecode
from rtdecode.cli.app import run
from rtdecode.core.localizations import EMITTER_DTYPE
from rtdecode.fit.bundle import ModelBundle
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.psf import SplinePsf
from rtdecode.physics.render import expected_frames
from rtdecode.physics.structures import Field, tubes

SHAPE, N_FRAMES, PER_FRAME = (48, 48), 200, 16
SPACING_NM, DEPTH_NM = 400.0, 500.0
DISPLACED_NM = (60.0, -40.0)  # of what the upper plane's frames show


def test_two_planes_of_frames_become_one_volume(tmp_path: Path) -> None:
    bundle = ModelBundle.load("astigmatic-light")
    field = Field.of_shape(*SHAPE, bundle.camera.px_nm)
    sample = np.asarray(tubes(field, seed=5, z_range_nm=(-500, 900)), float)
    sample = sample[field.holds(sample)]
    for plane, shift in enumerate(((0.0, 0.0), DISPLACED_NM)):
        movie = tmp_path / f"movie{plane}.npy"
        np.save(movie, frames(bundle, sample + np.array((*shift, -plane * SPACING_NM)), seed=plane))
        options = ["--precision", "fp32", "--inline", "--no-view", "--out", str(tmp_path / f"plane{plane}")]
        assert run(["replay", str(movie), "--model", "astigmatic-light", *options]) == 0
    (tmp_path / "plan.yaml").write_text(
        f"planes: [{{run: plane0}}, {{run: plane1}}]\nplane_spacing_nm: {SPACING_NM}\n"
        f"z_range_nm: [-{DEPTH_NM}, {DEPTH_NM}]\nregister: overlap\n"
    )
    assert run(["volume", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "volume")]) == 0
    upper = json.loads((tmp_path / "volume/volume.json").read_text())["planes"][1]
    np.testing.assert_allclose(upper["found_offset_nm"][:2], -np.array(DISPLACED_NM), atol=15)
    assert max(upper["found_sigma_nm"]) < 10 and upper["filter"]["sigma_xy_nm"] == 40  # the model's own
    found = rtdecode.open_run(tmp_path / "volume")
    origin = json.loads((tmp_path / "volume/volume.json").read_text())["origin_nm"]
    place = np.column_stack([found.localizations.x_nm, found.localizations.y_nm, found.localizations.z_nm])
    distance, _ = cKDTree(sample).query(place + np.array((*origin, 0.0)))
    assert len(place) > 1000 and np.median(distance) < 40 and (distance < 120).mean() > 0.9
    assert run(["render", str(tmp_path / "volume"), "--max-by-z", "--out", str(tmp_path / "max.png")]) == 0


def frames(bundle: ModelBundle, sample: np.ndarray, seed: int) -> np.ndarray:
    """(200, 48, 48) uint16 ADU: sixteen molecules within reach of the focus shine in each frame."""
    random = np.random.default_rng(seed)
    near = sample[np.abs(sample[:, 2]) < 750]
    light = np.empty(N_FRAMES * PER_FRAME, EMITTER_DTYPE)
    light["frame_index"] = np.repeat(np.arange(N_FRAMES), PER_FRAME)
    chosen = near[random.integers(0, len(near), len(light))]
    light["x_nm"], light["y_nm"], light["z_nm"] = chosen.T
    light["photons"] = random.normal(6000, 1000, len(light)).clip(2000)
    psf = SplinePsf.load(bundle.psf_path)
    expected = expected_frames(psf, light, 0, N_FRAMES, SHAPE, bundle.camera.px_nm)
    return adu_from_photons(bundle.camera, expected + 100.0, random)
