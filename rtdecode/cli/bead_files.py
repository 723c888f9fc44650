"""Bead stacks from files: several in one (time points, positions), and the pixel size and step that it states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rtdecode.cli.making import read_stack
from rtdecode.core.errors import CalibrationError, RtdecodeError

_TIFF = (".tif", ".tiff", ".btf")
_ALONG_Z = ("ZYX", "QYX", "IYX")  # Q, I: axes whose names the writer did not give
_SAME = 0.02  # what is written is often rounded


@dataclass(frozen=True, slots=True)
class BeadFile:
    """Stacks, each (Z, H, W); (x, y) pixel size and step of the stage in nm where the file states them."""

    stacks: list[Any]
    px_nm: tuple[float, float] | None
    dz_nm: float | None


def read_bead_file(path: Path, slices: int | None) -> BeadFile:
    """One stack, or as many as `slices` says, or as a TIFF's own axes say; raises RecordingError, CalibrationError."""
    several, dz_nm = _by_axes(path) if path.suffix.lower() in _TIFF and path.is_file() else ([], None)
    if several and slices is None:
        return BeadFile(several, _stated_px_nm(path), dz_nm)
    frames = read_stack(path)
    if slices is None:
        return BeadFile([frames], _stated_px_nm(path), dz_nm)
    if len(frames) % slices:
        raise CalibrationError(f"{path}: {len(frames)} frames are no whole number of stacks of --slices {slices}")
    return BeadFile(list(frames.reshape(-1, slices, *frames.shape[1:])), _stated_px_nm(path), dz_nm)


def settled(
    files: list[tuple[Path, BeadFile]], px_nm: tuple[float, float] | None, dz_nm: float | None
) -> tuple[tuple[float, float], float, list[str]]:
    """Pixel size, step and sentences: what was given, else what the files state, else pixels of 100 nm."""
    words: list[str] = []
    stated_px = next((file.px_nm for _, file in files if file.px_nm), None)
    stated_dz = next((file.dz_nm for _, file in files if file.dz_nm), None)
    if px_nm is None:
        px_nm = stated_px or (100.0, 100.0)
        source = "as the file states" if stated_px else "--px-nm is not given"
        words.append(f"pixels of {px_nm[0]:.4g} x {px_nm[1]:.4g} nm are taken: {source}")
    if dz_nm is None:
        if stated_dz is None:
            raise CalibrationError("--dz-nm is missing: the step between slices of a bead stack")
        dz_nm = stated_dz
        words.append(f"steps of {dz_nm:.4g} nm are taken: as the file states")
    for path, file in files:
        pixels_differ = file.px_nm and any(abs(a / b - 1) > _SAME for a, b in zip(file.px_nm, px_nm, strict=True))
        if file.px_nm and pixels_differ:
            x, y = file.px_nm
            words.append(f"{path} states pixels of {x:.4g} x {y:.4g} nm, taken are {px_nm[0]:.4g} x {px_nm[1]:.4g} nm")
        if file.dz_nm and abs(file.dz_nm / abs(dz_nm) - 1) > _SAME:
            words.append(f"{path} states steps of {file.dz_nm:.4g} nm, taken are {abs(dz_nm):.4g} nm")
    return px_nm, dz_nm, words


def _by_axes(path: Path) -> tuple[list[Any], float | None]:
    """Stacks along z of each time point and position, none where it is one movie; and the step that is stated."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            step = _step_nm(tiff)
            series = [one for one in tiff.series if len(one.shape) > 2 and one.axes.endswith(_ALONG_Z)]
            if len(series) < len(tiff.series) or (len(series) == 1 and len(series[0].shape) == 3):
                return [], step
            return [stack for one in series for stack in one.asarray().reshape(-1, *one.shape[-3:])], step
    except Exception:  # tifffile raises many kinds; what is wrong with the file is told where it is read as a movie
        return [], None


def _step_nm(tiff: Any) -> float | None:
    """By OME's PhysicalSizeZ, Micro-Manager's summary or ImageJ's spacing."""
    from rtdecode.sources.tiff_ome import NM

    if tiff.ome_metadata:
        pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
        size = None if pixels is None else pixels.get("PhysicalSizeZ")
        unit = "µm" if pixels is None else pixels.get("PhysicalSizeZUnit", "µm")
        return _positive(size, NM.get(unit))
    if tiff.is_micromanager and (summary := (tiff.micromanager_metadata or {}).get("Summary")):
        return _positive(summary.get("z-step_um"), 1000.0)
    about = tiff.imagej_metadata or {}
    return _positive(about.get("spacing"), NM.get(str(about.get("unit", "")).replace("\\u00B5", "µ")))


def _positive(value: Any, nm: float | None) -> float | None:
    if value is None or nm is None:
        return None
    return abs(float(value)) * nm or None


def _stated_px_nm(path: Path) -> tuple[float, float] | None:
    from rtdecode.sources.choice import Choice
    from rtdecode.sources.opening import open_recording

    for choice in (Choice(), Choice(z=0), Choice(z=0, position=0), Choice(position=0)):
        try:
            recording = open_recording(path, choice)
        except RtdecodeError:
            continue
        recording.close()
        return recording.px_nm
    return None
