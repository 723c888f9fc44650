"""Where a recording lies: a path, or an address (s3://bucket/movie.zarr) with those operations of a path that are read.

An address is read by fsspec, which is asked for nothing where all is local. Listings are never kept: a process that
lives long must see what has changed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rtdecode.core.errors import RecordingError, RtdecodeError, SourceError
from rtdecode.core.extras import install

READ_AHEAD = 1 << 20  # bytes of one request at least: some ten frames; what is read in vain at a block's end
STORE_OPTIONS: dict[str, Any] = {"use_listings_cache": False}
_LOCAL = ("file", "local")
_LIBRARIES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_ADVICE = (
    "Check the address, the network, and the credentials in the environment of this process and of every worker "
    "(S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL where it is not Amazon's)."
)


@dataclass(frozen=True, slots=True)
class Address:
    """A file or folder of a store that fsspec knows. Operations raise RecordingError naming the address.

    SourceError where the library of that store is not installed.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, inner: str) -> Address:
        return Address(f"{self.url.rstrip('/')}/{inner}")

    @property
    def name(self) -> str:
        """Its last part."""
        return PurePosixPath(self.url).name

    @property
    def suffix(self) -> str:
        """Ending of its name."""
        return PurePosixPath(self.url).suffix

    @property
    def parent(self) -> Address:
        """The folder around it."""
        return Address(self.url.rstrip("/").rpartition("/")[0])

    def kind(self) -> Literal["file", "folder"] | None:
        """What lies there; None: nothing."""
        with _told(self):
            store, path = self._store()
            try:
                found = store.info(path)
            except FileNotFoundError:
                return None
            return "folder" if found["type"] == "directory" else "file"

    def is_file(self) -> bool:
        """See `kind`."""
        return self.kind() == "file"

    def size(self) -> int:
        """Bytes of a file."""
        with _told(self):
            store, path = self._store()
            return int(store.size(path))

    def read_bytes(self) -> bytes:
        """A whole file."""
        with _told(self):
            store, path = self._store()
            return bytes(store.cat_file(path))

    def open(self) -> AddressFile:
        """For reading here and there."""
        return AddressFile(self)

    def names(self, pattern: str) -> list[str]:
        """Paths below it that fit."""
        with _told(self):
            store, path = self._store()
            return _below(path, store.glob(f"{path}/{pattern}"))

    def listed(self) -> dict[str, dict[str, Any]]:
        """(path below it -> what the store says of it) of all files; of a file itself with the path ""."""
        with _told(self):
            store, path = self._store()
            found: dict[str, dict[str, Any]] = store.find(path, detail=True)
            return dict(zip(_below(path, found), found.values(), strict=True))

    def open_zarr(self) -> Any:
        """A zarr group or array; of it only what is asked for is read."""
        with _told(self):
            import zarr
            from zarr.storage import FsspecStore

            store = FsspecStore.from_url(self.url, storage_options=STORE_OPTIONS, read_only=True)
            return zarr.open(store=store, mode="r")

    def open_store_file(self) -> Any:
        """fsspec's own file, which reads ahead."""
        store, path = self._store()
        return store.open(path, "rb", block_size=READ_AHEAD, cache_type="readahead")

    def _store(self) -> tuple[Any, str]:
        """The file system, which fsspec keeps, and the path in it."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise SourceError(f"{self}: to read it, the library fsspec is needed; {install('cluster')}") from error
        store, path = url_to_fs(self.url, **STORE_OPTIONS)
        return store, str(path).rstrip("/")


Place = Path | Address


class AddressFile(io.RawIOBase):
    """A file of a store as Python's own: `seek`, `read`, `readinto`; errors name its address."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address
        with _told(address):
            self._file = address.open_store_file()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See io.RawIOBase."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """See io.RawIOBase."""
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        """See io.RawIOBase; fewer bytes only at the end of the file."""
        with _told(self._address):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def place_of(value: Any) -> Any:
    """A text with `://` as an Address, one of this machine's files (file://) as a Path; all else as it is."""
    if not isinstance(value, str) or "://" not in value:
        return value
    protocol, _, rest = value.partition("://")
    if protocol not in _LOCAL:
        return Address(value)
    return Path(rest[1:] if re.match(r"/[A-Za-z]:", rest) else rest)


def size_of(place: Place) -> int:
    """Bytes of a file."""
    return place.stat().st_size if isinstance(place, Path) else place.size()


def names_below(place: Place, pattern: str) -> list[str]:
    """Paths of what fits below a folder."""
    if isinstance(place, Address):
        return place.names(pattern)
    return [path.relative_to(place).as_posix() for path in place.glob(pattern)]


def open_raw(place: Place) -> io.RawIOBase:
    """A file for reading here and there, unbuffered if it is local: it may grow."""
    return io.FileIO(place) if isinstance(place, Path) else place.open()


def _below(root: str, paths: Any) -> list[str]:
    return [str(path).removeprefix(root).lstrip("/") for path in paths]


@contextmanager
def _told(address: Address) -> Iterator[None]:
    """Whatever a store's library raises, as one sentence."""
    try:
        yield
    except RtdecodeError:
        raise
    except ImportError as error:
        library = _LIBRARIES.get(address.url.partition("://")[0])
        how = f"`pip install {library}`, for every worker too" if library else str(error)
        raise SourceError(f"{address}: its store needs a library that is not installed; {how}") from error
    except FileNotFoundError as error:
        raise RecordingError(f"{address}: there is nothing of this name; expected a recording. {_ADVICE}") from error
    except Exception as error:  # each store has errors of its own
        found = f"cannot be read ({type(error).__name__}: {error})"
        raise RecordingError(
            f"{address}: {found}; expected a store that answers and lets you read. {_ADVICE}"
        ) from error
