"""Measure the viewer: refresh rate with millions of localizations in the image and more arriving, redrawing, memory.

    QT_QPA_PLATFORM=offscreen python tools/bench_viewer.py --millions 10 --rate 100000

A real run folder is written (480 MB for 10 million) and followed by the real window; a process of its own appends to
the log meanwhile, as localize does. Times are those of a window of 1240 x 900 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.run_folder import RunFolder

PER_FRAME = 1_000
PX_NM = 100.0


def made(rng: np.random.Generator, frames: range, side_px: int) -> Localizations:
    """Localizations of filaments all over the field, `PER_FRAME` in each frame."""
    n = len(frames) * PER_FRAME
    records = np.zeros(n, LOCALIZATION_DTYPE)
    side_nm, along, number = side_px * PX_NM, rng.random(n), rng.integers(0, 60, n)
    angle, offset = number * 2.399963, (number * 0.618034) % 1.0
    records["x_nm"] = (offset + along * np.cos(angle)) % 1.0 * side_nm
    records["y_nm"] = ((number * 0.381966) % 1.0 + along * np.sin(angle)) % 1.0 * side_nm
    records["z_nm"] = 600 * np.sin(along * 7 + number)
    for axis, typical in (("x", 12.0), ("y", 14.0), ("z", 35.0)):
        records[f"sigma_{axis}_nm"] = typical * rng.lognormal(0.0, 0.4, n)
    for axis in "xy":
        records[f"{axis}_nm"] += rng.normal(0, 1, n) * records[f"sigma_{axis}_nm"]
    records["photons"], records["background"] = 3000 * rng.lognormal(0.0, 0.5, n), 90.0
    records["probability"] = rng.uniform(0.5, 1.0, n)
    records["frame_index"] = np.repeat(np.arange(frames.start, frames.stop), PER_FRAME)
    return Localizations.from_records(records)


def append(log: LogWriter, found: Localizations) -> None:
    """Whole frames into the log."""
    frames = np.unique(found.frame_index)
    now = time.monotonic_ns()
    log.append(make_commits(frames, 0, np.full(len(frames), PER_FRAME), t_arrival_ns=np.full(len(frames), now)), found)


def keep_writing(run: Path, first: int, rate: float, seconds: float, side_px: int) -> None:
    """In a process of its own: `rate` localizations a second, frame by frame, made beforehand."""
    rng, count = np.random.default_rng(1), round(rate * seconds / PER_FRAME)
    parts = [made(rng, range(first + k, first + k + 1), side_px) for k in range(count)]
    log, begun = LogWriter.open(run), time.monotonic()
    run.with_suffix(".begun").touch()
    for k, part in enumerate(parts):
        time.sleep(max(0.0, begun + k * PER_FRAME / rate - time.monotonic()))
        append(log, part)
    log.close()
    run.with_suffix(".late").write_text(f"{time.monotonic() - begun - count * PER_FRAME / rate:.2f}")


class Bench:
    """One window on one run."""

    def __init__(self, run: Path) -> None:
        from rtdecode.view.main_window import make_application
        from rtdecode.view.window import open_window

        self.application = make_application()
        self.window = open_window(run)
        self.begins: list[float] = []
        self.draws: list[float] = []
        self.cpu = 0.0
        refresh, draw = self.window.refresh, self.window.pane.draw
        self.window._timer.timeout.disconnect()
        self.window._timer.timeout.connect(lambda: (self.begins.append(time.perf_counter()), refresh()))
        self.window.pane.draw = lambda *a: (draw(*a), self.draws.append(time.perf_counter()))[0]

    def until(self, condition: Callable[[], bool]) -> float:
        """Seconds until it holds, the window at work meanwhile."""
        begun = time.perf_counter()
        while not condition():
            self.application.processEvents()
            time.sleep(0.0005)
        return time.perf_counter() - begun

    def follow(self, command: list[str], seconds: float) -> dict[str, Any]:
        """Refresh rate while another process writes."""
        run = self.window.follower.folder.path
        with subprocess.Popen(command) as writer:
            self.until(run.with_suffix(".begun").exists)
            before, shown, cpu = len(self.begins), len(self.draws), psutil.Process().cpu_times()
            end = time.perf_counter() + seconds
            self.until(lambda: time.perf_counter() >= end)
            spent, gaps = psutil.Process().cpu_times(), np.diff(self.begins[before:])
            held, n_shown = len(self.window.scene.points), len(self.draws) - shown
            behind = self.window.follower._log.localizations - held
            writer.wait()
        cpu_s = spent.user + spent.system - cpu.user - cpu.system
        return {
            "cpu_ms_per_refresh": round(cpu_s / len(gaps) * 1e3, 1),
            "refresh_hz": round(1 / float(gaps.mean()), 1),
            "refresh_hz_of_slowest_5_percent": round(1 / float(np.percentile(gaps, 95)), 1),
            "image_shown_hz": round(n_shown / seconds, 1),
            "cpu_share_of_one_core": round(cpu_s / seconds, 2),
            "localizations_held": held, "behind": behind, "writer_late_s": float(run.with_suffix(".late").read_text()),
        }  # fmt: skip

    def change(self, do: Callable[[], object]) -> tuple[float, float, float, float]:
        """Seconds until something new is shown, what is seen is complete, all is; CPU seconds to the second."""
        scene, shown, begun = self.window.scene, len(self.draws), time.perf_counter()
        self.cpu = -time.process_time()
        do()
        self.until(lambda: len(self.draws) > shown)
        first = self.draws[shown] - begun

        def seen() -> bool:
            return (scene.detail or scene.overview).left(
                scene.span.rows(scene.points)
            ) == 0 and not self.window.images.first.redraw

        self.until(seen)
        shown = len(self.draws)
        self.cpu += time.process_time()
        complete = self.draws[-1] - begun if len(self.draws) == shown else time.perf_counter() - begun
        self.until(lambda: self.window.is_up_to_date)
        return first, complete, time.perf_counter() - begun, self.cpu


def measure(args: argparse.Namespace, run: Path) -> dict[str, Any]:
    """All figures."""
    frames = round(args.millions * 1e6 / PER_FRAME)
    folder = RunFolder.create(run, "camera:\n  px_nm: [100, 100]\nsource:\n  use: mmcore\n")
    folder.append_event("acquire", "source", height_px=args.side_px, width_px=args.side_px, expected=None)
    log, rng = LogWriter.open(run), np.random.default_rng(0)
    for first in range(0, frames, 100):
        append(log, made(rng, range(first, min(first + 100, frames)), args.side_px))
    log.close()
    load = psutil.getloadavg()[0]
    bench = Bench(run)
    opened = bench.until(lambda: bench.window.scene is not None and bench.window.is_up_to_date)
    command = [sys.executable, __file__, "--write", str(run), "--first", str(frames), "--rate", str(args.rate),
               "--seconds", str(args.seconds + 2), "--side-px", str(args.side_px)]  # fmt: skip
    followed = bench.follow(command, args.seconds)
    box = bench.window.panel.image.limits["sigma_xy_nm"][0]
    changes = [bench.change(lambda limit=limit: box.setValue(limit)) for limit in (30, 35, 28, 36, 25)]
    first, seen, every, cpu = (float(value) for value in np.median(changes, axis=0))
    memory = psutil.Process().memory_info().rss / 1e6
    bench.window.close()
    return {
        "localizations": frames * PER_FRAME, "field_um": args.side_px * PX_NM / 1000, "cores": os.cpu_count(),
        "load_before": round(load, 2), "opened_s": round(opened, 2), "arriving_per_s": args.rate, **followed,
        "filter_first_shown_s": round(first, 3), "filter_seen_complete_s": round(seen, 2),
        "filter_seen_cpu_s": round(cpu, 2), "filter_every_layer_s": round(every, 2),
        "filter_seen_complete_all_s": [round(change[1], 2) for change in changes],
        "rss_mb": round(memory),
    }  # fmt: skip


def main() -> None:
    """Parse, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=100_000.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--side-px", type=int, default=256)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    if args.write is not None:
        keep_writing(args.write, args.first, args.rate, args.seconds, args.side_px)
        return
    with tempfile.TemporaryDirectory() as place:
        os.environ["RTDECODE_CONFIG"] = place
        print(json.dumps(measure(args, Path(place) / "run"), indent=2))


if __name__ == "__main__":
    main()
