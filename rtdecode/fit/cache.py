"""Where what was worked out for a bundle is kept: in the user's cache; the bundle's folder may be read-only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIABLE = "RTDECODE_CACHE"
"""Environment variable that names another folder: for several users of one machine, or a home without room."""


def cache_folder() -> Path:
    """The cache's root; may not exist yet. On Linux ~/.cache/rtdecode, or below XDG_CACHE_HOME."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("rtdecode", appauthor=False)


def of_bundle(identity: str) -> Path:
    """The folder of one bundle (by `ModelBundle.sha256`); may not exist yet."""
    return cache_folder() / "bundles" / identity[:32]


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all, for readers at any moment; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def put_folder(made: Path, place: Path) -> None:
    """Move a finished folder to its place; where another process was faster, its folder stays. Raises OSError."""
    try:
        made.replace(place)
    except OSError:
        if not place.is_dir():
            raise
        shutil.rmtree(made, ignore_errors=True)
