"""The int8 graph of a bundle: made once, kept in the user's cache, checked at every use."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install, is_there, version_of
from rtdecode.fit.bundle import PSF, ModelBundle
from rtdecode.fit.cache import VARIABLE, of_bundle, put_folder
from rtdecode.fit.graph_scope import FIRST, HEADS

GRAPH, WEIGHTS, NOTE = "graph.xml", "graph.bin", "made.json"
SETTINGS: dict[str, Any] = {"form": 1, "calibration": [12, 7, 8], "preset": "mixed", "first": FIRST, "heads": HEADS}
"""What else the graph depends on; `calibration`: clips, frames of each, seed (rtdecode.fit.quantize)."""
PATIENCE_S = 600.0

Tell = Callable[[str], None]


def int8_graph(bundle: ModelBundle, tell: Tell = lambda _: None) -> Path:
    """The bundle's OpenVINO IR in int8, from the cache or made now (seconds); `tell` hears of both surprises.

    Once it is there NNCF is not needed. Raises EngineError: no NNCF, no PSF to calibrate with, cache not writable.
    """
    for folder in _candidates(bundle):
        if (fault := _fault(folder)) is None:
            return folder / GRAPH
        tell(f"the int8 graph in {folder} {fault}; it is made again")
        shutil.rmtree(folder, ignore_errors=True)
    _check_can_be_made(bundle)
    tell(f"making the int8 graph of {bundle.name}, once")
    return _make(bundle) / GRAPH


def is_cached(bundle: ModelBundle) -> bool:
    """Whether a whole int8 graph for this bundle, OpenVINO and NNCF lies in the cache."""
    return any(_fault(folder) is None for folder in _candidates(bundle))


def key_of(bundle: ModelBundle, nncf: str | None) -> dict[str, Any]:
    """All that an int8 graph depends on."""
    return {"bundle": bundle.sha256, "openvino": version_of("openvino"), "nncf": nncf, "settings": SETTINGS}


def _candidates(bundle: ModelBundle) -> Iterator[Path]:
    """Folders whose key fits; without NNCF any version of it will do, since it is not needed any more."""
    for folder in sorted(of_bundle(bundle.sha256).glob("int8-*")):
        key = _note(folder).get("key")
        nncf = version_of("nncf") if is_there("nncf") else key.get("nncf", "") if isinstance(key, dict) else ""
        if key == key_of(bundle, nncf) or folder == _place(bundle, nncf):
            yield folder


def _place(bundle: ModelBundle, nncf: str | None) -> Path:
    text = json.dumps(key_of(bundle, nncf), sort_keys=True)
    return of_bundle(bundle.sha256) / f"int8-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _fault(folder: Path) -> str | None:
    """What is wrong with a cached graph, None if it is whole."""
    files = _note(folder).get("files")
    if not isinstance(files, dict) or set(files) != {GRAPH, WEIGHTS}:
        return "has lost its note"
    try:
        changed = [name for name, expected in files.items() if _sha256(folder / name) != expected]
    except OSError as error:
        return f"cannot be read ({error})"
    return f"is cut short or was changed ({', '.join(changed)})" if changed else None


def _note(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_can_be_made(bundle: ModelBundle) -> None:
    if not is_there("nncf"):
        raise EngineError(
            f"openvino int8: the graph of {bundle.name} is made with NNCF, which is not installed here; "
            f"{install('int8')}, or set engine.precision to bf16 or fp32"
        )
    if PSF not in bundle.card.files:
        raise EngineError(
            f"openvino int8: {bundle.folder} holds no {PSF}, so no frames can be simulated to set its scales with; "
            "set engine.precision to fp32"
        )


def _make(bundle: ModelBundle) -> Path:
    place = _place(bundle, version_of("nncf"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
        try:
            _quantize(bundle, made / GRAPH)
            note = {
                "key": key_of(bundle, version_of("nncf")),
                "files": {n: _sha256(made / n) for n in (GRAPH, WEIGHTS)},
            }
            (made / NOTE).write_text(json.dumps(note, indent=1), encoding="utf-8")
            put_folder(made, place)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise EngineError(
            f"openvino int8: the graph cannot be kept in {place.parent}: {error}; free it, or name another folder in "
            f"the environment variable {VARIABLE}"
        ) from error
    return place


def _quantize(bundle: ModelBundle, graph: Path) -> None:
    """In a process of its own, see rtdecode.fit.quantize."""
    from rtdecode.fit.quantize import QUIET

    command = [sys.executable, "-m", "rtdecode.fit.quantize", str(bundle.folder), str(graph)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env={**os.environ, **QUIET}
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"openvino int8: NNCF was not done after {PATIENCE_S:.0f} s") from error
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError(f"openvino int8: NNCF cannot quantize {bundle.name}: {last}")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
