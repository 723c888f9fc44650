"""The ledger and the latency figures, on logs written through the real log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.stages.ledger import Ledger, Tally, fitted_after, latency_bound_ms, latency_ms, lost_ranges, rate_fps
from rtdecode.streams.log import CommitFlag, LogReader, LogWriter, make_commits

MS = 1_000_000


@given(st.lists(st.sampled_from(list(Fate)), max_size=60))
def test_both_equations_hold_and_ranges_name_every_frame_that_was_not_fitted(fates: list[Fate]) -> None:
    commits = make_commits(np.arange(len(fates)), fate=np.array(fates, np.uint8))
    ledger = Ledger.of(commits)
    assert ledger.expected == ledger.received + ledger.lost_before == len(fates)
    assert ledger.received == ledger.fitted + ledger.rejected + ledger.lost_in_ring
    named = {i: r["reason"] for r in lost_ranges(commits) for i in range(r["first"], r["last"] + 1)}
    assert named == {i: fate.name.lower() for i, fate in enumerate(fates) if fate is not Fate.FITTED}


def test_a_ledger_that_does_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="does not add up"):
        Ledger(expected=10, received=9, fitted=9, rejected=0, lost_before=0, lost_in_ring=0)
    with pytest.raises(ValueError, match="does not add up"):
        Ledger(expected=10, received=10, fitted=9, rejected=0, lost_before=0, lost_in_ring=0)


def test_latency_counts_from_arrival_and_without_the_wait_from_the_right_neighbour() -> None:
    flags = [0, 0, CommitFlag.RIGHT_IS_COPY]
    commits = make_commits([0, 1, 2], flags=flags, t_arrival_ns=np.array([0, 10, 20]) * MS)
    commits["t_commit_ns"] = np.array([12, 23, 21]) * MS
    figures = latency_ms(commits)
    assert figures["max"] == 13 and figures["p50"] == 12
    assert figures["without_context"] == {"p50": 2.0, "p99": pytest.approx(2.98), "max": 3.0}  # 12-10, 23-20, 21-20


def test_lost_frames_do_not_enter_latency_and_rate() -> None:
    fates = [Fate.FITTED, Fate.LOST_BEFORE, Fate.REJECTED, Fate.FITTED]
    flags = [CommitFlag.RIGHT_IS_COPY, 0, 0, CommitFlag.RIGHT_IS_COPY]
    commits = make_commits([0, 1, 2, 3], fate=fates, flags=flags, t_arrival_ns=np.array([0, 0, 20, 30]) * MS)
    commits["t_commit_ns"] = np.array([5, 900, 900, 1000]) * MS
    assert latency_ms(commits)["max"] == 970
    assert rate_fps(commits) == 2.0  # two frames in one second
    assert rate_fps(commits[:2]) is None
    assert latency_ms(commits[1:3])["p50"] is None


def test_a_neighbour_that_was_never_fitted_has_no_arrival_to_wait_for() -> None:
    commits = make_commits([0, 1], fate=[Fate.FITTED, Fate.LOST_IN_RING], t_arrival_ns=np.array([10_000, 0]) * MS)
    commits["t_commit_ns"] = np.array([10_012, 20_000]) * MS
    assert latency_ms(commits)["without_context"]["max"] == 12


def test_a_tally_of_a_growing_log_is_the_ledger_of_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    fates = rng.integers(0, 4, 50).astype(np.uint8)
    log, running = LogWriter.open(tmp_path), Tally()
    for at in range(0, 50, 7):
        commits = make_commits(np.arange(at, min(at + 7, 50)), fate=fates[at : at + 7])
        log.append(commits, Localizations.empty())
        running.add(commits)
    log.close()
    ledger = Ledger.of(LogReader.open(tmp_path).all()[0])
    assert running == Tally.of_log(tmp_path)
    assert (running.fitted, running.rejected) == (ledger.fitted, ledger.rejected)
    assert (running.lost_before, running.lost_in_ring) == (ledger.lost_before, ledger.lost_in_ring)
    assert fitted_after(tmp_path, 20) == [i for i in range(21, 50) if fates[i] == Fate.FITTED]


def test_the_bound_on_latency_is_two_frame_periods_and_a_grace() -> None:
    arrivals = np.array([0, 100, 110, 120, 0, 140]) * MS  # the first is slow to come, one is lost
    commits = make_commits([3, 4, 5, 6, 7, 8], t_arrival_ns=arrivals)
    assert latency_bound_ms(commits) == 2 * 10 + 15
    assert latency_bound_ms(commits[1:2]) is None
