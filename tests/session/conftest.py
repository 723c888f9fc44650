"""A scratch folder from which the session's tests configure their runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import Kit

from rtdecode.fit.bundle import ModelBundle


@pytest.fixture
def kit(tmp_path: Path, tiny_bundle: ModelBundle) -> Kit:
    """Frames, a camera, a diary of what was done to it."""
    return Kit(tmp_path, tiny_bundle.folder)
