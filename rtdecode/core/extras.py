"""Libraries that not every installation has: whether one is there, and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util


def install(extra: str) -> str:
    """What to type for one of rtdecode's extras; rtdecode is installed from its source, no index has it."""
    return f'run `pip install -e ".[{extra}]"` in the folder of rtdecode\'s source (see its README)'


def is_there(library: str) -> bool:
    """Whether a top-level package could be imported; nothing is imported."""
    try:
        return importlib.util.find_spec(library) is not None
    except ValueError:  # forbidden by `sys.modules[library] = None`
        return False


def version_of(package: str) -> str | None:
    """Version of an installed package; None where it is not installed. Nothing is imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
