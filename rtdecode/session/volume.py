"""`rtdecode volume`: finished runs of many planes become one run folder in stage coordinates, plane after plane.

Frames of a plane follow those of the plane below, so the log is written as it is read: memory does not grow with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.core.camera import Camera
from rtdecode.core.config import RunConfig
from rtdecode.core.errors import ConfigError
from rtdecode.core.localizations import Localizations
from rtdecode.session.importing import remove_unfinished
from rtdecode.session.volume_plan import VOLUME_JSON, VolumePlan
from rtdecode.session.volume_planes import PlacedPlane, open_planes, registered, with_slabs
from rtdecode.stages.ledger import Ledger, Tally, latency_ms
from rtdecode.stages.run_record import IMPORTED, RunRecord, versions
from rtdecode.streams.files import write_atomically
from rtdecode.streams.log import COMMIT_DTYPE, Commits, LogReader, LogWriter, make_commits
from rtdecode.streams.run_folder import RunFolder

FORMAT = 1


@dataclass(slots=True)
class Counts:
    """What became of a plane's localizations."""

    of_run: int = 0
    filtered: int = 0  # out by the filter or beyond the z that the model can tell
    of_neighbour: int = 0  # in the part of an overlap that another plane owns
    kept: int = 0
    frames: int = 0
    first_frame: int = 0  # of the volume's log; its frame k of the run is first_frame + k


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle that a volume's x and y are counted in: `origin_nm` on the stage is the first pixel's centre."""

    origin_nm: tuple[float, float]
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Made:
    """One volume as it lies on disk."""

    folder: RunFolder
    planes: list[PlacedPlane]
    counts: list[Counts]


def make_volumes(plan: VolumePlan, path: Path, out: Path) -> list[Made]:
    """The volume of `plan` (read from `path`) in the new run folder `out`; of channels one each, in `out/NAME`.

    Raises ConfigError, RunFolderError, LogError; a volume that is not whole is removed.
    """
    channels = {}
    for name, channel in plan.by_channel.items():
        RunFolder.refuse_taken(out / name)
        planes = open_planes(plan, channel)
        if plan.register_by == "overlap":
            planes = registered(planes, plan.register_reach_nm, moves_z=plan.register_axes == "xyz")
        channels[name] = with_slabs(planes)
    frame = frame_of([plane for planes in channels.values() for plane in planes])
    return [_made(plan, path, out / name, planes, frame) for name, planes in channels.items()]


def frame_of(planes: list[PlacedPlane]) -> Frame:
    """The smallest that holds every plane's field, in pixels of the first one."""
    px_nm = planes[0].px_nm
    low = np.min([plane.place_nm[:2] for plane in planes], axis=0)
    far = [(p.place_nm[0] + p.roi.width_px * p.px_nm[0], p.place_nm[1] + p.roi.height_px * p.px_nm[1]) for p in planes]
    size = np.ceil((np.max(far, axis=0) - low) / px_nm - 1e-6).astype(int)
    return Frame((float(low[0]), float(low[1])), int(size[0]), int(size[1]))


def read_volume(folder: RunFolder) -> dict[str, Any] | None:
    """volume.json of a run folder; None where the run is no volume. Raises ConfigError."""
    path = folder.path / VOLUME_JSON
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _made(plan: VolumePlan, path: Path, out: Path, planes: list[PlacedPlane], frame: Frame) -> Made:
    folder = RunFolder.create(out, _record(path, planes[0].px_nm, out).as_yaml())
    try:
        counts = list(_write_log(folder, planes, frame))
        _note_source(folder, path, frame, counts)
        write_atomically(folder.path / VOLUME_JSON, json.dumps(_told(plan, planes, counts, frame), indent=1) + "\n")
        folder.write_report(_report(folder, planes, counts))
    except BaseException:  # Ctrl-C, too: a volume that is not whole is none
        remove_unfinished(folder)
        raise
    finally:
        folder.release_reserve()
    return Made(folder, planes, counts)


def _record(path: Path, px_nm: tuple[float, float], out: Path) -> RunRecord:
    camera = Camera(px_nm=px_nm, baseline_adu=0, e_per_adu=1, read_noise_e=0)
    config = RunConfig.model_validate(
        {"source": {"use": IMPORTED, "path": str(path.resolve()), "format": "volume"},
         "model": IMPORTED, "camera": camera.model_dump(), "check": False, "out": out}
    )  # fmt: skip
    return RunRecord(
        **config.model_dump(), origin=f"rtdecode volume {path.name}", model_name=IMPORTED, model_sha256="0" * 64,
        versions=versions(),
    )  # fmt: skip


def _write_log(folder: RunFolder, planes: list[PlacedPlane], frame: Frame) -> Iterator[Counts]:
    log = LogWriter.open(folder.path)
    try:
        for plane in planes:
            counts = Counts(first_frame=log.last_index + 1)
            reader = LogReader.open(plane.folder.path)
            while len((read := reader.read_new())[0]):
                _append(log, plane, frame, *read, counts)
            yield counts
    finally:
        log.close()


