"""What run.yaml says of a run: its configuration as resolved, the model's identity, the versions used."""

from __future__ import annotations

import platform
from pathlib import Path

import yaml

from rtdecode import __version__
from rtdecode.core.config import RunConfig
from rtdecode.core.extras import version_of
from rtdecode.core.yaml_files import KeyPath, key_lines, validate
from rtdecode.streams.run_folder import RunFolder

IMPORTED = "imported"
"""Source and model of a run whose localizations another program made: nothing was timed here."""
PACKAGES = (
    "numpy",
    "numba",
    "openvino",
    "nncf",
    "onnxruntime",
    "pyzmq",
    "pymmcore",
    "pymmcore-plus",
    "torch",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "cuda-bindings",
)


class RunRecord(RunConfig):
    """A run's configuration with everything filled in, and what it was made with."""

    origin: str  # the file that the configuration came from, or words
    camera_assumed: bool = False  # nobody said what camera took the frames; the model's own was taken
    camera_from: str = ""  # run.yaml of the recorded run whose camera was taken
    engine_chosen: str = ""  # why `use: auto` became this engine
    engine_check: str = ""  # what the admission gate said of the engine, with its figures
    cautions: tuple[str, ...] = ()  # what is odd in the recording, found before the run began
    model_name: str
    model_sha256: str
    versions: dict[str, str]

    def as_yaml(self) -> str:
        """Text of run.yaml (the run folder adds its own block)."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @classmethod
    def of_run(cls, folder: RunFolder) -> RunRecord:
        """Read back by a worker; ConfigError when somebody has changed it to nonsense."""
        return validate(folder.config_fields(), cls, str(folder.run_yaml))

    def lines_below(self, *at: str | int) -> dict[KeyPath, int]:
        """Lines of the keys below this place in the file the user wrote; empty where there is none."""
        path = Path(self.origin)
        if not path.is_file():
            return {}
        return {key[len(at) :]: line for key, line in key_lines(path).items() if key[: len(at)] == at}


def versions() -> dict[str, str]:
    """Python, system and the packages that can change a number."""
    found = {"rtdecode": __version__, "python": platform.python_version(), "system": platform.platform()}
    known = {name: version_of(name) for name in PACKAGES}
    return found | {name: version for name, version in known.items() if version is not None}
