"""A simulated specimen under a camera: blinking fluorophores, made frame by frame as they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rtdecode.core.camera import Camera
from rtdecode.core.errors import SourceError
from rtdecode.core.frames import Roi
from rtdecode.core.localizations import Emitters
from rtdecode.core.ranges import Range
from rtdecode.core.yaml_files import StrictModel
from rtdecode.physics import structures
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.psf import GaussianPsf, Psf
from rtdecode.physics.psf import load_psf as load_psf_file
from rtdecode.physics.render import expected_frames

CHALLENGE_CAMERA = Camera(
    px_nm=(100.0, 100.0), baseline_adu=100.0, e_per_adu=45.0, read_noise_e=74.4, em_gain=300.0, spurious_e=0.002
)
"""The SMLM 2016 challenge's EMCCD, counting detected photo-electrons (qe 1)."""

_MARGIN_NM = 800.0  # molecules further outside put no light into the field


class SimulatedScene(StrictModel):
    """What the simulated camera looks at. Densities count emitters inside the field, per um^2 and frame."""

    width_px: Annotated[int, Field(ge=8, le=4096)] = 64
    height_px: Annotated[int, Field(ge=8, le=4096)] = 64
    density_um2: Annotated[float, Field(ge=0, le=20)] = 1.0
    photons_mean: Annotated[float, Field(gt=0, le=1e7)] = 5000.0  # detected in a full frame of shining
    photons_spread: Annotated[float, Field(ge=0, le=1e7)] = 1000.0  # between molecules
    background: Annotated[float, Field(ge=0, le=1e5)] = 90.0  # photons per pixel and frame
    structure: Literal["tubes", "random"] = "tubes"
    z_range_nm: Range = (-500.0, 500.0)
    seed: Annotated[int, Field(ge=0)] = 1

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a frame."""
        return (self.height_px, self.width_px)


class Specimen:
    """The movie of a scene: frame k is the same however often and in whatever order it is asked for."""

    def __init__(self, scene: SimulatedScene, n_frames: int, psf: Psf, camera: Camera) -> None:
        self.scene, self.n_frames, self._psf, self.camera = scene, n_frames, psf, camera
        self._maps = camera.load_maps(Roi(0, 0, scene.width_px, scene.height_px))
        self._field = structures.Field.of_shape(*scene.shape, camera.px_nm)
        self._emitters = self._switched(self._molecules())  # sorted by frame_index
        self._starts = np.searchsorted(self._emitters["frame_index"], np.arange(n_frames + 1))  # (n_frames + 1,)

    def frame(self, index: int) -> NDArray[np.uint16]:
        """(H, W) ADU of frame `index`, noise included; about 1 ms at 64 x 64 with an EMCCD."""
        emitters = self._emitters[self._starts[index] : self._starts[index + 1]]
        expected = expected_frames(self._psf, emitters, index, 1, self.scene.shape, self.camera.px_nm)[0]
        rng = np.random.default_rng((self.scene.seed, index))
        return adu_from_photons(self.camera, expected + np.float32(self.scene.background), rng, self._maps)

    def truth(self, n_made: int) -> Emitters:
        """Emitters of the first `n_made` frames whose centre lies on a pixel; others only lend their light."""
        made = self._emitters[: self._starts[min(n_made, self.n_frames)]]
        return made[self._field.holds(np.column_stack([made["x_nm"], made["y_nm"]]))]

    def _molecules(self) -> NDArray[np.float32]:
        scene = self.scene
        if scene.structure == "tubes":
            return structures.tubes(self._field, seed=scene.seed, z_range_nm=scene.z_range_nm)
        area_um2 = self._field.area_um2
        return structures.random_field(
            int(2000 * area_um2) + 1, self._field, z_range_nm=scene.z_range_nm, margin_nm=_MARGIN_NM, seed=scene.seed
        )

    def _switched(self, molecules_nm: NDArray[np.float32]) -> Emitters:
        scene = self.scene
        switching = structures.Switching(photons_mean=scene.photons_mean, photons_spread=scene.photons_spread)
        return structures.switch(
            molecules_nm, self.n_frames, scene.density_um2, self._field, switching, seed=scene.seed
        )


def load_psf(path: Path | None, camera: Camera = CHALLENGE_CAMERA) -> Psf:
    """A calibrated PSF (`.safetensors` of rtdecode calibrate), or the astigmatic Gaussian where none is named.

    Raises CalibrationError for anything else, SourceError where its pixels are not the camera's.
    """
    if path is None:
        return GaussianPsf()
    psf = load_psf_file(path)
    if not np.allclose(psf.px_nm, camera.px_nm, rtol=1e-3):
        sizes = (f"{x:g} x {y:g} nm" for x, y in (psf.px_nm, camera.px_nm))
        raise SourceError(f"{path}: a PSF for pixels of {next(sizes)}; the camera's are {next(sizes)}. Use its own.")
    return psf
