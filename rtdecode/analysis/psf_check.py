"""Which PSF a recording has: bright lone emitters, refitted with the model's PSF and with common mistakes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, uniform_filter
from scipy.spatial import cKDTree

from rtdecode.core.camera import Camera
from rtdecode.core.localizations import Localizations
from rtdecode.physics.crlb import pixel_variance
from rtdecode.physics.psf import Psf, SplinePsf

F8 = NDArray[np.float64]
HALF_PX = 7  # crops are 15 x 15 px
LONELY_PX = (10.0, 7.0)
"""Along either axis, to the next localization of the same frame; the second where the first leaves too few. At 2
emitters per um² crops of the second kind have neighbours in them, but there are far more."""
ENOUGH_CROPS = 150
MAX_CROPS = (200, 500)
Z_STARTS = 7
STEPS = 10
SAME_BEAD_NM, BEAD_MOVES_NM = 300.0, 100.0
BEAD_SHARE = 0.3  # of the frames; at 4 emitters per um² something blinks within 100 nm in an eighth of them
FEWEST_MOVED = 200  # localizations whose z is held against a moving focus
SCALES = (0.7, 0.8, 0.9, 1.1, 1.25, 1.4)
"""Widths of the PSF tried, relative to the model's: what another pixel size looks like."""
AS_IS, TRANSPOSED, MIRRORED_X, MIRRORED_Y = "as_is", "transposed", "mirrored_x", "mirrored_y"


@dataclass(frozen=True, slots=True)
class Crops:
    """N bright lone emitters: data in photons, its variance, and the network's answer as a start in crop pixels."""

    photons: F8  # (N, 15, 15)
    variance: F8  # (N, 15, 15)
    x_px: F8  # (N,)
    y_px: F8
    index: NDArray[np.int64]  # (N,) rows of the localizations that they are

    def __len__(self) -> int:
        return len(self.x_px)


@dataclass(frozen=True, slots=True)
class Fits:
    """The crops fitted with one PSF."""

    chi2: F8  # (N,) reduced: 1 on average where PSF, gain and background are right
    parameters: F8  # (N, 5) x, y [crop px], z [nm], photons, background
    residuals: F8  # (N, 15, 15) data less fit, in standard deviations


def psf_hypotheses(psf: SplinePsf) -> dict[str, SplinePsf]:
    """The PSF as it is, and as it looks when somebody made one mistake: x for y, a mirrored camera, another pixel size.

    Not among them: reversed in z. An emitter at z with one is, pixel for pixel, an emitter at -z with the other, so
    no recording can tell them apart unless it is known how the focus moved (`z_slope`).
    """
    here = psf.coefficients
    turned = {AS_IS: here, TRANSPOSED: here.transpose(0, 2, 1), MIRRORED_X: here[:, :, ::-1], MIRRORED_Y: here[:, ::-1]}
    found = {
        name: SplinePsf(np.ascontiguousarray(values), psf.dz_nm, psf.z0_index, psf.px_nm)
        for name, values in turned.items()
    }
    return found | {f"scaled_{scale:g}": scaled(psf, scale) for scale in SCALES}


