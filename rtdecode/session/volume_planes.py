"""A plane of a volume: its run opened, its localizations in stage coordinates, its place found by the overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.drift import Drift
from rtdecode.core.errors import ConfigError
from rtdecode.core.frames import Roi
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import SHOW_ALL, QualityFilter
from rtdecode.fit.bundle import ModelBundle
from rtdecode.session.exporting import bundle_of, parts_of, recommended_filter
from rtdecode.session.measuring import drift_of
from rtdecode.session.volume_plan import Channel, Limits, VolumePlan
from rtdecode.stages.build import camera_px_nm
from rtdecode.stages.notes import read_roi
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.run_folder import RunFolder

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
MOST_POINTS = 60_000  # of each side of an overlap: registration is bounded in time and memory


@dataclass(frozen=True, slots=True)
class Step:
    """A plane against the one below: how far its localizations lie off, after what was known was added."""

    nm: F8  # (3,) NaN: the overlap shows nothing in common
    sigma_nm: F8  # (3,)
    points: tuple[int, int]  # blinks of this plane and of the one below that were compared


@dataclass(frozen=True, slots=True)
class PlacedPlane:
    """One run and all that puts its localizations into the volume."""

    folder: RunFolder
    roi: Roi
    px_nm: tuple[float, float]
    quality: QualityFilter
    drift: Drift | None
    depth_nm: tuple[float, float]  # of the model's z that counts
    z_scale: float  # model's z to stage z, with its sign
    given_nm: tuple[float, float, float]  # x, y added as known; stage z of the focal plane
    found_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # added besides, by the overlaps up to here
    sigma_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of that
    step: Step | None = None
    owns_nm: tuple[float, float] = field(default=(-np.inf, np.inf))  # stage z of which this plane speaks

    @property
    def place_nm(self) -> F8:
        """(3,) added to x and y of the run's own, and stage z of the focal plane."""
        sensor = (self.roi.x0_px * self.px_nm[0], self.roi.y0_px * self.px_nm[1], 0.0)
        return np.array(self.given_nm) + self.found_nm + sensor

    @property
    def reach_nm(self) -> tuple[float, float]:
        """Stage z from which to which it can tell."""
        ends = sorted(self.place_nm[2] + self.z_scale * depth for depth in self.depth_nm)
        return float(ends[0]), float(ends[1])

    def parts(self) -> Iterator[Localizations]:
        """What passes the filter, drift taken off, in the run's own coordinates, a few MB at a time."""
        for part in parts_of(self.folder):
            yield self.good(part)

    def good(self, part: Localizations) -> Localizations:
        """Those that pass the filter and lie in the model's own range, drift taken off."""
        passed = self.quality.of(part)
        passed = passed[(passed.z_nm >= self.depth_nm[0]) & (passed.z_nm <= self.depth_nm[1])]
        return self.drift.undone(passed) if self.drift is not None else passed

    def in_stage(self, part: Localizations, origin_nm: tuple[float, float]) -> Localizations:
        """In stage coordinates, x and y less `origin_nm`; computed in double precision."""
        place = self.place_nm
        return replace(
            part,
            x_nm=(part.x_nm + (place[0] - origin_nm[0])).astype(np.float32),
            y_nm=(part.y_nm + (place[1] - origin_nm[1])).astype(np.float32),
            z_nm=(part.z_nm * self.z_scale + place[2]).astype(np.float32),
            sigma_z_nm=(part.sigma_z_nm * abs(self.z_scale)).astype(np.float32),
        )


def open_planes(plan: VolumePlan, channel: Channel) -> list[PlacedPlane]:
    """All planes of a channel, lowest first, where they are known to be. Raises ConfigError, RunFolderError."""
    heights, offsets = plan.heights_nm(channel.planes), plan.offsets_nm(channel.planes)
    x, y, z = channel.offset_nm
    planes = [
        _opened(plan, plane.run, (offset[0] + x, offset[1] + y, height + z))
        for plane, height, offset in zip(channel.planes, heights, offsets, strict=True)
    ]
    for other in planes[1:]:
        if other.px_nm != planes[0].px_nm:
            ours, theirs = planes[0].folder.path, other.folder.path
            raise ConfigError(f"pixel sizes differ: {ours} has {planes[0].px_nm} nm, {theirs} {other.px_nm}")
    return sorted(planes, key=lambda placed: placed.given_nm[2])


def registered(planes: list[PlacedPlane], reach_nm: float, *, moves_z: bool) -> list[PlacedPlane]:
    """Each plane put upon the one below by what both see; errors add up in squares from the lowest plane on.

    Where the overlap shows nothing in common the plane keeps the offset of the one below, and its error is infinite.
    """
    out = planes[:1]
    moves = np.array([True, True, moves_z])
    for plane in planes[1:]:
        below = out[-1]
        moved = replace(plane, found_nm=below.found_nm)
        step = _step(below, moved, reach_nm)
        found = np.array(below.found_nm) - np.where(moves, np.nan_to_num(step.nm), 0.0)
        sigma = np.hypot(below.sigma_nm, np.where(moves, step.sigma_nm, 0.0))
        out.append(replace(moved, found_nm=_three(found), sigma_nm=_three(sigma), step=step))
    return out


