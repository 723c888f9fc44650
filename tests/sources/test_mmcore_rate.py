"""A Python camera with known molecules in a real core at 500 and 1,000 frames a second: none missing, none changed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from source_contract import drain

from rtdecode.sources.mmcore import MMCoreSource
from rtdecode.sources.scene import CHALLENGE_CAMERA, SimulatedScene, Specimen, load_psf

pytest.importorskip("pymmcore_plus")

FILMED = 100  # frames rendered beforehand and shown again and again: a frame costs more than a millisecond
FRAMES = 1500


class Filmed(Specimen):
    """A specimen whose first frames were filmed before the run."""

    def __init__(self) -> None:
        scene = SimulatedScene(width_px=128, height_px=128, density_um2=0.5, seed=7)
        super().__init__(scene, FILMED, load_psf(None), CHALLENGE_CAMERA)
        self._film = [super(Filmed, self).frame(index) for index in range(FILMED)]
        self.n_frames = FRAMES

    def frame(self, index: int) -> NDArray[np.uint16]:
        return self._film[index % FILMED]


@cache
def filmed() -> Filmed:
    return Filmed()


@pytest.fixture(params=[2.0, 1.0])
def core(request: pytest.FixtureRequest) -> Iterator[Any]:
    from rtdecode.sources.mmcore_connect import load_simulated

    core, camera = load_simulated(filmed(), request.param)
    yield core
    camera.halt()
    core.unloadAllDevices()


def test_every_frame_of_a_fast_camera_arrives_once_in_order_and_as_it_was(core: Any) -> None:
    source = MMCoreSource(frames=FRAMES, exposure_ms=core.getExposure(), buffer_mb=256)
    source.attach(core)
    source.open()
    source.start()
    frames = drain(source)
    source.close()
    assert [info.index for info, _ in frames] == list(range(FRAMES))
    assert source.made == FRAMES
    for info, pixels in frames:
        np.testing.assert_array_equal(pixels, filmed().frame(info.index))