def scaled(psf: SplinePsf, scale: float) -> SplinePsf:
    """The same PSF `scale` times as wide in pixels, of the same sum."""
    n_z, n = psf.coefficients.shape[:2]
    grid = (np.arange(n) - n // 2) / scale + n // 2
    at = np.meshgrid(np.arange(n_z), grid, grid, indexing="ij")
    values = map_coordinates(psf.coefficients.astype(np.float64), at, order=3, prefilter=False, mode="constant")
    return SplinePsf.from_samples((values / scale**2).astype(np.float32), psf.dz_nm, psf.z0_index, psf.px_nm)


def bright_lone_crops(frames_adu: NDArray[np.generic], found: Localizations, camera: Camera) -> Crops:
    """The brightest emitters with nobody near, away from the rim; localizations count frames (T, H, W) from 0."""
    x, y = found.x_nm / camera.px_nm[0], found.y_nm / camera.px_nm[1]
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    height, width = frames_adu.shape[1:]
    inside = (np.minimum(row, column) >= HALF_PX) & (row < height - HALF_PX) & (column < width - HALF_PX)
    index = np.zeros(0, np.int64)
    for lonely_px, most in zip(LONELY_PX, MAX_CROPS, strict=True):
        if len(index) < ENOUGH_CROPS:
            index = np.flatnonzero(inside & _lonely(found.frame_index, x, y, lonely_px))
            index = index[np.argsort(-found.photons[index], kind="stable")][: min(most, (len(index) + 1) // 2)]
    reach = np.arange(-HALF_PX, HALF_PX + 1)
    rows, columns = row[index, None, None] + reach[:, None], column[index, None, None] + reach
    photons = camera.photons(frames_adu[found.frame_index[index, None, None], rows, columns]).astype(np.float64)
    variance = pixel_variance(camera, uniform_filter(photons, (0, 3, 3)))
    return Crops(photons, variance, x[index] - column[index] + HALF_PX, y[index] - row[index] + HALF_PX, index)


def fit_crops(crops: Crops, psf: Psf) -> Fits:
    """Least squares for x, y, z, photons and background of each crop: best of a grid in z, then damped Gauss-Newton."""
    parameters = _starts(crops, psf)
    value, jacobian = _model(parameters, psf)
    chi2, damping = _chi2(crops, value), np.full(len(crops), 0.01)
    for _ in range(STEPS):
        tried = _bounded(parameters + _step(crops, value, jacobian, damping), psf)
        new_value, new_jacobian = _model(tried, psf)
        new_chi2 = _chi2(crops, new_value)
        better = new_chi2 < chi2
        parameters[better], chi2[better] = tried[better], new_chi2[better]
        value[better], jacobian[better] = new_value[better], new_jacobian[better]
        damping = np.where(better, damping * 0.2, damping * 8)
    free = crops.photons[0].size - 5
    return Fits(chi2 / free, parameters, (crops.photons - value) / np.sqrt(crops.variance))


def z_slope(crops: Crops, fits: Fits, found: Localizations, step_nm: float) -> tuple[float, int]:
    """(median slope of fitted z against the focus, beads that tell it) of a scan that moves by `step_nm` each frame.

    1 where the PSF's z is the scan's, -1 where it is mirrored; emitters must stand still: beads. NaN without any.
    """
    x, y = found.x_nm[crops.index], found.y_nm[crops.index]
    frame, z = found.frame_index[crops.index], fits.parameters[:, 2]
    slopes, left = [], np.ones(len(crops), bool)
    for k in range(len(crops)):
        near = left & (np.hypot(x - x[k], y - y[k]) < SAME_BEAD_NM)
        if left[k] and near.sum() >= 5 and np.ptp(frame[near]) > 0 and _stays(found, x[k], y[k]):
            slopes.append(np.polyfit(frame[near] * step_nm, z[near], 1)[0])
        left &= ~near
    return (float(np.median(slopes)) if slopes else np.nan), len(slopes)


def drift_of_z(found: Localizations, step_nm: float) -> tuple[float, float]:
    """(slope, its standard error) of all localizations' z against the focus, which moves by `step_nm` each frame.

    For blinking emitters, each of which is seen in a few frames only: what moves is where they all are. Less than 1 in
    size, since those that leave the model's range are not seen; 0 where they fill it. NaN without light or movement.
    """
    focus, z = found.frame_index * step_nm, found.z_nm.astype(np.float64)
    if len(found) < FEWEST_MOVED or np.ptp(focus) == 0:
        return np.nan, np.nan
    slope, level = np.polyfit(focus, z, 1)
    apart = z - slope * focus - level
    return float(slope), float(apart.std() / (np.std(focus) * np.sqrt(len(z))))


def _stays(found: Localizations, x_nm: float, y_nm: float) -> bool:
    """Whether something shines at this place in many frames, as beads do and blinking emitters do not."""
    here = np.hypot(found.x_nm - x_nm, found.y_nm - y_nm) < BEAD_MOVES_NM
    return len(np.unique(found.frame_index[here])) > BEAD_SHARE * (int(found.frame_index.max()) + 1)


def _lonely(
    frame: NDArray[np.int64], x_px: NDArray[np.floating], y_px: NDArray[np.floating], lonely_px: float
) -> NDArray[np.bool_]:
    """(N,) whether no other localization of its frame is within `lonely_px` along both axes."""
    at = np.column_stack([frame * (4 * lonely_px), x_px, y_px])
    near = cKDTree(at).query_ball_point(at, lonely_px, p=np.inf, return_length=True) if len(at) else np.zeros(0)
    return np.asarray(near == 1)


def _starts(crops: Crops, psf: Psf) -> F8:
    """(N, 5): the network's x and y; of each z of a grid photons and background are linear: the best of them."""
    low, high = psf.z_range_nm
    best, least = np.zeros((len(crops), 5)), np.full(len(crops), np.inf)
    for z_nm in np.linspace(low, high, Z_STARTS + 2)[1:-1]:
        tried = np.column_stack([crops.x_px, crops.y_px, np.full(len(crops), z_nm), np.ones((len(crops), 2))])
        _, jacobian = _model(tried, psf)
        linear = jacobian[..., 3:]
        weight = 1 / crops.variance[..., None]
        normal = np.einsum("nijk,nijl->nkl", linear * weight, linear)
        right = np.einsum("nijk,nij->nk", linear * weight, crops.photons)
        tried[:, 3:] = np.linalg.solve(normal, right[..., None])[..., 0]
        chi2 = _chi2(crops, np.einsum("nijk,nk->nij", linear, tried[:, 3:]))
        better = chi2 < least
        best[better], least[better] = tried[better], chi2[better]
    return _bounded(best, psf)


def _model(parameters: F8, psf: Psf) -> tuple[F8, F8]:
    """Expected photons (N, 15, 15) and their derivatives (N, 15, 15, 5)."""
    side = 2 * HALF_PX + 1
    x, y, z, photons, background = parameters.T
    unit, d_x, d_y, d_z = (v.astype(np.float64) for v in psf.with_derivatives(x, y, z, (side, side)))
    light = photons[:, None, None]
    jacobian = np.stack([light * d_x, light * d_y, light * d_z, unit, np.ones_like(unit)], axis=-1)
    return light * unit + background[:, None, None], jacobian


def _chi2(crops: Crops, value: F8) -> F8:
    return np.asarray(np.sum((crops.photons - value) ** 2 / crops.variance, axis=(1, 2)))


def _step(crops: Crops, value: F8, jacobian: F8, damping: F8) -> F8:
    """(N, 5); scaled to a unit diagonal, since photons and nanometres differ by orders of magnitude."""
    slopes = (jacobian / np.sqrt(crops.variance)[..., None]).reshape(len(crops), -1, 5)
    apart = ((crops.photons - value) / np.sqrt(crops.variance)).reshape(len(crops), -1, 1)
    scale = np.sqrt(np.sum(slopes**2, axis=1)) + 1e-12  # (N, 5)
    slopes = slopes / scale[:, None]
    normal = slopes.transpose(0, 2, 1) @ slopes + (damping[:, None] + 1e-9)[..., None] * np.eye(5)
    return np.asarray(np.linalg.solve(normal, slopes.transpose(0, 2, 1) @ apart)[..., 0] / scale)


def _bounded(parameters: F8, psf: Psf) -> F8:
    """Within 3 px of the crop's middle, within the PSF's z, and with light."""
    low, high = psf.z_range_nm
    bounds = (
        (HALF_PX - 3.0, HALF_PX + 3.0),
        (HALF_PX - 3.0, HALF_PX + 3.0),
        (low, high),
        (1.0, np.inf),
        (-np.inf, np.inf),
    )
    return np.column_stack([np.clip(parameters[:, k], *bound) for k, bound in enumerate(bounds)])
