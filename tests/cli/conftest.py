"""A small model with random weights until the whole suite shares one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rtdecode.fit.bundle import ModelBundle

sys.path.insert(0, str(Path(__file__).parents[1] / "fit"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """8 features, half-resolution stem."""
    from tiny_model import export_tiny

    return export_tiny(tmp_path_factory.mktemp("bundles") / "tiny", "half")
