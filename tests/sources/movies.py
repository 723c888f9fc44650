"""Movies that the tests make for themselves, in every format that the replay reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
import yaml
from numpy.typing import NDArray

Frames = NDArray[np.generic]


def counts(n: int = 12, height: int = 48, width: int = 37, dtype: str = "uint16") -> Frames:
    """(n, height, width) random counts, each frame different."""
    high = 250 if dtype == "uint8" else 60000
    return np.random.default_rng(5).integers(0, high, (n, height, width)).astype(dtype)


def write_npy(path: Path, frames: Frames) -> Path:
    np.save(path, frames)
    return path


def write_raw(path: Path, frames: Frames, **about: object) -> Path:
    """Picasso's pair of files; `about` replaces or adds keys."""
    order = ">" if frames.dtype.byteorder == ">" else "<"
    n, height, width = frames.shape
    keys = {"Byte Order": order, "Data Type": frames.dtype.name, "Frames": n, "Height": height, "Width": width}
    path.write_bytes(frames.tobytes())
    path.with_suffix(".yaml").write_text(yaml.safe_dump(keys | about))
    return path


def write_folder(path: Path, frames: Frames) -> Path:
    """1.tif, 2.tif, ... 10.tif without zero padding."""
    path.mkdir()
    for i, frame in enumerate(frames):
        tifffile.imwrite(path / f"{i + 1}.tif", frame)
    return path


def write_pages(path: Path, frames: list[Frames] | Frames) -> Path:
    """One page after the other, as a camera's program appends them."""
    with tifffile.TiffWriter(path) as writer:
        for frame in frames:
            writer.write(frame, contiguous=False)
    return path


def write_tiff(path: Path, frames: Frames, **options: object) -> Path:
    tifffile.imwrite(path, frames, **({"photometric": "minisblack"} | options))
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only the first part of a file, as a full disk or a broken copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
