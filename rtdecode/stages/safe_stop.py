"""Safe-stop: acquire has died, and the hardware that it held is brought to rest over a second connection."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rtdecode.core.actions import Action
from rtdecode.core.contracts import SafeStop, Setting, Source
from rtdecode.stages.notes import complain, note
from rtdecode.streams.run_folder import RunFolder

NAME = "safe-stop"
SAFE_STOP_S = 10.0  # where the source names no other
HUNG = 4  # exit status of a safe-stop that was not done in its time
BY_HAND = "switch the light off by hand"


# what acquire writes before it touches anything, so that somebody else can undo it


def note_opening(folder: RunFolder, source: Source) -> None:
    """Before `open`: whether hardware may be left behind, and how long bringing it to rest may take.

    Strict: raises RunFolderError, and then nothing is opened.
    """
    able = isinstance(source, SafeStop)
    if isinstance(source, SafeStop):
        source.tell_changes(lambda before: _note_change(folder, before))
    folder.append_event(
        "acquire",
        "opening",
        hardware=bool(getattr(source, "has_hardware", True)),
        safe_stop_s=float(getattr(source, "safe_stop_s", SAFE_STOP_S)) if able else None,
    )


def _note_change(folder: RunFolder, before: Setting) -> None:
    device, name, value = before.device, before.property, before.value
    folder.append_event("acquire", "change", device=device, property=name, before=value)


def note_closed(folder: RunFolder) -> None:
    """After a `close` that said nothing went wrong: the hardware is at rest."""
    note(folder, "acquire", "closed")


# what the session and the safe-stop read there


def left_open(folder: RunFolder) -> dict[str, Any] | None:
    """The opening of hardware that was not closed, or not well; None where all is at rest."""
    opening = None
    for event in folder.read_events():
        if event.get("worker") == "acquire" and event.get("kind") == "opening":
            opening = event if event.get("hardware") else None
        elif event.get("worker") == "acquire" and event.get("kind") == "closed":
            opening = None
    return opening


def changes(folder: RunFolder) -> list[Setting]:
    """Properties that the run changed, with their values before, in the order of the changes."""
    return [
        Setting(str(event["device"]), str(event["property"]), str(event["before"]))
        for event in folder.read_events()
        if event.get("worker") == "acquire" and event.get("kind") == "change"
    ]


# its outcome


def tell_done(folder: RunFolder, done: Sequence[str]) -> None:
    """The hardware is at rest."""
    note(folder, NAME, "safe_stop", ok=True, done=list(done), reason=f"safe-stop: {', '.join(done) or 'all at rest'}")


def tell_failed(folder: RunFolder, why: str) -> str:
    """The light may be on: say so, and what a person has to do; the sentence."""
    sentence = f"safe-stop FAILED: {why}; {BY_HAND}"
    note(folder, NAME, "safe_stop", ok=False, done=[], reason=sentence)
    return sentence


def told(folder: RunFolder) -> dict[str, Any] | None:
    """`ok`, `done`, `reason` of this run's safe-stop; None where there was none or it is not over."""
    for event in folder.read_events():
        if event.get("kind") == "safe_stop":
            return {name: event[name] for name in ("ok", "done", "reason")}
    return None


class SafeStopStage:
    """One step: builds the run's source anew, and has it bring its hardware to rest."""

    def __init__(self, make_source: Callable[[], Source], folder: RunFolder) -> None:
        self._make_source, self._folder = make_source, folder

    def step(self) -> bool | None:
        """All of it; never raises: a source may be a user's own, and whatever it raises is the outcome."""
        with _deadline(self._folder, self._seconds()):
            try:
                source = self._make_source()
                if not isinstance(source, SafeStop):
                    raise TypeError(f"{type(source).__name__} has no bring_to_rest")
                tell_done(self._folder, source.bring_to_rest(changes(self._folder)))
            except Exception as error:
                tell_failed(self._folder, str(error) or type(error).__name__)
        return None

    def order(self, action: Action) -> None:
        """Nobody has orders for it."""

    def abandon(self, reason: str) -> None:
        """It goes on without the session, too."""

    def orphaned(self) -> None:
        """Nothing of the session's is in its hands."""

    def status(self) -> dict[str, Any]:
        """Plain JSON for the session."""
        return {"state": "running"}

    def close(self) -> None:
        """The source has let go of everything in `bring_to_rest`."""

    def _seconds(self) -> float:
        return float((left_open(self._folder) or {}).get("safe_stop_s") or SAFE_STOP_S)


@contextmanager
def _deadline(folder: RunFolder, seconds: float) -> Iterator[None]:
    """End this process when a driver hangs: also an orphan must not hold hardware for ever."""

    def hung() -> None:
        tell_failed(folder, f"it was not done within {seconds:g} s")
        try:
            faulthandler.dump_traceback()  # where it hangs, for the log
        except (RuntimeError, ValueError, OSError) as error:
            complain(str(error))
        os._exit(HUNG)

    timer = threading.Timer(seconds, hung)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
