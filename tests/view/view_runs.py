"""Run folders for the viewer's tests, written through the real ring, log and run folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.core.frames import FrameInfo
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.ring import RingWriter
from rtdecode.streams.run_folder import RunFolder

SHAPE, PX_NM = (24, 32), 100.0  # rows, columns: not square, so that swapped axes show
RUN_YAML = "camera:\n  px_nm: [100, 100]\nsource:\n  use: mmcore\n"


EXCERPT = Path(__file__).with_name("demo_excerpt.npz")
"""The first 100 fitted frames of `rtdecode demo`, 2,391 rows."""


def localizations_at(
    x_nm: object, y_nm: object, z_nm: object = 0.0, sigma_nm: object = 10.0, frame_index: object = 0
) -> Localizations:
    """Localizations at given places; scalars hold for all."""
    rows = np.broadcast_shapes(*(np.shape(value) for value in (x_nm, y_nm, z_nm, sigma_nm, frame_index)), (1,))[0]
    records = np.zeros(rows, LOCALIZATION_DTYPE)
    for name, value in (("x_nm", x_nm), ("y_nm", y_nm), ("z_nm", z_nm), ("frame_index", frame_index)):
        records[name] = value
    for name in ("sigma_x_nm", "sigma_y_nm", "sigma_z_nm"):
        records[name] = sigma_nm
    records["photons"], records["background"], records["probability"] = 1000.0, 20.0, 0.9
    return Localizations.from_records(records)


def scattered(n: int, seed: int, shape: tuple[int, int] = SHAPE) -> Localizations:
    """`n` localizations all over a frame, sigmas 5 to 60 nm."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-50, shape[1] * PX_NM - 50, n), rng.uniform(-50, shape[0] * PX_NM - 50, n)
    return localizations_at(x, y, rng.uniform(-600, 600, n), rng.uniform(5, 60, n))


class WrittenRun:
    """A run as its workers would write it, step by step."""

    def __init__(self, path: Path, shape: tuple[int, int] = SHAPE, slots: int = 16, run_yaml: str = RUN_YAML) -> None:
        self.folder = RunFolder.create(path, run_yaml)
        height_px, width_px = shape
        roi = {"x0_px": 0, "y0_px": 0, "height_px": height_px, "width_px": width_px, "binning": 1}
        self.folder.append_event("acquire", "source", **roi, expected=100)
        self.ring = RingWriter.create(path / "test.ring", shape, "uint16", slots, readers=("localize",))
        self.folder.publish_ring(path / "test.ring")
        self.log = LogWriter.open(path)

    def frame(self, index: int, brightest: tuple[int, int] = (0, 0)) -> None:
        """One camera frame into the ring, bright at (row, column)."""
        pixels = self.ring.slot()
        pixels[:] = 100
        pixels[brightest] = 1000
        self.ring.publish(FrameInfo(index, 0, time.monotonic_ns()))

    def commit(self, index: int, localizations: Localizations, fate: int = 0) -> None:
        """One fitted frame into the log."""
        localizations.frame_index[:] = index
        commits = make_commits(index, fate, len(localizations), t_arrival_ns=time.monotonic_ns())
        self.log.append(commits, localizations)

    def end(self, finish: str = "completed") -> None:
        """The report is written: the run is over."""
        self.log.close()
        self.folder.write_report({"finish": finish, "reason": ""})

    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        self.log.close()
        self.ring.close(remove=True)


def wait_until(condition: Callable[[], bool], do: Callable[[], object], deadline_s: float = 60.0) -> None:
    """Call `do` until `condition` holds; the deadline is there for hangs only."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the condition did not come true")
        do()


def settle(qt: Any, window: Any, condition: Callable[[], bool] | None = None) -> None:
    """Let the window work until all is drawn and `condition` holds."""
    wait_until(lambda: window.is_up_to_date and (condition is None or condition()), qt.processEvents)
    window.refresh()
    qt.processEvents()
