"""The summed image of a run that did not come to its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtdecode.stages.widefield import Widefield, saved_total_adu


def test_the_last_save_serves_where_localize_never_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved_total_adu(tmp_path) is None
    monkeypatch.setattr("rtdecode.stages.widefield.SAVE_EVERY_S", -1.0)
    image = Widefield.open(tmp_path, (2, 3))
    for index in range(2):
        image.expect(index, np.full((2, 3), 7, np.uint16))
        image.settle(index, fitted=True)
    saved = saved_total_adu(tmp_path)
    assert saved is not None and np.array_equal(saved, np.full((2, 3), 14.0))
    image.add(2, np.ones((2, 3), np.uint16))
    image.finish()
    whole = saved_total_adu(tmp_path)
    assert whole is not None and np.array_equal(whole, np.full((2, 3), 15.0))
