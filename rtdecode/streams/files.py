"""Small files done safely: append with rollback, replace in one step, lock between processes."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_LOCK_OFFSET = 1 << 62  # Windows locks bytes, and forbids others to read them: lock one that no file has
_REPLACE_DEADLINE_S = 2.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # disk, quota, and the limit of one file's size


class AppendFile:
    """One growing file with one writer: an append is whole or, after an error, taken back.

    Unbuffered: when `append` returns, every other process sees the bytes, and they outlive this process.
    """

    def __init__(self, path: Path) -> None:
        """Open, or create empty; raises OSError."""
        path.touch(exist_ok=True)
        self.path = path
        self._file = path.open("r+b", buffering=0)
        self.size = 0
        self.measure()

    def measure(self) -> None:
        """Take the size from the disk; after the lock was had, for another writer may have added to it until then."""
        self.size = self._file.seek(0, os.SEEK_END)

    def append(self, data: bytes | memoryview) -> None:
        """Write all of `data` at the end; raises OSError (disk full) with the file as it was before."""
        rest = memoryview(data).cast("B")
        self._file.seek(self.size)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):  # it is the disk's own error that the caller needs
                self.cut(self.size)
            raise
        self.size += memoryview(data).nbytes

    def cut(self, size: int) -> None:
        """Drop everything from byte `size` on."""
        self.size = size
        self._file.truncate(size)

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`."""
        self._file.seek(offset)
        return read_all(self._file, count)

    def sync(self) -> None:
        """Wait until the disk has it: survives a power failure from here on."""
        os.fsync(self._file.fileno())

    def fileno(self) -> int:
        """The descriptor, for `lock`."""
        return self._file.fileno()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file.closed

    def close(self) -> None:
        """Close; safe to call twice."""
        self._file.close()


def read_all(file: IO[bytes], count: int) -> bytes:
    """Up to `count` bytes from an unbuffered file, fewer only at its end (a raw read may return early)."""
    data = bytearray()
    while len(data) < count and (part := file.read(count - len(data))):
        data += part
    return bytes(data)


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by a file with `text`; a reader sees the old or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def why_not(path: Path, error: OSError) -> str:
    """Why `path` could not be written, for people: where the disk is full, how much is free."""
    if error.errno not in _FULL:
        return str(error)
    with suppress(OSError):
        return f"only {shutil.disk_usage(path.parent).free // 1024} kB free in {path.parent} ({error.strerror})"
    return str(error)


def _replace(draft: Path, path: Path) -> None:
    """Windows refuses while a reader has `path` open, so try again for a while."""
    deadline = time.monotonic() + _REPLACE_DEADLINE_S
    while True:
        try:
            draft.replace(path)
            return
        except PermissionError:
            if os.name != "nt" or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def try_lock(fileno: int) -> bool:
    """Lock an open file for this process until it closes it or dies; False when another one holds it."""
    try:
        _lock(fileno, wait=False)
    except OSError:
        return False
    return True


@contextmanager
def locked(fileno: int) -> Iterator[None]:
    """Hold the lock of an open file, waiting for whoever has it; a dead process holds none."""
    _lock(fileno, wait=True)
    try:
        yield
    finally:
        _unlock(fileno)


if os.name == "nt":  # not tested on Windows
    import msvcrt

    def _lock(fileno: int, wait: bool) -> None:
        while True:
            os.lseek(fileno, _LOCK_OFFSET, os.SEEK_SET)
            try:
                return msvcrt.locking(fileno, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,no-any-return,unused-ignore]
            except OSError:
                if not wait:
                    raise
                time.sleep(0.001)

    def _unlock(fileno: int) -> None:
        os.lseek(fileno, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(fileno, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]

else:
    import fcntl

    def _lock(fileno: int, wait: bool) -> None:
        fcntl.flock(fileno, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(fileno: int) -> None:
        fcntl.flock(fileno, fcntl.LOCK_UN)
