"""What the whole suite shares: two small bundles with random weights, exported once for the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tiny_model import export_tiny

from rtdecode.fit.bundle import ModelBundle


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's own cache and settings neither help nor suffer; processes of the tests share these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTDECODE_CONFIG", str(tmp_path_factory.mktemp("config")))
        patch.setenv("RTDECODE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Half-resolution stem: frames are padded to multiples of 8. Shared: copy it before changing anything in it."""
    return export_tiny(tmp_path_factory.mktemp("bundles") / "tiny", "half")


@pytest.fixture(scope="session")
def full_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """DECODE's full-resolution stem: frames are padded to multiples of 4."""
    return export_tiny(tmp_path_factory.mktemp("bundles") / "full", "full")
