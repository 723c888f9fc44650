"""The LLS-PAINT case in small: planes put together where they belong, each localization once, and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from plane_runs import DISPLACED_NM, N_FRAMES, SPACING_NM, molecules, plane_localizations, write_planes, write_run
from scipy.spatial import cKDTree

import rtdecode
from rtdecode.cli.app import run
from rtdecode.core.drift import Drift
from rtdecode.core.yaml_files import load_yaml
from rtdecode.session.volume_plan import VolumePlan, load_plan
from rtdecode.streams.drift_file import write_drift

Captured = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
Z0 = 20_000.0  # stage z of the lowest plane


def plan_text(**changed: Any) -> str:
    """A plan of the four planes, lowest first in the list or not."""
    usual: dict[str, Any] = {
        "planes": [{"run": f"plane{k}", "z_nm": Z0 + SPACING_NM * k} for k in range(4)],
        "z_range_nm": [-400, 400],
        "register": "overlap",
        "filter": "none",
    }
    return json.dumps({key: value for key, value in (usual | changed).items() if value is not None})  # JSON is YAML


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four planes, and the volume of them in `volume`."""
    folder = tmp_path_factory.mktemp("volume")
    write_planes(folder)
    (folder / "plan.yaml").write_text(plan_text())
    assert run(["volume", str(folder / "plan.yaml"), "--out", str(folder / "volume")]) == 0
    return folder


def volume_json(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "volume.json").read_text()))


def test_displacements_of_planes_are_found_within_their_stated_error(base: Path) -> None:
    planes = volume_json(base / "volume")["planes"]
    off = np.array([plane["found_offset_nm"][:2] for plane in planes]) + DISPLACED_NM
    sigma = np.array([plane["found_sigma_nm"][:2] for plane in planes])
    assert np.abs(off).max() < 5 and sigma.max() < 3  # of 40 nm, and of steps up to 55
    assert (np.abs(off) < 4 * sigma + 0.5).all()
    assert [plane["z_nm"] for plane in planes] == [Z0 + SPACING_NM * k for k in range(4)]
    steps = [plane["against_plane_below"] for plane in planes[1:]]
    assert all(abs(step["offset_nm"][2]) < 10 for step in steps)  # z is told, too, and left as the stage says


def test_each_localization_is_kept_once_by_the_plane_that_owns_its_z(base: Path) -> None:
    told, opened = volume_json(base / "volume"), rtdecode.open_run(base / "volume")
    found = opened.localizations
    for plane in told["planes"]:
        rows = (found.frame_index >= plane["first_frame"]) & (
            found.frame_index < plane["first_frame"] + plane["frames"]
        )
        assert rows.sum() == plane["kept"] == plane["of_run"] - plane["filtered"] - plane["of_neighbour"]
        assert plane["owns_nm"][0] <= found.z_nm[rows].min() and found.z_nm[rows].max() < plane["owns_nm"][1]
    assert len(opened.frames) == 4 * N_FRAMES and len(found) == sum(plane["kept"] for plane in told["planes"])
    z, sample = found.z_nm - Z0, molecules()[:, 2]
    edges = np.arange(-300, 1801, 150)  # overlaps: 100..400, 600..900, 1100..1400
    ratio = np.histogram(z, edges)[0] / np.histogram(sample, edges)[0]
    assert ratio.std() / ratio.mean() < 0.25  # seen twice, the overlaps would hold 2 for 1


def near_structure(image: np.ndarray, told: dict[str, Any], low: float, high: float, within_nm: float) -> float:
    """Share of the picture's weight that lies near a molecule of that z; both in the volume's coordinates."""
    sample = molecules()
    there = sample[(sample[:, 2] > low - 100) & (sample[:, 2] < high + 100), :2] - told["origin_nm"]
    row, column = np.nonzero(image)
    centres = np.column_stack([column, row]) * 10.0 + 5 - 50  # the field begins half a camera pixel before 0
    distance, _ = cKDTree(there).query(centres)
    weight = image[row, column]
    return float(weight[distance < within_nm].sum() / weight.sum())


def test_a_slice_holds_the_structure_where_it_is(base: Path, tmp_path: Path) -> None:
    def drawn(volume: Path) -> tuple[np.ndarray, dict[str, Any]]:
        out = tmp_path / f"{volume.name}.tif"
        assert run(["render", str(volume), "--z-nm", f"{Z0 + 600},{Z0 + 900}", "--out", str(out)]) == 0
        return tifffile.imread(out), volume_json(volume)

    image, told = drawn(base / "volume")
    assert near_structure(image, told, 600, 900, 40) > 0.95
    (base / "loose.yaml").write_text(plan_text(register="none"))
    assert run(["volume", str(base / "loose.yaml"), "--out", str(tmp_path / "loose")]) == 0
    assert near_structure(*drawn(tmp_path / "loose"), 600, 900, 40) < 0.85


