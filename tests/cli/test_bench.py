"""Figures of the benchmark are of what they say, not of a process that starts."""

from __future__ import annotations

from pathlib import Path

from rtdecode.cli.bench import ring_figures


def test_the_ring_is_measured_when_its_reader_is_there(tmp_path: Path) -> None:
    assert (
        ring_figures(tmp_path / "bench.ring", 16, 0.2)["frames_per_s"] >= 5
    )  # each frame one round: the start of a process is not in it
