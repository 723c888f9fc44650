"""What Micro-Manager says of a popped frame: its number across resets, its time, and whether it still fits the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from rtdecode.core.frames import Roi

PIXEL_TYPES = {1: "GRAY8", 2: "GRAY16"}  # by bytes per pixel


class ImageCount:
    """Frame index from the `ImageNumber` tag, which older cores start again at 0 when the buffer is cleared.

    A number that does not rise is taken as a new count that follows the last frame: what was lost in between
    nobody can know, the order stays right.
    """

    def __init__(self) -> None:
        self.last = -1
        self._base = 0

    def index(self, number: int | None) -> int:
        """Index of the frame with that number; None (no tag): the next one."""
        if number is None:
            self.last += 1
            return self.last
        if self._base + number <= self.last:
            self._base = self.last + 1
        self.last = self._base + number
        return self.last


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
