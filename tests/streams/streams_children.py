"""Programs that the streams tests start as real processes: `python streams_children.py NAME ARGUMENTS`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.errors import LogError, RecordingError, RingLapped
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.streams.door import DoorClient
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.recording import RecordingWriter
from rtdecode.streams.ring import RingReader, RingWriter
from rtdecode.streams.run_folder import RunFolder, append_event

SHAPE = (48, 64)


def pattern(index: int) -> np.ndarray:
    """(48, 64) uint16 of which every pixel depends on the index: a mixed frame is seen at once."""
    return (np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint32).reshape(SHAPE) * 7 + index * 31).astype(np.uint16)


RACE_SHAPE = (256, 256)
RACE_PATTERNS = [
    (np.arange(256 * 256, dtype=np.uint32).reshape(RACE_SHAPE) * 7 + i * 31).astype(np.uint16) for i in range(16)
]
"""What frame i of a race shows is number i % 16: large, so that a copy takes long, and made beforehand."""


def localizations_of(index: int, count: int) -> Localizations:
    """`count` localizations of one frame, decided by its index."""
    records = np.zeros(count, LOCALIZATION_DTYPE)
    records["frame_index"] = index
    records["x_nm"] = np.arange(count) + index * 10
    records["probability"] = 0.5
    return Localizations.from_records(records)


def ring_writer(path: str, slots: str, frames: str, polite: str) -> None:
    """Publish frames 0, 1, 2 ... as fast as it goes; polite: wait for readers."""
    writer = RingWriter.create(Path(path), RACE_SHAPE, "uint16", int(slots), ("localize",))
    for index in range(int(frames)):
        while polite == "polite" and not writer.wait_for_readers(1.0):
            pass
        writer.slot()[:] = RACE_PATTERNS[index % 16]
        writer.publish(FrameInfo(index, index * 2, index * 3))
    writer.finish(int(frames), "all there")
    print("done", flush=True)
    sys.stdin.read()


def ring_reader(path: str, frames: str) -> None:
    """Read and check `frames` frames, say so, then wait to be killed."""
    reader = RingReader.open(Path(path), "localize")
    for _ in range(int(frames)):
        while (frame := reader.read()) is None:
            time.sleep(0.0005)
        assert np.array_equal(frame.pixels_adu, pattern(frame.index))
    print(frame.index, flush=True)
    sys.stdin.read()


def ring_racer(path: str, name: str) -> None:
    """Read what can be had until the writer is through; print frames read, lost, and wrong."""
    reader = RingReader.open(Path(path), name or None)
    print("ready", flush=True)
    read = lost = wrong = 0
    last = -1
    while not reader.drained:
        try:
            frame = reader.read()
        except RingLapped as lapped:
            lost += lapped.count
            wrong += lapped.indices != tuple(range(last + 1, last + 1 + lapped.count))
            last = lapped.last_index
            continue
        if frame is not None:
            read += 1
            wrong += not np.array_equal(frame.pixels_adu, RACE_PATTERNS[frame.index % 16])
            wrong += frame.index != last + 1 or frame.info.t_camera_ns != frame.index * 2
            last = frame.index
    print(read, lost, wrong, flush=True)


def log_writer(folder: str, frames: str) -> None:
    """Append frames one after another until killed (or `frames` are in)."""
    log = LogWriter.open(Path(folder))
    for index in range(log.frames, int(frames)):
        count = index % 4
        log.append(make_commits([index], n_localizations=[count]), localizations_of(index, count))
        if index % 50 == 0:
            print(index, flush=True)
    log.close()


def log_holder(folder: str) -> None:
    """Open the log and hold it."""
    log = LogWriter.open(Path(folder))
    print(log.frames, flush=True)
    sys.stdin.read()


def limited(kind: str, folder: str, limit_bytes: str) -> None:
    """Write a log or a recording until no file may grow beyond the limit; print the error and what was in before."""
    _limit_files(int(limit_bytes))
    print(fill_log(Path(folder)) if kind == "log" else fill_recording(Path(folder)), flush=True)


def fill_log(folder: Path) -> str:
    """Append until an error; "frames: message"."""
    log = LogWriter.open(folder)
    for index in range(100000):
        try:
            log.append(make_commits([index], n_localizations=[3]), localizations_of(index, 3))
        except LogError as error:
            return f"{log.frames}: {error}"
    return "never full"


def fill_recording(folder: Path) -> str:
    """As `fill_log`."""
    writer = RecordingWriter.create(folder, Roi(0, 0, SHAPE[1], SHAPE[0]), "uint16")
    for index in range(100000):
        try:
            writer.append(Frame(FrameInfo(index, 0, 0), pattern(index)))
        except RecordingError as error:
            return f"{writer.frames}: {error}"
    return "never full"


def _limit_files(limit_bytes: int) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def log_batch(log: LogWriter, first: int) -> None:
    """Four frames with one localization each."""
    rows = Localizations.concatenate(localizations_of(index, 1) for index in range(first, first + 4))
    log.append(make_commits(range(first, first + 4), n_localizations=1), rows)


def log_out_of_commits(folder: str) -> None:
    """25 batches fit, then commits.bin takes one record and a half of the next; print sizes; try again with room."""
    log = LogWriter.open(Path(folder))
    _limit_files(64 * 101 + 100)
    for batch in range(26):
        try:
            log_batch(log, 4 * batch)
        except LogError:
            print(batch, *(Path(folder, name).stat().st_size for name in ("commits.bin", "locs.bin")), flush=True)
    _limit_files(1 << 30)
    log_batch(log, 100)
    log.close()


def recording_out_of_index(folder: str) -> None:
    """Ten frames of 8 bytes fit, then frames.idx has no room; print sizes; try again with room."""
    frames = [Frame(FrameInfo(i, 0, 0), np.full((2, 2), i, np.uint16)) for i in range(11)]
    writer = RecordingWriter.create(Path(folder), Roi(0, 0, 2, 2), "uint16")
    _limit_files(40 * 10 + 7)
    for frame in frames:
        try:
            writer.append(frame)
        except RecordingError:
            sizes = (Path(folder, name).stat().st_size for name in ("frames.idx", "frames.bin"))
            print(frame.index, *sizes, flush=True)
    _limit_files(1 << 30)
    writer.append(frames[10])
    writer.close()


def recorder(folder: str) -> None:
    """Record frames until killed."""
    writer = RecordingWriter.open(Path(folder))
    while True:
        index = writer.frames
        writer.append(Frame(FrameInfo(index, index, index), pattern(index)))
        if index % 20 == 0:
            print(index, flush=True)


def event_writer(folder: str, name: str, count: str) -> None:
    """Append events of very different length."""
    for i in range(int(count)):
        append_event(Path(folder), name, "gap", i, text="x" * (i * 37 % 3000))


def run_owner(folder: str) -> None:
    """Create a run and hold it."""
    RunFolder.create(Path(folder), "model: none\n")
    print(os.getpid(), flush=True)
    sys.stdin.read()


def door_worker(endpoint: str, name: str, executed: str) -> None:
    """Carry out orders by writing them to a file, one line each, until told to stop; then acknowledge and leave."""
    client = DoorClient(endpoint, name)
    stopped = False
    while True:
        for number, action in client.exchange({"pid": os.getpid()}, timeout_ms=50):
            with Path(executed).open("a") as file:
                file.write(f"{number} {action}\n")
            stopped = stopped or isinstance(action, Stop)
        if stopped:
            client.exchange({"leaving": True}, timeout_ms=2000)
            return


def door_asker(endpoint: str) -> None:
    """Ask for two things, and leave when both were accepted."""
    client = DoorClient(endpoint, "decide")
    client.exchange({}, SetProperty("laser", "power", 1.5))
    client.exchange({}, Stop("dense enough"))
    while client.unanswered:
        client.exchange({}, timeout_ms=50)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
