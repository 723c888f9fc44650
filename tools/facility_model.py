"""How a batch scales to 1,000 workers, what saturates first, and how many machines so many pixels a day take.

A discrete-event model of blocks going round: the scheduler hands one out; its frames come through storage, network and
the machine's link, all three at once; the worker reads and fits them; the results go back the same way; the client
puts them together. Each of the shared things serves one block after another, in the order in which they ask; a
worker waits for its frames and fits one block at a time, as `rtdecode batch` does.

Run from a checkout: `python tools/facility_model.py configs/facility.yaml [--set storage_mb_s=300]`.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from rtdecode.core.errors import ConfigError
from rtdecode.core.localizations import LOCALIZATION_DTYPE
from rtdecode.core.yaml_files import StrictModel, load_yaml

WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
PIXELS_PER_DAY = (1e11, 1e12, 1e13, 1e14)
SHARED = ("scheduler", "storage", "network", "client")
CONTEXT = 2  # frames beside a block, one at each side


class Input(StrictModel):
    """A value and where it comes from."""

    value: Annotated[float, Field(gt=0)]
    source: str


class Facility(StrictModel):
    """All that the model knows; times in s, rates in px/s of one worker or MB (10^6 bytes) per s."""

    frame_px: Input
    block_frames: Input
    bytes_per_px: Input
    localizations_per_px: Input
    fit_px_s: Input
    read_px_s: Input
    spread: Input
    scheduler_s: Input
    client_s: Input
    storage_mb_s: Input
    network_mb_s: Input
    link_mb_s: Input
    workers_per_machine: Input
    hours_per_day: Input

    def with_values(self, changed: dict[str, float]) -> Facility:
        """The same with other values, told as such; raises ConfigError at an unknown name."""
        fields = self.model_dump()
        for name, value in changed.items():
            if name not in fields:
                raise ConfigError(f"--set {name}: there is no such input; known: {', '.join(fields)}")
            fields[name] = {"value": value, "source": "--set"}
        return Facility.model_validate(fields)


@dataclass(frozen=True, slots=True)
class Demands:
    """Seconds that one block takes of each thing, and pixels that it yields."""

    scheduler: float
    client: float
    reading: dict[str, float]  # of storage, network and link, at once
    worker: float
    writing: dict[str, float]
    px: float

    @classmethod
    def of(cls, facility: Facility) -> Demands:
        """From rates."""
        f = facility
        px = f.frame_px.value * f.block_frames.value
        read_px = px * (f.block_frames.value + CONTEXT) / f.block_frames.value
        mb_s = {"storage": f.storage_mb_s.value, "network": f.network_mb_s.value, "link": f.link_mb_s.value}
        read_mb = read_px * f.bytes_per_px.value / 1e6
        write_mb = px * f.localizations_per_px.value * LOCALIZATION_DTYPE.itemsize / 1e6
        return cls(
            f.scheduler_s.value,
            f.client_s.value,
            {name: read_mb / rate for name, rate in mb_s.items()},
            read_px / f.read_px_s.value + read_px / f.fit_px_s.value,
            {name: write_mb / rate for name, rate in mb_s.items()},
            px,
        )

    def shared(self) -> dict[str, float]:
        """Seconds of each thing that all workers share."""
        moved = {name: self.reading[name] + self.writing[name] for name in ("storage", "network")}
        return {"scheduler": self.scheduler, **moved, "client": self.client}

    def alone_s(self) -> float:
        """A block's way round where nobody waits."""
        return (
            self.scheduler + max(self.reading.values()) + self.worker + max(self.writing.values()) + self.client
        )  # fmt: skip

    def limit_blocks_s(self, workers: int) -> float:
        """No arrangement yields more: the workers' own pace, or that of the slowest shared thing."""
        return min(workers / self.alone_s(), 1.0 / max(self.shared().values()))


