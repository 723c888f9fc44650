"""rtdecode: real-time single-molecule localization at the microscope."""

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "open_run"]

# ONNX Runtime from 1.29 on tells its maker which models it runs unless this stands before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """`open_run` is imported when it is asked for: `import rtdecode` stays instant."""
    if name == "open_run":
        return import_module("rtdecode.session.open_run").open_run
    raise AttributeError(f"module 'rtdecode' has no attribute {name!r}")
