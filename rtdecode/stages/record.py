"""Record: from the ring to the raw recording in the run folder; optional, and never in localize's way."""

from __future__ import annotations

import time
from typing import Any

from rtdecode.core.actions import Action
from rtdecode.core.errors import RingLapped
from rtdecode.stages.notes import note, read_roi
from rtdecode.streams.recording import HEADER_NAME, RecordingReader, RecordingWriter
from rtdecode.streams.ring import RingReader
from rtdecode.streams.run_folder import RunFolder

READER = "record"
_ALIVE_EVERY_S = 0.5


class RecordStage:
    """A second reader of the ring; what it misses is an event and a gap in the recording's indices."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._ring: RingReader | None = None
        self._newest = -1
        self._lapped = 0
        self._alive_checked_at = 0.0
        self._done = False

    def step(self) -> bool | None:
        """One frame for each call; None when the ring is drained."""
        if self._done:
            return None
        if self._ring is None:
            return self._open()
        try:
            frame = self._ring.read()
        except RingLapped as lapped:
            self._lapped += lapped.count
            note(self._folder, READER, "gap", lapped.first_index, last=lapped.last_index, frames=lapped.count)
            return True
        if frame is None:
            self._done = self._ring.drained or self._writer_is_gone(self._ring)
            return False
        if frame.index > self._newest:
            self._recording.append(frame)
            self._newest = frame.index
        return True

    def _open(self) -> bool:
        path, roi = self._folder.ring_path, read_roi(self._folder)
        if path is None or roi is None:
            return False
        ring = RingReader.open(path, READER)
        if (self._folder.path / HEADER_NAME).exists():
            self._resume(ring)
        else:
            self._recording = RecordingWriter.create(self._folder.path, roi, ring.dtype)
        self._ring = ring
        return True

    def _resume(self, ring: RingReader) -> None:
        """Go on behind the last frame that is on disk; what the ring no longer has is a gap in the indices."""
        self._recording = RecordingWriter.open(self._folder.path)
        reader = RecordingReader.open(self._folder.path)
        self._newest = int(reader.indices[-1]) if reader.frames else -1
        reader.close()
        ring.seek(max(self._newest, ring.first_index))
        note(self._folder, READER, "recovered", self._newest, what=self._recording.truncated)

    def _writer_is_gone(self, ring: RingReader) -> bool:
        now = time.monotonic()
        if now - self._alive_checked_at < _ALIVE_EVERY_S:
            return False
        self._alive_checked_at = now
        return not ring.writer_is_alive() and not ring.waiting

    def order(self, action: Action) -> None:
        """A Stop before there is a ring ends this stage; otherwise the end comes through the ring."""
        self._done = self._done or self._ring is None

    def abandon(self, reason: str) -> None:
        """The session is gone: acquire ends the ring, this stage drains it; without a ring there is nothing."""
        self._done = self._done or self._ring is None

    def orphaned(self) -> None:
        """The ring is not this stage's to remove."""

    def status(self) -> dict[str, Any]:
        """Frames kept and missed."""
        if self._ring is None:
            return {"state": "starting"}
        return {"state": "finished" if self._done else "running", "frames": self._recording.frames,
                "lapped": self._lapped}  # fmt: skip

    def close(self) -> None:
        """Let go of recording and ring."""
        if self._ring is not None:
            self._recording.close()
            self._ring.close()
