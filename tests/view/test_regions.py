"""A drawn region, findings and files, without Qt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image
from view_runs import SHAPE, localizations_at, scattered

from rtdecode.core.drift import Drift
from rtdecode.core.errors import ViewerError
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.fit.bundle import shipped_bundles
from rtdecode.streams.drift_file import write_drift
from rtdecode.view import regions as regions_module
from rtdecode.view.canvas import Canvas, ColourScale, Region
from rtdecode.view.findings import Findings, ModelCard
from rtdecode.view.points import Points
from rtdecode.view.regions import Outline, RegionTally, rows_inside
from rtdecode.view.saving import check_size, write_png, write_tiff

FIELD = Region.of_frame(SHAPE, (100.0, 100.0))
TRIANGLE = Outline(((0.0, 0.0), (2000.0, 0.0), (0.0, 1000.0)))


def test_a_polygon_holds_what_lies_in_it_and_knows_its_area() -> None:
    x, y = (np.array(v, np.float32) for v in ([100, 900, 1900, 1100, -1], [100, 500, 30, 500, 500]))
    assert TRIANGLE.holds(x, y).tolist() == [True, True, True, False, False]
    assert TRIANGLE.area_um2 == pytest.approx(1.0)
    assert yaml.safe_load(TRIANGLE.yaml)["region"]["polygon_nm"] == [[0, 0], [2000, 0], [0, 1000]]


def test_a_tally_in_portions_counts_what_a_mask_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions_module, "ROWS_AT_ONCE", 90)
    monkeypatch.setattr(regions_module, "SAMPLE", 40)
    found, points, quality = scattered(2000, 1), Points(), QualityFilter(40.0, None)
    points.append(found)
    tally = RegionTally(TRIANGLE, quality, (100, 2000))
    rounds = 0
    while not tally.advance(points, 2000, 0.0):
        rounds += 1
    inside = (found.x_nm >= 0) & (found.y_nm >= 0) & (found.x_nm / 2000 + found.y_nm / 1000 < 1)
    rows = np.flatnonzero(inside & quality.passes(dict(found.columns())) & (np.arange(2000) >= 100))
    assert tally.count == len(rows) > 100 and rounds > 5
    kept = tally.sample()["x_nm"]
    stride = -(-len(rows) // len(kept))
    np.testing.assert_array_equal(kept, found.x_nm[rows[::stride]])
    np.testing.assert_array_equal(rows_inside(points, TRIANGLE, quality, (100, 2000))["x_nm"], found.x_nm[rows])


def test_policies_resolution_and_drift_are_heard(tmp_path: Path) -> None:
    findings = Findings()
    state = {"verdict": "not yet", "coverage": 0.81, "lower": 0.78, "upper": 0.84, "target_at_frame": 9000}
    assert findings.hear({"kind": "state", "frame_index": 2000, "policy": "DensityStop", "state": state})
    assert not findings.hear({"kind": "gap", "frame_index": 3})
    findings.hear({"kind": "state", "frame_index": 2500, "policy": "Resolution", "state": {"resolution_nm": 41.5}})
    assert findings.coverage.words == "81 % (78 to 84)" and findings.resolution.words == "41.5 nm"
    assert findings.verdicts[0] == "DensityStop: not yet; target at about frame 9,000"
    shifts = np.array([[0.0, 0, 0], [12.0, -3.0, 0.0]])
    write_drift(tmp_path / "drift.csv", Drift(np.array([50.0, 150.0]), shifts, np.ones((2, 3))))
    said = {"trend": [[500, 52.0], [1000, None], [1500, 33.0]], "interval_nm": [30.0, 36.5]}
    (tmp_path / "resolution.json").write_text(json.dumps(said))
    assert findings.look(tmp_path) and not findings.look(tmp_path)
    assert findings.drift["x"].value == [0, 12] and not findings.drift["z"].value
    assert findings.resolution.frame == [500, 1500] and findings.resolution.words == "33 nm (30 to 36.5)"


def test_the_card_of_a_run_tells_ranges_and_filter_and_an_old_run_none() -> None:
    card = ModelCard.of_run({"model": str(shipped_bundles()["astigmatic-light"])})
    assert card.ranges["photons"][0] < 500 < card.ranges["photons"][1] and "z_nm" in card.ranges
    assert card.recommended is not None and card.recommended.sigma_xy_nm == 40.0
    assert ModelCard.of_run({"model": "/nowhere"}) == ModelCard.of_run({}) == ModelCard()


def test_the_tiff_holds_every_localization_and_its_pixel_size(tmp_path: Path) -> None:
    canvas = Canvas(FIELD, 20.0)
    canvas.add(localizations_at([1000.0, 1010.0, 2000.0], [500.0, 500.0, 1500.0]))
    write_tiff(tmp_path / "a.tif", canvas, {"filter": SHOW_ALL.as_json()})
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        image, page = file.asarray(), file.pages[0]
        assert image.dtype == np.float32 and float(image.sum()) == pytest.approx(3.0, rel=1e-4)
        assert np.unravel_index(image.argmax(), image.shape) == (27, 52)  # row from y, column from x
        numerator, denominator = page.tags["XResolution"].value
        assert numerator / denominator == pytest.approx(50.0) and file.imagej_metadata["unit"] == "um"
        assert json.loads(file.imagej_metadata["Info"])["px_nm"] == 20.0


def test_the_png_has_a_scale_bar_and_says_what_it_shows(tmp_path: Path) -> None:
    canvas = Canvas(FIELD, 10.0, ColourScale())
    canvas.add(localizations_at(300.0, 300.0))
    write_png(tmp_path / "a.png", canvas, 100.0, {"filter": {"sigma_xy_nm": 40.0}})
    with Image.open(tmp_path / "a.png") as picture:
        pixels, said = np.asarray(picture), json.loads(picture.text["rtdecode"])  # type: ignore[attr-defined]
    assert said["filter"] == {"sigma_xy_nm": 40.0} and said["px_nm"] == 10.0
    bar = (pixels[-10] == 255).all(axis=1)
    assert np.count_nonzero(bar) == 51 and pixels[35, 35].max() > 100  # 500 nm


def test_an_image_that_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(ViewerError, match=r"at least 20\.5 nm"):
        check_size(Region(0, 0, 204800, 204800), 1.0)
