"""The shipped models on spots that they never saw: wrong, maybe, but never a frame full of inventions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rtdecode.fit.bundle import ModelBundle, shipped_bundles

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from foreign_spots import found_per_frame


@pytest.mark.parametrize("model", sorted(shipped_bundles()))
@pytest.mark.parametrize("width_px", [1.1, 1.6])
def test_no_model_runs_away_on_sharp_bright_spots(model: str, width_px: float) -> None:
    """39 emitters a frame; a model that knew only exact spots and smooth backgrounds gave up to 2,100."""
    truth, found = found_per_frame(ModelBundle.load(model), width_px, 10000.0)
    assert max(found) < 3 * truth
