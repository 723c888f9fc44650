"""Point spread functions: cubic spline from beads, or a pixel-integrated Gaussian; same methods for both."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from math import erf as math_erf
from pathlib import Path
from typing import Any, Protocol

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.ndimage import convolve1d, spline_filter

from rtdecode.core.errors import CalibrationError
from rtdecode.physics.spline import add_spots

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
PSF_FORMAT = "rtdecode-psf-1"
GAUSSIAN_FORMAT = "rtdecode-psf-gaussian-1"


class Psf(Protocol):
    """What a photon's landing place is distributed as; sums to 1 in its ROI at focus."""

    @property
    def roi_px(self) -> int:
        """Width and height of the square in which light of one emitter is modelled."""
        ...

    @property
    def z_range_nm(self) -> tuple[float, float]:
        """z at which the model is valid; beyond it the nearest valid z is taken."""
        ...

    @property
    def px_nm(self) -> tuple[float, float]:
        """Pixel size (x, y) that it was made for."""
        ...

    @property
    def tells_z(self) -> bool:
        """Whether the spot changes with z; False: a 2D PSF."""
        ...

    def add_to(self, frames: F4, frame_number: NDArray[np.int64], x_px: F8, y_px: F8, z_nm: F8, photons: F8) -> None:
        """Add N emitters to `frames` (n, H, W) float32 in place; all other arguments are (N,)."""
        ...

    def summary(self) -> dict[str, object]:
        """What a person wants to know of it without opening it; plain values for a bundle's card."""
        ...

    def save(self, path: Path) -> None:
        """Write as one safetensors file that `load_psf` reads."""
        ...

    def with_derivatives(
        self, x_px: ArrayLike, y_px: ArrayLike, z_nm: ArrayLike, shape: tuple[int, int]
    ) -> tuple[F4, F4, F4, F4]:
        """For N emitters, each in a frame of its own: value, d/dx_px, d/dy_px, d/dz_nm, each (N, H, W)."""
        ...


@dataclass(frozen=True, slots=True)
class SplinePsf:
    """Cubic B-spline through a measured PSF, one sample for each camera pixel.

    The emitter's own position is the middle sample (roi_px // 2) and slice `z0_index`; z grows with the
    slice index. Evaluation is exact interpolation of the samples (Unser 1999); light beyond the ROI is left out.
    """

    coefficients: F4  # (Z, Y, X)
    dz_nm: float
    z0_index: float
    px_nm: tuple[float, float]

    @classmethod
    def from_samples(cls, samples: F4, dz_nm: float, z0_index: float, px_nm: tuple[float, float]) -> SplinePsf:
        """Samples (Z, Y, X) of the normalised PSF at whole pixels; Y = X odd."""
        if samples.ndim != 3 or samples.shape[1] != samples.shape[2] or samples.shape[1] % 2 == 0:
            raise CalibrationError(f"PSF samples of shape {samples.shape}: expected (Z, N, N) with odd N")
        coefficients = spline_filter(samples.astype(np.float64), order=3, mode="mirror").astype(np.float32)
        return cls(np.ascontiguousarray(coefficients), float(dz_nm), float(z0_index), px_nm)

    @property
    def roi_px(self) -> int:
        """Width and height of the square in which light of one emitter is modelled."""
        return int(self.coefficients.shape[1])

    @property
    def z_range_nm(self) -> tuple[float, float]:
        """z of the first and last slice."""
        return (-self.z0_index * self.dz_nm, (len(self.coefficients) - 1 - self.z0_index) * self.dz_nm)

    @property
    def tells_z(self) -> bool:
        """Not where all slices are alike, as those of a 2D Gaussian's spline."""
        spread = float(np.ptp(self.coefficients, axis=0).max())
        return spread > 1e-5 * float(self.coefficients.max())

    def _slices(self, z_nm: F8) -> F8:
        return np.clip(z_nm / self.dz_nm + self.z0_index, 0.0, len(self.coefficients) - 1.0)

    def add_to(self, frames: F4, frame_number: NDArray[np.int64], x_px: F8, y_px: F8, z_nm: F8, photons: F8) -> None:
        """See Psf.add_to."""
        add_spots(frames, frame_number, y_px, x_px, self._slices(z_nm), photons, self.coefficients, 0, 0, 0)

    def with_derivatives(
        self, x_px: ArrayLike, y_px: ArrayLike, z_nm: ArrayLike, shape: tuple[int, int]
    ) -> tuple[F4, F4, F4, F4]:
        """See Psf.with_derivatives."""
        x, y, z = (np.atleast_1d(np.asarray(v, np.float64)) for v in (x_px, y_px, z_nm))
        number, ones = np.arange(len(x)), np.ones(len(x))
        out = [np.zeros((len(x), *shape), np.float32) for _ in range(4)]
        for frames, order in zip(out, ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)), strict=True):
            add_spots(frames, number, y, x, self._slices(z), ones, self.coefficients, *order)
        return out[0], -out[1], -out[2], out[3] / np.float32(self.dz_nm)

    @property
    def z_of_slices_nm(self) -> F8:
        """(Z,) z of each slice."""
        return np.asarray((np.arange(len(self.coefficients)) - self.z0_index) * self.dz_nm)

    def samples(self) -> F4:
        """(Z, Y, X) values at whole pixels and slices, from which `from_samples` makes the same spline again."""
        values = self.coefficients.astype(np.float64)
        for axis in range(3):
            values = convolve1d(values, np.array([1.0, 4.0, 1.0]) / 6.0, axis=axis, mode="mirror")
        return np.asarray(values, np.float32)

    def summary(self) -> dict[str, object]:
        """See Psf.summary."""
        known = {"roi_px": self.roi_px, "z_range_nm": list(self.z_range_nm), "dz_nm": self.dz_nm}
        return {"kind": "cubic spline", **known}

    def save(self, path: Path) -> None:
        """Write as one safetensors file with its metadata."""
        about = {"format": PSF_FORMAT, "dz_nm": self.dz_nm, "z0_index": self.z0_index, "px_nm": list(self.px_nm)}
        # save_file would make a file of mode 600, whatever the umask
        path.write_bytes(save({"coefficients": self.coefficients}, {"psf": json.dumps(about)}))

    @classmethod
    def load(cls, path: Path) -> SplinePsf:
        """Read a file written by `save`; raises CalibrationError for anything else, also another kind of PSF."""
        psf = load_psf(path)
        if not isinstance(psf, cls):
            raise CalibrationError(f"{path}: a Gaussian PSF, where a cubic spline is needed; calibrate from beads")
        return psf


