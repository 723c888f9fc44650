"""Memory that processes share: a mapped file in /dev/shm, or in the run folder where there is none (Windows).

Not `multiprocessing.shared_memory`: before Python 3.13 a leaving reader may delete it under the others.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from pathlib import Path

import psutil

from rtdecode.core.errors import RingError

_SHM = Path("/dev/shm")
_SPARE_BYTES = 16 << 20  # left free for the rest of the machine


class SharedMemory:
    """A file mapped for reading and writing; lives until `remove`, whoever leaves. Not tested on Windows."""

    def __init__(self, path: Path, view: mmap.mmap, fileno: int) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.view = view
        self._fileno = fileno

    @classmethod
    def create(cls, path: Path, size: int) -> SharedMemory:
        """A new zeroed file of `size` bytes, really reserved; RingError when it exists or there is no room."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            free = shutil.disk_usage(path.parent).free
            if free < size:
                raise RingError(_no_room(path, size, free))
            fileno = os.open(path, flags, 0o600)
        except OSError as error:
            taken = isinstance(error, FileExistsError)
            why = "exists already; another run uses it, or remove it" if taken else f"cannot be made: {error.strerror}"
            raise RingError(f"{path}: {why}") from error
        try:
            _reserve(fileno, size)
            return cls(path, mmap.mmap(fileno, size), fileno)
        except OSError as error:
            os.close(fileno)
            path.unlink(missing_ok=True)
            raise RingError(_no_room(path, size, free) if error.errno == errno.ENOSPC else str(error)) from error

    @classmethod
    def open(cls, path: Path) -> SharedMemory:
        """Map an existing file; RingError when it is missing or empty."""
        try:
            fileno = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise RingError(f"{path}: no ring here ({error.strerror}); has the run ended?") from error
        try:
            return cls(path, mmap.mmap(fileno, 0), fileno)
        except (OSError, ValueError) as error:
            os.close(fileno)
            raise RingError(f"{path}: not a ring: {error}") from error

    def fileno(self) -> int:
        """The descriptor, for `files.locked`."""
        return self._fileno

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.view)

    def close(self) -> None:
        """Unmap; the file stays. Arrays that still look into it keep the mapping alive. Safe to call twice."""
        if self._fileno >= 0:
            os.close(self._fileno)
            self._fileno = -1
        try:
            self.view.close()
        except BufferError:
            pass  # an array of the caller still looks into it; freed with that array


def place_for_memory(size: int, name: str, fallback: Path) -> Path:
    """Where to create `size` bytes: /dev/shm when there is room, else the folder `fallback`."""
    roomy = _SHM.is_dir() and os.access(_SHM, os.W_OK) and shutil.disk_usage(_SHM).free >= size + _SPARE_BYTES
    return (_SHM if roomy else fallback) / name


def remove_memory(path: Path) -> bool:
    """Delete the file; processes that have it mapped keep it (Windows: False while one does)."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def remove_abandoned(directory: Path = _SHM) -> list[Path]:
    """Delete rings (`RunFolder.ring_place` names) whose session is dead, as a killed one leaves them behind."""
    names = [path for path in directory.glob("rtdecode-*.ring") if path.name.split("-")[1].isdigit()]
    dead = [path for path in names if not psutil.pid_exists(int(path.name.split("-")[1]))]
    return [path for path in dead if remove_memory(path)]


def _reserve(fileno: int, size: int) -> None:
    """Real pages now: a sparse file on a full /dev/shm would kill the writer with SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fileno, 0, size)
    else:
        os.ftruncate(fileno, size)


def _no_room(path: Path, size: int, free: int) -> str:
    return (
        f"{path}: the ring needs {size / 1e6:.1f} MB, only {free / 1e6:.1f} MB are free there; "
        "make ring.seconds or ring.max_mb smaller, or free memory"
    )
