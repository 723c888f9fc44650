"""A recording played as if a camera made it: at full speed, at its own pace, or at a stated rate."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PrivateAttr

from rtdecode.core.actions import Action, Stop
from rtdecode.core.camera import Camera
from rtdecode.core.errors import SourceError
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo, Roi
from rtdecode.core.yaml_files import StrictModel
from rtdecode.sources.addresses import Place, place_of
from rtdecode.sources.choice import Choice, Value
from rtdecode.sources.losses import Losses
from rtdecode.sources.opening import open_recording
from rtdecode.sources.pixels import PixelConverter, Units
from rtdecode.sources.playback import Playback
from rtdecode.sources.recording import Recording, unusable

ON_PURPOSE, MISSING = "lost on purpose (losses)", "missing in the recording"
_SAME_PIXELS = 0.02  # of the size: what is written is often rounded


@dataclass
class _Opened:
    recording: Recording
    converter: PixelConverter
    playback: Playback
    times_ns: list[int] | None  # camera clock of each frame of the range, where it was asked for beforehand
    n_frames: int
    lost: NDArray[np.bool_] | None  # of each frame of the range, where losses are injected


class ReplaySource(StrictModel):
    """Frames of a movie on disk: .npy, TIFF of any kind, NDTiff, OME-Zarr, .nd2, .dax, Picasso .raw, a recorded run.

    Example: `use: replay`, `path: movie.tif`, `pace: 100`. Floats need `units: photons` (turned into ADU by
    `camera`) or `units: adu`. `first` and `last` bound the range [first, last) of frames; frames of a range
    are numbered from 0 again, since a jump in numbers means lost frames. `pace` "max" gives each frame at
    once, "recorded" uses the movie's own times, a number is frames per second; paced frames are due by the
    clock, however slowly they are read. `channel`, `position`, `z` choose by name or number where there are
    several. `losses` (see Losses) keeps frames from arriving, for rehearsals: the camera has made them all the same.
    """

    path: Annotated[Place, BeforeValidator(place_of)]
    pace: Literal["max", "recorded"] | Annotated[float, Field(gt=0)] = "max"
    units: Units | None = None
    camera: Camera | None = None
    first: Annotated[int, Field(ge=0)] = 0
    last: Annotated[int, Field(gt=0)] | None = None
    channel: Value | None = None
    position: Value | None = None
    z: Value | None = None
    losses: Losses | None = None
    _opened: _Opened | None = PrivateAttr(None)
    _made_before_close: int | None = PrivateAttr(None)

    @property
    def roi(self) -> Roi:
        """Region of every frame; known after `open`."""
        return self._need().recording.roi

    @property
    def dtype(self) -> str:
        """uint16 for whole ADU, float32 for floats and photons; known after `open`."""
        return self._need().converter.dtype

    @property
    def expected(self) -> int | None:
        """Frames of the range; for a whole recorded run those that its camera made."""
        opened = self._need()
        return opened.recording.expected if self._whole(opened.recording) else opened.n_frames

    @property
    def made(self) -> int | None:
        """Frames due by now by the camera's count; at full speed those that were read. Still known after `close`."""
        if self._opened is None:
            return self._made_before_close
        due = self._opened.playback.made
        return self._index(self._opened.recording, self.first + due - 1) + 1 if due else 0

    @property
    def can_wait(self) -> bool:
        """A file waits for whoever reads it: a frame read late is still there."""
        return True

    @property
    def has_hardware(self) -> bool:
        """Nothing is left to bring to rest."""
        return False

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences on what is odd in the recording, and where it contradicts `camera`; known after `open`."""
        recording = self._need().recording
        if self.camera is None or recording.px_nm is None:
            return recording.cautions
        if np.allclose(recording.px_nm, self.camera.px_nm, rtol=_SAME_PIXELS, atol=0):
            return recording.cautions
        stated, ours = (f"{x:.4g} x {y:.4g} nm" for x, y in (recording.px_nm, self.camera.px_nm))
        words = f"{self.path} states pixels of {stated}, the run's camera has {ours}: one of them is wrong, "
        return (*recording.cautions, words + "and positions are scaled by the camera's")

    @property
    def nominal_fps(self) -> float | None:
        """The pace, where it is a number."""
        return self.pace if isinstance(self.pace, float) else None

    def open(self) -> None:
        """Find the movie and check all that can be checked without decoding it; raises RecordingError."""
        self.close()
        recording = open_recording(self.path, Choice(self.channel, self.position, self.z))
        try:
            self._opened = self._prepare(recording)
        except BaseException:
            recording.close()
            raise

    def start(self) -> None:
        """Paced frames are due from here on."""
        self._need().playback.start()

    def read(self, out: FrameArray) -> FrameInfo | None:
        """See Source.read; raises RecordingError for a frame that cannot be decoded or is out of range."""
        opened = self._need()
        k = opened.playback.next()
        while k is not None and opened.lost is not None and opened.lost[k]:
            opened.playback.advance()
            k = opened.playback.next()
        if k is None:
            return None
        info = self.read_at(k, out)
        opened.playback.advance()
        return info

    @property
    def n_frames(self) -> int:
        """Frames of the range that the recording holds; known after `open`."""
        return self._need().n_frames

    def read_at(self, k: int, out: FrameArray) -> FrameInfo:
        """Frame `k` of the range into `out` (H, W), in any order; losses are not looked at. Raises as `read`."""
        opened, position = self._need(), self.first + k
        flag = opened.recording.flags(position) & FrameFlag.WRONG_SIZE
        if not flag:
            flag = opened.converter.convert(opened.recording.frame(position), out, position)
        times = opened.times_ns
        t_camera_ns = times[k] if times is not None else opened.recording.time_ns(position)
        return FrameInfo(self._index(opened.recording, position), t_camera_ns, time.monotonic_ns(), flag)

    def apply(self, action: Action) -> None:
        """Stop: frames not yet due are never given. Anything else is refused: a file has no devices."""
        if not isinstance(action, Stop):
            raise SourceError(f"a replay has no device to set: {action}. Only Stop can be carried out.")
        self._need().playback.stop()

    @property
    def lost_because(self) -> str | None:
        """Why frames of this source never reach the run; None where none is missing. Known after `open`."""
        opened = self._need()
        has_gaps = self._index(opened.recording, self.first + opened.n_frames - 1) + 1 > opened.n_frames
        if self.losses is None:
            return MISSING if has_gaps else None
        return f"{ON_PURPOSE}, or {MISSING}" if has_gaps else ON_PURPOSE

    def close(self) -> None:
        """Release the file; safe to call twice."""
        if self._opened is None:
            return
        self._made_before_close = self.made
        self._opened.recording.close()
        self._opened = None

    def _need(self) -> _Opened:
        if self._opened is None:
            raise SourceError(f"{self.path}: the replay is not open (call open first; after close it is over)")
        return self._opened

    def _index(self, recording: Recording, position: int) -> int:
        """The camera's count; from 0 again for a range that does not begin with the movie."""
        return recording.index(position) - (recording.index(self.first) if self.first else 0)

    def _whole(self, recording: Recording) -> bool:
        return self.first == 0 and self.last in (None, recording.n_frames)

    def _prepare(self, recording: Recording) -> _Opened:
        last = recording.n_frames if self.last is None else self.last
        if not self.first < last <= recording.n_frames:
            raise unusable(
                self.path,
                f"{recording.n_frames} frames",
                f"the range [{self.first}, {last}) that was asked for",
                "Correct --first and --last (first < last <= number of frames).",
            )
        if recording.incomplete and self.last is None:
            raise unusable(
                self.path, recording.incomplete, "a complete recording",
                f"Copy it again, or play the {last} frames that are there with --last {last}.",
            )  # fmt: skip
        if recording.units is not None and self.units not in (None, recording.units):
            raise unusable(self.path, f"frames in {recording.units}", f"{self.units}", "Leave --units out.")
        converter = PixelConverter(self.path, recording.dtype, self.units or recording.units, self.camera)
        for position in {self.first, (self.first + last) // 2, last - 1}:
            converter.check(recording.frame(position), position)
        times, n_frames = self._times(recording, last), last - self.first
        lost = self._lost(recording, last)
        return _Opened(recording, converter, self._playback(n_frames, times), times, n_frames, lost)

    def _lost(self, recording: Recording, last: int) -> NDArray[np.bool_] | None:
        """Which frames of the range never arrive."""
        if self.losses is None:
            return None
        indices = np.array([self._index(recording, position) for position in range(self.first, last)], np.int64)
        beyond = [part for part in self.losses.ranges if part[1] > indices[-1]]
        if beyond:
            raise unusable(
                self.path, f"frames up to {indices[-1]}", f"the frames {list(beyond[0])} that are to be lost",
                "Correct losses.",
            )  # fmt: skip
        return self.losses.of(indices)

    def _times(self, recording: Recording, last: int) -> list[int] | None:
        """Camera times of the range, where they cost nothing or are asked for."""
        if self.pace != "recorded" and not recording.times_are_at_hand:
            return None
        times = recording.times_ns()
        if times is None and self.pace == "recorded":
            raise unusable(
                self.path,
                "neither times nor a frame interval",
                "one of them for the pace 'recorded'",
                "Give frames per second instead, e.g. --pace 100, or --pace max.",
            )
        return None if times is None else [int(t) for t in times[self.first : last]]

    def _playback(self, n_frames: int, times: list[int] | None) -> Playback:
        if self.pace == "max":
            return Playback(n_frames, None)
        if self.pace == "recorded" and times is not None:
            return Playback.at_times(times)
        return Playback.steady(n_frames, float(self.pace))
