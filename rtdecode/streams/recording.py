"""The raw frames of a run on disk: pixels, one index record for each frame, and a header to read them by.

`frames.bin` holds the pixels of all good frames one after another, `frames.idx` a record for each frame (written
after its pixels), `frames.yaml` shape, type and region. A frame counts when its record is whole and its pixels
are there; so a crash costs at most the frame being written. Pixels carry no checksum: at 200 MB/s it would
cost a fifth of a core.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import ConfigError, RecordingError
from rtdecode.core.frames import Frame, FrameArray, FrameFlag, FrameInfo, Roi
from rtdecode.core.yaml_files import StrictModel, load_yaml
from rtdecode.streams.files import AppendFile, try_lock, write_atomically

PIXELS_NAME, INDEX_NAME, HEADER_NAME = "frames.bin", "frames.idx", "frames.yaml"

INDEX_DTYPE = np.dtype(
    [
        ("frame_index", "<i8"),
        ("slot", "<i8"),  # number of its pixels in frames.bin, -1: none (WRONG_SIZE)
        ("t_camera_ns", "<i8"),
        ("t_arrival_ns", "<i8"),
        ("flags", "<u4"),
        ("crc32", "<u4"),  # of the 36 bytes before
    ]
)
"""One record of `frames.idx`: 40 bytes."""


class RecordingHeader(StrictModel):
    """`frames.yaml`."""

    format: Literal["rtdecode frames 1"] = "rtdecode frames 1"
    dtype: Literal["uint16", "float32"]
    height_px: int
    width_px: int
    x0_px: int = 0
    y0_px: int = 0
    binning: int = 1

    @property
    def roi(self) -> Roi:
        """The region of every frame."""
        return Roi(self.x0_px, self.y0_px, self.width_px, self.height_px, self.binning)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame's pixels."""
        return self.height_px * self.width_px * np.dtype(self.dtype).itemsize


