"""How an acquisition ended, and how that crosses the ring as one line of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Finish = Literal["completed", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """completed: all that was asked for; stopped: as somebody asked; failed: anything else, with its reason."""

    finish: Finish
    reason: str = ""

    @classmethod
    def completed(cls) -> Outcome:
        """The source delivered its last frame."""
        return cls("completed")

    @classmethod
    def stopped(cls, reason: str) -> Outcome:
        """Ended early because a person, a policy or a limit said so."""
        return cls("stopped", reason)

    @classmethod
    def failed(cls, reason: str) -> Outcome:
        """Ended by a fault; what was acquired remains."""
        return cls("failed", reason)

    def as_text(self) -> str:
        """One line for the ring's header."""
        return f"{self.finish}: {self.reason}" if self.reason else self.finish

    @classmethod
    def from_text(cls, text: str) -> Outcome:
        """Inverse of `as_text`; a foreign text is a failure with that text as its reason."""
        for finish in get_args(Finish):
            if text == finish or text.startswith(f"{finish}: "):
                return cls(finish, text[len(finish) + 2 :])
        return cls("failed", text)

    @property
    def as_asked(self) -> bool:
        """Whether the exit status is 0."""
        return self.finish != "failed"
