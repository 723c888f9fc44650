"""Calibrations: applied as by hand, refused where they are none, part of what a bundle is, the same in every engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from tiny_model import noise_frames

from rtdecode.core.config import DetectionConfig, EngineConfig
from rtdecode.core.errors import BundleError
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle, shipped_bundles
from rtdecode.fit.calibration import Calibration, ProbabilityMap, SigmaTable
from rtdecode.fit.emitters import find_emitters
from rtdecode.fit.engines import build
from rtdecode.fit.fitter import Fitter

PX = (100.0, 110.0)
SIGMAS = ("sigma_x_nm", "sigma_y_nm", "sigma_z_nm", "sigma_photons")


def table(**changed: Any) -> SigmaTable:
    """Factors 1 but for x, which runs from 1 to 4 with signal and doubles with crowding."""
    ones = ((1.0, 1.0), (1.0, 1.0))
    fields: dict[str, Any] = {"signal": (100.0, 400.0), "crowding": (0.0, 2.0), "window_px": 3, "core_px": 1}
    return SigmaTable(**(fields | {"x": ((1.0, 2.0), (4.0, 8.0)), "y": ones, "z": ones, "photons": ones} | changed))


CALIBRATION = Calibration(probability=ProbabilityMap(stated=(0.0, 0.4, 1.0), true=(0.0, 0.8, 1.0)), sigma=table())


def two_emitters(p: float = 0.4, photons: float = 2000.0) -> np.ndarray:
    """(10, 9, 12): one at row 4, column 3 of signal photons / 10, and p 0.5 three columns from it."""
    maps = np.zeros((10, 9, 12), np.float32)
    maps[5:9], maps[9] = np.array([50.0, 0.1, 0.2, 30.0], np.float32)[:, None, None], 100.0
    maps[1] = photons
    maps[0, 4, 3], maps[0, 4, 6] = p, 0.5
    return maps


def found(maps: np.ndarray, calibration: Calibration | None, accept: float = 0.1) -> Localizations:
    thresholds = DetectionThresholds(peak=0.1, accept=accept)
    return find_emitters(maps, 5, PX, thresholds, calibration.lookup() if calibration else None)


def test_a_map_applied_by_hand() -> None:
    """Signal 200 is half way between the knots in the log: 2; crowding 0.5 is a quarter of the way: 2 ** 0.25."""
    before, after = found(two_emitters(), None), found(two_emitters(), CALIBRATION)
    np.testing.assert_allclose(before.probability, [0.4, 0.5])
    np.testing.assert_allclose(after.probability, [0.8, 0.8 + 0.1 / 0.6 * 0.2], rtol=1e-6)
    np.testing.assert_allclose(after.sigma_x_nm, 10.0 * 2 * np.array([2**0.25, 2**0.2]), rtol=1e-5)
    for name, column in before.columns():
        if name not in ("probability", "sigma_x_nm"):
            np.testing.assert_array_equal(column, getattr(after, name))


@pytest.mark.parametrize(("photons", "factor"), [(10.0, 1.0), (1e6, 4.0)])
def test_beyond_its_knots_a_table_is_held(photons: float, factor: float) -> None:
    after = found(two_emitters(photons=photons), CALIBRATION.model_copy(update={"sigma": table(crowding=(10, 20))}))
    np.testing.assert_allclose(after.sigma_x_nm, 10.0 * factor, rtol=1e-5)


def test_each_sigma_has_its_own_factors_and_the_rim_cuts_the_window() -> None:
    maps = np.zeros((10, 1, 1), np.float32)
    maps[:, 0, 0] = [0.9, 10.0, 0, 0, 0, 1.0, 1.0, 1.0, 1.0, 0.0]
    rows = {name: ((k, k), (k, k)) for k, name in enumerate(("x", "y", "z", "photons"), start=2)}
    after = found(maps, CALIBRATION.model_copy(update={"sigma": table(**rows)}))
    assert [float(getattr(after, name)[0]) for name in SIGMAS] == pytest.approx([200.0, 330.0, 4.0, 5.0])


@pytest.mark.parametrize("readout", ["peak", "fused"])
def test_accept_is_held_against_the_calibrated_probability(readout: str) -> None:
    maps = two_emitters(p=0.3)
    at = DetectionThresholds(peak=0.1, accept=0.55, readout=readout)
    assert len(find_emitters(maps, 0, PX, at)) == 0
    kept = find_emitters(maps, 0, PX, at, CALIBRATION.lookup())
    np.testing.assert_allclose(kept.probability, [0.6, 0.8333333], rtol=1e-6)
    modest = CALIBRATION.model_copy(update={"probability": ProbabilityMap(stated=(0.0, 1.0), true=(0.0, 0.5))})
    high = at.model_copy(update={"accept": 0.2})
    np.testing.assert_allclose(find_emitters(maps, 0, PX, high, modest.lookup()).probability, [0.25], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"stated": (0.0, 0.5, 1.0), "true": (0.0, 0.6, 0.5)}, "must never fall"),
        ({"stated": (0.0, 0.5, 0.5), "true": (0.0, 0.6, 0.7)}, "`stated` must rise"),
        ({"stated": (0.0, 1.0), "true": (0.0, 0.6, 0.7)}, "as many `true` as `stated`"),
        ({"stated": (0.0, 1.0), "true": (0.0, 1.2)}, "less than or equal to 1"),
    ],
)
def test_a_map_that_is_none_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        ProbabilityMap(**fields)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"signal": (400.0, 100.0)}, "`signal` must rise"),
        ({"x": ((1.0, 2.0),)}, "`x` must have 2 rows of 2 factors"),
        ({"z": ((1.0, 2.0), (1.0, 0.0))}, "greater than 0"),
        ({"core_px": 3}, "core_px < window_px"),
    ],
)
def test_a_table_that_is_none_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        table(**changed)


@pytest.fixture
def copied(tiny_bundle: ModelBundle, tmp_path: Path) -> ModelBundle:
    return ModelBundle.load(Path(shutil.copytree(tiny_bundle.folder, tmp_path / "copy")))


def test_a_calibration_is_written_read_and_part_of_the_identity(copied: ModelBundle) -> None:
    detection = copied.detection.model_copy(update={"accept": 0.3})
    made = copied.write_calibration(CALIBRATION, detection, {"calibration": {"n": np.int64(3)}})
    again = ModelBundle.load(copied.folder)
    assert again == made
    assert (again.calibration, again.detection.accept) == (CALIBRATION, 0.3)
    assert again.card.scores == {"calibration": {"n": 3}}
    assert again.sha256 != copied.sha256
    text = (copied.folder / "bundle.yaml").read_text()
    (copied.folder / "bundle.yaml").write_text(text.replace("- 8.0", "- 9.0"))
    with pytest.raises(BundleError, match="was changed after it was made"):
        ModelBundle.load(copied.folder)


def test_a_card_without_a_calibration_is_the_same_model_whether_it_says_so_or_not(copied: ModelBundle) -> None:
    path = copied.folder / "bundle.yaml"
    card = yaml.safe_load(path.read_text())
    assert card["calibration"] is None
    del card["calibration"]  # as older programs wrote it
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    old = ModelBundle.load(copied.folder)
    assert (old.sha256, old.calibration) == (copied.sha256, None)
    rewritten = ModelBundle.load(old.write_scores({"n": 1}).folder)
    assert rewritten.sha256 == copied.sha256
    assert "calibration" not in yaml.safe_load(path.read_text())
    calibrated = rewritten.write_calibration(CALIBRATION, rewritten.detection, {})
    assert calibrated.without_calibration().card.computed_identity() == copied.sha256


def test_shipped_bundles_keep_their_identity() -> None:
    """Loading checks it; a bundle of before calibrations would fail if the new field entered its hash."""
    assert all(ModelBundle.load(name).sha256 for name in shipped_bundles())


@pytest.mark.parametrize("use", ["openvino", "onnxruntime"])
def test_the_fitter_applies_it_in_every_engine(copied: ModelBundle, use: str) -> None:
    calibrated = copied.write_calibration(CALIBRATION, copied.detection, {})
    frames = noise_frames(4, 24, 32)
    detection = DetectionConfig(accept=0.05)

    def fit(bundle: ModelBundle) -> Localizations:
        fitter = Fitter(bundle, build(EngineConfig(use=use), bundle), Roi(0, 0, 32, 24), detection=detection)
        parts = [part for i, pixels in enumerate(frames) for part in fitter.push(Frame(FrameInfo(i, 0, 0), pixels))]
        return Localizations.concatenate([part.localizations for part in parts + fitter.finish()])

    before, after = fit(calibrated.without_calibration()), fit(calibrated)
    assert len(before) == len(after) > 10
    expected = np.interp(before.probability, (0.0, 0.4, 1.0), (0.0, 0.8, 1.0))
    np.testing.assert_allclose(after.probability, expected, rtol=1e-6)
    factor = after.sigma_x_nm / before.sigma_x_nm
    assert factor.min() >= 1 - 1e-6 and factor.max() <= 8 + 1e-6 and np.ptp(factor) > 0.1
    np.testing.assert_allclose(after.sigma_z_nm, before.sigma_z_nm, rtol=1e-6)
    np.testing.assert_array_equal(after.z_nm, before.z_nm)
