"""From a path to a recording: what it is is seen from its first bytes, never from its name alone."""

from __future__ import annotations

from pathlib import Path

from rtdecode.core.errors import RecordingError
from rtdecode.sources.addresses import Address, Place
from rtdecode.sources.arrays import NpyRecording, PicassoRecording
from rtdecode.sources.choice import Choice
from rtdecode.sources.dax import DaxRecording
from rtdecode.sources.nd2_images import ND2_MAGIC, Nd2Recording
from rtdecode.sources.ndtiff import FULL_RESOLUTION, NdtiffRecording
from rtdecode.sources.ndtiff_index import INDEX_NAME, NDTIFF_MARK, is_ndtiff
from rtdecode.sources.recording import Recording, unusable
from rtdecode.sources.run_recording import RunRecording, is_run_recording
from rtdecode.sources.tiff import TiffRecording
from rtdecode.sources.tiff_layout import TIFF_MAGIC
from rtdecode.sources.zarr_images import ZarrRecording, is_zarr

MOVIES = (
    "a .npy array, TIFF files, an NDTiff or OME-Zarr folder, .nd2, .dax with its .inf, Picasso's .raw with its "
    ".yaml, or the folder of a recorded run"
)
IN_STORES = "an OME-Zarr, an NDTiff data set or a .npy array"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (also .npz, .ome.zarr.zip, .docx)",
    b"\x89HDF": "an HDF5 file (localizations of Picasso or DECODE, or a movie in HDF5)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"MATL": "a MATLAB file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
}


def open_recording(path: Place, choice: Choice | None = None) -> Recording:
    """Open whatever movie lies there; raises RecordingError that says what was found instead."""
    choice = choice or Choice()
    if isinstance(path, Address):
        return _open_address(path, choice)
    try:
        return _open_folder(path, choice) if path.is_dir() else _open_file(path, choice)
    except OSError as error:
        raise unusable(path, f"cannot be read ({error.strerror or error})", "a readable file", "Check it.") from error


def _open_address(address: Address, choice: Choice) -> Recording:
    """What is read there by block; other formats, whose readers need a file system, are refused."""
    kind = address.kind()
    if kind is None:
        raise unusable(address, "there is nothing of this name", IN_STORES, "Check bucket and path.")
    folders = (address, address / FULL_RESOLUTION) if kind == "folder" else (address.parent,)
    start = b"" if kind == "folder" else address.open().read(12) or b""
    if kind == "folder" or address.name == INDEX_NAME or start[8:12] == NDTIFF_MARK:
        for folder in folders:
            if is_ndtiff(folder):
                return NdtiffRecording(folder, choice)
    if kind == "folder" and is_zarr(address):
        return ZarrRecording(address, choice)
    if start.startswith(b"\x93NUMPY"):
        choice.check_unused(address, "a .npy")
        return NpyRecording(address)
    found = f"a {kind} that is none of the recordings read from a store"
    raise unusable(address, found, IN_STORES, "Copy it to a file system that all workers see.")


def _open_folder(folder: Path, choice: Choice) -> Recording:
    if is_run_recording(folder):
        choice.check_unused(folder, "a recorded run")
        return RunRecording(folder)
    if (folder / "run.yaml").is_file():
        raise unusable(
            folder, "a run whose frames were not recorded", MOVIES, "Record them (record: true), or name the movie."
        )
    if is_ndtiff(folder):
        return NdtiffRecording(folder, choice)
    if is_ndtiff(folder / FULL_RESOLUTION):
        return NdtiffRecording(folder / FULL_RESOLUTION, choice)
    if is_zarr(folder):
        return ZarrRecording(folder, choice)
    return TiffRecording(folder, choice)


def _open_file(path: Path, choice: Choice) -> Recording:
    if not path.exists():
        raise unusable(path, "there is nothing of this name", MOVIES, "Check the path.")
    path = _described(path)
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise unusable(path, "an empty file", MOVIES, "Was the recording stopped, or the disk full?")
    if path.name == INDEX_NAME:
        return NdtiffRecording(path.parent, choice)
    if start[:4] in TIFF_MAGIC:
        return _open_tiff(path, choice, start)
    if start.startswith(ND2_MAGIC):
        return Nd2Recording(path, choice)
    return _open_plain(path, choice, start)


def _described(path: Path) -> Path:
    """The movie beside a description that was named in its stead."""
    for described, movie in ((".yaml", ".raw"), (".yml", ".raw"), (".inf", ".dax")):
        if path.suffix.lower() == described and path.with_suffix(movie).is_file():
            return path.with_suffix(movie)
    return path


def _open_tiff(path: Path, choice: Choice, start: bytes) -> Recording:
    """A file of an NDTiff data set is read through the index beside it: by itself it is but a part."""
    if start[8:12] == NDTIFF_MARK and is_ndtiff(path.parent):
        return NdtiffRecording(path.parent, choice)
    return TiffRecording(path, choice)


def _open_plain(path: Path, choice: Choice, start: bytes) -> Recording:
    """Formats of one block of numbers."""
    if start.startswith(b"\x93NUMPY"):
        recording: Recording = NpyRecording(path)
    elif path.suffix.lower() == ".raw":
        recording = PicassoRecording(path)
    elif path.suffix.lower() == ".dax":
        recording = DaxRecording(path)
    else:
        raise _not_a_movie(path, start)
    choice.check_unused(path, f"a {path.suffix.lower()}")
    return recording


def _not_a_movie(path: Path, start: bytes) -> RecordingError:
    foreign = next((name for magic, name in _FOREIGN.items() if start.startswith(magic)), None)
    found = foreign or ("text" if _is_text(start) else "a file of unknown type")
    if found == "text" and path.suffix.lower() in (".csv", ".txt"):
        found = "a text table (localizations?)"
    return unusable(path, f"{found}, not a movie", MOVIES, "Name the raw recording.")


def _is_text(start: bytes) -> bool:
    try:
        text = start[:2000].decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)