class RecordingWriter:
    """The only writer of a recording."""

    def __init__(self, header: RecordingHeader, pixels: AppendFile, index: AppendFile, truncated: str | None) -> None:
        """Use `create` or `open`."""
        self._header = header
        self._pixels = pixels
        self._index = index
        self.truncated = truncated  # what opening after a crash cut off, None: nothing

    @classmethod
    def create(cls, folder: Path, roi: Roi, dtype: str) -> RecordingWriter:
        """Start a recording in an existing folder; RecordingError when there is one already."""
        if (folder / HEADER_NAME).exists():
            raise RecordingError(f"{folder}: holds a recording already ({HEADER_NAME})")
        if dtype not in ("uint16", "float32"):
            raise RecordingError(f"a recording holds uint16 or float32 frames, not {dtype}")
        region = asdict(roi)
        header = RecordingHeader.model_validate({"dtype": dtype, **region})
        try:
            write_atomically(folder / HEADER_NAME, _as_yaml(header))
        except OSError as error:
            raise RecordingError(f"{folder}: no recording can be made here: {error}") from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> RecordingWriter:
        """Go on with a recording, after a crash without its torn tail; RecordingError when another writes it."""
        header = _header(folder)
        try:
            pixels, index = AppendFile(folder / PIXELS_NAME), AppendFile(folder / INDEX_NAME)
        except OSError as error:
            raise RecordingError(f"{folder}: the recording cannot be opened: {error}") from error
        try:
            return cls(header, pixels, index, _cut_torn_tail(folder, header, pixels, index))
        except RecordingError:
            pixels.close()
            index.close()
            raise

    def append(self, frame: Frame) -> None:
        """Add one frame; RecordingError when it does not fit or the disk is full (the frames before are safe)."""
        has_pixels = not frame.info.flags & FrameFlag.WRONG_SIZE
        shape, dtype = (self._header.height_px, self._header.width_px), self._header.dtype
        if has_pixels and (frame.pixels_adu.shape != shape or frame.pixels_adu.dtype != dtype):
            found = f"{frame.pixels_adu.shape} {frame.pixels_adu.dtype}"
            raise RecordingError(f"frame {frame.index} is {found}, the recording {shape} {dtype}")
        before = self._pixels.size
        record = _record(frame.info, before // self._header.frame_bytes if has_pixels else -1)
        try:
            if has_pixels:
                self._pixels.append(np.ascontiguousarray(frame.pixels_adu).data)
            self._index.append(record)
        except OSError as error:
            self._pixels.cut(before)
            message = f"{self._pixels.path}: the recording cannot grow: {error.strerror}; "
            raise RecordingError(message + f"the {self.frames} frames before are safe") from error

    @property
    def frames(self) -> int:
        """Frames recorded."""
        return self._index.size // INDEX_DTYPE.itemsize

    def flush(self) -> None:
        """Wait for the disk: what is recorded now survives a power failure."""
        self._pixels.sync()
        self._index.sync()

    def close(self) -> None:
        """Flush and close; safe to call twice."""
        if not self._index.closed:
            self.flush()
        self._pixels.close()
        self._index.close()


class RecordingReader:
    """Reads a recording, finished, torn or still growing (as far as it was when opened)."""

    def __init__(self, folder: Path, header: RecordingHeader, records: NDArray[np.void], truncated: str | None) -> None:
        """Use `open`."""
        self._file = (folder / PIXELS_NAME).open("rb", buffering=0)
        self._header = header
        self._records = records
        self.truncated = truncated  # what is missing at the end, None: nothing

    @classmethod
    def open(cls, folder: Path) -> RecordingReader:
        """RecordingError: not a recording, or damaged before its end. A torn tail is told in `truncated`."""
        header = _header(folder)
        try:
            data = (folder / INDEX_NAME).read_bytes()
            records, truncated = _whole_records(header, data, (folder / PIXELS_NAME).stat().st_size)
            return cls(folder, header, records, truncated)
        except OSError as error:
            raise RecordingError(f"{folder}: the recording cannot be read: {error}") from error

    def read(self, i: int, out: FrameArray | None = None) -> Frame:
        """The i-th recorded frame (0-based, not the camera's index), into `out` (H, W) if given."""
        info, slot = self.info(i), int(self._records["slot"][i])
        if slot < 0:
            return Frame(info, np.empty((0, 0), self.dtype))
        pixels = np.empty(self.shape, self.dtype) if out is None else out
        self._file.seek(slot * self._header.frame_bytes)
        if pixels.flags.c_contiguous and pixels.dtype == self.dtype and pixels.shape == self.shape:
            self._fill(pixels.data.cast("B"), i)
        else:
            raise RecordingError(f"`out` must be a contiguous {self.shape} array of {self.dtype}")
        return Frame(info, pixels)

    def _fill(self, view: memoryview, i: int) -> None:
        while view:
            count = self._file.readinto(view)
            if not count:
                raise RecordingError(f"{self._file.name}: became shorter, frame {i} is gone")
            view = view[count:]

    def info(self, i: int) -> FrameInfo:
        """Index, times and flags of the i-th recorded frame."""
        index, _, t_camera_ns, t_arrival_ns, flags, _ = self._records[i].tolist()
        return FrameInfo(index, t_camera_ns, t_arrival_ns, flags)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Frame]:
        return (self.read(i) for i in range(len(self)))

    @property
    def frames(self) -> int:
        """Frames that can be read."""
        return len(self._records)

    @property
    def indices(self) -> NDArray[np.int64]:
        """(N,) the camera's own count of each frame."""
        return np.asarray(self._records["frame_index"], np.int64)

    @property
    def roi(self) -> Roi:
        """Region of every frame."""
        return self._header.roi

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of a frame."""
        return (self._header.height_px, self._header.width_px)

    @property
    def dtype(self) -> str:
        """ "uint16" or "float32"."""
        return self._header.dtype

    def close(self) -> None:
        """Close; safe to call twice."""
        self._file.close()


def _record(info: FrameInfo, slot: int) -> bytes:
    record = np.zeros(1, INDEX_DTYPE)
    record[0] = (info.index, slot, info.t_camera_ns, info.t_arrival_ns, info.flags, 0)
    record["crc32"] = _crc(record[0].tobytes())
    return record.tobytes()


def _crc(record: bytes) -> int:
    return zlib.crc32(record[: INDEX_DTYPE.itemsize - 4])


def _as_yaml(header: RecordingHeader) -> str:
    lines = [f"{name}: {value}" for name, value in header.model_dump().items()]
    return "\n".join(["# pixels in frames.bin, row by row, little-endian; records in frames.idx", *lines, ""])


def _header(folder: Path) -> RecordingHeader:
    if not (folder / HEADER_NAME).exists():
        raise RecordingError(f"{folder}: no recording here ({HEADER_NAME} is missing)")
    try:
        header = load_yaml(folder / HEADER_NAME, RecordingHeader)
    except ConfigError as error:
        raise RecordingError(str(error)) from error
    if min(header.height_px, header.width_px) < 1:
        raise RecordingError(f"{folder / HEADER_NAME}: frames of {header.height_px} x {header.width_px} px are none")
    return header


def _frames_with_pixels(records: NDArray[np.void]) -> int:
    return int((records["slot"] >= 0).sum())


def _cut_torn_tail(folder: Path, header: RecordingHeader, pixels: AppendFile, index: AppendFile) -> str | None:
    """Make this process the writer and both files whole; what was cut, None: nothing."""
    if not try_lock(index.fileno()):
        raise RecordingError(f"{folder}: another process writes this recording")
    index.measure()
    pixels.measure()
    records, truncated = _whole_records(header, index.read(0, index.size), pixels.size)
    index.cut(records.nbytes)
    pixels.cut(_frames_with_pixels(records) * header.frame_bytes)
    return truncated


def _whole_records(header: RecordingHeader, data: bytes, pixel_bytes: int) -> tuple[NDArray[np.void], str | None]:
    """Records of whole frames, and a sentence on what was cut; RecordingError for damage before the end."""
    size = INDEX_DTYPE.itemsize
    records = np.frombuffer(data[: len(data) // size * size], INDEX_DTYPE)
    bad = [i for i in range(len(records)) if _crc(data[i * size : (i + 1) * size]) != records["crc32"][i]]
    if bad and any(data[bad[0] * size : len(records) * size]):
        raise RecordingError(f"{INDEX_NAME}: record {bad[0]} is damaged; the {bad[0]} frames before it are sound")
    sound = records[: bad[0]] if bad else records
    with_pixels = np.cumsum(sound["slot"] >= 0)
    whole = sound[: int(np.searchsorted(with_pixels, pixel_bytes // header.frame_bytes, side="right"))]
    extra = pixel_bytes - _frames_with_pixels(whole) * header.frame_bytes
    if len(whole) * size == len(data) and extra == 0:
        return whole, None
    torn = len(data) - len(whole) * size
    return whole, f"cut short: {len(whole)} whole frames; {torn} bytes of index and {extra} bytes of pixels unusable"
