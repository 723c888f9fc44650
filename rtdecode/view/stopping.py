"""The viewer's Stop button without the button: asks the session through its door, and says what came of it."""

from __future__ import annotations

from pathlib import Path

from rtdecode.core.actions import Stop
from rtdecode.core.errors import DoorError
from rtdecode.streams.door import DoorClient
from rtdecode.streams.run_folder import RunFolder

WORKER = "view"
SILENT_S = 5.0


class StopRequest:
    """One wish to stop, repeated until the session has it."""

    def __init__(self, run_dir: Path, reason: str = "stopped by hand in the viewer") -> None:
        self._folder = RunFolder(run_dir)
        self._reason = reason
        self._client: DoorClient | None = None
        self.words = ""  # what became of it, for the user; empty before `ask`

    @property
    def was_asked(self) -> bool:
        """Whether `ask` reached for the door."""
        return self._client is not None

    def ask(self) -> None:
        """Ask once; further calls do nothing. `words` says where no door is open."""
        endpoint = self._folder.door_endpoint
        if self._client is not None:
            return
        if endpoint is None:
            self.words = "This run has no open door: nothing to stop."
            return
        try:
            self._client = DoorClient(endpoint, WORKER)
            self._client.exchange({"state": "stopping"}, request=Stop(self._reason))
            self.words = "Asking the session to stop ..."
        except DoorError as error:
            self.words = str(error)

    def tick(self) -> None:
        """Look for the answer, ask again where none came; returns at once."""
        if self._client is None or not self._client.unanswered:
            return
        try:
            self._client.exchange({"state": "stopping"})
        except DoorError as error:
            self.words = str(error)
            return
        if not self._client.unanswered:
            self.words = "The session is stopping: frames already made are still fitted."
        elif self._client.silent_for_s > SILENT_S:
            self.words = "The session does not answer; it may have ended."

    def close(self) -> None:
        """Let go of the door; safe to call twice."""
        if self._client is not None:
            self._client.close()
