"""What an estimate of a recording says: figures, the samples behind them, and where they are to be doubted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
Pair = tuple[float, float]
FEW = 100  # spots below which photons and z are told with low confidence
DISAGREE = 1.3  # factor between two ways of telling the photons that is worth a word
STRUCTURED = 0.05  # relative standard deviation of the background over space from which it is called structured


@dataclass(frozen=True, slots=True)
class Background:
    """Photons per pixel."""

    mean: float
    over_time: Pair  # lowest and highest of the pieces of time
    over_space: Pair  # 5th and 95th percentile of the map
    structure: float  # relative standard deviation over space, without the map's own noise
    map_noise: float  # relative standard deviation that noise and the emitters' own structure may make
    field: NDArray[np.float32]  # (H, W) map
    levels: F8  # of the pieces of time

    @property
    def structured(self) -> bool:
        """Whether it differs over the field by more than noise."""
        return self.structure > max(STRUCTURED, 2 * self.map_noise)


@dataclass(frozen=True, slots=True)
class Photons:
    """Photons of an emitter that shines for a whole frame."""

    full_frame: float
    sd: float
    from_spots: float  # median of isolated spots
    from_flicker: float  # from the autocovariance, NaN where the light does not flicker
    full_exposures: int  # isolated spots that were lit in the frames before and after too


@dataclass(frozen=True, slots=True)
class Density:
    """Emitters per µm² and frame, partial exposures included."""

    mean: float  # of the next two the larger one
    busiest: float  # 98th percentile over the field, mean over time
    found: float  # spots that stand out, before any overlap is resolved: a lower bound
    from_light: float  # the mean light over the background, in emitters
    isolated_share: float  # of those found, by `clear_px`
    clear_px: float


@dataclass(frozen=True, slots=True)
class ZRange:
    """z of isolated emitters by the PSF file's zero, nm."""

    middle_nm: Pair  # 5th and 95th percentile of the fits
    seen_nm: Pair  # 2nd to 98th percentile
    used_nm: Pair  # the same and 15 % on either side, for far from focus fewer are found
    spots: int
    tells: bool  # whether the PSF tells z at all


@dataclass(frozen=True, slots=True)
class Width:
    """The spots' Gaussian widths against those of the PSF, fitted in the same way."""

    scale: float  # spots over PSF, over all z
    transposed: bool  # x and y exchanged would fit far better
    narrowest_px: Pair  # 10th percentile of geometric mean widths: the spots', the PSF's narrowest
    spots: int
    chi2: float  # 25th percentile of the PSF fits; 1 where PSF and camera are right


