"""picture.png read back: both panels, at the right places, in the right orientation, and what it says it drew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from view_runs import localizations_at, scattered

from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.view.canvas import ColourScale
from rtdecode.view.picture import Page, widefield_grey, write_picture

SCALE = ColourScale(-500, 500)


def panels(path: Path, panel: tuple[int, int]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Wide-field and super-resolution panels of a picture whose panels are (width, height)."""
    image = np.asarray(Image.open(path)).astype(int)
    page = Page(panel, max(15, round(max(panel) / 44)))
    assert image.shape == (page.size[1], page.size[0], 3)
    rows = slice(page.top, page.top + panel[1])
    wide, fine = (image[rows, left : left + panel[0]] for left in page.lefts[:2])
    return wide, fine


def test_both_panels_show_one_emitter_at_its_off_diagonal_place(tmp_path: Path) -> None:
    widefield = np.full((40, 80), 1000.0)
    widefield[7, 60] = 9000.0  # row 7, column 60: y = 700 nm, x = 6000 nm
    drawn = write_picture(
        tmp_path / "p.png", localizations_at(6000.0, 700.0), widefield, (100.0, 100.0), scale=SCALE, n_frames=3
    )
    assert (drawn.shown, drawn.total, drawn.pixel_nm) == (1, 1, 10.0)
    wide, fine = panels(tmp_path / "p.png", (800, 400))
    at = (75, 605)  # (700 + 50) / 10, (6000 + 50) / 10
    assert (wide[at] == 255).all() and (wide[75, 595] == 0).all() and (wide[65, 605] == 0).all()
    bright = np.argwhere(fine[:300].sum(axis=2) > 250)
    assert np.abs(bright.mean(axis=0) - at).max() < 1.5
    assert np.ptp(bright, axis=0).max() < 10


def test_a_2d_picture_has_no_bar_of_depths(tmp_path: Path) -> None:
    deep = scattered(200, 1)
    records = deep.records()
    records["z_nm"] = records["sigma_z_nm"] = 0
    flat = Localizations.from_records(records)
    bars, drawn = [], []
    for name, some in (("3d", deep), ("2d", flat)):
        drawn.append(write_picture(tmp_path / f"{name}.png", some, np.ones((24, 32)), (100.0, 100.0)))
        page, image = Page((800, 600), 18), np.asarray(Image.open(tmp_path / f"{name}.png"))
        bars.append(image[page.top + 50 : page.top + 500, page.lefts[2] + 5 : page.lefts[2] + 15].astype(int))
    assert np.ptp(bars[0], axis=(0, 1)).max() > 100 and np.ptp(bars[1], axis=(0, 1)).max() == 0
    assert drawn[0].scale is not None and drawn[1].scale is None
    assert drawn[1].shown == np.count_nonzero(flat.sigma_x_nm <= 40)


def test_pixels_that_are_not_square_keep_their_shape(tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png", Localizations.empty(), np.eye(20), (100.0, 200.0), pixel_nm=10.0)
    wide, _ = panels(tmp_path / "p.png", (200, 400))
    assert wide[30, 15].max() == 255 and wide[30, 5].max() == 0


@pytest.mark.parametrize(
    ("quality", "shown"),
    [(QualityFilter(), 2), (QualityFilter(20.0, None), 1), (QualityFilter(None, 20.0), 1), (SHOW_ALL, 4)],
)
def test_the_filter_is_applied_and_counted(tmp_path: Path, quality: QualityFilter, shown: int) -> None:
    some = localizations_at([500.0, 1000.0, 1500.0, 1900.0], 900.0, sigma_nm=[10.0, 30.0, 90.0, 60.0])
    drawn = write_picture(tmp_path / "p.png", some, np.ones((20, 20)), (100.0, 100.0), quality=quality)
    assert (drawn.shown, drawn.total) == (shown, 4)
    _, fine = panels(tmp_path / "p.png", (800, 800))
    row = fine[round(950 / 2.5), :].max(axis=1) > 40
    assert int(np.count_nonzero(np.diff(np.flatnonzero(row)) > 1)) + 1 == shown


def test_localizations_in_parts_give_the_same_picture(tmp_path: Path) -> None:
    localizations, widefield = scattered(1000, 4), np.arange(24 * 32.0).reshape(24, 32)
    for name, given in (("a.png", localizations), ("b.png", (localizations[i : i + 90] for i in range(0, 1000, 90)))):
        write_picture(tmp_path / name, given, widefield, (100.0, 100.0), n_frames=10, title="run")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("shape", [(3, 3), (5, 120), (120, 5), (333, 301)])
def test_any_shape_and_nothing_to_show(tmp_path: Path, shape: tuple[int, int]) -> None:
    drawn = write_picture(tmp_path / "p.png", Localizations.empty(), np.zeros(shape), (100.0, 100.0))
    assert (drawn.shown, drawn.total) == (0, 0)
    image = np.asarray(Image.open(tmp_path / "p.png"))
    assert 800 <= max(image.shape) < 2 * 3500


def test_a_large_field_gets_larger_pixels_and_a_small_one_finer(tmp_path: Path) -> None:
    sides = [
        write_picture(tmp_path / "p.png", Localizations.empty(), np.zeros((n, 4)), (100.0, 100.0)).pixel_nm
        for n in (40, 100, 2048)
    ]
    assert sides == pytest.approx([5.0, 10.0, 204800 / 2400])


def test_a_wide_field_image_with_holes_stays_readable() -> None:
    grey = widefield_grey(np.r_[np.nan, np.inf, np.linspace(0, 100, 98)].reshape(10, 10))
    assert grey.flat[0] == 0 and grey.max() == 255 and grey.flat[50] in range(100, 150)
    assert not widefield_grey(np.full((3, 3), np.nan)).any()
