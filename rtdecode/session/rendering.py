"""`rtdecode render`: slices, stacks and the maximum by z of a run or volume, from its log in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import ConfigError
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.session.exporting import parts_of
from rtdecode.session.volume import read_volume
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.notes import read_roi
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.run_folder import RunFolder
from rtdecode.view.canvas import Canvas, ColourScale, Region
from rtdecode.view.slices import Maximum, Slab, draw_slab

Change = Callable[[Localizations], Localizations]
F4 = NDArray[np.float32]
SAMPLE = 400_000  # localizations from which the range of z is taken
BYTES_PER_PX = 12  # of a canvas
MOST_SLICES = 5000


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is drawn of a run, and how finely. `canvas_bytes` bounds the memory of all canvases together."""

    folder: RunFolder
    region: Region
    px_nm: float
    quality: QualityFilter
    change: Change
    canvas_bytes: int

    def __post_init__(self) -> None:
        needed = self._canvas_bytes
        if needed > self.canvas_bytes:
            fits = self.px_nm * (needed / self.canvas_bytes) ** 0.5
            raise ConfigError(
                f"--px-nm {self.px_nm:g}: one picture of {self.region.width_nm / 1000:.0f} x "
                f"{self.region.height_nm / 1000:.0f} um needs {needed / 1e9:.1f} GB; take {np.ceil(fits):.0f} nm, "
                "a part of it with --region-nm, or more with --memory-gb"
            )

    @property
    def _canvas_bytes(self) -> int:
        area = np.ceil(self.region.width_nm / self.px_nm) * np.ceil(self.region.height_nm / self.px_nm)
        return int(area) * BYTES_PER_PX

    def parts(self) -> Iterator[Localizations]:
        """What is drawn, a few MB at a time."""
        return (self.quality.of(self.change(part)) for part in parts_of(self.folder))

    def whole(self, scale: ColourScale) -> Canvas:
        """Everything, coloured by z."""
        canvas = Canvas(self.region, self.px_nm, scale)
        for part in self.parts():
            canvas.add(part)
        return canvas

    def slices(self, slabs: list[Slab]) -> Iterator[Canvas]:
        """One canvas for each slab; as many at a time as memory allows, with one pass over the log for them."""
        if len(slabs) > MOST_SLICES:
            raise ConfigError(f"{len(slabs)} slices; expected at most {MOST_SLICES}: thicker ones, or less of z")
        at_once = max(1, self.canvas_bytes // self._canvas_bytes)
        for first in range(0, len(slabs), at_once):
            group = slabs[first : first + at_once]
            canvases = [Canvas(self.region, self.px_nm, ColourScale(slab.low_nm, slab.high_nm)) for slab in group]
            for part in self.parts():
                for canvas, slab in zip(canvases, group, strict=True):
                    draw_slab(canvas, part, slab)
            yield from canvases

    def maximum(self, slabs: list[Slab]) -> Canvas:
        """Of all slices the densest in each pixel, coloured by its z."""
        found: Maximum | None = None
        for number, canvas in enumerate(self.slices(slabs)):
            found = found or Maximum(canvas.shape)
            found.take(canvas.weight, number)
        if found is None:
            raise ConfigError("there is no slice to take a maximum of")
        return found.canvas(self.region, self.px_nm, slabs)


def field_of(folder: RunFolder) -> Region:
    """The rectangle of a run's frames. Raises ConfigError where it never saw one."""
    roi = read_roi(folder)
    if roi is None:
        raise ConfigError(f"{folder.path}: this run never saw a frame; there is nothing to draw")
    return Region.of_frame(roi.shape, camera_px_nm(RunRecord.of_run(folder)))


def z_range_of(folder: RunFolder, quality: QualityFilter, change: Change) -> tuple[float, float] | None:
    """From which z to which there is something: a volume says it, else from a sample; None for a run without z."""
    volume = read_volume(folder)
    if volume is not None:
        low, high = (float(value) for value in volume["z_range_nm"])
        return low, high
    stride = max(1, folder.localizations.stat().st_size // LOCALIZATION_DTYPE.itemsize // SAMPLE)
    sample = Localizations.concatenate(quality.of(change(part[::stride])) for part in parts_of(folder))
    if not len(sample):
        raise ConfigError(f"{folder.path}: no localization passes ({quality.words})")
    if sample.is_2d:
        return None
    scale = ColourScale.fitted(sample.z_nm)
    return scale.low, scale.high


def write_stack(path: Path, pages: Iterator[F4], count: int, shape: tuple[int, int], nm: tuple[float, float]) -> None:
    """(count, H, W) float32 as OME-TIFF with sizes of pixel and step `nm`; also as centimetres, for what reads no OME.

    Pages are written as they come; the file appears when it is whole.
    """
    import tifffile

    px_nm, step_nm = nm
    said = {"PhysicalSizeX": px_nm, "PhysicalSizeY": px_nm, "PhysicalSizeZ": step_nm}
    units = {f"{name}Unit": "nm" for name in said}
    part = path.with_name(path.name + ".part")
    big = count * shape[0] * shape[1] * 4 > 3_900_000_000
    try:
        with tifffile.TiffWriter(part, bigtiff=big, ome=True) as tiff:
            tiff.write(
                pages, shape=(count, *shape), dtype=np.float32, photometric="minisblack",
                resolution=(1e7 / px_nm, 1e7 / px_nm), resolutionunit="CENTIMETER",
                metadata={"axes": "ZYX", **said, **units},
            )  # fmt: skip
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def density_um2(canvas: Canvas) -> F4:
    """(H, W) localizations per square micrometre."""
    return np.asarray(canvas.weight / np.float32((canvas.px_nm * 1e-3) ** 2), np.float32)
