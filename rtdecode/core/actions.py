"""Actions: the only thing that flows back to the microscope, and only through the door."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stop:
    """End the acquisition: camera stopped, light off, what was acquired is drained and fitted."""

    reason: str


@dataclass(frozen=True, slots=True)
class SetProperty:
    """Set one device property; carried out only if the run's configuration allows it, within its limits."""

    device: str
    property: str
    value: float


Action = Stop | SetProperty


def action_as_json(action: Action) -> dict[str, str | float]:
    """The action as a flat JSON object with its kind, as it crosses the door and stands in events.jsonl."""
    if isinstance(action, Stop):
        return {"kind": "stop", "reason": action.reason}
    return {"kind": "set", "device": action.device, "property": action.property, "value": action.value}


def action_from_json(fields: dict[str, object]) -> Action:
    """Inverse of `action_as_json`; raises ValueError for anything else, since the door is open to any process."""
    match fields:
        case {"kind": "stop", "reason": str(reason)}:
            return Stop(reason)
        case {"kind": "set", "device": str(device), "property": str(name), "value": float() | int() as value}:
            return SetProperty(device, name, float(value))
    raise ValueError(f"not an action: {fields!r}")
