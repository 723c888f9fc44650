"""Built engines on disk: keyed by all that a plan depends on, written atomically, rebuilt where damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rtdecode.core.errors import EngineError

LOG = logging.getLogger(__name__)
MAGIC = b"rtdecode-engine-1\n"


@dataclass(frozen=True, slots=True)
class PlanKey:
    """A plan serves exactly one of these."""

    onnx_sha256: str
    library: str
    version: str
    gpu: str
    compute_capability: str
    driver: str
    precision: str
    profile: str  # shapes, as text
    refit: bool

    @property
    def sha256(self) -> str:
        """Over all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class PlanCache:
    """A folder of plans and timing caches; it may be deleted at any time."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_cache() / "engines"

    def plan_path(self, key: PlanKey) -> Path:
        """Where the plan of this key lies or would lie; the name says what people look for."""
        return self.folder / f"{key.library}-{key.version}-{key.precision}-{key.sha256[:20]}.plan"

    def timing_path(self, key: PlanKey) -> Path:
        """Timings are shared by all plans of one library, version and GPU."""
        about = hashlib.sha256(f"{key.library} {key.version} {key.gpu} {key.driver}".encode()).hexdigest()
        return self.folder / f"{key.library}-{key.version}-{about[:12]}.timing"

    def plan(self, key: PlanKey, build: Callable[[bytes], tuple[bytes, bytes]]) -> bytes:
        """The cached plan, else what `build(timing cache)` makes, which is then kept with the new timing cache.

        A damaged file is announced and built anew; a folder that cannot be written costs the next start a build and
        is announced. Raises what `build` raises.
        """
        found = self._read(self.plan_path(key), key.sha256)
        if found is not None:
            return found
        LOG.warning(
            "building an engine for %s (%s, %s): this can take minutes, once", key.gpu, key.library, key.precision
        )
        timing = self._read(self.timing_path(key), "timing") or b""
        made, timing = build(timing)
        self._write(self.plan_path(key), key.sha256, made)
        if timing:
            self._write(self.timing_path(key), "timing", timing)
        return made

    def discard(self, key: PlanKey) -> None:
        """The library refused this plan: remove it, so that it is built anew."""
        LOG.warning("%s is refused by %s; it is removed and built anew", self.plan_path(key), key.library)
        self.plan_path(key).unlink(missing_ok=True)

    def _read(self, path: Path, key: str) -> bytes | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            LOG.warning("%s cannot be read (%s); it is made anew", path, error)
            return None
        head, _, body = content.removeprefix(MAGIC).partition(b"\n")
        if not content.startswith(MAGIC) or head.decode("ascii", "replace") != _seal(key, body):
            LOG.warning("%s is damaged or of another key; it is made anew", path)
            return None
        return body

    def _write(self, path: Path, key: str, body: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=self.folder, suffix=".partial")
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(MAGIC + _seal(key, body).encode() + b"\n" + body)
            Path(partial).replace(path)
        except OSError as error:
            LOG.warning("%s cannot be written (%s); the next start will build it again", path, error)


def user_cache() -> Path:
    """This user's cache folder for rtdecode by the system's own rule; `RTDECODE_CACHE` overrides."""
    if chosen := os.environ.get("RTDECODE_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData/Local"))) / "rtdecode"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/rtdecode"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtdecode"


def architecture_sha256(onnx_bytes: bytes) -> str:
    """Of a graph without the values of its float constants: equal for models that one engine can be refitted to."""
    from rtdecode.fit.onnx_building import import_onnx

    onnx = import_onnx()
    try:
        model = onnx.load_from_string(onnx_bytes)
    except Exception as error:  # protobuf's own
        raise EngineError(f"not an ONNX graph: {error}") from error
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    for item in model.graph.initializer:
        if item.data_type in floats:
            for field in ("raw_data", "float_data", "int32_data"):
                item.ClearField(field)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _seal(key: str, body: bytes) -> str:
    return f"{key} {len(body)} {hashlib.sha256(body).hexdigest()}"
