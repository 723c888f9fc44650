"""Which channel, position and z plane of a recording of several is the movie: chosen by name or number, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rtdecode.core.errors import RecordingError
from rtdecode.sources.addresses import Place
from rtdecode.sources.recording import unusable

Value = int | str
KEYS = ("channel", "position", "z")
_SHOWN = 12  # of a long list of values


@dataclass(frozen=True, slots=True)
class Choice:
    """The keys `channel`, `position` and `z` of a source; None: there must be only one."""

    channel: Value | None = None
    position: Value | None = None
    z: Value | None = None

    def wanted(self, axis: str) -> Value | None:
        """What was chosen on that axis; None for an axis without a key."""
        return getattr(self, axis) if axis in KEYS else None

    def pick(self, path: Place, axis: str, there: Sequence[Value]) -> Value:
        """The one value of `there` that was chosen, by its name or, where all are names, by its place from 0.

        Without a choice there may be only one. Raises RecordingError with the list of what there is.
        """
        wanted = self.wanted(axis)
        if wanted is None and len(there) == 1:
            return there[0]
        found = match(wanted, there) if wanted is not None else None
        if found is None:
            raise not_one(path, axis, there, wanted)
        return found

    def check_unused(self, path: Place, kind: str) -> None:
        """Refuse keys for a recording that has no such axes: they would be ignored in silence."""
        given = [key for key in KEYS if getattr(self, key) is not None]
        if given:
            raise unusable(path, f"{kind}, which has one channel, position and plane", "none to choose",
                           f"Leave out {', '.join(given)}.")  # fmt: skip


def match(wanted: Value, there: Sequence[Value]) -> Value | None:
    """The value that is meant: the same, the same as text (`"1"` for 1), or the n-th of names."""
    for value in there:
        if value == wanted or str(value) == str(wanted):
            return value
    named = all(isinstance(value, str) for value in there)
    if named and isinstance(wanted, int) and 0 <= wanted < len(there):
        return there[wanted]
    return None


def not_one(path: Place, axis: str, there: Sequence[Value], wanted: Value | None) -> RecordingError:
    """The error for an axis on which one value must be chosen, or on which there is no such value."""
    listed = ", ".join(str(value) for value in there[:_SHOWN]) + (", ..." if len(there) > _SHOWN else "")
    what = {"z": "z planes"}.get(axis, f"{axis}s") if len(there) > 1 else axis
    found = f"{len(there)} {what} ({listed})"
    if wanted is not None:
        return unusable(path, found, f"one of them as `{axis}`, found {wanted!r}", "Correct it.")
    if axis in KEYS:
        return unusable(path, found, "one", f"Choose it in the source's YAML, e.g. `{axis}: {there[0]}`.")
    return unusable(path, found, "one", "Save the part to be replayed as a recording of its own.")


def movie_axis(sizes: Mapping[str, int], choice: Choice) -> str:
    """Along which axis the frames follow each other: time; a stack without times whose z is not chosen is along z."""
    if sizes.get("time", 1) == 1 and sizes.get("z", 1) > 1 and choice.z is None:
        return "z"
    return "time"
