"""How fast each recording format is read at 128 x 128, and how late `follow` sees a frame that is being written.

Run from a checkout: `python tools/bench_replay.py [--frames 4000] [--fps 500]`. Files are written by the tests' own
writers into a temporary folder, and read back from the system's cache: no disk is measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "tests" / "sources"
sys.path.insert(0, str(TESTS))

from many_formats import write_dax, write_mm_stack, write_ndtiff, write_zarr  # noqa: E402
from movies import Frames, write_folder, write_npy, write_pages, write_raw, write_tiff  # noqa: E402
from nd2_writer import write_nd2  # noqa: E402

from rtdecode.core.errors import EndOfStream  # noqa: E402
from rtdecode.sources.follow import FollowSource  # noqa: E402
from rtdecode.sources.replay import ReplaySource  # noqa: E402

SIZE = 128
FORMATS: dict[str, Callable[[Path, Frames], Path]] = {
    ".npy": lambda d, f: write_npy(d / "m.npy", f),
    "Picasso .raw": lambda d, f: write_raw(d / "m.raw", f),
    ".dax, big endian": lambda d, f: write_dax(d / "m.dax", f, "big"),
    "TIFF stack": lambda d, f: write_tiff(d / "m.tif", f),
    "TIFF stack, zlib": lambda d, f: write_tiff(d / "m.tif", f[: len(f) // 4], compression="zlib"),
    "TIFF, page by page": lambda d, f: write_pages(d / "m.tif", f),
    "folder of TIFF files": lambda d, f: write_folder(d / "m", f[: len(f) // 4]),
    "OME-TIFF in 4 files": lambda d, f: write_mm_stack(d / "m", f, per_file=-(-len(f) // 4)),
    "NDTiff": lambda d, f: write_ndtiff(d / "m", f),
    "OME-Zarr 3, 1 frame a chunk": lambda d, f: write_zarr(d / "m.zarr", f),
    "OME-Zarr 3, 32 frames a chunk": lambda d, f: write_zarr(d / "m.zarr", f, chunk=32),
    "OME-Zarr 3, shards of 512": lambda d, f: write_zarr(d / "m.zarr", f[: len(f) // 512 * 512], chunk=1, shard=512),
    "OME-Zarr 2, 1 frame a chunk": lambda d, f: write_zarr(d / "m.zarr", f, zarr_format=2),
    ".nd2": lambda d, f: write_nd2(d / "m.nd2", f),
}


def movie(n: int) -> Frames:
    """(n, 128, 128) uint16 with the noise of a camera, so that compression has real work."""
    return np.random.default_rng(1).normal(200, 20, (n, SIZE, SIZE)).astype("uint16")


def row(name: str, source: Any) -> None:
    """One line of the table: time to open, frames per second by the clock and of processor time (all threads)."""
    begin = time.perf_counter()
    source.open()
    source.start()
    opened, processor = time.perf_counter(), time.process_time()
    out, n = np.empty(source.roi.shape, source.dtype), 0
    try:
        while True:
            n += source.read(out) is not None
    except EndOfStream:
        source.close()
    read_s, processor_s = time.perf_counter() - opened, time.process_time() - processor
    print(f"| {name} | {opened - begin:.2f} | {n / read_s:,.0f} | {n / processor_s:,.0f} |", flush=True)


def bench_formats(n: int) -> None:
    """A table of all formats."""
    frames = movie(n)
    print(f"| {n} frames of {SIZE} x {SIZE} uint16 | open s | frames/s | frames per processor second |")
    print("| --- | --- | --- | --- |")
    for name, write in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            source = ReplaySource(path=write(Path(folder), frames))
            row(name, source)
            if name == "NDTiff":
                row("the same by `follow`", FollowSource(path=source.path))


def write_paced(folder: Path, n: int, fps: float) -> None:
    """The writing process: a frame each 1/fps, its `ElapsedTime-ms` the monotonic clock when it was handed over."""
    from ndstorage import NDTiffDataset

    frames = movie(64)
    data = NDTiffDataset(str(folder), name="m", summary_metadata={}, writable=True)
    start = time.monotonic()
    for k in range(n):
        time.sleep(max(0.0, start + k / fps - time.monotonic()))
        data.put_image({"time": k}, frames[k % 64], {"Axes": {"time": k}, "ElapsedTime-ms": time.monotonic() * 1e3})
    data.finish()


def bench_follow(n: int, fps: float) -> None:
    """From the frame's handing over to ndstorage until `follow` has its pixels."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, __file__, "--write", folder, "--frames", str(n), "--fps", str(fps)]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as writer:
            source = FollowSource(path=Path(folder) / "m_1", wait_s=60)
            source.open()
            source.start()
            out, late_ms = np.empty(source.roi.shape, source.dtype), []
            try:
                while True:
                    info = source.read(out)
                    if info is None:
                        time.sleep(0.0005)
                    else:
                        late_ms.append((info.t_arrival_ns - info.t_camera_ns) / 1e6)
            except EndOfStream:
                source.close()
            writer.wait()
    p50, p99 = np.percentile(late_ms, [50, 99])
    print(f"follow at {fps:g} frames/s: {len(late_ms)} of {n} frames, {p50:.1f} ms late (p50), {p99:.1f} ms (p99)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4000)
    parser.add_argument("--fps", type=float, default=500.0)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        write_paced(asked.write, asked.frames, asked.fps)
    else:
        bench_formats(asked.frames)
        bench_follow(min(asked.frames, 2000), asked.fps)
