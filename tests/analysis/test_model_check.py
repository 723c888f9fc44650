"""Each way in which a recording does not fit the shipped model is provoked and named; what fits raises nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from mismatches import BUNDLE, CAMERA, PSF, checked, localized, movie, reversed_in_z, turned

from rtdecode.analysis.camera_check import camera_evidence
from rtdecode.analysis.doubts import Trained
from rtdecode.analysis.model_check import ModelCheck, check_model
from rtdecode.analysis.psf_check import bright_lone_crops, fit_crops, psf_hypotheses, scaled
from rtdecode.core.camera import Camera
from rtdecode.core.localizations import Localizations
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.psf import GaussianPsf, SplinePsf, spline_of
from rtdecode.physics.simulate import PhotonConfig, SimulationConfig, simulate_movie


def warned(check: ModelCheck) -> dict[str, str]:
    return {finding.check: finding.sentence for finding in check.warnings}


@pytest.mark.parametrize(
    "scene",
    [{}, {"density": 0.1, "seed": 2}, {"density": 2.0, "seed": 3}, {"background": 200.0}, {"background": 35.0},
     {"photons": 1500.0}],
)  # fmt: skip
def test_a_matching_recording_raises_nothing(scene: dict[str, Any]) -> None:
    assert warned(checked(movie(**scene))) == {}


def test_a_round_spot_has_no_orientation_to_be_wrong() -> None:
    flat = spline_of(GaussianPsf(1.3, 0.0, float("inf"), roi_px=21))
    trained = Trained((100, 15000), (5, 150), (0, 3.5), (-1, 1))
    frames = np.random.default_rng(1).poisson(200, (20, 32, 32)).astype(np.uint16)
    for psf, verdict in ((flat, "ok"), (PSF, "unknown")):
        findings = {f.check: f for f in check_model(frames, Localizations.empty(), CAMERA, psf, trained).findings}
        assert {findings[name].verdict for name in ("transposed", "mirrored", "z_mirrored")} == {verdict}
        assert findings["pixel_size"].verdict == "unknown"
    assert (
        "2D"
        in {f.check: f for f in check_model(frames, Localizations.empty(), CAMERA, flat, trained).findings}[
            "mirrored"
        ].sentence
    )


@pytest.fixture(scope="module")
def long_movie() -> np.ndarray:
    return movie(n=600, density=1.0)


@pytest.mark.parametrize(
    ("wrong", "check", "said"),
    [
        ({"e_per_adu": 90.0}, "gain", "wrong by a factor of 2"),
        ({"e_per_adu": 22.5}, "gain", "wrong by a factor of 2"),
        ({"baseline_adu": 150.0}, "baseline", "stated is 150 ADU: measure it"),
        ({"baseline_adu": 50.0}, "baseline", "stated is 50 ADU: measure it"),
    ],
)
def test_a_wrong_camera_is_named(long_movie: np.ndarray, wrong: dict[str, float], check: str, said: str) -> None:
    found = warned(checked(long_movie, CAMERA.model_copy(update=wrong), fitted=60))
    assert set(found) == {check}
    assert said in found[check]


def mirrored_x() -> SplinePsf:
    return SplinePsf(np.ascontiguousarray(PSF.coefficients[:, :, ::-1]), PSF.dz_nm, PSF.z0_index, PSF.px_nm)


@pytest.mark.parametrize(
    ("scene", "check", "said"),
    [
        ({"psf": scaled(PSF, 1 / 1.2)}, "pixel_size", "0.8. times as wide.* as if pixels were 1[12]. nm and not"),
        ({"psf": scaled(PSF, 1 / 0.8)}, "pixel_size", "1.2. times as wide.* as if pixels were (7|8). nm and not"),
        ({"psf": turned(PSF)}, "transposed", "fits better with x and y exchanged"),
        ({"psf": mirrored_x()}, "mirrored", "fits better mirrored along x"),
        ({"background": 5.0}, "background", "trained were 30 to 225"),
        ({"background": 400.0}, "background", "about 4.. photons per pixel, trained were 30 to 225"),
        ({"photons": 40000.0}, "photons", "beyond the trained 100 to 25000"),
        ({"photons": 40000.0}, "sigma", "times the bound of a single frame"),
        ({"density": 4.5, "n": 100}, "density", "trained was up to 3"),
    ],
)
def test_wrong_light_is_named(scene: dict[str, Any], check: str, said: str) -> None:
    found = warned(checked(movie(**scene)))
    assert check in found
    assert set(found) <= {check, "photons", "sigma"}
    assert re.search(said, found[check])


@pytest.mark.parametrize(
    ("scene", "wrong", "check"),
    [
        ({"n": 120, "seed": 81}, {"baseline_adu": 150.0}, "baseline"),
        ({"n": 250, "density": 2.0, "seed": 502}, {"baseline_adu": 150.0}, "baseline"),
        ({"psf": turned(PSF), "density": 2.0, "seed": 82}, {}, "transposed"),
        ({"psf": mirrored_x(), "density": 2.0, "seed": 83}, {}, "mirrored"),
    ],
)
def test_what_a_recording_cannot_show_is_never_called_ok(
    scene: dict[str, Any], wrong: dict[str, float], check: str
) -> None:
    """Too short, or too dense for lone emitters: the fault is there and may go unseen, but not be denied."""
    found = checked(movie(**scene), CAMERA.model_copy(update=wrong)).findings
    assert next(finding.verdict for finding in found if finding.check == check) in ("unknown", "warning")


def test_a_background_above_what_the_model_can_say_is_named() -> None:
    """The shipped model saw blobs of up to 405 photons per pixel, its own background ends at 300."""
    ranges = BUNDLE.card.ranges.model_dump()
    end = BUNDLE.scaling.background_max
    assert end < 0.95 * ranges["background"][1]
    frames = movie(background=500.0, n=60)
    told = check_model(frames, localized(frames), CAMERA, None, Trained(**ranges, background_end=end)).warnings
    assert "background" in [finding.check for finding in told]
    crowd = movie(background=200.0, density=4.5, n=60)
    told = check_model(crowd, localized(crowd), CAMERA, None, Trained(**ranges, background_end=end)).warnings
    assert "background" not in [finding.check for finding in told]


def bead_scan(psf: SplinePsf, step_nm: float) -> np.ndarray:
    """(41, 64, 64): four beads that stand still while the focus moves by `step_nm` each frame through z = 0."""
    x, y = np.array([14.3, 48.8, 15.9, 47.1]), np.array([15.2, 13.7, 49.4, 47.9])
    frames = np.zeros((41, 64, 64), np.float32)
    for k, frame in enumerate(frames):
        z = np.full(4, (k - 20) * step_nm)
        psf.add_to(frame[None], np.zeros(4, np.int64), x, y, z, np.full(4, 8000.0))
    return adu_from_photons(CAMERA, frames + 90, np.random.default_rng(4))


@pytest.mark.parametrize(
    ("psf", "step_nm", "stated_nm", "said"),
    [
        (PSF, 25.0, 25.0, None),
        (reversed_in_z(PSF), 25.0, 25.0, "runs against the scan's; calibrate again"),
        (PSF, 25.0, 50.0, "the step of the bead stack or of this scan is wrong"),
    ],
)
def test_a_psf_mirrored_in_z_is_seen_in_a_focus_scan(
    psf: SplinePsf, step_nm: float, stated_nm: float, said: str | None
) -> None:
    check = checked(bead_scan(psf, step_nm), scan_step_nm=stated_nm)
    found = next(finding for finding in check.findings if finding.check == "z_mirrored")
    assert found.verdict == ("ok" if said is None else "warning")
    assert "4 beads" in found.sentence
    assert said is None or said in found.sentence


def moving(psf: SplinePsf, step_nm: float) -> np.ndarray:
    """(240, 64, 64): a blinking sample 400 nm thick; the focus goes by `step_nm` each frame, 30 frames at once."""
    parts = [movie(psf, n=30, density=0.5, seed=40 + k, z_nm=_heights(step_nm, k)) for k in range(8)]
    return np.concatenate(parts)


def _heights(step_nm: float, k: int) -> tuple[float, float]:
    middle = step_nm * (30 * k - 105)
    return middle - 200, middle + 200


@pytest.mark.parametrize(
    ("psf", "step_nm", "verdict", "said"),
    [
        (PSF, 3.0, "ok", "the emitters' z moves by 0."),
        (reversed_in_z(PSF), 3.0, "warning", "runs against the scan's; calibrate again with a negative --dz-nm"),
        (PSF, -3.0, "ok", "the emitters' z moves by 0."),
        (PSF, 0.0, "unknown", "move it further"),
    ],
)
def test_a_psf_mirrored_in_z_is_seen_in_a_blinking_sample_while_the_focus_moves(
    psf: SplinePsf, step_nm: float, verdict: str, said: str
) -> None:
    check = checked(moving(psf, step_nm), scan_step_nm=step_nm or 3.0)
    found = next(finding for finding in check.findings if finding.check == "z_mirrored")
    assert (found.verdict, said in found.sentence) == (verdict, True), found


@pytest.mark.parametrize(("psf", "check"), [(turned(PSF), "transposed"), (mirrored_x(), "mirrored"), (PSF, None)])
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_orientation_is_told_from_sparse_to_dense(psf: SplinePsf, check: str | None, density: float) -> None:
    found = checked(movie(psf, density=density, seed=7))
    assert set(warned(found)) == ({check} if check else set())
    if check is None:
        verdicts = {one.check: one.verdict for one in found.findings}
        assert verdicts["transposed"] == "ok" == verdicts["mirrored"]


def test_a_turned_psf_is_told_at_two_per_square_micrometre() -> None:
    assert "transposed" in warned(checked(movie(turned(PSF), n=400, density=2.0, seed=9)))


def test_without_a_scan_no_recording_can_tell_z_from_minus_z() -> None:
    """Not a weakness of the check: with the reversed PSF every crop fits exactly as well, at the opposite z."""
    frames = movie(density=0.2, n=100)
    crops = bright_lone_crops(frames, localized(frames), CAMERA)
    as_is, mirrored = fit_crops(crops, PSF), fit_crops(crops, reversed_in_z(PSF))
    same = np.abs(as_is.chi2 - mirrored.chi2) < 1e-3
    assert same.mean() > 0.9  # the rest stopped in another minimum
    np.testing.assert_allclose(as_is.parameters[same, 2], -mirrored.parameters[same, 2], atol=20)
    finding = next(one for one in checked(frames).findings if one.check == "z_mirrored")
    assert finding.verdict == "unknown"
    assert "--scan-step-nm" in finding.sentence


def test_refined_fits_are_right() -> None:
    """Of the right PSF: chi-squared 1, wrong by the truth's own noise, and the other PSFs are worse."""
    frames = movie(density=0.1, n=200)
    crops = bright_lone_crops(frames, localized(frames), CAMERA)
    chi2 = {name: float(np.median(fit_crops(crops, psf).chi2)) for name, psf in psf_hypotheses(PSF).items()}
    assert chi2["as_is"] == pytest.approx(1.0, abs=0.06)
    assert min(chi2, key=lambda name: chi2[name]) == "as_is"


