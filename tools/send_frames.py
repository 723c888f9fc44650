"""Send a recording to `rtdecode live` with `use: stream`, as any acquisition software may: the sender to copy from.

    python tools/send_frames.py movie.tif                              # JSON header and raw buffer, as fast as taken
    python tools/send_frames.py movie.npy --format cbor --fps 100      # DECTRIS Stream V2 style (needs cbor2)

What goes over the wire is in `send_json` and `send_cbor`, ten lines each; they need pyzmq (and cbor2), not rtdecode.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zmq


def send_json(socket: zmq.Socket, frames: Iterator[np.ndarray], about: dict) -> None:
    """Start, images of two parts, end."""
    socket.send_json({"type": "start", **about})
    for number, frame in enumerate(frames):
        socket.send_json({"frame": number, "dtype": frame.dtype.str, "shape": frame.shape}, zmq.SNDMORE)
        socket.send(np.ascontiguousarray(frame))
    socket.send_json({"type": "end", "series": about["series"]})


def send_cbor(socket: zmq.Socket, frames: Iterator[np.ndarray], about: dict) -> None:
    """Start, images, end: one CBOR map each, pixels as an RFC 8746 array."""
    import cbor2

    names = {"series": "series_unique_id", "frames": "number_of_images"}
    series = {"series_id": 1, "series_unique_id": about["series"]}
    socket.send(cbor2.dumps({"type": "start", **{names.get(key, key): value for key, value in about.items()}}))
    for number, frame in enumerate(frames):
        tag = {"|u1": 64, "<u2": 69, ">u2": 65, "<f4": 85, ">f4": 81}[frame.dtype.str]
        pixels = cbor2.CBORTag(40, [list(frame.shape), cbor2.CBORTag(tag, frame.tobytes())])
        socket.send(cbor2.dumps({"type": "image", "image_id": number, **series, "data": {"camera": pixels}}))
    socket.send(cbor2.dumps({"type": "end", **series}))


def paced(frames: np.ndarray, fps: float | None) -> Iterator[np.ndarray]:
    """Each frame when it is due."""
    began = time.monotonic()
    for number, frame in enumerate(frames):
        if fps:
            time.sleep(max(0.0, began + number / fps - time.monotonic()))
        yield frame


def read(path: Path) -> np.ndarray:
    """(n, H, W) of a .npy or TIFF, as it is stored."""
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    import tifffile

    return tifffile.imread(path)


def main() -> None:
    """Send, wait until all has gone out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--to", default="tcp://127.0.0.1:31001")
    parser.add_argument("--format", choices=("json", "cbor"), default="json")
    parser.add_argument("--fps", type=float, help="default: as fast as the receiver takes them")
    parser.add_argument("--series", help="default: a new one; the same again goes on where it was")
    options = parser.parse_args()
    frames = read(options.recording)
    about = {
        "series": options.series or f"{options.recording.name} {time.time():.3f}",
        "frames": len(frames),
        "dtype": frames.dtype.str,
        "shape": list(frames.shape[1:]),
        "can_wait": options.fps is None,
    }
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(options.to)
        (send_json if options.format == "json" else send_cbor)(socket, paced(frames, options.fps), about)


if __name__ == "__main__":
    main()