@dataclass(frozen=True, slots=True)
class Samples:
    """What the figures come from, for pictures."""

    photons: F8  # of full exposures
    z_nm: F8
    sigmas_px: F8  # (N, 2) of spots
    psf_sigmas_px: F8  # (K, 2) of the PSF through its z range
    mean_frame: NDArray[np.float32]  # (H, W) photons
    lags: NDArray[np.int64]
    covariance: F8  # of the light, less what remains at long lags
    modelled: F8  # the same by the on-time that was found
    frames: NDArray[np.float32]  # (3, H, W) examples, photons
    spots: tuple[F8, ...]  # (n, 2) row and column of what was found in each of them
    isolated: tuple[F8, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a recording is like, in the units of a training configuration."""

    frames: int
    shape_px: tuple[int, int]
    background: Background
    photons: Photons
    density: Density
    on_time_frames: float  # NaN where the light does not flicker
    returns: bool  # emitters come back after a few dark frames
    z: ZRange
    width: Width
    samples: Samples

    def doubts(self) -> list[str]:
        """Sentences on what these figures rest on, where that is little or contradictory."""
        return list(_doubts(self))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        b, p, d = self.background, self.photons, self.density
        return {
            "frames": self.frames,
            "background": {
                "mean": _round(b.mean), "over_time": _pair(b.over_time), "over_space": _pair(b.over_space),
                "relative_sd_over_space": _round(b.structure), "structured": b.structured,
            },
            "photons_per_full_frame": {
                "median": _round(p.full_frame), "sd": _round(p.sd), "from_isolated_spots": _round(p.from_spots),
                "from_flicker": _round(p.from_flicker), "full_exposures": p.full_exposures,
            },
            "density_um2": {
                "mean": _round(d.mean), "busiest_place": _round(d.busiest), "spots_found": _round(d.found),
                "from_light": _round(d.from_light),
                "isolated_share": _round(d.isolated_share), "isolated_by_px": d.clear_px,
            },
            "on_time_frames": _round(self.on_time_frames),
            "emitters_return": self.returns,
            "z_nm": {"from_psf": self.z.tells, "percentiles_5_95": _pair(self.z.middle_nm),
                     "used": _pair(self.z.used_nm), "spots": self.z.spots},
            "psf_width": {
                "spots_over_psf": _round(self.width.scale), "x_and_y_exchanged": self.width.transposed,
                "narrowest_px_spots_psf": _pair(self.width.narrowest_px),
                "spots": self.width.spots, "chi2_quartile": _round(self.width.chi2),
            },
            "doubts": self.doubts(),
        }  # fmt: skip


def _doubts(made: Estimate) -> Iterator[str]:
    p, d, w = made.photons, made.density, made.width
    if made.background.mean <= 0:
        yield (
            "the background comes out as none: there is more noise than the camera's numbers explain (baseline too "
            "high, gain or read noise wrong), or a background was subtracted; density is no use then"
        )
    if p.full_exposures < FEW:
        yield (
            f"photons and z rest on {p.full_exposures} isolated spots that were lit for a whole frame: low confidence; "
            "give more frames, or a stretch with fewer emitters"
        )
    if d.clear_px < 9 or d.isolated_share < 0.05:
        yield (
            f"only {d.isolated_share:.0%} of the spots stand alone (by {d.clear_px:g} px): photons lean on the flicker "
            "of the light, and z and width may be those of overlapping spots"
        )
    if math.isfinite(p.from_flicker) and not 1 / DISAGREE < p.from_spots / p.from_flicker < DISAGREE:
        yield (
            f"isolated spots say {p.from_spots:.0f} photons in a full frame, the flicker of all light says "
            f"{p.from_flicker:.0f}: density and photons may both be off by as much"
        )
    if d.found > 1.3 * d.from_light:
        yield (
            f"more spots stand out ({d.found:.2g} per um2) than the mean light explains ({d.from_light:.2g}): emitters "
            "that stay lit count as background, or the background is taken too high"
        )
    if math.isnan(made.on_time_frames):
        yield "the light does not flicker from frame to frame: on-times are unknown (taken as 1 frame), density as well"
    elif made.on_time_frames > made.frames / 20:
        yield f"on-times of {made.on_time_frames:.0f} frames are long for {made.frames} frames: take more frames"
    if made.returns:
        yield "emitters come back after a few dark frames, which training does not simulate; on-times are those between"
    if w.transposed:
        yield "the spots fit far better with x and y of the PSF exchanged: is the PSF of another camera orientation?"
    elif abs(w.scale - 1) > 0.08:
        yield (
            f"spots are {w.scale:.2f} times as wide as the PSF file's: another pixel size, another colour, or a PSF "
            "of another instrument; calibrate beads on this one before training"
        )
    if w.chi2 > 1.4 or w.chi2 < 0.7:
        others = ", or spots that look alone overlap" if w.chi2 > 1 and d.mean > 0.5 else ""
        yield (
            f"even the best quarter of the isolated spots differs from the PSF by {w.chi2:.1f} times the noise's "
            f"variance: PSF or camera (gain, EM gain, baseline) are not those of this recording{others}"
        )
    if made.z.tells and made.z.spots and made.samples.z_nm.size:
        yield from _doubts_of_z(made)


def _doubts_of_z(made: Estimate) -> Iterator[str]:
    curve_ends = made.z.used_nm
    at_end = np.mean((made.samples.z_nm <= curve_ends[0] + 1) | (made.samples.z_nm >= curve_ends[1] - 1))
    if at_end > 0.1:
        yield (
            f"{at_end:.0%} of the isolated spots lie at an end of the PSF's z range: emitters reach beyond it, or the "
            "PSF does not fit"
        )


def _round(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _pair(pair: Pair) -> list[float | None]:
    return [_round(v) for v in pair]
