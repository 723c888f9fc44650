"""What to train for, from a recording itself: background, photons, density, on-times, z range, width of the PSF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from rtdecode.analysis.estimated import Background, Density, Estimate, Photons, Samples, Width, ZRange
from rtdecode.analysis.flicker import Flicker, flicker
from rtdecode.analysis.light_statistics import (
    MAP_SMOOTH_PX,
    Light,
    Transform,
    background_map,
    mean_shadow,
    solve,
    transform,
)
from rtdecode.analysis.psf_width import bright_gaussians, compare_width, psf_curve
from rtdecode.analysis.spot_fits import Fits, fit_gaussian, fit_psf
from rtdecode.analysis.spots import MIN_SNR, Spots, away_from_rim, crops, find_spots, full_exposures
from rtdecode.core.camera import Camera
from rtdecode.core.errors import RecordingError
from rtdecode.physics.psf import Psf
from rtdecode.physics.simulate import exposures

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
MIN_FRAMES = 20
MIN_SPOTS = 20
MAX_FITS = 3000
CLEAR_PX = (9.0, 7.0, 5.0)
"""Distance to the next spot from which one counts as isolated; smaller ones where that leaves too few."""
_ROUNDS = 4  # photons, background and density depend on each other; they move less than 1 % after three
_SPOTS_AS_GOOD = 100.0  # full exposures of isolated spots that weigh as much as the flicker
_DIMMEST_SEEN = 0.4  # z is used for photons where emitters of this share of the median would be found as well
_USUAL_SPREAD = (0.35, 20.0)  # relative, of photons between emitters, and the spots that weigh as much
_PIECE_FRAMES = 50  # at least, of a piece of time whose background is told
_LEAK = 0.2  # of the emitters' own structure may pass for background
_TILE_PX = 12.0  # sigma of the window in which the busiest place is looked for


@dataclass(frozen=True, slots=True)
class _Isolated:
    """Fitted isolated spots."""

    spots: Spots
    fits: Fits
    full: NDArray[np.bool_]  # (N,) lit for all of its frame
    good: NDArray[np.bool_]  # (N,) one emitter, as far as chi2 tells
    clear_px: float
    share: float  # of all spots away from the rim
    everything: Spots  # isolated or not
    frames: int

    @property
    def chi2(self) -> float:
        """Of the better fits: 1 where PSF and camera are right and spots are alone."""
        return float(np.percentile(self.fits.chi2, 25))


def estimate(blocks: Sequence[F4], camera: Camera, psf: Psf) -> Estimate:
    """From photons, blocks (T, H, W) of consecutive frames; raises RecordingError where there is too little to go by.

    Background, density and on-time come from the statistics of the pixels, whatever the density; photons from isolated
    spots and from the flicker, weighted by how many spots there are; z and width from isolated spots.
    """
    photons = np.concatenate(list(blocks))
    if len(photons) < MIN_FRAMES:
        raise RecordingError(f"{len(photons)} frames are too few for an estimate; give at least {MIN_FRAMES}")
    light = flicker(list(blocks))
    isolated = _isolated(photons, [len(block) for block in blocks], camera, psf)
    z, found = _z_range(isolated, psf), _photons_of_spots(isolated)
    on_time = light.memory_frames if math.isfinite(light.memory_frames) else 1.0
    near = float(np.percentile(photons[:: max(1, len(photons) // 50)], 20))  # below the background, not by much
    given = transform(photons, camera, near)
    level, shadow, brightness = _agree(photons, given, psf, light, found, z, on_time, isolated.chi2)
    background = _background(photons, camera, given, shadow, level, near)
    mean_frame = photons.mean(axis=0, dtype=np.float64)
    density = _density(mean_frame, background, brightness.full_frame * on_time / (on_time + 1), camera, isolated)
    curve = psf_curve(psf, camera, brightness.full_frame, level)
    sigmas = _widths(photons, isolated, camera)
    return Estimate(
        frames=len(photons),
        shape_px=(photons.shape[1], photons.shape[2]),
        background=background,
        photons=brightness,
        density=density,
        on_time_frames=light.on_time_frames,
        returns=light.returns,
        z=z,
        width=_width(sigmas, curve, isolated),
        samples=_samples(photons, isolated, mean_frame, light, sigmas, curve),
    )


def _isolated(photons: F4, lengths: Sequence[int], camera: Camera, psf: Psf) -> _Isolated:
    """Isolated spots, fitted; of many the ones that are spread evenly over time."""
    spots = find_spots(photons, camera, psf)
    block = np.repeat(np.arange(len(lengths)), lengths)  # (T,)
    full = full_exposures(spots.moved_by(block[spots.frame] * 10))  # frames of two blocks are no neighbours
    whole = away_from_rim(spots, (photons.shape[1], photons.shape[2]))
    for clear_px in CLEAR_PX:
        chosen = np.flatnonzero(whole & (spots.nearest_px > clear_px))
        if len(chosen) >= MIN_SPOTS:
            break
    else:
        raise RecordingError(
            f"{len(spots)} spots in {len(photons)} frames, {len(chosen)} of them isolated by {CLEAR_PX[-1]:g} px; at "
            f"least {MIN_SPOTS} are needed. Give more frames, or a stretch with fewer emitters; check the camera's "
            "gain and the PSF's pixel size"
        )
    share = len(chosen) / max(int(whole.sum()), 1)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), MAX_FITS)).astype(int)]
    picked = spots.where(chosen)
    fits = fit_psf(crops(photons, picked), camera, psf)
    good = fits.chi2 < max(1.3, 1.2 * float(np.percentile(fits.chi2, 25)))
    return _Isolated(picked, fits, full[chosen], good, clear_px, share, spots, len(photons))


def _photons_of_spots(isolated: _Isolated) -> tuple[float, float, int]:
    """Median and spread of photons in full frames, and of how many.

    Only at those z where emitters much dimmer than the median would be seen too: elsewhere the bright ones are
    picked out.
    """
    photons = isolated.fits.parameters[:, 3]
    limit = photons * MIN_SNR / isolated.spots.snr  # photons at which this spot would not have been found
    full = isolated.good & isolated.full
    if full.sum() < MIN_SPOTS:
        full = isolated.good  # short on-times: partial frames as well, told by the small number
    chosen = full
    for _ in range(3):
        middle = float(np.median(photons[chosen]))
        seen = full & (limit < _DIMMEST_SEEN * middle)
        chosen = seen if seen.sum() >= MIN_SPOTS else full
    middle = float(np.median(photons[chosen]))
    n, spread = int(chosen.sum()), 1.4826 * float(np.median(np.abs(photons[chosen] / middle - 1)))
    spread = (n * spread + _USUAL_SPREAD[1] * _USUAL_SPREAD[0]) / (n + _USUAL_SPREAD[1])
    return middle, float(np.clip(spread, 0.1, 0.6)) * middle, int((chosen & isolated.full).sum())


def _z_range(isolated: _Isolated, psf: Psf) -> ZRange:
    z_nm = isolated.fits.parameters[isolated.good, 2]
    known = isolated.fits.sigmas[isolated.good, 2] > 0
    low, high = psf.z_range_nm
    if known.mean() < 0.5:
        return ZRange((0.0, 0.0), (low, high), (low, high), int(known.sum()), tells=False)
    first, last = (float(v) for v in np.percentile(z_nm[known], [2, 98]))
    margin = 0.15 * (last - first)
    used = max(first - margin, low), min(last + margin, high)
    five, ninety_five = (float(v) for v in np.percentile(z_nm[known], [5, 95]))
    return ZRange((five, ninety_five), (first, last), used, int(known.sum()), tells=True)


def _agree(
    photons: F4,
    given: Transform,
    psf: Psf,
    light: Flicker,
    found: tuple[float, float, int],
    z: ZRange,
    on_time: float,
    chi2: float,
) -> tuple[float, F8, Photons]:
    """Background level, shadow of an emitter, and photons that are consistent with each other."""
    from_spots, spread, count = found
    relative, mean = spread / from_spots, float(photons.mean(dtype=np.float64))
    sharpness, curve = _sharpness(psf, z.seen_nm), given.minus_log.mean(axis=(1, 2))
    weight = count / (count + _SPOTS_AS_GOOD * (1 + 10 * max(chi2 - 1, 0)))  # overlapping spots are no measure
    full_frame, from_flicker = from_spots, math.nan
    for _ in range(_ROUNDS):
        shadow = mean_shadow(psf, _light(full_frame, relative, z.seen_nm, on_time), given.phi)
        level = solve(curve, given.phi, shadow).background
        from_flicker = light.photons(mean - level, sharpness) / (1 + relative**2)
        if math.isfinite(from_flicker):
            full_frame = from_spots**weight * from_flicker ** (1 - weight)
    return level, shadow, Photons(full_frame, relative * full_frame, from_spots, from_flicker, count)


def _light(full_frame: float, relative: float, z_nm: tuple[float, float], on_time: float, n: int = 500) -> Light:
    """Records of emitters as `simulate` makes them."""
    rng = np.random.default_rng(0)
    bright = np.maximum(rng.normal(full_frame, relative * full_frame, n), 0.1 * full_frame)
    on = rng.uniform(0, 1, n)
    place = np.column_stack([np.zeros((n, 2)), rng.uniform(*z_nm, n)])
    records = exposures(place, bright, on, on + rng.exponential(on_time, n), int(20 * on_time) + 5)
    records = records[rng.permutation(len(records))[:n]]
    return Light(records["photons"].astype(np.float64), records["z_nm"].astype(np.float64))


def _sharpness(psf: Psf, z_nm: tuple[float, float]) -> float:
    """Sum of PSF² over sum of PSF, over the z range."""
    side = psf.roi_px + 2
    z, centre = np.linspace(*z_nm, 41), np.full(41, side // 2)
    spots = psf.with_derivatives(centre, centre, z, (side, side))[0].astype(np.float64)
    return float((spots**2).sum() / spots.sum())


def _background(photons: F4, camera: Camera, given: Transform, shadow: F8, level: float, near: float) -> Background:
    """Its level over time, and over space as far as two halves of the time agree on it."""
    pieces = np.array_split(photons, min(8, max(1, len(photons) // _PIECE_FRAMES)))
    levels = np.array([_level(transform(piece, camera, near), shadow) for piece in pieces])
    levels *= level / max(float(levels.mean()), 1e-9)  # few frames make a logarithm too large, in each piece alike
    halves = [background_map(transform(photons[k::2], camera, near), shadow) for k in range(2)]
    covariance = float(np.mean((halves[0] - halves[0].mean()) * (halves[1] - halves[1].mean())))
    noise = float(np.std(halves[0] - halves[1]) / 2)  # of the mean of both
    field = np.maximum(background_map(given, shadow), 0.0)
    low, high = (float(v) for v in np.percentile(field, [5, 95]))
    leak = _LEAK * float(np.std(gaussian_filter(photons.mean(axis=0), MAP_SMOOTH_PX) - field))
    return Background(
        mean=level,
        over_time=(float(levels.min()), float(levels.max())),
        over_space=(low, high),
        structure=math.sqrt(max(covariance, 0.0)) / level if level > 0 else 0.0,
        map_noise=max(noise, leak) / level if level > 0 else 0.0,
        field=field.astype(np.float32),
        levels=levels,
    )


def _level(given: Transform, shadow: F8) -> float:
    return solve(given.minus_log.mean(axis=(1, 2)), given.phi, shadow).background


def _density(mean_frame: F8, background: Background, per_record: float, camera: Camera, isolated: _Isolated) -> Density:
    """Mean light over the background, in emitters; and where it is densest."""
    px_um2 = camera.px_nm[0] * camera.px_nm[1] * 1e-6
    mean = max(float(mean_frame.mean()) - background.mean, 0.0) / per_record / px_um2
    tiles = gaussian_filter(mean_frame - background.field, _TILE_PX, mode="nearest") / per_record / px_um2
    found = len(isolated.everything) / (isolated.frames * mean_frame.size * px_um2)
    most = max(float(np.percentile(tiles, 98)), mean, found)
    return Density(max(mean, found), most, found, mean, isolated.share, isolated.clear_px)


def _widths(photons: F4, isolated: _Isolated, camera: Camera) -> F8:
    """(N, 2) Gaussian sigmas of the brighter half of the isolated spots.

    How well the PSF fits them is not asked: it may be the wrong one.
    """
    bright = isolated.spots.snr >= np.median(isolated.spots.snr)
    return bright_gaussians(fit_gaussian(crops(photons, isolated.spots.where(bright)), camera))


def _width(sigmas_px: F8, curve_px: F8, isolated: _Isolated) -> Width:
    scale, exchanged = compare_width(sigmas_px, curve_px) if len(sigmas_px) else (math.nan, False)
    narrow = float(np.percentile(np.sqrt(sigmas_px.prod(axis=1)), 10)) if len(sigmas_px) else math.nan
    smallest = float(np.sqrt(curve_px.prod(axis=1)).min())
    return Width(scale, exchanged, (narrow, smallest), len(sigmas_px), isolated.chi2)


def _samples(photons: F4, isolated: _Isolated, mean_frame: F8, light: Flicker, sigmas_px: F8, curve_px: F8) -> Samples:
    """Examples are the frames with fewest, median and most spots found."""
    spots, good = isolated.everything, isolated.good
    counts = np.bincount(spots.frame, minlength=len(photons))
    order = np.argsort(counts, kind="stable")
    shown = [int(order[k]) for k in (len(order) // 10, len(order) // 2, len(order) - 1 - len(order) // 10)]
    places = tuple(
        tuple(_places(part.where(part.frame == frame)) for frame in shown) for part in (spots, isolated.spots)
    )
    full = good & isolated.full if (good & isolated.full).sum() >= MIN_SPOTS else good
    told = good & (isolated.fits.sigmas[:, 2] > 0)
    return Samples(
        photons=isolated.fits.parameters[full, 3],
        z_nm=isolated.fits.parameters[told, 2],
        sigmas_px=sigmas_px,
        psf_sigmas_px=curve_px,
        mean_frame=mean_frame.astype(np.float32),
        lags=light.lags,
        covariance=light.covariance,
        modelled=light.modelled(light.lags.astype(np.float64)),
        frames=photons[shown],
        spots=places[0],
        isolated=places[1],
    )


def _places(spots: Spots) -> F8:
    return np.column_stack([spots.row, spots.column]).astype(np.float64)
