"""Driving blocks through a cluster: a bounded number in flight, answers taken as they come, losses asked for again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

from rtdecode.batch.blocks import BlockDone, BlockTask
from rtdecode.batch.work import fit_block
from rtdecode.core.errors import EngineError

IN_FLIGHT_PER_WORKER, LEAST_IN_FLIGHT = 4, 8
"""Tasks that scheduler and client know of at once: their memory does not grow with the number of blocks."""

LOOK_S = 2.0  # between looks at whether the scheduler is still there
Reconnect = Callable[[], Any]
Tell = Callable[[str], None]


@dataclass
class Tally:
    """What the workers did."""

    blocks: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)
    retries: int = 0
    reused: int = 0

    def add(self, done: BlockDone) -> None:
        """Count one block."""
        if done.device:
            self.devices.add(done.device)
        if done.reused or done.error:
            self.reused += done.reused
            return
        for column, value in ((self.blocks, 1), (self.frames, done.last - done.first), (self.seconds, done.seconds)):
            column[done.worker] = column.get(done.worker, 0) + value  # type: ignore[assignment]

    def as_json(self) -> dict[str, Any]:
        """For a report: by worker, blocks and frames per second of its own time."""
        workers = {
            who: {"blocks": self.blocks[who], "frames": self.frames[who],
                  "frames_per_s": round(self.frames[who] / max(self.seconds[who], 1e-9), 2)}
            for who in sorted(self.blocks)
        }  # fmt: skip
        return {"workers": workers, "retries": self.retries, "reused": self.reused, "devices": sorted(self.devices)}


class Drive:
    """Runs tasks on a client until each has an answer."""

    def __init__(
        self, client: Any, retries: int, resources: dict[str, dict[str, float]], on_done: Callable[[BlockDone], None],
        reconnect: Reconnect | None = None, tell: Tell = lambda _: None,
    ) -> None:  # fmt: skip
        """`resources`: of a recording's blocks, by its name. `reconnect` makes a new client where the scheduler was
        lost; None: then the batch ends with an error."""
        self._client, self._retries, self._resources = client, retries, resources
        self._on_done, self._reconnect, self._tell = on_done, reconnect, tell
        self.tally, self._submitted = Tally(), 0

    def run(self, tasks: Iterable[BlockTask]) -> None:
        """All of them. Raises EngineError where a worker lacks what it needs, ConnectionError without a way back."""
        waiting = deque((task, 0) for task in tasks)
        while waiting:
            lost = self._round(waiting)
            if lost is None:
                return
            if self._reconnect is None:
                raise ConnectionError("the scheduler is gone")
            waiting.extendleft(reversed(lost))
            self._tell(f"the scheduler was lost; {len(lost)} blocks are asked for again")
            self._client = self._reconnect()

    def _round(self, waiting: deque[tuple[BlockTask, int]]) -> list[tuple[BlockTask, int]] | None:
        """Until all is done (None), or the scheduler is gone: what was in flight then."""
        flying: dict[Any, tuple[BlockTask, int]] = {}
        try:
            self._fill(waiting, flying)
            while flying:
                for future in self._done(flying):
                    if not self._is_connected:
                        return list(flying.values())
                    self._take(future, *flying.pop(future), waiting)
                    future.release()
                self._fill(waiting, flying)
            return None
        except OSError:  # of the connection: CommClosedError is one
            return list(flying.values())

    @property
    def _is_connected(self) -> bool:
        return self._client.status == "running"  # type: ignore[no-any-return]

    def _done(self, flying: dict[Any, tuple[BlockTask, int]]) -> list[Any]:
        """Futures that have ended; one at least, or the scheduler is gone."""
        from distributed import wait

        while self._is_connected:
            try:
                return list(wait(list(flying), timeout=LOOK_S, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                continue
            except CancelledError:  # one of them was taken back, e.g. since its scheduler forgot it: ask for it again
                if ended := [future for future in flying if future.status != "pending"]:
                    return ended
        return list(flying)

    def _fill(self, waiting: deque[tuple[BlockTask, int]], flying: dict[Any, tuple[BlockTask, int]]) -> None:
        n_workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        while waiting and len(flying) < max(LEAST_IN_FLIGHT, IN_FLIGHT_PER_WORKER * n_workers):
            task, tries = waiting.popleft()
            future = self._client.submit(
                fit_block,
                task,
                pure=False,
                resources=self._resources.get(task.name) or None,
                key=_key(task, tries),
                priority=-self._submitted,
            )
            flying[future] = (task, tries)
            self._submitted += 1

    def _take(self, future: Any, task: BlockTask, tries: int, waiting: deque[tuple[BlockTask, int]]) -> None:
        """An answer, or another try for a block whose worker died."""
        if future.status == "finished":
            done: BlockDone = future.result()
        else:
            error = future.exception() if future.status == "error" else None
            if tries < self._retries:
                self.tally.retries += 1
                waiting.append((task, tries + 1))
                return
            words = f"{type(error).__name__}: {error}" if error is not None else "its worker was lost"
            done = BlockDone(task.name, task.first, task.last, error=f"{words} ({tries + 1} tries)")
        if done.is_refused:
            raise EngineError(f"worker {done.worker} cannot fit {task.frames}: {done.error}")
        self.tally.add(done)
        self._on_done(done)


def _key(task: BlockTask, tries: int) -> str:
    """A name that the dashboard shows, and no other task has."""
    return f"fit_block-{task.name}-{task.first}-{tries}-{time.monotonic_ns()}"
