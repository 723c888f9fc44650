"""A run folder followed from outside: new localizations, numbers and raw frames; live, finished or not begun."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import RecordingError, RingError, RingLapped, RunFolderError
from rtdecode.core.frames import Fate, FrameFlag
from rtdecode.core.localizations import Localizations
from rtdecode.streams.log import LogReader
from rtdecode.streams.recording import RecordingReader
from rtdecode.streams.ring import RingReader
from rtdecode.streams.run_folder import EventReader, RunFolder
from rtdecode.view.canvas import Region
from rtdecode.view.findings import Findings, ModelCard
from rtdecode.view.numbers import Numbers, State, Tally

ASSUMED_PX_NM = (100.0, 100.0)
LOOK_AGAIN_S = 0.5  # for what costs more than a read: is the owner alive, is there a report, a ring
FRAMES_AT_ONCE = 4_096  # of a finished run; each is checked, 1 µs
RECENT_FRAMES = 512  # whose localizations are kept to be circled


@dataclass(frozen=True, slots=True)
class Update:
    """What one poll found."""

    numbers: Numbers
    localizations: Localizations  # new since the last poll, in order
    more: bool  # the log has more already: poll again at once
    events: list[dict[str, Any]]  # new since the last poll


@dataclass(frozen=True, slots=True)
class RawImage:
    """A camera frame with its localizations, or the summed wide-field image."""

    title: str
    pixels: NDArray[np.generic]  # (H, W)
    localizations: Localizations


class Follower:
    """Reads one run folder, again and again. Never writes there, never slows the run, may die at any time."""

    def __init__(self, run_dir: Path) -> None:
        self.folder = RunFolder(run_dir)
        self._log = LogReader.open(run_dir, missing_ok=True)
        self._events = EventReader(self.folder)
        self.findings = Findings()
        self._card: ModelCard | None = None
        self._ring: RingReader | None = None
        self._tally = Tally()
        self._recent: deque[Localizations] = deque()  # parts of the log, whole: joining them would cost each poll
        self._source: dict[str, Any] = {}
        self._config: dict[str, Any] = {}
        self._state: State = "waiting"
        self._finish = ""
        self._looked_at = -np.inf
        self._count = 0
        self._extent_nm = (0.0, 0.0)
        self._shape: tuple[int, int] | None = None
        self._read_all = False  # the last poll found nothing new

    def poll(self, most: int = 65_536) -> Update:
        """Everything new, at most about `most` localizations; raises LogError when the log is damaged."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            self._look()
        events = self._events.read_new()
        for event in events:
            if event.get("kind") == "source":
                self._source = event
            self.findings.hear(event)
        commits, localizations = self._log.read_new(max_frames=FRAMES_AT_ONCE, max_localizations=most)
        self._read_all = len(commits) == 0
        self._tally.add(commits)
        self._remember(localizations)
        return Update(self._numbers(), localizations, len(commits) > 0, events)

    @property
    def px_nm(self) -> tuple[float, float]:
        """Camera pixel (x, y) as run.yaml has it; 100 nm where it does not say (`px_is_known`)."""
        value = self._camera_fields().get("px_nm")
        if isinstance(value, list | tuple) and len(value) == 2:
            return float(value[0]), float(value[1])
        return ASSUMED_PX_NM

    @property
    def px_is_known(self) -> bool:
        """Whether run.yaml says how large a pixel is."""
        return "px_nm" in self._camera_fields()

    @property
    def shape(self) -> tuple[int, int] | None:
        """(rows, columns) of the frames; None while nobody knows.

        From the source's own event, the ring, the wide-field image; of a run that is over and has none of them,
        the rectangle that its localizations need.
        """
        if self._shape is None:
            self._shape = self._find_shape()
        return self._shape

    @property
    def field(self) -> Region | None:
        """The region that the frames cover; None while nobody knows."""
        return None if self.shape is None else Region.of_frame(self.shape, self.px_nm)

    def raw(self) -> RawImage | None:
        """The last fitted frame that can still be had, with its localizations; else the wide-field image."""
        return self._from_ring() or self._from_recording() or self._from_widefield()

    def widefield(self) -> RawImage | None:
        """Sum of the fitted frames; of a running run as last saved, 2 s ago at most."""
        image = self._widefield()
        if image is None:
            return None
        return RawImage("Wide field: sum of the fitted frames", image, Localizations.empty())

    @property
    def has_config(self) -> bool:
        """Whether run.yaml is there."""
        return bool(self._run_fields())

    @property
    def card(self) -> ModelCard:
        """What the run's model was trained for; empty where the run or its model is not there (yet)."""
        if self._card is None and self._run_fields():
            self._card = ModelCard.of_run(self._run_fields())
        return self._card or ModelCard()

    def close(self) -> None:
        """Let go of the ring; safe to call twice."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _look(self) -> None:
        """State of the run, its configuration, its ring: what changes seldom and costs a little."""
        if not self.folder.run_yaml.exists():
            return
        self.findings.look(self.folder.path)
        report = self._report()
        if report is not None:
            self._state, self._finish = "finished", _finish_words(report)
        else:
            self._state = "running" if self._owner_lives() else "interrupted"
        if self._ring is None and self._state == "running":
            self._ring = self._open_ring()

    def _find_shape(self) -> tuple[int, int] | None:
        if "height_px" in self._source and "width_px" in self._source:
            return int(self._source["height_px"]), int(self._source["width_px"])
        if self._ring is not None:
            return self._ring.shape
        if self._state == "running" or not self._read_all:
            return None
        widefield = self._widefield()
        if widefield is not None:
            return (widefield.shape[0], widefield.shape[1])
        across, down = self._extent_nm[0] / self.px_nm[0], self._extent_nm[1] / self.px_nm[1]
        return (int(down + 1.5), int(across + 1.5)) if self._count else None

    def _report(self) -> dict[str, Any] | None:
        try:
            return self.folder.read_report()
        except (RunFolderError, OSError):
            return {}  # there, and not readable: the run is over all the same

    def _owner_lives(self) -> bool:
        try:
            return self.folder.is_running
        except (RunFolderError, KeyError, TypeError, ValueError):
            return False

    def _open_ring(self) -> RingReader | None:
        path = self.folder.ring_path
        try:
            return RingReader.open(path) if path is not None else None
        except (RingError, OSError):
            return None  # gone, or not whole yet; looked for again

    def _camera_fields(self) -> dict[str, Any]:
        camera = self._run_fields().get("camera")
        return camera if isinstance(camera, dict) else {}

    def _run_fields(self) -> dict[str, Any]:
        """run.yaml, read once."""
        if not self._config:
            try:
                self._config = self.folder.fields()
            except RunFolderError:
                return {}
        return self._config

    def _source_waits(self) -> bool:
        if "can_wait" in self._source:
            return bool(self._source["can_wait"])
        source = self._run_fields().get("source")
        return isinstance(source, dict) and source.get("use") == "replay"

    def _remember(self, localizations: Localizations) -> None:
        """Keep what may have to be circled, and how far localizations reach."""
        self._count += len(localizations)
        if not len(localizations):
            return
        ends = (np.nan_to_num(axis, posinf=0.0).max() for axis in (localizations.x_nm, localizations.y_nm))
        self._extent_nm = max(self._extent_nm[0], float(next(ends))), max(self._extent_nm[1], float(next(ends)))
        self._recent.append(localizations)
        while self._recent[0].frame_index[-1] <= localizations.frame_index[-1] - RECENT_FRAMES:
            self._recent.popleft()

    def _numbers(self) -> Numbers:
        tally, counts = self._tally, self._tally.counts
        numbers = Numbers(
            state=self._state,
            finish=self._finish,
            frame_index=tally.frame_index,
            expected=self._source.get("expected"),
            fitted=counts[Fate.FITTED],
            rejected=counts[Fate.REJECTED],
            lost_before=counts[Fate.LOST_BEFORE],
            lost_in_ring=counts[Fate.LOST_IN_RING],
            fps=tally.fps_now(time.monotonic_ns()) if self._state == "running" else tally.fps_of_all(),
            latency_ms=tally.latency_ms(),
            source_waits=self._source_waits(),
            localizations=self._count,
            per_frame=tally.per_frame(),
        )
        return self._with_queue(self._with_density(numbers))

    def _with_density(self, numbers: Numbers) -> Numbers:
        field = self.field
        if field is None or numbers.per_frame is None:
            return numbers
        return replace(numbers, density_um2=numbers.per_frame / (field.width_nm * field.height_nm * 1e-6))

    def _with_queue(self, numbers: Numbers) -> Numbers:
        done = numbers.fitted + numbers.rejected + numbers.lost_in_ring
        if self._ring is None or self._state != "running":
            return replace(numbers, received=done)
        received = self._ring.received
        lag = max(0, received - done)
        return replace(numbers, received=received, lag_frames=lag, ring_fill=self._ring.slowest_fill)

    def _from_ring(self) -> RawImage | None:
        if self._ring is None or self._tally.last_fitted is None:
            return None
        try:
            frame = self._ring.read() if self._ring.seek(self._tally.last_fitted) else None
        except (RingLapped, RingError):
            return None
        if frame is None or frame.info.flags & FrameFlag.WRONG_SIZE:
            return None
        return self._circled(frame.index, frame.pixels_adu)

    def _from_recording(self) -> RawImage | None:
        if self._tally.last_fitted is None:
            return None
        try:
            recording = RecordingReader.open(self.folder.path)
        except RecordingError:
            return None
        try:
            at = np.flatnonzero(recording.indices == self._tally.last_fitted)
            frame = recording.read(int(at[0])) if len(at) else None
        except (RecordingError, OSError):
            frame = None
        finally:
            recording.close()
        return None if frame is None else self._circled(frame.index, frame.pixels_adu)

    def _circled(self, frame_index: int, pixels: NDArray[np.generic]) -> RawImage:
        mine = Localizations.concatenate(part[part.frame_index == frame_index] for part in self._recent)
        return RawImage(f"Frame {frame_index:,}: {len(mine)} localizations", pixels, mine)

    def _from_widefield(self) -> RawImage | None:
        widefield = self._widefield()
        if widefield is None:
            return None
        return RawImage("No raw frame is left; wide-field sum", widefield, Localizations.empty())

    def _widefield(self) -> NDArray[np.generic] | None:
        for name in ("widefield.npy", "widefield.part.npz"):
            try:
                image = _image_in(self.folder.path / name)
            except (OSError, ValueError, KeyError, BadZipFile):
                continue  # not there, or caught while it is replaced
            if image.ndim == 2:
                return image
        return None


def _image_in(path: Path) -> NDArray[np.generic]:
    """Of an .npy, or `total_adu` of an .npz."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return np.asarray(loaded["total_adu"])


def _finish_words(report: dict[str, Any]) -> str:
    finish, reason = str(report.get("finish", "")), str(report.get("reason", "") or "")
    return f"{finish}: {reason}" if reason and reason != finish else finish
