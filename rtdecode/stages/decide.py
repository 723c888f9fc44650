"""Decide: policies read the log and wish for actions; the only place where user code runs."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtdecode.core.actions import Action, SetProperty, Stop, action_as_json
from rtdecode.core.contracts import Policy, Progress
from rtdecode.core.errors import RunFolderError
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.stages.asking import Asking
from rtdecode.stages.notes import note, read_roi
from rtdecode.streams.log import Commits, LogReader
from rtdecode.streams.run_folder import RunFolder

FRAMES_A_STEP = 256  # keeps a step short, so that orders are heard; policies see single frames whatever it is
MAX_STATE_KEYS, MAX_STATE_WORD = 32, 200  # of a policy's state
STATE_EVERY_FRAMES = 100  # at most, and only where it changed: at 1000 fps ten lines a second

Wish = Callable[[Action], None]
"""Hands a wish to the arbiter: the session's, through the door, or the one in this process."""


@dataclass(slots=True)
class _Seat:
    """One policy, whether it still has a say, and what it last said of itself."""

    name: str
    policy: Policy
    alive: bool = True
    state: dict[str, float | str] = field(default_factory=dict)
    state_at: int | None = None  # frame index


@dataclass(frozen=True, slots=True)
class Word:
    """What a policy said: an event of that kind with these fields, and the wish where it is one."""

    kind: str  # decision, state, policy_error
    policy: str
    frame_index: int
    fields: dict[str, Any]
    wish: Action | None = None


class Council:
    """The policies of a run; committed frames go in, one by one, words come out. No files, no clock, no door.

    One frame a call, so that what a policy decides cannot depend on how the log was read: live, restarted, or
    years later. A policy that raises says so once and is asked no more; others go on. So does one that `asking`
    knows to have hung, from the frame on at which it did.
    """

    def __init__(self, policies: Sequence[tuple[str, Policy]], asking: Asking | None = None) -> None:
        self._seats = [_Seat(name, policy) for name, policy in policies]
        self._counts = dict.fromkeys(Fate, 0)
        self._asking = asking

    def hear(self, commits: Commits, localizations: Localizations, field_um2: float) -> Iterator[Word]:
        """What the policies say to the next committed frames and their localizations, in order."""
        start = 0
        for commit in commits:
            stop = start + int(commit["n_localizations"])
            self._counts[Fate(int(commit["fate"]))] += 1
            progress = self._progress(int(commit["frame_index"]), field_um2)
            for number, seat in enumerate(self._seats):
                if seat.alive and self._is_silent(seat, progress.last_frame_index):
                    yield _unanswered(seat, progress.last_frame_index)
                elif seat.alive:
                    with self._asked_now(number, progress.last_frame_index):
                        words = list(_asked(seat, localizations[start:stop], progress))
                    yield from words
            start = stop

    def last_words(self, frame_index: int) -> Iterator[Word]:
        """How each policy stands at the end of the log, where it has not said so yet."""
        for seat in self._seats:
            if seat.alive and seat.state_at is not None:
                yield from _told_state(seat, frame_index)

    @property
    def standing(self) -> dict[str, str]:
        """Of each policy: running or failed."""
        return {seat.name: "running" if seat.alive else "failed" for seat in self._seats}

    @property
    def states(self) -> dict[str, dict[str, float | str]]:
        """What each policy that speaks of itself last said."""
        return {seat.name: seat.state for seat in self._seats if seat.state}

    def _is_silent(self, seat: _Seat, frame_index: int) -> bool:
        return self._asking is not None and self._asking.silent.get(seat.name) == frame_index

    def _asked_now(self, number: int, frame_index: int) -> AbstractContextManager[None]:
        return self._asking.of(number, frame_index) if self._asking is not None else nullcontext()

    def _progress(self, frame_index: int, field_um2: float) -> Progress:
        count = self._counts
        lost = count[Fate.LOST_BEFORE] + count[Fate.LOST_IN_RING]
        return Progress(count[Fate.FITTED], count[Fate.REJECTED], lost, frame_index, field_um2)


def _asked(seat: _Seat, found: Localizations, progress: Progress) -> Iterator[Word]:
    """Its decisions, then how it stands where that is due; user code may raise anything, which ends its say."""
    at = progress.last_frame_index
    try:
        actions = [_checked(action) for action in seat.policy.update(found, progress)]
    except Exception:
        yield _failed(seat, at)
        return
    for number, action in enumerate(actions):
        fields = {"number": number, "action": action_as_json(action)}
        yield Word("decision", seat.name, at, fields, _signed(action, seat.name, at))
    if actions or seat.state_at is None or at - seat.state_at >= STATE_EVERY_FRAMES:
        yield from _told_state(seat, at)


def _failed(seat: _Seat, frame_index: int) -> Word:
    """Within an except clause."""
    seat.alive = False
    return Word("policy_error", seat.name, frame_index, {"reason": traceback.format_exc(limit=-3)})


