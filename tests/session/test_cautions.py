"""Frames that were fitted late are a warning of the run where they are many."""

from __future__ import annotations

import pytest

from rtdecode.session.cautions import _frames
from rtdecode.streams.log import CommitFlag, make_commits


@pytest.mark.parametrize(("late", "told"), [(0, 0), (2, 0), (60, 1)])
def test_many_late_frames_are_told(late: int, told: int) -> None:
    flags = [CommitFlag.LATE if k < late else CommitFlag.NONE for k in range(100)]
    sentences = list(_frames(make_commits(range(100), flags=flags)))
    assert len(sentences) == told and all(f"{late} of 100 frames were fitted late" in words for words in sentences)
