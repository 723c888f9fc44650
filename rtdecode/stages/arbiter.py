"""The arbiter: which wish for an action is carried out; it lives where the session is, never with user code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rtdecode.core.actions import Action, SetProperty, Stop, action_as_json
from rtdecode.core.config import ControlConfig

Record = Callable[[str, str, "int | None", dict[str, Any]], None]
"""Writes one event: (worker, kind, frame index, fields)."""


class Verdict(Enum):
    """What became of a wish."""

    DONE = "carried out"
    ADVICE = "advice only: control.mode is advise"
    REFUSED = "refused"


@dataclass
class Arbiter:
    """Judges each wish, writes it down, hands what is allowed to `carry_out`.

    It decides and writes down; who wishes twice for the same (a restarted decide) is the caller's to know.
    """

    control: ControlConfig
    record: Record
    carry_out: Callable[[Action], None]
    stop_reason: str | None = None  # of the first Stop that was carried out

    def wish(self, action: Action, *, worker: str) -> Verdict:
        """Judge a policy's wish by the run's `control`; never raises."""
        verdict, why = self._judge(action)
        self._write(action, verdict, why, worker)
        if verdict is Verdict.DONE:
            self._do(action)
        return verdict

    def command(self, action: Action, *, worker: str) -> None:
        """A person's or the session's own order (Ctrl-C, `rtdecode stop`, limits): not subject to `control`."""
        self._write(action, Verdict.DONE, "", worker)
        self._do(action)

    def _judge(self, action: Action) -> tuple[Verdict, str]:
        if self.control.mode == "advise":
            return Verdict.ADVICE, ""
        if isinstance(action, Stop):
            return Verdict.DONE, ""
        return self._judge_property(action)

    def _judge_property(self, action: SetProperty) -> tuple[Verdict, str]:
        for allowed in self.control.allowed:
            if (allowed.device, allowed.property) == (action.device, action.property):
                if allowed.minimum <= action.value <= allowed.maximum:
                    return Verdict.DONE, ""
                return Verdict.REFUSED, f"{action.value} is outside {allowed.minimum} to {allowed.maximum}"
        return Verdict.REFUSED, f"{action.device}.{action.property} is not in control.allowed"

    def _do(self, action: Action) -> None:
        if isinstance(action, Stop):
            if self.stop_reason is not None:
                return  # a run is stopped once; later reasons stand in the events
            self.stop_reason = action.reason
        self.carry_out(action)

    def _write(self, action: Action, verdict: Verdict, why: str, worker: str) -> None:
        fields: dict[str, Any] = {"action": action_as_json(action), "verdict": verdict.value}
        self.record(worker, "action", None, fields | ({"reason": why} if why else {}))