def _unanswered(seat: _Seat, frame_index: int) -> Word:
    """It hung, or took its process with it, when it was last asked about this frame."""
    seat.alive = False
    reason = f"gave no answer about frame {frame_index}: it hung, or its process died twice there"
    return Word("policy_error", seat.name, frame_index, {"reason": reason, "unanswered": True})


def _told_state(seat: _Seat, frame_index: int) -> Iterator[Word]:
    """What the policy says of itself, if it can and if that is news."""
    try:
        state = _plain_state(getattr(seat.policy, "state", dict)())
    except Exception:
        yield _failed(seat, frame_index)
        return
    seat.state_at = frame_index
    if state and state != seat.state:
        seat.state = state
        yield Word("state", seat.name, frame_index, {"state": state})


def _plain_state(state: object) -> dict[str, float | str]:
    """Checked: it crosses the door and stands in the events. Numbers that are not finite are words there."""
    if not isinstance(state, dict) or len(state) > MAX_STATE_KEYS:
        raise TypeError(f"state() gives a dict of at most {MAX_STATE_KEYS} numbers and words, not {state!r:.200}")
    return {str(key)[:MAX_STATE_WORD]: _plain_value(value) for key, value in state.items()}


def _plain_value(value: object) -> float | str:
    if isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value):
        return value.item() if isinstance(value, np.generic) else value
    return str(value)[:MAX_STATE_WORD]


class DecideStage:
    """Hands the log to the council, writes what it says to the events, and passes its wishes on.

    A restarted stage reads the log from its start, comes to the same wishes in the same order, and the session
    ignores those it knows (it counts them).
    """

    def __init__(
        self, folder: RunFolder, policies: Sequence[tuple[str, Policy]], px_nm: tuple[float, float], wish: Wish
    ) -> None:
        self._folder, self._px_nm, self._wish = folder, px_nm, wish
        self._field_um2: float | None = None  # known when there are frames
        self._asking = Asking(folder, [name for name, _ in policies])
        self._council = Council(policies, self._asking)
        self._reader = LogReader.open(folder.path, missing_ok=True)
        self._last_index = -1
        self._told = {_identity(event) for event in folder.read_events() if event.get("worker") == "decide"}
        self._ending = False
        self._done = False

    def step(self) -> bool | None:
        """Take what was committed since the last call; None after the log's end once told to end."""
        if self._done:
            return None
        ending = self._ending
        commits, localizations = self._reader.read_new(FRAMES_A_STEP)
        if len(commits):
            self._field_um2 = self._field_um2 or field_um2(self._folder, self._px_nm)
            self._last_index = int(commits["frame_index"][-1])
            self._pass_on(self._council.hear(commits, localizations, self._field_um2))
        elif ending:
            self._pass_on(self._council.last_words(self._last_index))
            self._done = True
        return len(commits) > 0

    def _pass_on(self, words: Iterator[Word]) -> None:
        for word in words:
            self._tell(word)
            if word.wish is not None:
                self._wish(word.wish)

    def _tell(self, word: Word) -> None:
        """An event, once: after a restart the same words come again."""
        event = {"kind": word.kind, "frame_index": word.frame_index, "policy": word.policy, **word.fields}
        if _identity(event) not in self._told:
            note(self._folder, "decide", word.kind, word.frame_index, policy=word.policy, **word.fields)

    def order(self, action: Action) -> None:
        """The session says that the log is complete: read what is left, then end."""
        self._ending = True

    def abandon(self, reason: str) -> None:
        """Nobody can be asked for anything any more."""
        self._done = True

    def orphaned(self) -> None:
        """The ring is not this stage's to remove."""

    def status(self) -> dict[str, Any]:
        """How far policies have come."""
        return {
            "state": "finished" if self._done else "running",
            "frames": self._reader.frames,
            "policies": self._council.standing,
        }

    def close(self) -> None:
        """Nobody is asked any more."""
        self._asking.close()


def _identity(event: dict[str, Any]) -> tuple[object, ...]:
    return event.get("kind"), event.get("frame_index"), event.get("policy"), event.get("number")


def field_um2(folder: RunFolder, px_nm: tuple[float, float]) -> float:
    """Area of the run's frames; RunFolderError where no event says how large they are."""
    roi = read_roi(folder)
    if roi is None:
        raise RunFolderError(f"{folder.events}: frames were committed, but no event says how large they are")
    return roi.width_px * px_nm[0] * roi.height_px * px_nm[1] / 1e6


def _checked(action: object) -> Action:
    if not isinstance(action, Stop | SetProperty):
        raise TypeError(f"a policy returns actions (Stop, SetProperty), not {action!r}")
    return action


def signed(reason: str, policy: str, frame_index: int) -> str:
    """The reason of a policy's Stop as the run's: who wished for it, and when."""
    return f"{reason} ({policy}, frame {frame_index})"


def _signed(action: Action, policy: str, frame_index: int) -> Action:
    return Stop(signed(action.reason, policy, frame_index)) if isinstance(action, Stop) else action