@dataclass(frozen=True, slots=True)
class GaussianPsf:
    """Pixel-integrated Gaussian, round or astigmatic: psf_sigma(z) = s0 sqrt(1 + ((z -+ c) / d)²).

    decode-method §4.3 (Smith et al. 2010): x is narrowest at z = -gamma, y at +gamma, z counted from where the spot
    is round (`round_at_nm`); a negative gamma swaps x and y; depth inf gives a 2D PSF.
    """

    psf_sigma_px: float = 1.3
    gamma_nm: float = 250.0
    depth_nm: float = 280.0
    z_limits_nm: tuple[float, float] = (-750.0, 750.0)
    roi_px: int = 37
    round_at_nm: float = 0.0
    px_nm: tuple[float, float] = (100.0, 100.0)

    @property
    def z_range_nm(self) -> tuple[float, float]:
        """The limits it was made with."""
        return self.z_limits_nm

    @property
    def tells_z(self) -> bool:
        """Not with an infinite depth of focus."""
        return math.isfinite(self.depth_nm)

    def psf_sigmas_px(self, z_nm: F8) -> tuple[F8, F8]:
        """Widths along x and y at z (N,)."""
        z = np.clip(z_nm, *self.z_limits_nm) - self.round_at_nm
        wide = [self.psf_sigma_px * np.sqrt(1 + ((z + sign * self.gamma_nm) / self.depth_nm) ** 2) for sign in (1, -1)]
        return wide[0], wide[1]

    def add_to(self, frames: F4, frame_number: NDArray[np.int64], x_px: F8, y_px: F8, z_nm: F8, photons: F8) -> None:
        """See Psf.add_to."""
        sx, sy = self.psf_sigmas_px(z_nm)
        _add_gaussians(frames, frame_number, x_px, y_px, sx, sy, photons, self.roi_px // 2)

    def with_derivatives(
        self, x_px: ArrayLike, y_px: ArrayLike, z_nm: ArrayLike, shape: tuple[int, int]
    ) -> tuple[F4, F4, F4, F4]:
        """See Psf.with_derivatives; by central differences of 0.01 px and 1 nm (float64 sums, error below 1e-4)."""
        x, y, z = (np.atleast_1d(np.asarray(v, np.float64)) for v in (x_px, y_px, z_nm))

        def at(dx: float, dy: float, dz: float) -> F8:
            frames = np.zeros((len(x), *shape), np.float64)
            sx, sy = self.psf_sigmas_px(z + dz)
            _add_gaussians(frames, np.arange(len(x)), x + dx, y + dy, sx, sy, np.ones(len(x)), self.roi_px // 2)
            return frames

        h = 0.01
        dx, dy = (at(h, 0, 0) - at(-h, 0, 0)) / (2 * h), (at(0, h, 0) - at(0, -h, 0)) / (2 * h)
        dz = (at(0, 0, 1) - at(0, 0, -1)) / 2
        return tuple(v.astype(np.float32) for v in (at(0, 0, 0), dx, dy, dz))  # type: ignore[return-value]

    def summary(self) -> dict[str, object]:
        """See Psf.summary; `depth_nm` is None for a 2D PSF."""
        about = asdict(self) | {"depth_nm": self.depth_nm if np.isfinite(self.depth_nm) else None}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in about.items()}
        return {"kind": "2D Gaussian" if about["depth_nm"] is None else "astigmatic Gaussian", **plain}

    def save(self, path: Path) -> None:
        """Write as one safetensors file with its metadata; it holds no tensor."""
        path.write_bytes(save({}, {"psf": json.dumps({"format": GAUSSIAN_FORMAT, **self.summary()})}))


def load_psf(path: Path) -> SplinePsf | GaussianPsf:
    """The PSF of a file written by `save`, in its own class; raises CalibrationError for anything else."""
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("psf", "{}"))
            if about.get("format") == GAUSSIAN_FORMAT:
                return _gaussian(about)
            if about.get("format") == PSF_FORMAT:
                x, y = about["px_nm"]
                return SplinePsf(file.get_tensor("coefficients"), about["dz_nm"], about["z0_index"], (x, y))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CalibrationError(f"{path}: cannot be read as a PSF file: {error}") from error
    raise CalibrationError(f"{path}: not a PSF file (found format {about.get('format')!r})")