@pytest.mark.parametrize(
    "camera",
    [CAMERA, Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.6)],
)
def test_gain_and_baseline_by_the_noise_within_their_errors(camera: Camera) -> None:
    """EMCCD and sCMOS; uneven light alone, no emitters: the method needs no model."""
    light = 20 + 180 * np.clip(np.sin(np.arange(96) / 12), 0, 1) ** 2
    frames = adu_from_photons(camera, np.broadcast_to(light, (200, 96, 96)), np.random.default_rng(1))
    found = camera_evidence(frames, camera)
    gain = (camera.em_gain or 1.0) / camera.e_per_adu
    assert abs(found.adu_per_electron - gain) < 4 * found.adu_per_electron_se < 0.2 * gain
    assert abs(found.baseline_adu - 100) < 4 * found.baseline_adu_se < 60
    assert found.noise_ratio == pytest.approx(1, abs=0.05)


def test_even_light_tells_nothing_and_says_so() -> None:
    frames = adu_from_photons(CAMERA, np.full((20, 32, 32), 90.0), np.random.default_rng(1))
    check = checked(frames)
    verdicts = {finding.check: finding.verdict for finding in check.findings}
    assert verdicts["gain"] == verdicts["baseline"] == verdicts["pixel_size"] == verdicts["sigma"] == "unknown"


def test_sharp_spots_do_not_pass_for_noise() -> None:
    """A width of 1.1 px: with the plain high-pass the gain comes out 80 % too high, the baseline 34 ADU."""
    camera = Camera(px_nm=(100, 100), baseline_adu=100, e_per_adu=0.5, read_noise_e=1.6)
    sharp = GaussianPsf(psf_sigma_px=1.1, depth_nm=float("inf"), roi_px=21)
    light = SimulationConfig(
        shape_px=(64, 64), density_um2=(0.3, 0.3), photons=PhotonConfig(mean=4000), z_nm=(-1, 1), background=(30, 30)
    )
    found = camera_evidence(simulate_movie(sharp, camera, light, 600, 3).frames_adu[0], camera)
    assert found.adu_per_electron == pytest.approx(2.0, rel=0.06)
    assert found.baseline_adu == pytest.approx(100, abs=5)