def test_a_stack_adds_up_and_says_its_sizes(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "stack.tif"
    few = ["--memory-gb", "0.025"]  # five slices in a pass, so that several are needed
    assert run(["render", str(base / "volume"), "--slices", "150", "--px-nm", "10", *few, "--out", str(out)]) == 0
    with tifffile.TiffFile(out) as tiff:
        stack, page = tiff.asarray(), tiff.pages.first
        assert tiff.is_ome and 'PhysicalSizeZ="150.0"' in str(tiff.ome_metadata)
        assert page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1] == pytest.approx(1e6)  # per cm
    assert stack.dtype == np.float32 and len(stack) == 16
    total = stack.sum(dtype=float) * 1e-4  # density per um² times the pixel's area
    found = rtdecode.open_run(base / "volume").localizations
    assert total == pytest.approx(len(found), rel=0.02)  # less what lies out of the field or beyond both ends
    middle = np.histogram(found.z_nm, Z0 - 400 + 150 * np.arange(17))[0][5]
    assert stack[5].sum(dtype=float) * 1e-4 == pytest.approx(middle, rel=0.1)  # the sixth slice: 350 to 500


def test_the_maximum_by_z_has_the_colour_of_the_plane_that_is_there(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "max.png"
    assert run(["render", str(base / "volume"), "--max-by-z", "--slices", "200", "--out", str(out)]) == 0
    assert run(["render", str(base / "volume"), "--out", str(tmp_path / "all.png")]) == 0
    picture = np.asarray(Image.open(out).convert("RGB"), float)
    sample, told = molecules(), volume_json(base / "volume")
    corner = np.flatnonzero((picture == 0).all(axis=2).any(axis=1))[0], np.flatnonzero((picture == 0).all(2).any(0))[0]
    low, high = (sample[sample[:, 2] < 0], sample[sample[:, 2] > 1500])
    blue, red = (_colour(picture, part, told, corner) for part in (low, high))
    assert blue[2] > 1.2 * blue[0] and red[0] > 1.2 * red[2]  # low is blue, high is red
    assert run(["render", str(base / "volume"), "--max-by-z", "--out", str(out)]) == 1  # not overwritten


def _colour(picture: np.ndarray, there: np.ndarray, told: dict[str, Any], corner: tuple[int, int]) -> np.ndarray:
    column, row = (((there[:, :2] - told["origin_nm"] + 50) / 10).astype(int)).T
    return np.asarray(np.median(picture[row + corner[0], column + corner[1]], axis=0))


def test_drift_offsets_and_sensor_places_are_taken_off_before(tmp_path: Path) -> None:
    sample = molecules()
    found = plane_localizations(sample, 0, 4)
    shifted = found.records()
    shifted["x_nm"] += 0.02 * shifted["frame_index"] - 200  # the sensor begins two pixels later
    runs = (found, type(found).from_records(shifted))
    for name, part, x0_px in zip("ab", runs, (0, 2), strict=True):
        write_run(tmp_path / name, part, x0_px=x0_px)
        (tmp_path / f"{name}.yaml").write_text(plan_text(planes=[{"run": name, "z_nm": 7}], take_off_drift=name == "b"))
    line = Drift(np.array([0.0, N_FRAMES]), np.array([[0, 0, 0], [0.02 * N_FRAMES, 0, 0]]), np.ones((2, 3)))
    assert run(["volume", str(tmp_path / "b.yaml"), "--out", str(tmp_path / "vb")]) == 1  # drift was not measured
    write_drift(tmp_path / "b/drift.csv", line)
    for name in "ab":
        assert run(["volume", str(tmp_path / f"{name}.yaml"), "--out", str(tmp_path / f"v{name}")]) == 0
    x = [rtdecode.open_run(tmp_path / f"v{n}").localizations.x_nm + volume_json(tmp_path / f"v{n}")["origin_nm"][0]
         for n in "ab"]  # fmt: skip
    np.testing.assert_allclose(*x, atol=0.01)


def test_channels_become_run_folders_in_the_same_coordinates(base: Path, tmp_path: Path) -> None:
    channels = {
        "red": {"planes": [{"run": "plane0"}, {"run": "plane1"}]},
        "blue": {"planes": [{"run": "plane2"}], "offset_nm": [-350, 0, 30]},
    }
    text = plan_text(planes=None, channels=channels, plane_spacing_nm=-500, z_sign=-1, register="none", z_factor=0.8)
    (base / "two.yaml").write_text(text)
    assert run(["volume", str(base / "two.yaml"), "--out", str(tmp_path / "two")]) == 0
    red, blue = (volume_json(tmp_path / "two" / name) for name in ("red", "blue"))
    assert red["origin_nm"] == blue["origin_nm"] == [-350, 0]
    assert [plane["z_nm"] for plane in red["planes"]] == [-500, 0]
    own = rtdecode.open_run(base / "plane2").localizations
    found = rtdecode.open_run(tmp_path / "two/blue").localizations
    inside = own[np.abs(own.z_nm) <= 400]
    np.testing.assert_allclose(found.z_nm, 30 - 0.8 * inside.z_nm[: len(found)], atol=0.01)
    np.testing.assert_allclose(found.x_nm, inside.x_nm[: len(found)], atol=0.01)
    np.testing.assert_allclose(found.sigma_z_nm, 0.8 * inside.sigma_z_nm[: len(found)], rtol=1e-5)


def test_planes_without_anything_in_common_are_said_and_not_moved(tmp_path: Path, capsys: Captured) -> None:
    sample = molecules()
    write_run(tmp_path / "plane0", plane_localizations(sample, 0, 4))
    write_run(tmp_path / "plane1", plane_localizations(molecules(seed=9)[::-1] * (1, 1, 1), 1, 4))
    two = [{"run": "plane0", "z_nm": 0}, {"run": "plane1", "z_nm": 1000}]  # no z that both see
    (tmp_path / "plan.yaml").write_text(plan_text(planes=two))
    assert run(["volume", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "v")]) == 0
    plane = volume_json(tmp_path / "v")["planes"][1]
    assert plane["found_offset_nm"] == [0, 0, 0] and plane["found_sigma_nm"][:2] == [None, None]
    capsys.readouterr()
    assert run(["report", str(tmp_path / "v")]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "no offset was found for plane1" in said and "of 2 planes" in said
    assert not (tmp_path / "v/drift.csv").exists() and run(["drift", str(tmp_path / "v")]) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (plan_text(spacing_nm=5), "unknown key 'spacing_nm'; did you mean 'plane_spacing_nm'?"),
        (plan_text(plane_spacing_nm=500), "plane 1: expected z_nm or plane_spacing_nm of the plan, found both"),
        (plan_text(planes=[{"run": "plane0"}]), "found neither"),
        (plan_text(planes=[{"run": "plane0", "z_nm": 0}] * 2), "stands there twice"),
        (plan_text(planes=None), "either 'planes' or 'channels'"),
        (plan_text(z_range_nm=None), "give z_range_nm"),
        (plan_text(filter="recommended"), "needs its model"),
        (plan_text(take_off_drift=True), "rtdecode drift"),
        (plan_text(planes=[{"run": "nowhere", "z_nm": 0}]), "not a run folder"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_made(
    text: str, words: str, base: Path, tmp_path: Path, capsys: Captured
) -> None:
    (base / "wrong.yaml").write_text(text)
    assert run(["volume", str(base / "wrong.yaml"), "--out", str(tmp_path / "v")]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "x.jpg"], ".png or .tif"),
        (["--out", "x.png", "--slices", "100"], "many pages"),
        (["--out", "x.tif", "--max-by-z"], "coloured"),
        (["--out", "x.png", "--z-nm", "9,3"], "perhaps 3,9"),
        (["--out", "x.png", "--region-nm", "1,2,3"], "X,Y,WIDTH,HEIGHT"),
        (["--out", "x.png", "--px-nm", "1", "--memory-gb", "0.1"], "--region-nm"),
        (["--out", "no/x.png"], "no folder"),
    ],
)
def test_a_wrong_picture_is_refused(
    options: list[str], words: str, base: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["render", str(base / "volume"), *options]) == 1
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_configuration_of_the_paper_s_case_is_a_plan() -> None:
    path = ROOT / "configs/lls-paint-volume.yaml"
    plan = load_yaml(path, VolumePlan)
    assert plan.register_by == "overlap" and len(plan.planes) > 2
    assert load_plan(path).planes[0].run.is_absolute()