def spline_of(psf: Psf, dz_nm: float = 10.0) -> SplinePsf:
    """The same PSF as a cubic spline with slices every `dz_nm` over its z range; a spline is given back as it is."""
    if isinstance(psf, SplinePsf):
        return psf
    low, high = psf.z_range_nm
    z, middle = np.arange(math.ceil(low / dz_nm), math.floor(high / dz_nm) + 1), float(psf.roi_px // 2)
    at = np.full(len(z), middle)
    samples = psf.with_derivatives(at, at, z * dz_nm, (psf.roi_px, psf.roi_px))[0]
    return SplinePsf.from_samples(samples, dz_nm, float(-z[0]), psf.px_nm)


def rim_fade(roi_px: int) -> F8:
    """(N, N) factors that take a measured or cut-off PSF to zero at its rim, over 3 of 37 px."""
    to_rim = np.minimum(np.arange(roi_px), np.arange(roi_px)[::-1])
    fade = np.sin(np.pi / 2 * np.clip((to_rim + 1) / (1 + max(1, roi_px // 12)), 0, 1)) ** 2
    return np.asarray(np.minimum(fade[:, None], fade[None, :]))


def _gaussian(about: dict[str, Any]) -> GaussianPsf:
    fields = {name: about[name] for name in GaussianPsf.__dataclass_fields__}
    pairs = {name: (float(fields[name][0]), float(fields[name][1])) for name in ("z_limits_nm", "px_nm")}
    depth_nm = np.inf if fields["depth_nm"] is None else float(fields["depth_nm"])
    return GaussianPsf(**fields | pairs | {"depth_nm": depth_nm})


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_gaussians(
    frames: F4, frame_number: NDArray[np.int64], x: F8, y: F8, sx: F8, sy: F8, photons: F8, half: int
) -> None:
    """Add N pixel-integrated Gaussians of unit volume times photons to `frames` (n, H, W)."""
    height, width = frames.shape[1:]
    in_columns = np.empty(width)
    for n in range(len(x)):
        i0, i1 = max(0, round(y[n]) - half), min(height, round(y[n]) + half + 1)
        j0, j1 = max(0, round(x[n]) - half), min(width, round(x[n]) + half + 1)
        for j in range(j0, j1):
            in_columns[j] = _pixel_share(j - x[n], sx[n])
        for i in range(i0, i1):
            in_row = photons[n] * _pixel_share(i - y[n], sy[n])
            for j in range(j0, j1):
                frames[frame_number[n], i, j] += in_row * in_columns[j]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pixel_share(distance_px: float, width_px: float) -> float:
    """Share of a unit Gaussian that lands in the pixel whose centre is `distance_px` away."""
    scale = 1.0 / (np.sqrt(2.0) * width_px)
    return 0.5 * (math_erf((distance_px + 0.5) * scale) - math_erf((distance_px - 0.5) * scale))
