"""A line to Micro-Manager through pycromanager's own `Core`, for a server whose wire rtdecode does not speak itself.

Its calls never come back once the server is dead, nor do its destructors when the interpreter ends. So each line has
a thread that may be left behind, and a wire of ours that only watches whether the server lives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import Any

from rtdecode.core.errors import SourceError, SourceLost
from rtdecode.core.extras import install
from rtdecode.sources.micromanager_line import Answer, Silence
from rtdecode.sources.micromanager_wire import HOW_TO_START, Argument, Wire, java_words

OPENING_S = 10.0  # its imports, its own time-out of 1 s, and a port that is just being opened
_CLOSING_S = 2.0
_FIELDS = (("pix", "tags"), ("x", "y", "width", "height"))

_Question = tuple[str, tuple[Argument, ...]]


class PycromanagerLine:
    """See Line; one call after the other in a thread, so about 2,000 frames/s at the most."""

    def __init__(self, port: int, patience_s: float) -> None:
        self._silence = Silence(patience_s, "Micro-Manager")
        self._watch = Wire("127.0.0.1", port)
        self._port = port
        self._core: Any = None
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._open = 0  # questions without an answer
        self._thread = threading.Thread(target=self._work, name="pycromanager", daemon=True)
        self._thread.start()
        self._await_core()

    def ask(self, method: str, *arguments: Argument) -> None:
        """See Line."""
        if not self._open:
            self._silence.heard()
        self._open += 1
        self._questions.put((method, arguments))

    def answer(self, wait_s: float = 0.0) -> Answer | None:
        """See Line."""
        try:
            answer = self._answers.get(timeout=wait_s) if wait_s > 0 else self._answers.get_nowait()
        except Empty:
            self._check()
            return None
        self._silence.heard()
        self._open -= 1
        return answer

    def close(self) -> None:
        """Its thread is given 2 s to take leave; then it is left behind, so that nothing waits for it."""
        self._questions.put(None)
        self._thread.join(0 if self._watch.lost or self._watch.refused else _CLOSING_S)
        if self._thread.is_alive():
            self._abandon()
        self._watch.close()

    def _await_core(self) -> None:
        """The first question is the one that connects."""
        self.ask("getCameraDevice")
        fault: str | None = f"no answer within {OPENING_S:g} s"
        until = time.monotonic() + OPENING_S
        while time.monotonic() < until and not self._watch.refused:
            if (answer := self.answer(0.05)) is not None:
                fault = answer.fault
                break
        if fault is not None:
            self.close()
            raise SourceError(f"pycromanager reaches no Micro-Manager at port {self._port} ({fault}): {HOW_TO_START}")

    def _check(self) -> None:
        self._watch.receive()  # nothing ever comes: it takes in what its monitor has seen
        if self._watch.lost:
            raise SourceLost("Micro-Manager is gone: it was closed, or it crashed")
        if self._open:
            self._silence.look()

    def _work(self) -> None:
        """The thread: everything that may never come back."""
        while (question := self._questions.get()) is not None:
            method, arguments = question
            try:
                self._core = self._core or _new_core(self._port)
                self._answers.put(Answer(method, _plain(getattr(self._core, method)(*arguments))))
            except BaseException as error:
                self._answers.put(Answer(method, fault=java_words(str(error) or repr(error))))
        core, self._core = self._core, None
        del core  # here it tells the server that nobody needs it any more

    def _abandon(self) -> None:
        """Or its destructor, run when the interpreter ends, would wait for the dead server for ever.

        There is no public way: `server_terminated` lets destructors go, `_closed` the call under way.
        """
        import pyjavaz

        bridge = getattr(self._core, "_bridge", None)
        if bridge is not None:
            pyjavaz.server_terminated(bridge.port)
            bridge._closed = True
            self._core._closed = True


MISSING = f"pycromanager is not installed here; {install('pycromanager')}"


def _new_core(port: int) -> Any:
    try:
        from pycromanager import Core
    except ImportError as error:
        raise SourceError(MISSING) from error
    return Core(port=port, new_socket=True, convert_camel_case=False)


def _plain(value: Any) -> Any:
    """Objects of the server as a dict of the fields that are needed; the rest as it is."""
    for names in _FIELDS:
        if all(hasattr(value, name) for name in names) and not isinstance(value, Mapping):
            return {name: getattr(value, name) for name in names}
    return value
