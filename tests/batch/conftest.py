"""One movie and its replay for all tests of batches."""

from __future__ import annotations

import pytest

pytest.importorskip("distributed")
pytest.importorskip("ndstorage")

from batch_bench import Bench, make_bench

from rtdecode.fit.bundle import ModelBundle


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: ModelBundle) -> Bench:
    """The movie, and its replay in one process."""
    return make_bench(tmp_path_factory.mktemp("batch"), tiny_bundle)
