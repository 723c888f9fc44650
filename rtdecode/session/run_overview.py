"""What a report shows of a run's localizations, gathered from the log in two passes and bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.streams.log import Commits, LogReader
from rtdecode.streams.run_folder import RunFolder
from rtdecode.view.canvas import Canvas, ColourScale, Region
from rtdecode.view.unknown_sigma import drawable

SAMPLE = 400_000  # localizations that the histograms are made of: beyond that their bars do not move
TIME_BINS = 150
SLICES = 4  # pictures by time
SLICE_FRAMES = 200  # a run of fewer frames is not cut
WHOLE_PX, SLICE_PX = 1000, 420  # longer side of the pictures


@dataclass(frozen=True, slots=True)
class OverTime:
    """Figures of a run by frame, in equal stretches; NaN where a stretch has none."""

    frame: NDArray[np.float64]  # (T,) middle of each stretch
    per_frame: NDArray[np.float64]  # localizations in a fitted frame
    photons: NDArray[np.float64]  # median of the sample
    background: NDArray[np.float64]  # the same
    latency_ms: NDArray[np.float64]  # median, arrival to log, of fitted frames
    not_fitted: NDArray[np.float64]  # frames that were rejected or lost


@dataclass(frozen=True, slots=True)
class Picture:
    """One super-resolution image as PNG bytes, and which frames it is made of."""

    png: bytes
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it."""

    sample: Localizations  # evenly thinned
    commits: Commits
    over_time: OverTime
    scale: ColourScale | None  # of the colours; None: a 2D model's
    whole: Picture | None
    slices: tuple[Picture, ...]
    shown: int  # localizations that passed the filter
    pixel_nm: float


def overview(folder: RunFolder, field: Region | None, quality: QualityFilter) -> Overview:
    """Read the log twice: for figures and colours, then for the pictures. Raises LogError where it is damaged."""
    commits, sample = sample_of(folder)
    tells_z = bool(len(sample)) and not sample.is_2d
    values = sample.z_nm[quality.passes(dict(sample.columns()))]
    scale = ColourScale.fitted(values) if tells_z else ColourScale()
    pictures, shown, pixel_nm = _pictures(folder, commits, field, quality, scale)
    whole, slices = (pictures[0], pictures[1:]) if pictures else (None, ())
    return Overview(
        sample, commits, over_time(commits, sample), scale if tells_z else None, whole, slices, shown, pixel_nm
    )


def _parts(folder: RunFolder) -> Iterator[tuple[Commits, Localizations]]:
    reader = LogReader.open(folder.path)
    while len((part := reader.read_new())[0]):
        yield part


def sample_of(folder: RunFolder) -> tuple[Commits, Localizations]:
    """Every commit, and localizations thinned evenly: the stride doubles as the run turns out longer.

    Raises LogError where the log is damaged.
    """
    commits: list[Commits] = []
    kept: list[Localizations] = []
    stride, seen = 1, 0
    for part, found in _parts(folder):
        commits.append(part)
        kept.append(found[slice((-seen) % stride, None, stride)])
        seen += len(found)
        while sum(map(len, kept)) > 2 * SAMPLE:
            kept, stride = [Localizations.concatenate(kept)[::2]], 2 * stride
    whole = np.concatenate(commits) if commits else LogReader.open(folder.path).read_new()[0]
    return whole, Localizations.concatenate(kept) if kept else Localizations.empty()


def over_time(commits: Commits, sample: Localizations) -> OverTime:
    """Stretches of equal numbers of frames, at most `TIME_BINS`."""
    fitted = commits["fate"] == Fate.FITTED
    frames = commits["frame_index"].astype(np.int64)
    if not len(frames):
        return OverTime(*(np.empty(0) for _ in range(6)))
    edges = np.linspace(frames.min(), frames.max() + 1, min(TIME_BINS, int(np.ptp(frames)) + 1) + 1)
    at, of_sample = np.digitize(frames, edges) - 1, np.digitize(sample.frame_index, edges) - 1
    count = len(edges) - 1
    n_fitted = np.bincount(at[fitted], minlength=count).astype(np.float64)
    found = np.bincount(at[fitted], commits["n_localizations"][fitted], minlength=count)
    latency = (commits["t_commit_ns"] - commits["t_arrival_ns"]) / 1e6
    return OverTime(
        frame=(edges[:-1] + edges[1:] - 1) / 2,
        per_frame=np.divide(found, n_fitted, out=np.full(count, np.nan), where=n_fitted > 0),
        photons=_medians(sample.photons, of_sample, count),
        background=_medians(sample.background, of_sample, count),
        latency_ms=_medians(latency[fitted], at[fitted], count),
        not_fitted=np.bincount(at[~fitted], minlength=count).astype(np.float64),
    )


def _medians(values: NDArray[np.generic], at: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """(count,) median of the values of each bin."""
    order = np.argsort(at, kind="stable")
    cuts = np.searchsorted(at[order], np.arange(1, count))
    parts = np.split(np.asarray(values, np.float64)[order], cuts)
    return np.array([float(np.median(part)) if len(part) else np.nan for part in parts])


def _pictures(
    folder: RunFolder, commits: Commits, field: Region | None, quality: QualityFilter, scale: ColourScale
) -> tuple[tuple[Picture, ...], int, float]:
    """The whole run first, then its parts; nothing where no field is known or no frame came."""
    if field is None or not len(commits):
        return (), 0, 0.0
    longer, first, last = max(field.width_nm, field.height_nm), *_ends(commits)
    cuts = np.linspace(first, last + 1, SLICES + 1).round().astype(np.int64)
    spans = [(first, last)]
    if last - first + 1 >= SLICE_FRAMES:
        spans += [(int(a), int(b) - 1) for a, b in pairwise(cuts)]
    canvases = [Canvas(field, longer / (SLICE_PX if k else WHOLE_PX), scale) for k in range(len(spans))]
    shown = 0
    for _, found in _parts(folder):
        found = drawable(quality.of(found))
        shown += len(found)
        for canvas, (begin, end) in zip(canvases, spans, strict=True):
            canvas.add(found[(found.frame_index >= begin) & (found.frame_index <= end)])
    pictures = [Picture(_png(canvas), *span) for canvas, span in zip(canvases, spans, strict=True)]
    return tuple(pictures), shown, canvases[0].px_nm


def _ends(commits: Commits) -> tuple[int, int]:
    return int(commits["frame_index"].min()), int(commits["frame_index"].max())


def _png(canvas: Canvas) -> bytes:
    out = io.BytesIO()
    Image.fromarray(canvas.to_rgb()[0]).save(out, format="PNG", optimize=True)
    return out.getvalue()