def _append(
    log: LogWriter, plane: PlacedPlane, frame: Frame, commits: Commits, part: Localizations, counts: Counts
) -> None:
    """One part of a plane's log, in stage coordinates, to the volume's."""
    good = plane.in_stage(plane.good(part), frame.origin_nm)
    own = good[(good.z_nm >= plane.owns_nm[0]) & (good.z_nm < plane.owns_nm[1])]
    in_frame = np.searchsorted(own.frame_index, commits["frame_index"], "right")
    in_frame = np.diff(in_frame, prepend=0)
    records = own.records()
    records["frame_index"] += counts.first_frame
    made = make_commits(
        commits["frame_index"] + counts.first_frame, commits["fate"], in_frame, background=commits["background"]
    )
    log.append(made, Localizations.from_records(records))
    counts.of_run += len(part)
    counts.filtered += len(part) - len(good)
    counts.of_neighbour += len(good) - len(own)
    counts.kept += len(own)
    counts.frames = int(commits["frame_index"][-1]) + 1


def _note_source(folder: RunFolder, path: Path, frame: Frame, counts: list[Counts]) -> None:
    place = {"x0_px": 0, "y0_px": 0, "width_px": frame.width_px, "height_px": frame.height_px, "binning": 1}
    expected = sum(plane.frames for plane in counts)
    folder.append_event("session", "source", None, **place, dtype="none", expected=expected, can_wait=True)
    words = f"a volume of {len(counts)} planes made by {path.name}: frames are those of the planes, one after the other"
    folder.append_event("session", "warning", None, reason=words)


def _told(plan: VolumePlan, planes: list[PlacedPlane], counts: list[Counts], frame: Frame) -> dict[str, Any]:
    """volume.json; None for what is not known."""
    reach = [plane.owns_nm for plane in planes]
    return {
        "format": FORMAT,
        "coordinates": "x_nm, y_nm = stage less origin_nm; z_nm = stage",
        "origin_nm": list(frame.origin_nm),
        "z_range_nm": [min(low for low, _ in reach), max(high for _, high in reach)],
        "planes": [_plane_told(plane, count) for plane, count in zip(planes, counts, strict=True)],
        "plan": plan.model_dump(mode="json", by_alias=True),
        "versions": versions(),
    }


def _plane_told(plane: PlacedPlane, counts: Counts) -> dict[str, Any]:
    step = plane.step
    return {
        "run": str(plane.folder.path),
        "z_nm": round(float(plane.place_nm[2]), 2),
        "owns_nm": list(plane.owns_nm),
        "given_offset_nm": [round(value, 2) for value in plane.given_nm[:2]],
        "found_offset_nm": [round(value, 2) for value in plane.found_nm],
        "found_sigma_nm": _finite(plane.sigma_nm),
        "against_plane_below": None
        if step is None
        else {"offset_nm": _finite(step.nm), "sigma_nm": _finite(step.sigma_nm), "blinks": list(step.points)},
        "filter": plane.quality.as_json(),
        "drift_taken_off": plane.drift is not None,
        **asdict(counts),
    }


def _finite(values: Any) -> list[float | None]:
    return [round(float(value), 2) if np.isfinite(value) else None for value in values]


def _report(folder: RunFolder, planes: list[PlacedPlane], counts: list[Counts]) -> dict[str, Any]:
    """report.json as other runs have it, from counts alone: the log is not read into memory."""
    record, tally = RunRecord.of_run(folder), Tally.of_log(folder.path)
    received = tally.fitted + tally.rejected + tally.lost_in_ring
    frames = Ledger(
        received + tally.lost_before, received, tally.fitted, tally.rejected, tally.lost_before, tally.lost_in_ring
    )
    said = [str(event["reason"]) for event in folder.read_events() if event.get("kind") == "warning"]
    lost = [plane.folder.name for plane in planes if plane.step is not None and not np.isfinite(plane.step.nm).all()]
    doubts = [f"no offset was found for {', '.join(lost)}: the overlap shows nothing in common"] if lost else []
    return {
        "format": 1, "finish": "completed", "reason": "", "frames": frames.as_json(), "lost": [],
        "localizations": tally.localizations, "rate_fps": None, "latency_ms": latency_ms(np.empty(0, COMMIT_DTYPE)),
        "latency_bound_ms": None,
        "source": {"use": IMPORTED, "can_wait": True, "camera_from": ""}, "decisions": [], "policies": {},
        "engine": record.engine.model_dump(), "model": {"name": record.model_name, "sha256": record.model_sha256},
        "versions": record.versions, "warnings": said + doubts, "made_by": f"rtdecode volume, of {len(planes)} planes",
        "planes": [(f"plane {p.folder.name}", _words(p, count)) for p, count in zip(planes, counts, strict=True)],
    }  # fmt: skip


def _words(plane: PlacedPlane, counts: Counts) -> str:
    """Of one plane, as a person reads it."""
    x, y = (given + found for given, found in zip(plane.given_nm[:2], plane.found_nm[:2], strict=True))
    error = f" ± {max(plane.sigma_nm[:2]):.1f}" if plane.step is not None else ""
    return (
        f"z {plane.place_nm[2]:.0f} nm, offset {x:.1f}, {y:.1f}{error} nm; {counts.kept:,} localizations kept, "
        f"{counts.of_neighbour:,} left to a neighbour, {counts.filtered:,} filtered"
    )