@dataclass
class Station:
    """Serves one after another in the order of asking; takes times that never decrease."""

    free_at: float = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When it is done with what is asked of it now."""
        self.free_at = max(now, self.free_at) + seconds
        return self.free_at


@dataclass(frozen=True, slots=True)
class Scaled:
    """What came of so many workers."""

    workers: int
    blocks_s: float
    demands: Demands

    @property
    def px_s(self) -> float:
        """Pixels fitted per second, neighbours of blocks not counted."""
        return self.blocks_s * self.demands.px

    @property
    def busy(self) -> dict[str, float]:
        """Share of the time that each shared thing, and a worker, is at work (the utilisation law)."""
        shared = {name: self.blocks_s * seconds for name, seconds in self.demands.shared().items()}
        return {**shared, "workers": self.blocks_s * self.demands.worker / self.workers}

    @property
    def busiest(self) -> str:
        """What would have to grow first."""
        return max(self.busy, key=lambda name: self.busy[name])


Draw = Callable[[], float]  # a factor around 1


def simulate(
    demands: Demands, workers: int, per_machine: int = 16, worker_draw: Draw = lambda: 1.0, draw: Draw = lambda: 1.0,
    rounds: int = 40,
) -> Scaled:  # fmt: skip
    """Let `workers` go round `rounds` times on the average, the first quarter uncounted; blocks never run out.

    `worker_draw` varies the worker's time for a block, `draw` that of storage, network and link.
    """
    stations = {name: Station() for name in SHARED}
    links = [Station() for _ in range(-(-workers // per_machine))]

    def moved(now: float, worker: int, seconds: dict[str, float]) -> float:
        factor, link = draw(), links[worker // per_machine]
        ends = [stations[name].serve(now, factor * seconds[name]) for name in ("storage", "network")]
        return max(*ends, link.serve(now, factor * seconds["link"]))

    def step_ends(now: float, worker: int, step: int) -> float:
        if step == 0:
            return stations["scheduler"].serve(now, demands.scheduler)
        if step == 2:
            return now + demands.worker * worker_draw()
        if step == 4:
            return stations["client"].serve(now, demands.client)
        return moved(now, worker, demands.reading if step == 1 else demands.writing)

    total = max(16_000, rounds * workers)  # so many: the mean of varying times within half a percent
    done, warm, began, now = 0, total // 4, 0.0, 0.0
    events = [(0.0, worker, 0) for worker in range(workers)]  # all ask at once: a heap already
    while done < total:
        now, worker, step = heapq.heappop(events)
        if step == 5:
            done, step = done + 1, 0
            if done == warm:
                began = now
        heapq.heappush(events, (step_ends(now, worker, step), worker, step + 1))
    return Scaled(workers, (total - warm) / (now - began), demands)


@cache
def at(facility: Facility, workers: int) -> Scaled:
    """The model of a facility with so many workers; the same numbers each time."""
    rng, spread = np.random.default_rng((7, workers)), facility.spread.value
    per_machine = int(facility.workers_per_machine.value)
    return simulate(
        Demands.of(facility), workers, per_machine, lambda: math.exp(spread * rng.standard_normal() - spread**2 / 2)
    )


def workers_for(facility: Facility, px_s: float, most: int = WORKERS[-1]) -> int | None:
    """The fewest workers that fit so many pixels per second; None where `most` do not."""
    if at(facility, most).px_s < px_s:
        return None
    demands = Demands.of(facility)
    low, high = min(most - 1, int(0.95 * px_s * demands.alone_s() / demands.px)), most  # nobody beats `alone_s`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at(facility, middle).px_s >= px_s else (middle, high)
    return high


def scaling_rows(facility: Facility, counts: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Of the table of scaling."""
    yield ("workers", "Mpx/s", "share of linear", *(f"{name} busy" for name in SHARED), "workers busy", "busiest")
    one = Demands.of(facility).px / Demands.of(facility).alone_s()
    for workers in counts:
        found = at(facility, workers)
        busy = [f"{min(1.0, found.busy[name]):.0%}" for name in (*SHARED, "workers")]
        share = f"{found.px_s / one / workers:.0%}"
        yield (f"{workers:,}", f"{found.px_s / 1e6:,.1f}", share, *busy, found.busiest)


def sizing_rows(facility: Facility, wanted: Sequence[float]) -> Iterator[tuple[str, ...]]:
    """Of the table of sizing."""
    yield ("pixels a day", "Mpx/s", "TB read a day", "workers", "machines", "storage busy")
    for pixels in wanted:
        px_s = pixels / (facility.hours_per_day.value * 3600)
        workers = workers_for(facility, px_s)
        read = f"{pixels * facility.bytes_per_px.value / 1e12:,.1f}"
        if workers is None:
            busiest = at(facility, WORKERS[-1]).busiest
            yield (f"{pixels:.0e}", f"{px_s / 1e6:,.1f}", read, f"not with {WORKERS[-1]:,}: {busiest}", "–", "–")
            continue
        machines = math.ceil(workers / facility.workers_per_machine.value)
        busy = f"{at(facility, workers).busy['storage']:.0%}"
        yield (f"{pixels:.0e}", f"{px_s / 1e6:,.1f}", read, f"{workers:,}", f"{machines:,}", busy)


def verdict(facility: Facility) -> str:
    """What saturates first, and where."""
    demands = Demands.of(facility)
    shared = demands.shared()
    first = max(shared, key=lambda name: shared[name])
    knee = demands.alone_s() / shared[first]
    limit = demands.px / shared[first] / 1e6
    return (
        f"What saturates first as workers are added: **{first}**, from about {knee:,.0f} workers on; no number of them "
        f"fits more than {limit:,.0f} Mpx/s then. Below that, workers are what there is too little of."
    )


def table(rows: Iterator[tuple[str, ...]]) -> str:
    """Markdown."""
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ("---",) * len(head), *body]) + "\n"


def input_rows(facility: Facility) -> Iterator[tuple[str, ...]]:
    """Of the table of inputs."""
    yield ("input", "value", "where from")
    for name in Facility.model_fields:
        one: Input = getattr(facility, name)
        yield (f"`{name}`", f"{one.value:g}", one.source)


def _changes(asked: Sequence[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, _, value in (one.partition("=") for one in asked)}
    except ValueError as error:
        raise ConfigError(f"--set: expected NAME=NUMBER ({error})") from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facility", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER")
    given = parser.parse_args()
    try:
        known = load_yaml(given.facility, Facility).with_values(_changes(given.set))
    except ConfigError as fault:
        parser.error(str(fault))
    parts = (input_rows(known), scaling_rows(known, WORKERS), sizing_rows(known, PIXELS_PER_DAY))
    print("\n".join(table(rows) for rows in parts))
    print(verdict(known))
