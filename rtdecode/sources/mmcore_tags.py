"""What Micro-Manager says of a popped frame: its number across resets, its time, and whether it still fits the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from rtdecode.core.frames import Roi

PIXEL_TYPES = {1: "GRAY8", 2: "GRAY16"}  # by bytes per pixel


class ImageCount:
    """Frame index from the `ImageNumber` tag, which cores start again at 0 when the buffer is cleared.

    A number that does not rise is a new count. How many frames the core threw away then, only the camera's
    clock can tell: as many as fit into the pause at the rate so far. Without a clock the new count follows
    the last frame; the order is right in any case.
    """

    def __init__(self) -> None:
        self.last = -1
        self.is_estimated = False  # a new count began: indices from there on may be off by a few
        self._base = 0
        self._first_ns: tuple[int, int] | None = None  # index and camera time of the first frame with a time
        self._last_ns = 0

    def index(self, number: int | None, t_camera_ns: int = 0) -> int:
        """Index of the frame with that number (None: no tag, the next one) and camera time (0: none)."""
        if number is None:
            self.last += 1
            return self.last
        if self._base + number <= self.last:
            self._base = self.last + 1 + self._lost_in(t_camera_ns) - number
            self.is_estimated = True
        self.last = self._base + number
        self._keep_time(t_camera_ns)
        return self.last

    def _lost_in(self, t_camera_ns: int) -> int:
        """Frames between the last one and now, by the camera's clock at its mean rate."""
        if self._first_ns is None or not self._first_ns[1] < self._last_ns < t_camera_ns:
            return 0
        interval_ns = (self._last_ns - self._first_ns[1]) / (self.last - self._first_ns[0])
        return max(0, round((t_camera_ns - self._last_ns) / interval_ns) - 1)

    def _keep_time(self, t_camera_ns: int) -> None:
        if t_camera_ns > 0:
            self._first_ns = self._first_ns or (self.last, t_camera_ns)
            self._last_ns = t_camera_ns


@dataclass(frozen=True, slots=True)
class Expected:
    """Region and type that every frame of the run must have.

    A popped frame is shaped by the core's current size, so wrong pixels come without an error when somebody
    changes ROI or binning in mid-run: only the tags tell.
    """

    roi: Roi
    bytes_per_pixel: int

    def fits(self, pixels: NDArray[Any], tags: dict[str, str]) -> bool:
        """Whether pixels and tags are those of the run's start; a tag that is missing says nothing."""
        if pixels.shape != self.roi.shape or pixels.dtype.itemsize != self.bytes_per_pixel:
            return False
        wanted = {
            "Width": str(self.roi.width_px),
            "Height": str(self.roi.height_px),
            "PixelType": PIXEL_TYPES[self.bytes_per_pixel],
            "ROI-X-start": str(self.roi.x0_px),
            "ROI-Y-start": str(self.roi.y0_px),
        }
        return all(tags.get(name, value) == value for name, value in wanted.items())


NAMES = ("ImageNumber", "ElapsedTime-ms", "Width", "Height", "PixelType", "ROI-X-start", "ROI-Y-start")


def read_tags(metadata: Any) -> dict[str, str]:
    """The tags that matter, of a `pymmcore.Metadata`; those that are missing are left out."""
    return {name: str(metadata.GetSingleTag(name).GetValue()) for name in NAMES if metadata.HasTag(name)}


def whole_number(text: str | None) -> int | None:
    """The tag as a number, None where it is missing or not one."""
    return int(text) if text is not None and text.strip().isdigit() else None


def nanoseconds(elapsed_ms: str | None) -> int:
    """`ElapsedTime-ms` in ns; 0 where it is missing or not a number."""
    try:
        return round(float(elapsed_ms or 0) * 1e6)
    except ValueError:
        return 0
