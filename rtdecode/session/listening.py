"""A run beside the program that owns the camera: in a thread of its process, for an MDA that it starts itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rtdecode.core.errors import SourceError
from rtdecode.core.interrupt import Interrupt
from rtdecode.session.status import RunStatus

READY_S = 300.0  # engines compile, once for each size of frame
Result = TypeVar("Result")
Run = Callable[[Interrupt, Callable[[RunStatus], None]], Result]


class Listening(Generic[Result]):
    """A run in a thread; `rtdecode.session.listen` makes it and gives it when frames may come."""

    def __init__(self, run: Run[Result]) -> None:
        self._run, self._interrupt = run, Interrupt()
        self._stirred = threading.Event()  # the source listens, or the run is over
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="rtdecode", daemon=True)

    def begin(self) -> None:
        """Return when the source listens; raises what kept it from it."""
        self._thread.start()
        if not self._stirred.wait(READY_S):
            self.stop("not ready in time")
            raise SourceError(f"the run did not begin to listen within {READY_S:g} s; its folder's logs say more")

    @property
    def is_over(self) -> bool:
        """Whether `result` would return at once."""
        return self._result is not None or self._error is not None

    def stop(self, reason: str = "stopped by its owner") -> None:
        """Wish the end: what has come is still fitted. The MDA goes on, unless the source `may_cancel`."""
        self._interrupt.ask(reason)

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the end (not in the thread of a GUI that delivers the frames) and give folder, outcome, report."""
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise TimeoutError(f"the run is not over after {timeout_s:g} s")
        return self._result

    def _work(self) -> None:
        try:
            self._result = self._run(self._interrupt, self._hear)
        except BaseException as error:
            self._error = error
        finally:
            self._stirred.set()

    def _hear(self, status: RunStatus) -> None:
        if status.state == "running":
            self._stirred.set()
