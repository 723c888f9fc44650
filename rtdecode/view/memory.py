"""What the viewer remembers from one time to the next: place of the window, mode, page; in the user's own folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import platformdirs
from PySide6 import QtCore

VARIABLE = "RTDECODE_CONFIG"
NAME = "viewer.ini"


def config_folder() -> Path:
    """This user's folder for rtdecode's settings by the system's own rule; `RTDECODE_CONFIG` overrides."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_config_path("rtdecode", appauthor=False)


class Memory:
    """Values by name in an .ini file; one that cannot be read or written is as good as empty."""

    def __init__(self) -> None:
        self._settings = QtCore.QSettings(str(config_folder() / NAME), QtCore.QSettings.Format.IniFormat)

    def get(self, name: str) -> Any:
        """As it was kept; None where it was not."""
        return self._settings.value(name)

    def number(self, name: str, otherwise: float) -> float:
        """A number that was kept."""
        try:
            return float(self._settings.value(name))
        except (TypeError, ValueError):
            return otherwise

    def keep(self, **values: Any) -> None:
        """Write values."""
        for name, value in values.items():
            self._settings.setValue(name, value)
        self._settings.sync()
