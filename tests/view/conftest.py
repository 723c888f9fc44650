"""Qt without a screen, windows on run folders, and an excerpt of a real run, for the viewer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from view_runs import EXCERPT, WrittenRun, settle

from rtdecode.core.localizations import Localizations
from rtdecode.view import window as window_module
from rtdecode.view.window import screen_problem

RUN_YAML = """
source: {use: mmcore, frames: 100, exposure_ms: 10}
model: astigmatic-light
camera: {px_nm: [100, 100], baseline_adu: 100, e_per_adu: 45, read_noise_e: 74.4, em_gain: 300, spurious_e: 0.002}
out: demo
origin: rtdecode demo
model_name: astigmatic-light
model_sha256: ""
versions: {}
"""


@pytest.fixture(scope="session")
def qt() -> Iterator[Any]:
    """The application; skipped, with the reason, where its system libraries are missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QT_QPA_PLATFORM", "offscreen")
        problem = screen_problem()
        if problem is not None:
            pytest.skip(problem)
        patch.setattr(window_module, "screen_problem", lambda: None)  # asked once is enough
        from rtdecode.view.main_window import make_application

        yield make_application()


@pytest.fixture
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the viewer remembers, for this test alone."""
    monkeypatch.setenv("RTDECODE_CONFIG", str(tmp_path / "settings"))
    return tmp_path / "settings" / "viewer.ini"


@pytest.fixture(scope="session")
def excerpt() -> Localizations:
    """Localizations of a real run: 64 x 64 pixels of 100 nm, frames 0 to 99."""
    with np.load(EXCERPT) as columns:
        named = {name: columns[name] for name in columns.files}
    return Localizations(**(named | {"frame_index": named["frame_index"].astype(np.int64)}))


@pytest.fixture
def demo(tmp_path: Path, excerpt: Localizations) -> Iterator[WrittenRun]:
    """The excerpt as a finished run."""
    run = WrittenRun(tmp_path / "demo", shape=(64, 64), run_yaml=RUN_YAML)
    for frame in range(100):
        run.commit(frame, excerpt[excerpt.frame_index == frame])
    run.end()
    yield run
    run.close()


@pytest.fixture
def demo_window(qt: Any, demo: WrittenRun, own_settings: Path) -> Iterator[Any]:
    """A window on the excerpt, all drawn."""
    window = window_module.open_window(demo.folder.path)
    window.resize(1000, 720)
    for _ in range(60):  # until layout and contrast have come to rest
        settle(qt, window)
    yield window
    window.close()
    window.deleteLater()
    qt.processEvents()
