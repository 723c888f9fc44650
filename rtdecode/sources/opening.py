"""From a path to a recording: what it is is seen from its first bytes, never from its name alone."""

from __future__ import annotations

from pathlib import Path

from rtdecode.core.errors import RecordingError
from rtdecode.sources.arrays import NpyRecording, PicassoRecording
from rtdecode.sources.recording import Recording, unusable
from rtdecode.sources.run_recording import RunRecording, is_run_recording
from rtdecode.sources.tiff import TiffRecording
from rtdecode.sources.tiff_layout import TIFF_MAGIC

MOVIES = "a .npy array, TIFF files, Picasso's .raw with its .yaml, or the folder of a recorded run"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (also .npz, .ome.zarr.zip, .docx)",
    b"\x89HDF": "an HDF5 file (localizations of Picasso or DECODE, or a movie in HDF5)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"MATL": "a MATLAB file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
}


def open_recording(path: Path) -> Recording:
    """Open whatever movie lies at `path`; raises RecordingError that says what was found instead."""
    try:
        return _open_folder(path) if path.is_dir() else _open_file(path)
    except OSError as error:
        raise unusable(path, f"cannot be read ({error.strerror or error})", "a readable file", "Check it.") from error


def _open_folder(folder: Path) -> Recording:
    if is_run_recording(folder):
        return RunRecording(folder)
    if (folder / "run.yaml").is_file():
        raise unusable(
            folder, "a run whose frames were not recorded", MOVIES, "Record them (record: true), or name the movie."
        )
    return TiffRecording(folder)


def _open_file(path: Path) -> Recording:
    if not path.exists():
        raise unusable(path, "there is nothing of this name", MOVIES, "Check the path.")
    if path.suffix.lower() in (".yaml", ".yml") and path.with_suffix(".raw").is_file():
        path = path.with_suffix(".raw")
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise unusable(path, "an empty file", MOVIES, "Was the recording stopped, or the disk full?")
    if start.startswith(b"\x93NUMPY"):
        return NpyRecording(path)
    if start[:4] in TIFF_MAGIC:
        return TiffRecording(path)
    if path.suffix.lower() == ".raw":
        return PicassoRecording(path)
    raise _not_a_movie(path, start)


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
