"""What stands behind the stand-in: real cores with three cameras, seen as Java's MMCoreJ shows them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TaggedImage:
    pix: NDArray[Any]
    tags: dict[str, Any]


@dataclass(frozen=True)
class Rectangle:
    x: int
    y: int
    width: int
    height: int


class JavaCore:
    """MMCoreJ on top of a real core: flat images, tags that mix the frame's with the core's present state."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self._with_state = True

    def call(self, method: str, arguments: Sequence[Any]) -> Any:
        own = getattr(self, f"_{method}", None)
        result = (own or getattr(self._core, method))(*arguments)
        return result.item() if isinstance(result, np.generic) else result

    def _popNextImage(self) -> NDArray[Any]:
        return self._flat(self._core.popNextImage())

    def _popNextTaggedImage(self, _channel: int = 0) -> TaggedImage:
        import pymmcore

        metadata = pymmcore.Metadata()
        pixels = self._flat(self._core.popNextImageMD(metadata))
        tags = {key: metadata.GetSingleTag(key).GetValue() for key in metadata.GetKeys()}
        return TaggedImage(pixels, tags | self._state() | self._now())

    def _flat(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(pixels).reshape(-1)

    def _now(self) -> dict[str, Any]:
        """As createTaggedImage does: the core's present state, whatever it was when the frame came."""
        core, roi = self._core, self._getROI()
        types = {1: "GRAY8", 2: "GRAY16", 4: "GRAY32" if core.getNumberOfComponents() == 1 else "RGB32", 8: "RGB64"}
        return {
            "BitDepth": int(core.getImageBitDepth()), "PixelSizeUm": 1.0, "PixelSizeAffine": "1.0;0.0;0.0;0.0;1.0;0.0",
            "ROI": f"{roi.x}-{roi.y}-{roi.width}-{roi.height}", "Width": int(core.getImageWidth()),
            "Height": int(core.getImageHeight()), "PixelType": types.get(int(core.getBytesPerPixel()), ""),
            "Frame": 0, "FrameIndex": 0, "Position": "Default", "PositionIndex": 0, "Slice": 0, "SliceIndex": 0,
            "Channel": "Default", "ChannelIndex": 0,
        }  # fmt: skip

    def _state(self) -> dict[str, Any]:
        if not self._with_state:
            return {}
        state = self._core.getSystemStateCache()
        settings = [state.getSetting(i) for i in range(state.size())]
        return {f"{one.getDeviceLabel()}-{one.getPropertyName()}": one.getPropertyValue() for one in settings}

    def _getROI(self, *label: str) -> Rectangle:
        return Rectangle(*map(int, self._core.getROI(*label)))

    def _getIncludeSystemStateCache(self) -> bool:
        return self._with_state

    def _setIncludeSystemStateCache(self, state: bool) -> None:
        self._with_state = state


def demo_core(_: argparse.Namespace) -> Any:
    """Micro-Manager's demo configuration: DemoCamera, a shutter, lasers."""
    import mm_test_adapters
    import pymmcore

    folder = Path(mm_test_adapters.device_adapter_path())
    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([str(folder)])
    core.loadSystemConfiguration(str(folder / "MMConfig_demo.cfg"))
    core.setProperty("Camera", "PixelType", "16bit")
    return core


def specimen_core(given: argparse.Namespace) -> Any:
    """The project's simulated camera in a UniMMCore: pixels that a test can make again."""
    from rtdecode.sources.mmcore_connect import load_simulated
    from rtdecode.sources.scene import CHALLENGE_CAMERA, SimulatedScene, Specimen, load_psf

    scene = SimulatedScene(seed=given.seed, density_um2=0.5)
    specimen = Specimen(scene, given.frames, load_psf(None), CHALLENGE_CAMERA)
    specimen.frame(0)
    return load_simulated(specimen, given.exposure_ms)[0]


def counting_core(given: argparse.Namespace) -> Any:
    """A camera whose frames carry their own number in the first two pixels, as fast as it is told (0 ms: at once)."""
    from pymmcore_plus.experimental.unicore import CameraDevice, UniMMCore

    class CountingCamera(CameraDevice):  # type: ignore[misc]
        _exposure_ms = given.exposure_ms

        def get_exposure(self) -> float:
            return self._exposure_ms

        def set_exposure(self, exposure: float) -> None:
            self._exposure_ms = exposure

        def shape(self) -> tuple[int, int]:
            return (given.size, given.size)

        def dtype(self) -> type[np.uint16]:
            return np.uint16

        def start_sequence(
            self, n: int | None, get_buffer: Callable[[Sequence[int], Any], NDArray[Any]]
        ) -> Iterator[Mapping[str, str]]:
            due = time.perf_counter()
            for index in range(10**9 if n is None else n):
                due += given.period_ms / 1e3
                while (left := due - time.perf_counter()) > 0:
                    time.sleep(min(left, 0.05))
                pixels = get_buffer(self.shape(), np.uint16)
                pixels[...] = 100
                pixels[0, :2] = (index & 0xFFFF, index >> 16)
                yield {}

    core = UniMMCore(mm_path=str(Path(__file__).parent))
    core.loadPyDevice("Camera", CountingCamera())
    core.initializeDevice("Camera")
    core.setCameraDevice("Camera")
    return core


CORES = {"demo": demo_core, "specimen": specimen_core, "counting": counting_core}