def with_slabs(planes: list[PlacedPlane]) -> list[PlacedPlane]:
    """Each stage z given to one plane: neighbours part in the middle of their overlap; planes at one z share a slab."""
    heights = sorted({float(plane.place_nm[2]) for plane in planes})
    level = [[p for p in planes if float(p.place_nm[2]) == z] for z in heights]
    ends = [(min(p.reach_nm[0] for p in same), max(p.reach_nm[1] for p in same)) for same in level]
    low, high = [e[0] for e in ends], [e[1] for e in ends]
    for k, (below, above) in enumerate(pairwise(ends)):
        if below[1] > above[0]:  # else there is a gap, of which nobody speaks
            high[k] = low[k + 1] = (below[1] + above[0]) / 2
    return [replace(p, owns_nm=(low[k], high[k])) for k, same in enumerate(level) for p in same]


def _opened(plan: VolumePlan, path: Path, given_nm: tuple[float, float, float]) -> PlacedPlane:
    folder = RunFolder.open(path)
    if folder.read_report() is None:
        raise ConfigError(f"{path}: this run is not finished (no report.json); a volume is made of finished runs")
    record, roi = RunRecord.of_run(folder), read_roi(folder)
    if roi is None:
        raise ConfigError(f"{path}: this run never saw a frame; leave it out of the plan")
    bundle = bundle_of(record)
    return PlacedPlane(
        folder, roi, camera_px_nm(record), _quality(plan, path, record, bundle), _drift(plan, folder),
        _depth(plan, path, record, bundle), plan.z_sign * plan.z_factor, given_nm,
    )  # fmt: skip


def _quality(plan: VolumePlan, path: Path, record: RunRecord, bundle: ModelBundle | None) -> QualityFilter:
    if isinstance(plan.filter, Limits):
        return plan.filter.quality
    if plan.filter == "none":
        return SHOW_ALL
    if bundle is None:
        raise ConfigError(f"{path}: filter 'recommended' needs its model, {record.model}; give the limits, or 'none'")
    return recommended_filter(bundle)


def _depth(plan: VolumePlan, path: Path, record: RunRecord, bundle: ModelBundle | None) -> tuple[float, float]:
    if bundle is not None and not bundle.tells_z:
        raise ConfigError(f"{path}: its model {record.model_name} tells no z; a volume needs one that does")
    if plan.z_range_nm is not None:
        return plan.z_range_nm
    if bundle is None:
        raise ConfigError(f"{path}: the range of z that it can tell is not known without its model; give z_range_nm")
    return bundle.card.ranges.z_nm


def _drift(plan: VolumePlan, folder: RunFolder) -> Drift | None:
    drift = drift_of(folder) if plan.take_off_drift else None
    if plan.take_off_drift and drift is None:
        raise ConfigError(f"{folder.path}: its drift was not measured yet; run `rtdecode drift {folder.path}` first")
    return drift


def _step(below: PlacedPlane, plane: PlacedPlane, reach_nm: float) -> Step:
    """From the middle half of the overlap, against all that the plane below has near it: were both cut alike, pairs
    across the cut would be missing, and the mode drawn towards zero."""
    from rtdecode.analysis.registration import shift_between

    low, high = max(below.reach_nm[0], plane.reach_nm[0]), min(below.reach_nm[1], plane.reach_nm[1])
    thick = high - low
    unknown, never = np.full(3, np.nan), np.full(3, np.inf)
    if thick <= 0:
        return Step(unknown, never, (0, 0))
    mine = _points(plane, (low + thick / 4, high - thick / 4))
    theirs = _points(below, (low - thick / 4, high + thick / 4))
    found = shift_between(mine, theirs, (reach_nm, thick / 2))
    if found is None:
        return Step(unknown, never, (len(mine), len(theirs)))
    return Step(found.nm, found.sigma_nm, (len(mine), len(theirs)))


def _points(plane: PlacedPlane, within_nm: tuple[float, float]) -> F4:
    """(N, 3) stage coordinates of its blinks in a slab, thinned evenly by halves where they are many."""
    from rtdecode.analysis.grouping import grouped

    random, share = np.random.default_rng(0), 1.0
    kept = np.empty((0, 3), np.float32)
    for part in plane.parts():
        stage = plane.in_stage(part, (0.0, 0.0))
        blinks = grouped(stage[(stage.z_nm >= within_nm[0]) & (stage.z_nm < within_nm[1])]).localizations
        points = np.column_stack([blinks.x_nm, blinks.y_nm, blinks.z_nm]).astype(np.float32)
        kept = np.concatenate([kept, points[random.random(len(points)) < share]])
        while len(kept) > MOST_POINTS:
            kept, share = kept[random.random(len(kept)) < 0.5], share / 2
    return kept


def _three(values: F8) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
