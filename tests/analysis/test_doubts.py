"""A run whose data the model was not trained for says so; a good run says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from rtdecode.analysis.doubts import Trained, density_um2, doubts
from rtdecode.core.camera import Camera
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations

CAMERA = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=45, read_noise_e=74.4, em_gain=300)
TRAINED = Trained(photons=(100, 25000), background=(30, 225), density_per_um2=(0, 2.5), z_nm=(-750, 750))
GOOD_ADU = 100 + 90 / 0.15  # 90 photons of 6.67 ADU


def _found(n: int, photons: float = 5000, z_nm: float = 100, background: float = 90) -> Localizations:
    records = np.zeros(n, LOCALIZATION_DTYPE)
    records["photons"], records["z_nm"], records["background"] = photons, z_nm, background
    return Localizations.from_records(records)


def _said(localizations: Localizations, adu: float = GOOD_ADU, n_frames: int = 10) -> list[str]:
    found = doubts(localizations, n_frames, np.full((20, 30), adu), CAMERA, TRAINED)
    return [f"{doubt.check}: {doubt.sentence}" for doubt in found]


def test_good_run_raises_no_doubt() -> None:
    assert _said(_found(100)) == []


def test_bright_emitters_on_few_pixels_are_no_background() -> None:
    frame = np.full((20, 30), GOOD_ADU)
    frame[5:7] = 9000  # 10 % of the pixels
    assert doubts(_found(100), 10, frame, CAMERA, TRAINED) == []


@pytest.mark.parametrize(
    ("localizations", "adu", "said"),
    [
        (_found(100), 44.0, "44 ADU, under the camera's baseline of 100 ADU"),
        (_found(100), 120.0, "at most 3 photons per pixel, trained were 30 to 225"),
        (_found(100, background=290), 20100.0, "about 3e+03 photons per pixel, trained were 30 to 225"),
        (_found(0), GOOD_ADU, "nothing was localized in 10 frames"),
        (_found(600), GOOD_ADU, "density: 10 emitters per square micrometre and frame, trained was up to 2.5"),
        (_found(100, photons=30), GOOD_ADU, "100% of the localizations have photons beyond the trained 100 to 25000"),
        (_found(100, z_nm=-800), GOOD_ADU, "100% of the localizations have z beyond the trained -750 to 750 nm"),
    ],
)
def test_one_sentence_for_each_misfit(localizations: Localizations, adu: float, said: str) -> None:
    (sentence,) = _said(localizations, adu)
    assert said in sentence


def test_density_goes_on_where_the_count_stands_still() -> None:
    """300 localizations of 5000 photons in 10 frames are 30 x 5000 photons a frame; the frames have 600 x 1000 more."""
    frame = np.full((20, 30), GOOD_ADU + 1000 / 0.15)
    assert density_um2(_found(300), 10, frame, CAMERA) == pytest.approx(600 * 1000 / 5000 / 6, rel=1e-3)
    assert [doubt.check for doubt in doubts(_found(300), 10, frame, CAMERA, TRAINED)] == ["density"]
    assert density_um2(_found(300), 10, np.full((20, 30), GOOD_ADU), CAMERA) == pytest.approx(5.0)


def test_tails_are_no_doubt_and_no_frames_say_nothing() -> None:
    records = _found(100).records()
    records["z_nm"][:15] = 790
    assert _said(Localizations.from_records(records)) == []
    assert _said(_found(0), n_frames=0) == []
