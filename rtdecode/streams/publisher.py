"""The sending end of an acknowledged frame stream: keeps each frame until the receiver has it safe, never waits.

publisher = Publisher("tcp://gpu-box:31002", bind=False, start=Start(...), most=1000)
while not publisher.done:
    publisher.step()                       # hear, send what the receiver has room for
    if publisher.ready and publisher.room: # the receiver is there and wants frames
        info = camera.read(publisher.slot())
        publisher.publish(info)            # ... and publisher.finish(End(...)) after the last
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import StreamError
from rtdecode.core.frames import FrameArray, FrameFlag, FrameInfo
from rtdecode.streams.credit import MAX_CONTROL_BYTES, REPEAT_S, SILENT_S, control, envelope, new_epoch, read_control
from rtdecode.streams.frame_sockets import FrameSocket
from rtdecode.streams.wire import MAX_NAME, Buffer, End, ImageHeads, Start, end_message, start_message

_ROOM_FOR_HEAD = 1024  # bytes before the pixels, a multiple of every alignment
_AT_ONCE = 64  # messages heard or sent in one step
_REUSED = 64  # pieces of memory kept for the next frames: fresh memory costs as much as sending it


@dataclass(frozen=True, slots=True)
class _Kept:
    """A message that the receiver may ask for again; `index` None: the end."""

    index: int | None
    content: Buffer
    memory: NDArray[np.uint8] | None = None

    def below(self, index: int) -> bool:
        return self.index is not None and self.index < index


class Publisher:
    """Frames of one series to one receiver, in order. Shape and dtype of `start` are those of every frame."""

    def __init__(self, address: str, *, bind: bool, start: Start, most: int) -> None:
        """Open the socket; StreamError where that cannot be. `most`: frames kept for the receiver at most."""
        if start.shape is None or start.dtype is None or start.series is None:
            raise StreamError("a publisher needs shape, dtype and series of what it sends")
        if not 0 < len(start.series) <= MAX_NAME:
            raise StreamError(
                f"a series called {start.series[:40]!r}...: its name must have 1 to {MAX_NAME} characters"
            )
        self._socket = FrameSocket(address, bind=bind, answers=True, max_message_bytes=MAX_CONTROL_BYTES)
        self._start, self._shape, self._dtype = start, start.shape, start.dtype
        self._heads = ImageHeads(start.series, start.shape, start.dtype)
        self._most = max(2, most)
        self._unsent: deque[_Kept] = deque()
        self._unacknowledged: deque[_Kept] = deque()
        self._peer: bytes | None = None if bind else b""
        self._heard_at = self._said_at = self._began_at = -np.inf
        self._window = 0
        self._next = 0  # frames below it are safe with the receiver
        self._slot: NDArray[np.uint8] | None = None
        self._free: list[NDArray[np.uint8]] = []
        self._stop_answer: dict[str, Any] | None = None
        self.stop_asked: str | None = None  # the receiver's words
        self.receiver_left: str | None = None  # its last words: it takes no more frames
        self.refused: str | None = None  # why a receiver would not take this series
        self.malformed = 0
        self.done = False  # the receiver has everything, the end included
        self.endpoint = self._socket.endpoint
        self._new_epoch()

    @property
    def ready(self) -> bool:
        """Whether a receiver has said that it wants frames (it may have left since)."""
        return self._wanted

    @property
    def room(self) -> bool:
        """Whether one frame more can be kept."""
        return len(self._unsent) + len(self._unacknowledged) < self._most

    @property
    def waiting(self) -> int:
        """Frames that are not yet safe with the receiver."""
        return sum(kept.index is not None for queue in (self._unsent, self._unacknowledged) for kept in queue)

    @property
    def silent_s(self) -> float:
        """Seconds since the receiver said anything; infinite before its first word."""
        return time.monotonic() - self._heard_at

    @property
    def acknowledged(self) -> int:
        """Number of the first frame that is not yet safe with the receiver."""
        return self._next

    def slot(self) -> FrameArray:
        """(H, W) memory for the next frame; the same until `publish` takes it."""
        if self._slot is None:
            size = self._shape[0] * self._shape[1] * np.dtype(self._dtype).itemsize
            self._slot = self._free.pop() if self._free else np.empty(_ROOM_FOR_HEAD + size, np.uint8)
        pixels: FrameArray = self._slot[_ROOM_FOR_HEAD:].view(np.dtype(self._dtype).newbyteorder("<"))
        return pixels.reshape(self._shape)

    def publish(self, info: FrameInfo) -> None:
        """Keep the frame in the slot and send it when the receiver has room. Only where there is `room`."""
        if info.index < self._next:
            return  # a receiver that outlived another publisher of this series has it
        if info.flags & FrameFlag.WRONG_SIZE or self._slot is None:
            content = self._heads.unusable(info.index, info.t_camera_ns, info.flags)
            self._unsent.append(_Kept(info.index, content))
            return
        head = self._heads.of(info.index, info.t_camera_ns, info.flags)
        memory, self._slot = self._slot, None
        begin = _ROOM_FOR_HEAD - len(head)
        memory[begin:_ROOM_FOR_HEAD] = np.frombuffer(head, np.uint8)
        self._unsent.append(_Kept(info.index, memory[begin:].data, memory))

    def finish(self, end: End) -> None:
        """There will be no more frames; `done` when the receiver has heard it."""
        self._unsent.append(_Kept(None, end_message(end)))

    def answer_stop(self, allowed: bool, made: int, reason: str = "") -> None:
        """What became of the receiver's wish: whether the camera was stopped, and how many frames it has made."""
        self._stop_answer = {"allowed": allowed, "made": made, "reason": reason[:500]}
        self._say("stopping", **self._stop_answer)

    def step(self) -> bool:
        """Hear, answer, send; returns at once. Whether there was anything to do."""
        heard = 0
        while heard < _AT_ONCE and self._hear():
            heard += 1
        now = time.monotonic()
        if not self._answered and now - self._began_at >= REPEAT_S:
            self._began_at = now
            self._send(start_message(self._start), number=0)
        sent = self._deliver()
        if self._answered and now - self._said_at >= REPEAT_S:
            self._say("alive", epoch=self._epoch, number=self._number)
        return heard > 0 or sent

    def close(self, linger_ms: int = 200) -> None:
        """Close the socket; safe to call twice."""
        self._socket.close(linger_ms)

    # sending

    def _deliver(self) -> bool:
        sent = 0
        while self._answered and self._unsent and sent < _AT_ONCE:
            kept = self._unsent[0]
            if len(self._unacknowledged) >= self._window and kept.index is not None:
                break
            if not self._send(kept.content, self._number):
                break
            self._number += 1
            self._unacknowledged.append(self._unsent.popleft())
            sent += 1
        return sent > 0

    def _send(self, content: Buffer, number: int) -> bool:
        if self._peer is None:
            return False
        return self._socket.send(self._peer, [envelope(self._epoch, number), content])

    def _say(self, kind: str, **fields: Any) -> None:
        self._said_at = time.monotonic()
        if self._peer is not None:
            self._socket.send(self._peer, [control(kind, **fields)])

    def _new_epoch(self) -> None:
        """Begin again at the first frame that is not safe."""
        self._epoch, self._number = new_epoch(), 1
        self._answered = self._wanted = False
        self._began_at = -np.inf
        self._unsent.extendleft(reversed(self._unacknowledged))
        self._unacknowledged.clear()

    # hearing

    def _hear(self) -> bool:
        """Take one message, if one is there."""
        arrived = self._socket.receive()
        if arrived is None:
            return False
        peer, parts = arrived
        try:
            if len(parts) != 1:
                raise StreamError(f"a message of {len(parts)} parts from a receiver, expected one")
            self._take(peer, read_control(parts[0]))
        except StreamError:
            self.malformed += 1
        return True

    def _take(self, peer: bytes, said: dict[str, Any]) -> None:
        kind = said["type"]
        if kind == "hello":
            self._greet(peer)
            return
        if peer != self._peer or (kind != "refused" and said.get("epoch") != self._epoch):
            return  # of an epoch, or of a receiver, that is over
        self._heard_at = time.monotonic()
        match said:
            case {"type": "credit", "next": int(first), "window": int(window)} if first >= 0 and window >= 0:
                self._take_credit(first, window, ended=said.get("ended") is True)
            case {"type": "restart"}:
                self._new_epoch()
            case {"type": "stop", "reason": str(reason)}:
                self.stop_asked = self.stop_asked or reason[:500]
                if self._stop_answer is not None:
                    self._say("stopping", **self._stop_answer)
            case {"type": "bye", "reason": str(reason)}:
                self.receiver_left = reason[:500]
                self._new_epoch()
            case {"type": "refused", "reason": str(reason)}:
                self.refused = reason[:500]
            case _:
                raise StreamError(f"not a receiver's word: {str(said)[:200]}")

    def _take_credit(self, first: int, window: int, *, ended: bool) -> None:
        self._answered, self._window, self._next = True, window, max(self._next, first)
        self.refused = self.receiver_left = None
        self._wanted = self._wanted or window > 0
        for queue in (self._unacknowledged, self._unsent):
            while queue and queue[0].below(self._next):
                self._reuse(queue.popleft())
        if ended:
            self._unacknowledged.clear()
            self._unsent.clear()
            self.done = True
            self._say("done")

    def _reuse(self, kept: _Kept) -> None:
        """Memory whose frame has arrived. A copy on an older connection is of an epoch that is over."""
        if kept.memory is not None and len(self._free) < _REUSED:
            self._free.append(kept.memory)

    def _greet(self, peer: bytes) -> None:
        """A receiver that connects to us: taken if there is none yet, or if the one before is gone."""
        if peer == self._peer and not self._answered:
            return  # our start is on its way
        if self._peer not in (None, peer) and self.silent_s < SILENT_S and self.receiver_left is None:
            with suppress(StreamError):
                self._socket.send(peer, [control("refused", reason="another receiver takes this series already")])
            return
        self._peer, self._heard_at = peer, time.monotonic()
        self._new_epoch()
