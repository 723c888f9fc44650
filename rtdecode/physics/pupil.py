"""PSFs from a scalar pupil: a phase mask, defocus, the image in camera pixels; the double helix among the masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import genlaguerre

from rtdecode.core.errors import CalibrationError
from rtdecode.physics.psf import SplinePsf, rim_fade

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
Complex = NDArray[np.complex128]
Mask = Callable[[F8, F8], F8]
"""Phase in rad at radius (0 to 1, the rim of the pupil) and angle (rad from x towards y), arrays of one shape."""

HELIX_MODES = ((1, 1), (3, 5), (5, 9), (7, 13), (9, 17))
"""(m, n) of the double helix' Gauss-Laguerre modes: on a line of slope 2, so the sum rotates as it propagates."""
_SAMPLES = 128  # across the pupil: the image repeats after 64 wavelengths / NA, 30 um for red light and NA 1.4
_FINE = 5  # points across a pixel, whose mean is the pixel's light


@dataclass(frozen=True, slots=True)
class Pupil:
    """An objective of numerical aperture `na` with its mask; evenly lit, no polarisation, no aberration but the mask's.

    z moves the emitter in a medium of `refractive_index` (that of the immersion: an emitter at the cover slip).
    """

    na: float
    wavelength_nm: float  # of the emission, in vacuum
    refractive_index: float
    px_nm: tuple[float, float]  # camera pixel in the sample (x, y)

    def __post_init__(self) -> None:
        if not 0 < self.na < self.refractive_index:
            raise CalibrationError(
                f"a pupil of NA {self.na:g} in a medium of refractive index {self.refractive_index:g}: "
                "the NA must be above 0 and below the index; give the index of the immersion, 1.518 for oil"
            )
        if not (self.wavelength_nm > 0 and min(self.px_nm) > 0):
            raise CalibrationError(f"wavelength {self.wavelength_nm:g} nm, pixel {self.px_nm} nm: both must be above 0")

    def images(self, mask: Mask, z_nm: ArrayLike, roi_px: int) -> F8:
        """(Z, N, N) share of all light in each pixel, of an emitter over the middle pixel at each z_nm (Z,).

        Field at x: integral over the pupil of exp(i (mask + z sqrt((2 pi n / wavelength)² - k²) + k x)) (Goodman,
        Introduction to Fourier Optics; scalar Debye integral without apodisation). By two matrix products for each
        z; by Parseval the light of all pixels, however far, is 1 at every z.
        """
        across = (np.arange(_SAMPLES) + 0.5) / _SAMPLES * 2 - 1  # (S,)
        column, row = np.meshgrid(across, across)
        radius = np.hypot(column, row)  # (S, S)
        inside = radius <= 1
        k_z = (
            2 * np.pi * np.sqrt(np.maximum(self.refractive_index**2 - (self.na * radius) ** 2, 0)) / self.wavelength_nm
        )
        field = np.where(inside, np.exp(1j * mask(radius, np.arctan2(row, column))), 0) / np.sqrt(inside.sum())
        to_x, to_y = (self._to_image(across, roi_px, px) for px in self.px_nm)  # (N * fine, S)
        out = np.empty((np.size(z_nm), roi_px, roi_px))
        for n, z in enumerate(np.atleast_1d(np.asarray(z_nm, np.float64))):
            light = np.abs(to_y @ (field * np.exp(1j * k_z * z)) @ to_x.T) ** 2
            out[n] = light.reshape(roi_px, _FINE, roi_px, _FINE).sum((1, 3))
        return out

    def _to_image(self, across: F8, roi_px: int, px_nm: float) -> Complex:
        """(N * fine, S) from pupil to fine points along one axis; its square is light in that point's strip."""
        step_nm, n = px_nm / _FINE, roi_px * _FINE
        place_nm = (np.arange(n) - (n - 1) / 2) * step_nm
        per_sample = 2 * self.na / self.wavelength_nm / _SAMPLES  # 1 / nm
        return np.asarray(np.exp(2j * np.pi * self.na / self.wavelength_nm * np.outer(place_nm, across)) * math.sqrt(
            step_nm * per_sample
        ))  # fmt: skip


def pupil_psf(
    pupil: Pupil, mask: Mask, z_nm: tuple[float, float] = (-800.0, 800.0), dz_nm: float = 20.0, roi_px: int = 37
) -> SplinePsf:
    """The spline through a z stack of `pupil`'s images, made as a calibration makes it from beads.

    The rim fades to zero over 3 of 37 px, and one constant normalises all slices: the light in the ROI at focus is 1.
    Slices are at whole multiples of dz_nm. Raises CalibrationError for a range without focus and an even roi_px.
    """
    first, last = round(z_nm[0] / dz_nm), round(z_nm[1] / dz_nm)
    if not first < 0 < last:
        raise CalibrationError(
            f"z from {z_nm[0]:g} to {z_nm[1]:g} nm in steps of {dz_nm:g} nm: expected one step or more on both sides "
            "of the focus at 0"
        )
    samples = pupil.images(mask, np.arange(first, last + 1) * dz_nm, roi_px) * rim_fade(roi_px)
    at_focus = samples[-first - 1 : -first + 2].sum((1, 2)).mean()
    return SplinePsf.from_samples((samples / at_focus).astype(np.float32), dz_nm, float(-first), pupil.px_nm)


def clear(radius: F8, angle: F8) -> F8:
    """No mask: the Airy spot at focus."""
    return np.zeros(np.broadcast(radius, angle).shape)


def double_helix(waist: float = 0.38) -> Mask:
    """Two lobes that turn about each other with z; `waist` of the modes in pupil radii, smaller turns slower.

    The phase of the sum of HELIX_MODES: modes on a line of the Gauss-Laguerre plane keep their shape and rotate
    (Piestun, Schechner, Shamir, J. Opt. Soc. Am. A 17, 294, 2000); these five are the start of the design by Pavani
    and Piestun (Opt. Express 16, 3484, 2008; in a microscope: Pavani et al., PNAS 106, 2995, 2009). Amplitudes are
    left out, as a phase mask must, and their iterative optimisation is not done: some light goes into side lobes.
    """

    def phase(radius: F8, angle: F8) -> F8:
        modes = [gauss_laguerre(m, n, waist, radius, angle) for m, n in HELIX_MODES]
        return np.asarray(np.angle(np.sum(modes, axis=0)))

    return phase


def gauss_laguerre(m: int, n: int, waist: float, radius: F8, angle: F8) -> Complex:
    """Mode u_nm at its waist, with unit power in the plane: n = |m| + 2 p, p the radial order (Saleh and Teich)."""
    p, t = (n - abs(m)) // 2, 2 * (radius / waist) ** 2
    norm = math.sqrt(2 * math.factorial(p) / (math.pi * math.factorial(p + abs(m)))) / waist
    radial = norm * t ** (abs(m) / 2) * genlaguerre(p, abs(m))(t) * np.exp(-t / 2)
    return np.asarray(radial * np.exp(1j * m * angle))
