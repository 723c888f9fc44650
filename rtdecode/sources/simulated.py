"""A camera that is only simulated: the scene's frames at a steady pace, and the truth when it closes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr

from rtdecode.core.actions import Action, Stop
from rtdecode.core.camera import Camera
from rtdecode.core.errors import SourceError
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo, Roi
from rtdecode.sources.playback import Playback
from rtdecode.sources.scene import CHALLENGE_CAMERA, SimulatedScene, Specimen, load_psf
from rtdecode.streams.truth import write_truth


class SimulatedCamera(SimulatedScene):
    """Blinking fluorophores on tubes (or at random) under an EMCCD; deterministic for a seed.

    Example: `use: simulated`, `frames: 6000`, `fps: 100`, `density_um2: 1.0`. `paced: false` gives frames as
    fast as they can be made. `psf` is a calibrated PSF file (none: an astigmatic Gaussian), `camera` the
    chain of noise (none: the SMLM 2016 challenge's EMCCD). `truth` names the CSV that `close` writes, with
    the emitters of the frames really made whose centre lies on a pixel.
    """

    frames: Annotated[int, Field(gt=0)]
    fps: Annotated[float, Field(gt=0)] = 100.0
    paced: bool = True
    psf: Path | None = None
    camera: Camera | None = None
    truth: Path | None = None
    _specimen: Specimen | None = PrivateAttr(None)
    _playback: Playback | None = PrivateAttr(None)

    @property
    def roi(self) -> Roi:
        """The whole simulated sensor."""
        return Roi(0, 0, self.width_px, self.height_px)

    @property
    def dtype(self) -> str:
        """ADU as a camera gives them."""
        return "uint16"

    @property
    def expected(self) -> int | None:
        """`frames`."""
        return self.frames

    @property
    def made(self) -> int | None:
        """Frames due by now (unpaced: read so far); still known after `close`."""
        return self._playback.made if self._playback is not None else None

    @property
    def can_wait(self) -> bool:
        """Unpaced frames are made when they are asked for; a paced camera is treated as a live one."""
        return not self.paced

    @property
    def has_hardware(self) -> bool:
        """Nothing is left to bring to rest."""
        return False

    @property
    def nominal_fps(self) -> float | None:
        """`fps`, where it is kept."""
        return self.fps if self.paced else None

    def open(self) -> None:
        """Place molecules, let them blink, compile by making one frame; raises CalibrationError for a bad PSF file."""
        self.close()
        camera = self.camera or CHALLENGE_CAMERA
        self._specimen = Specimen(self, self.frames, load_psf(self.psf, camera), camera)
        self._specimen.frame(0)
        self._playback = Playback.steady(self.frames, self.fps) if self.paced else Playback(self.frames, None)

    def start(self) -> None:
        """Frames are due from here on."""
        self._need()[1].start()

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read."""
        specimen, playback = self._need()
        index = playback.next()
        if index is None:
            return None
        out[...] = specimen.frame(index)
        playback.advance()
        saturated = out.max() >= specimen.camera.full_scale_adu
        t_camera_ns = round(index * 1e9 / self.fps)
        return FrameInfo(index, t_camera_ns, time.monotonic_ns(), FrameFlag.SATURATED if saturated else FrameFlag.GOOD)

    def apply(self, action: Action) -> None:
        """Stop: no more frames are made. There is no device whose property could be set."""
        if not isinstance(action, Stop):
            raise SourceError(f"the simulated camera has no property to set: {action}. Only Stop can be carried out.")
        self._need()[1].stop()

    def close(self) -> None:
        """Write the truth of the frames made; safe to call twice."""
        if self._specimen is None or self._playback is None:
            return
        specimen, self._specimen = self._specimen, None
        self._playback.stop()
        if self.truth is not None:
            write_truth(self.truth, specimen.truth(self._playback.made))

    def _need(self) -> tuple[Specimen, Playback]:
        if self._specimen is None or self._playback is None:
            raise SourceError("the simulated camera is not open (call open first; after close it is over)")
        return self._specimen, self._playback
