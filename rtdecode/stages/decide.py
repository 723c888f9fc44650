"""Decide: policies read the log and wish for actions; the only place where user code runs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rtdecode.core.actions import Action, SetProperty, Stop, action_as_json
from rtdecode.core.contracts import Policy, Progress
from rtdecode.core.errors import RunFolderError
from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.stages.notes import note, read_roi
from rtdecode.streams.log import Commits, LogReader
from rtdecode.streams.run_folder import RunFolder

FRAMES_A_STEP = 256  # keeps a step short, so that orders are heard; policies see single frames whatever it is

Wish = Callable[[Action], None]
"""Hands a wish to the arbiter: the session's, through the door, or the one in this process."""


@dataclass(slots=True)
class _Seat:
    """One policy and whether it still has a say."""

    name: str
    policy: Policy
    alive: bool = True


class DecideStage:
    """Gives each committed frame, one by one, to every policy, and passes their wishes on.

    One frame a call, so that what a policy decides cannot depend on how the log was read: a restarted stage
    reads the log from its start, comes to the same wishes in the same order, and the session ignores those
    it knows (it counts them). A policy that raises is told of in an event and asked no more; others go on.
    """

    def __init__(
        self, folder: RunFolder, policies: Sequence[tuple[str, Policy]], px_nm: tuple[float, float], wish: Wish
    ) -> None:
        self._folder, self._px_nm, self._wish = folder, px_nm, wish
        self._field_um2: float | None = None  # known when there are frames
        self._seats = [_Seat(name, policy) for name, policy in policies]
        self._reader = LogReader.open(folder.path, missing_ok=True)
        self._counts = dict.fromkeys(Fate, 0)
        self._told = {_identity(event) for event in folder.read_events() if event.get("worker") == "decide"}
        self._ending = False
        self._done = False

    def step(self) -> bool | None:
        """Take what was committed since the last call; None after the log's end once told to end."""
        if self._done:
            return None
        ending = self._ending
        commits, localizations = self._reader.read_new(FRAMES_A_STEP)
        for progress, found in self._frames(commits, localizations):
            for seat in self._seats:
                if seat.alive:
                    self._ask(seat, found, progress)
        self._done = ending and len(commits) == 0
        return len(commits) > 0

    def _frames(self, commits: Commits, localizations: Localizations) -> Iterator[tuple[Progress, Localizations]]:
        """(progress, localizations) of each frame, in order."""
        start = 0
        for commit in commits:
            stop = start + int(commit["n_localizations"])
            self._counts[Fate(int(commit["fate"]))] += 1
            yield self._progress(int(commit["frame_index"])), localizations[start:stop]
            start = stop

    def _progress(self, frame_index: int) -> Progress:
        count = self._counts
        lost = count[Fate.LOST_BEFORE] + count[Fate.LOST_IN_RING]
        if self._field_um2 is None:
            self._field_um2 = _field_um2(self._folder, self._px_nm)
        return Progress(count[Fate.FITTED], count[Fate.REJECTED], lost, frame_index, self._field_um2)

    def _ask(self, seat: _Seat, found: Localizations, progress: Progress) -> None:
        try:
            actions = [_checked(action) for action in seat.policy.update(found, progress)]
        except Exception:  # user code may raise anything, and must not take the others with it
            seat.alive = False
            self._tell(seat, "policy_error", progress, reason=traceback.format_exc(limit=-3))
            return
        for number, action in enumerate(actions):
            self._tell(seat, "decision", progress, number=number, action=action_as_json(action))
            self._wish(_signed(action, seat.name, progress.last_frame_index))

    def _tell(self, seat: _Seat, kind: str, progress: Progress, **fields: Any) -> None:
        """An event, once: after a restart the same decisions come again."""
        at = progress.last_frame_index
        event = {"kind": kind, "frame_index": at, "policy": seat.name, **fields}
        if _identity(event) not in self._told:
            note(self._folder, "decide", kind, at, policy=seat.name, **fields)

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
            "policies": {seat.name: "running" if seat.alive else "failed" for seat in self._seats},
        }

    def close(self) -> None:
        """Nothing to let go of."""


def _identity(event: dict[str, Any]) -> tuple[object, ...]:
    return event.get("kind"), event.get("frame_index"), event.get("policy"), event.get("number")


def _field_um2(folder: RunFolder, px_nm: tuple[float, float]) -> float:
    roi = read_roi(folder)
    if roi is None:
        raise RunFolderError(f"{folder.events}: frames were committed, but no event says how large they are")
    return roi.width_px * px_nm[0] * roi.height_px * px_nm[1] / 1e6


def _checked(action: object) -> Action:
    if not isinstance(action, Stop | SetProperty):
        raise TypeError(f"a policy returns actions (Stop, SetProperty), not {action!r}")
    return action


def _signed(action: Action, policy: str, frame_index: int) -> Action:
    """A Stop says who wished for it and when, since that becomes the run's reason."""
    return Stop(f"{action.reason} ({policy}, frame {frame_index})") if isinstance(action, Stop) else action
